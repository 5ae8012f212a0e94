"""The notify file: which targets get which notices. Its model, its reader, its faults; knows no channel's protocol.

    page: http://clipwatch.lan:8080        # address of the page, for links
    give_up_h: 24                          # a notice that nobody took for this long is dropped
    targets:
      - name: home
        mqtt: {host: broker.lan, user: clipwatch, password: "${MQTT_PASSWORD}"}
      - name: night-watch
        webhook: {url: "${HOOK_URL}", secret: "${HOOK_SECRET}", cooldown_s: 300}
        cameras: [gate]
        labels: [a pedestrian]
        probability: 0.7
        between: ["22:00", "06:00"]
        zone: Europe/Berlin                # of `between`; UTC when left out
        gaps: true                         # also cameras that are away, services that are gone, a full disk
        links_for: 2d                      # clips and pictures open without a login for so long; off: never

`${NAME}` is replaced from the environment, so that no secret has to stand in the file; in a URL it is quoted for its
place (shared/placeholders.py).
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from services.recorder.access.links import LASTS_MAX
from services.recorder.notify.filters import Filter
from shared.contract import CameraId, LabelText, Ratio
from shared.errors import ConfigError, redact, shortened
from shared.faults import list_faults, near
from shared.placeholders import expand_all, placeholder_fault
from shared.secrets import know_address, know_all
from shared.urls import VARIABLE, SecretUrl, url_fault
from shared.yaml_files import FileModel, read_yaml

TARGETS_MAX = 32
WHSEC = "whsec_"  # how Standard Webhooks marks a secret in base64
Topic = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", max_length=100)]
Clock = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class MqttTarget(FileModel):
    """An MQTT broker, with discovery for Home Assistant."""

    host: Annotated[
        str,
        Field(pattern=r"^[^\s/@]{1,255}$", description="name or address alone, without mqtt:// and login"),
    ]
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    tls: bool = False
    user: Annotated[str, Field(max_length=200)] = ""
    password: SecretStr = SecretStr("")
    topic: Annotated[Topic, Field(description="everything is published below it")] = "clipwatch"
    discovery: Annotated[
        Topic | Literal[""], Field(description="Home Assistant's discovery prefix; '': none")
    ] = "homeassistant"
    timeout_s: Annotated[float, Field(ge=1, le=60)] = 10


class WebhookTarget(FileModel):
    """An address that takes a signed POST."""

    url: SecretUrl
    secret: Annotated[SecretStr, Field(min_length=16)]
    when: Annotated[
        Literal["first", "changes", "end"],
        Field(
            description="once at the first match, at every change of labels and the end too, or once at the end"
        ),
    ] = "first"
    cooldown_s: Annotated[
        float, Field(ge=0, le=86400, description="silence after a sent notice of a camera and label")
    ] = 0
    timeout_s: Annotated[float, Field(ge=1, le=60)] = 10

    @field_validator("url")
    @classmethod
    def _http(cls, value: SecretUrl) -> SecretUrl:
        if VARIABLE.search(value.get_secret_value()):
            return value  # the reader says that it is not set
        scheme, _, rest = value.get_secret_value().partition("://")
        if scheme not in ("http", "https") or not rest.strip("/"):
            raise ValueError("must be an address such as https://host/path")
        if (fault := url_fault(value.get_secret_value())) is not None:
            raise ValueError(fault)
        return value

    @field_validator("secret")
    @classmethod
    def _decodable(cls, value: SecretStr) -> SecretStr:
        signing_key(value.get_secret_value())
        return value


_ONE_CHANNEL = "wanted one of 'mqtt:' and 'webhook:'"


def _links_for(value: object) -> object:
    if value is False or value == "off":  # YAML reads a bare off as false
        return None
    found = re.fullmatch(r"([0-9]{1,4})([dh])", value) if isinstance(value, str) else None
    lasts = timedelta(hours=int(found[1]) * (24 if found[2] == "d" else 1)) if found else timedelta()
    if not timedelta() < lasts <= LASTS_MAX:
        raise ValueError("must be a time such as 7d or 12h, 365d at most, or off")
    return lasts


class Target(FileModel):
    """One target: its channel, and which notices it gets."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    mqtt: MqttTarget | None = None
    webhook: WebhookTarget | None = None
    cameras: Annotated[tuple[CameraId, ...], Field(max_length=10_000)] = ()
    labels: Annotated[tuple[LabelText, ...], Field(max_length=200)] = ()
    probability: Ratio = 0.0
    between: tuple[Clock, Clock] | None = None
    zone: str = "UTC"
    gaps: Annotated[
        bool,
        Field(description="also tell of cameras, services, disks and targets that fail, and their return"),
    ] = True

    links_for: Annotated[
        timedelta | None,
        BeforeValidator(_links_for),
        Field(description="clips and pictures open without a login for so long, such as 12h; off: never"),
    ] = timedelta(days=7)

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ValueError, OSError) as exc:  # ZoneInfoNotFoundError is a KeyError
            raise ValueError("is not a zone, wanted one such as Europe/Berlin") from exc
        except KeyError as exc:
            raise ValueError("is not known, wanted a zone such as Europe/Berlin") from exc
        return value

    @model_validator(mode="after")
    def _one_channel(self) -> Target:
        if (self.mqtt is None) == (self.webhook is None):
            raise ValueError(_ONE_CHANNEL)
        return self

    @property
    def filter(self) -> Filter:
        between = None
        if self.between is not None:
            between = (time.fromisoformat(self.between[0]), time.fromisoformat(self.between[1]))
        return Filter(self.cameras, self.labels, self.probability, between, ZoneInfo(self.zone))


