"""MQTT (3.1.1, quality of service 1) with discovery for Home Assistant. Below `topic`:

    status               online | offline, retained; the broker says offline when the recorder is gone (last will)
    <camera>/motion      ON | OFF, retained: whether an event of the camera is open
    <camera>/label       JSON of the camera's newest event that passes the filter, retained
    <camera>/picture     JPEG of that event, retained
    events               JSON of every change of an event that passes the filter, not retained

Retained topics say how things stand in the record, not what one notice says: repetition and order cannot harm them.
Discovery: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, one retained config an entity.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import aiomqtt

from services.recorder.notify.file import MqttTarget
from services.recorder.notify.payload import event_json, notice_json
from services.recorder.notify.port import ChannelAway, Notice
from services.recorder.records import Event

ONLINE, OFFLINE = b"online", b"offline"
PICTURE_MAX_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CameraState:
    """How one camera stands in the record."""

    camera: str
    is_moving: bool
    newest: Event | None  # of those that pass the filter
    picture: bytes | None  # JPEG of that event


@dataclass(frozen=True, slots=True)
class RecordView:
    """What the channel asks of the record."""

    cameras: Callable[[], Awaitable[Sequence[str]]]
    state: Callable[[str], Awaitable[CameraState]]


class Mqtt:
    """The adapter; implements Channel. One connection, made anew when it is lost."""

    cooldown_s = 0.0

    def __init__(self, target: MqttTarget, name: str, page: str, record: RecordView) -> None:
        self._target = target
        self._name = name
        self._page = page
        self._record = record
        self._client: aiomqtt.Client | None = None
        self._watch: asyncio.Task[None] | None = None
        self._announced: set[str] = set()

    def digest(self, notice: Notice) -> str | None:
        return f"v{notice.version}"

    async def prepare(self) -> None:
        if self._client is not None and self._watch is not None and not self._watch.done():
            return
        await self._drop()
        client = self._new_client()
        try:
            async with asyncio.timeout(self._target.timeout_s):
                await client.__aenter__()
        except (aiomqtt.MqttError, OSError, TimeoutError) as exc:
            raise ChannelAway(f"the broker cannot be reached: {_said(exc)}") from exc
        self._client, self._watch = client, asyncio.create_task(_until_lost(client), name="mqtt-watch")
        self._announced = set()
        for camera in await self._record.cameras():
            await self._tell(await self._record.state(camera))
        await self._publish(
            self._topic("status"), ONLINE, is_retained=True
        )  # last: all topics are right by now

    async def send(self, notice: Notice, now: datetime) -> None:  # noqa: ARG002 - the port has it
        await self._tell(await self._record.state(notice.event.camera))
        if notice.match is not None:
            await self._publish(self._topic("events"), _json(notice_json(notice, self._page)))

    async def close(self) -> None:
        with contextlib.suppress(ChannelAway):
            if self._client is not None:
                await self._publish(self._topic("status"), OFFLINE, is_retained=True)
        await self._drop()

    async def _tell(self, state: CameraState) -> None:
        if state.camera not in self._announced:
            for topic, config in self._configs(state.camera):
                await self._publish(topic, _json(config), is_retained=True)
            self._announced.add(state.camera)
        motion = b"ON" if state.is_moving else b"OFF"
        await self._publish(self._topic(state.camera, "motion"), motion, is_retained=True)
        if state.newest is not None:
            said = _json(event_json(state.newest, self._page))
            await self._publish(self._topic(state.camera, "label"), said, is_retained=True)
        if state.picture is not None:
            await self._publish(self._topic(state.camera, "picture"), state.picture, is_retained=True)

    def _configs(self, camera: str) -> list[tuple[str, dict[str, Any]]]:  # Any: JSON
        if not self._target.discovery:
            return []
        node = f"clipwatch_{self._name}_{camera}".replace(".", "_-")  # ids take A-Z a-z 0-9 _ - only
        common = {
            "availability_topic": self._topic("status"),
            "device": {
                "identifiers": [node],
                "name": camera,
                "manufacturer": "clipwatch",
                "model": "camera",
                **({"configuration_url": self._page} if self._page else {}),
            },
            "origin": {"name": "clipwatch"},
        }
        label = self._topic(camera, "label")
        entities: dict[tuple[str, str], dict[str, Any]] = {
            ("sensor", "label"): {
                "name": "Last label",
                "state_topic": label,
                "value_template": "{{ value_json.label }}",
                "json_attributes_topic": label,
                "icon": "mdi:tag-outline",
            },
            ("binary_sensor", "motion"): {
                "name": "Motion",
                "state_topic": self._topic(camera, "motion"),
                "device_class": "motion",
            },
            ("image", "picture"): {
                "name": "Picture",
                "image_topic": self._topic(camera, "picture"),
                "content_type": "image/jpeg",
            },
        }
        return [
            (
                f"{self._target.discovery}/{kind}/{node}/{part}/config",
                {"unique_id": f"{node}_{part}", **entity, **common},
            )
            for (kind, part), entity in entities.items()
        ]

    def _new_client(self) -> aiomqtt.Client:
        target = self._target
        quiet = logging.getLogger("clipwatch.mqtt")
        quiet.setLevel(logging.CRITICAL)  # the delivery loop says it, once each way
        return aiomqtt.Client(
            target.host,
            target.port,
            username=target.user or None,
            password=target.password.get_secret_value() or None,
            tls_context=ssl.create_default_context() if target.tls else None,
            will=aiomqtt.Will(self._topic("status"), OFFLINE, qos=1, retain=True),
            timeout=target.timeout_s,
            keepalive=15,
            max_queued_outgoing_messages=16,
            max_queued_incoming_messages=1,  # nothing is subscribed
            logger=quiet,
        )

    async def _publish(self, topic: str, payload: bytes, is_retained: bool = False) -> None:
        """Return once the broker has acknowledged."""
        assert self._client is not None
        try:
            async with asyncio.timeout(self._target.timeout_s):
                await self._client.publish(topic, payload, qos=1, retain=is_retained)
        except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as exc:
            await self._drop()
            raise ChannelAway(f"the broker did not take it: {_said(exc)}") from exc

    async def _drop(self) -> None:
        client, self._client = self._client, None
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        if client is not None:
            with contextlib.suppress(aiomqtt.MqttError, OSError, TimeoutError):
                async with asyncio.timeout(2):
                    await client.__aexit__(None, None, None)

    def _topic(self, *parts: str) -> str:
        return "/".join((self._target.topic, *parts))


async def _until_lost(client: aiomqtt.Client) -> None:
    with contextlib.suppress(aiomqtt.MqttError):
        async for _ in client.messages:
            pass


def _json(value: dict[str, Any]) -> bytes:  # Any: JSON
    return json.dumps(value, ensure_ascii=False).encode()


def _said(exc: BaseException) -> str:
    return str(exc)[:200] or type(exc).__name__
