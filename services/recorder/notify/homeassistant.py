"""Home Assistant's MQTT discovery: one retained config an entity. Pure.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery. An empty config withdraws the entity. Ids hold the
installation's own id: two installations on one broker may have targets and cameras of the same names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Config = tuple[str, dict[str, Any]]  # topic, JSON
CAMERA_ENTITIES = (
    ("sensor", "label"),
    ("binary_sensor", "motion"),
    ("image", "picture"),
    ("event", "detection"),
)
INSTALLATION_ENTITIES = (("binary_sensor", "problem"),)
STATE_TOPICS = ("motion", "label", "picture", "availability")  # of a camera, retained
EVENT_TYPE = "detection"


@dataclass(frozen=True, slots=True)
class Announcement:
    """What was announced of a camera, or of the installation itself (`camera` empty)."""

    camera: str
    topic: str
    discovery: str
    node: str

    @property
    def config_topics(self) -> list[str]:
        """The topics whose removal withdraws the entities."""
        if not self.discovery:
            return []
        entities = CAMERA_ENTITIES if self.camera else INSTALLATION_ENTITIES
        return [_config_topic(self.discovery, kind, self.node, part) for kind, part in entities]

    @property
    def state_topics(self) -> list[str]:
        """The retained topics that show its state."""
        return [f"{self.topic}/{self.camera}/{part}" for part in STATE_TOPICS] if self.camera else []


def announced(topic: str, discovery: str, installation: str, target: str, camera: str) -> Announcement:
    """Return the announcement of a camera, or of the installation (`camera` empty)."""
    node = _node(f"clipwatch_{installation}_{target}" + (f"_{camera}" if camera else ""))
    return Announcement(camera, topic, discovery, node)


def announced_before(topic: str, discovery: str, target: str, camera: str) -> Announcement:
    """Return what versions without an installation's id announced of a camera."""
    return Announcement(camera, topic, discovery, _node(f"clipwatch_{target}_{camera}"))


def camera_configs(announcement: Announcement, name: str, page: str) -> list[Config]:
    """Return the entities of a camera; `name` is what people call it."""
    base = f"{announcement.topic}/{announcement.camera}"
    available = [{"topic": f"{announcement.topic}/status"}, {"topic": f"{base}/availability"}]
    common = {"availability": available, "availability_mode": "all"} | _device(
        announcement.node, name, "camera", page
    )
    fields: dict[str, dict[str, Any]] = {  # Any: JSON
        "label": {
            "name": "Last label",
            "state_topic": f"{base}/label",
            "value_template": "{{ value_json.label }}",
            "json_attributes_topic": f"{base}/label",
            "icon": "mdi:tag-outline",
        },
        "motion": {"name": "Motion", "state_topic": f"{base}/motion", "device_class": "motion"},
        "picture": {
            "name": "Picture",
            "image_topic": f"{base}/picture",
            "content_type": "image/jpeg",
        },
        "detection": {
            "name": "Detection",
            "state_topic": f"{base}/event",
            "event_types": [EVENT_TYPE],
            "icon": "mdi:motion-sensor",
        },
    }
    return _configs(announcement, CAMERA_ENTITIES, fields, common)


def installation_configs(announcement: Announcement, page: str) -> list[Config]:
    """Return the one entity of the installation: whether something is wrong, and what."""
    health = f"{announcement.topic}/health"
    problem = {
        "name": "Problem",
        "state_topic": health,
        "value_template": "{{ 'OFF' if value_json.state == 'ok' else 'ON' }}",
        "json_attributes_topic": health,
        "device_class": "problem",
        "entity_category": "diagnostic",
    }
    common = {"availability": [{"topic": f"{announcement.topic}/status"}]}
    common |= _device(announcement.node, "clipwatch", "installation", page)
    return _configs(announcement, INSTALLATION_ENTITIES, {"problem": problem}, common)


def _configs(
    announcement: Announcement,
    entities: Sequence[tuple[str, str]],
    fields: dict[str, dict[str, Any]],
    common: dict[str, Any],  # Any: JSON
) -> list[Config]:
    if not announcement.discovery:
        return []
    return [
        (
            _config_topic(announcement.discovery, kind, announcement.node, part),
            {"unique_id": f"{announcement.node}_{part}", **fields[part], **common},
        )
        for kind, part in entities
    ]


def _device(node: str, name: str, model: str, page: str) -> dict[str, Any]:  # Any: JSON
    device = {"identifiers": [node], "name": name, "manufacturer": "clipwatch", "model": model}
    return {
        "device": device | ({"configuration_url": page} if page else {}),
        "origin": {"name": "clipwatch"},
    }


def _config_topic(discovery: str, kind: str, node: str, part: str) -> str:
    return f"{discovery}/{kind}/{node}/{part}/config"


def _node(text: str) -> str:
    return text.replace(".", "_-")  # ids take A-Z a-z 0-9 _ - only