class NotifyFile(FileModel):
    """All targets; `page` without a slash at its end."""

    page: str = ""
    give_up_h: Annotated[float, Field(gt=0, le=720)] = 24
    targets: tuple[Target, ...] = ()


def signing_key(secret: str) -> bytes:
    """Return the bytes to sign with; raise ValueError for a `whsec_…` that is not base64."""
    if not secret.startswith(WHSEC):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(WHSEC), validate=True)
    except binascii.Error as exc:
        raise ValueError("stands after whsec_ but is not base64") from exc


def load_notify(path: Path, environment: Mapping[str, str] | None = None) -> NotifyFile:
    """Read the notify file; raise ConfigError with every fault at once, none of which shows a secret."""
    environment = os.environ if environment is None else environment
    document = read_yaml(path)
    faults = [
        f"{path.name}: '{key}' is not known{near(str(key), tuple(NotifyFile.model_fields))}"
        for key in document
        if key not in NotifyFile.model_fields
    ]
    page = document.get("page", "")
    if not isinstance(page, str) or (page and not page.startswith(("http://", "https://"))):
        faults.append(f"{path.name}: page: wanted an address such as http://clipwatch.lan:8080")
    give_up_h = document.get("give_up_h", 24)
    if isinstance(give_up_h, bool) or not isinstance(give_up_h, int | float) or not 0 < give_up_h <= 720:
        faults.append(
            f"{path.name}: give_up_h={shortened(str(give_up_h), 40)}: must be more than 0 and at most 720"
        )
    entries = document.get("targets")
    if not isinstance(entries, list) or not 1 <= len(entries) <= TARGETS_MAX:
        raise ConfigError([*faults, f"{path.name}: targets: wanted a list of 1 to {TARGETS_MAX}"])
    targets: list[Target] = []
    names: set[str] = set()
    for number, entry in enumerate(entries, start=1):
        target, found = _target(entry, environment)
        name = entry.get("name") if isinstance(entry, dict) else None
        who = f"target {shortened(str(name), 64)!r}" if name else f"target number {number}"
        faults.extend(f"{path.name}: {who}: {fault}" for fault in found)
        if str(name) in names:
            faults.append(f"{path.name}: {who}: name: is used twice, names must be unique")
        names |= {str(name)} if name else set()
        if target is not None:
            targets.append(target)
    if faults:
        raise ConfigError([redact(fault) for fault in faults])
    return NotifyFile(page=page.rstrip("/"), give_up_h=give_up_h, targets=tuple(targets))


def _target(entry: Any, environment: Mapping[str, str]) -> tuple[Target | None, list[str]]:  # Any: YAML
    if not isinstance(entry, dict):
        return None, ["wanted a mapping with name and mqtt or webhook"]
    expanded, unset = expand_all(entry, environment)
    missing = [placeholder_fault(name, environment) for name in dict.fromkeys(unset)]
    try:
        target = Target.model_validate(expanded)
    except ValidationError as exc:
        found = [str(fault) for fault in list_faults(exc, Target)]
        if found != [_ONE_CHANNEL] and (entry.get("mqtt") is None) == (entry.get("webhook") is None):
            found.append(_ONE_CHANNEL)  # pydantic asks this only when every field is right
        return None, [*missing, *(fault for fault in found if "${" not in fault)]
    know_all(target)
    if target.webhook is not None:
        know_address(target.webhook.url.get_secret_value())
    return (None if missing else target), missing
