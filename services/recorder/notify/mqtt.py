"""MQTT (3.1.1, quality of service 1) with discovery for Home Assistant. Below `topic`:

    status                  online | offline, retained; the broker says offline when the recorder is gone (last will)
    health                  JSON: the gaps that last, retained
    <camera>/availability   online | offline, retained: whether the camera is watched
    <camera>/motion         ON | OFF, retained: whether something moves; motion says so before the record knows
    <camera>/label          JSON of the camera's newest event that passes the filter, retained
    <camera>/picture        JPEG of that event, retained
    <camera>/event          JSON, once for each label of an event that passes the filter, not retained
    events                  JSON of every change of an event that passes the filter, not retained
    gaps                    JSON of every begin and end of a gap, not retained

Retained topics say how things stand, not what one notice says: repetition and order cannot harm them. They are
published when they change, and once at each connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import aiomqtt
from paho.mqtt.reasoncodes import ReasonCode

from services.recorder.gaps.values import Gap, LiveCamera
from services.recorder.gaps.watch import OpenGap
from services.recorder.notify import homeassistant
from services.recorder.notify.file import MqttTarget
from services.recorder.notify.homeassistant import EVENT_TYPE, Announcement
from services.recorder.notify.payload import event_json, gap_json, gap_type, notice_json
from services.recorder.notify.port import ChannelAway, Notice
from services.recorder.record.values import Event

ONLINE, OFFLINE = b"online", b"offline"
PICTURE_MAX_BYTES = 2 * 1024 * 1024
EVENT_MAX_AGE = timedelta(minutes=10)  # an automation is not for what happened long ago
FIRED_MAX = 8  # labels of an event that `said` remembers, 64 characters in all
_LOGIN = {4, 5, 134, 135}  # CONNACK: bad user name or password, not authorized; MQTT 3.1.1 and 5


@dataclass(frozen=True, slots=True)
class CameraState:
    """How one camera stands in the record."""

    camera: str
    is_moving: bool
    newest: Event | None  # of those that pass the filter
    picture: bytes | None  # JPEG of that event


class RecordView(Protocol):
    """What the channel asks of the record. All but `live_cameras` and `open_gaps` raise Transient of the database."""

    async def installation(self) -> str:
        """Return the installation's own id."""

    async def recorded_cameras(self) -> Sequence[str]:
        """Return the cameras that have events and pass the filter, configured or not."""

    async def announced(self) -> list[Announcement]:
        """Return what this target was told of, and was not taken back."""

    async def remember(self, said: Announcement) -> None:
        """Keep that this is told."""

    async def forget(self, camera: str) -> None:
        """Keep that this was taken back."""

    def live_cameras(self) -> Mapping[str, LiveCamera] | None:
        """Return the configured cameras that pass the filter; None: nobody says which there are."""

    def open_gaps(self) -> Sequence[OpenGap]:
        """Return the gaps that last and pass the filter."""

    async def state(self, camera: str) -> CameraState:
        """Return how a camera stands in the record."""


class Mqtt:
    """The adapter; implements Channel. One connection, made anew when it is lost."""

    cooldown_s = 0.0
    is_proven_by_prepare = True

    def __init__(self, target: MqttTarget, name: str, page: str, record: RecordView) -> None:
        self._target = target
        self._name = name
        self._page = page
        self._record = record
        self._client: aiomqtt.Client | None = None
        self._watch: asyncio.Task[None] | None = None
        self._installation = ""
        self._is_told = False  # everything was published over this connection
        self._names: dict[str, str] = {}  # announced cameras and what they were called
        self._retained: dict[str, bytes] = {}  # topic: digest of what was published over this connection

    def digest(self, notice: Notice) -> str | None:
        """Return the version, and of which labels `event` told: those it need not tell again."""
        _, *fired = (notice.last_sent or "v0").split()
        fired += [mark for mark in map(_mark, (d.label for d in notice.passing)) if mark not in fired]
        return " ".join([f"v{notice.version}", *fired[-FIRED_MAX:]])

    async def prepare(self) -> None:
        if self._client is None or self._watch is None or self._watch.done():
            await self._connect()
        if self._is_told:
            return
        self._installation = await self._record.installation()
        await self._take_back_what_was_before()
        said = self._said("")
        await self._announce(said, homeassistant.installation_configs(said, self._page))
        for camera, name in (await self._cameras()).items():
            await self._tell_all(camera, name)
        await self._show()
        # last: all topics are right by now
        await self._publish(self._topic("status"), ONLINE, is_retained=True)
        self._is_told = True

    async def refresh(self) -> None:
        live = self._record.live_cameras()
        if not self._is_told or live is None:
            return
        for camera in [known for known in self._names if known not in live]:
            await self._take_back(self._said(camera))
            del self._names[camera]
        for one in live.values():
            if self._names.get(one.id) != (one.name or one.id):
                await self._tell_all(one.id, one.name or one.id)
        await self._show()

    async def send(self, notice: Notice, now: datetime) -> None:
        camera = notice.event.camera
        live = self._record.live_cameras()
        is_announced = live is None or camera in live  # others are recorded, but not configured (any more)
        if is_announced:
            name = live[camera].name if live is not None else ""
            await self._tell_all(camera, name or camera)
        if notice.match is None:
            return
        await self._publish(self._topic("events"), _json(notice_json(notice, self._page)))
        is_news = notice.noted_at is None or now - notice.noted_at <= EVENT_MAX_AGE
        if is_announced and is_news:
            await self._fire(notice)

    async def _fire(self, notice: Notice) -> None:
        """Publish each label of the event that was not published before."""
        _, *fired = (notice.last_sent or "v0").split()
        for detection in notice.passing:
            if _mark(detection.label) in fired:
                continue
            facts = event_json(notice.event, self._page)
            facts |= {"label": detection.label, "probability": detection.probability}
            said = _json({"event_type": EVENT_TYPE, **facts})
            await self._publish(self._topic(notice.event.camera, "event"), said)

    async def send_gap(self, gap: Gap, now: datetime) -> None:
        said = {"type": gap_type(gap), "timestamp": now.isoformat(), **gap_json(gap, self._page)}
        await self._publish(self._topic("gaps"), _json(said))

    async def close(self, is_replaced: bool = False) -> None:
        with contextlib.suppress(ChannelAway):
            if self._client is not None and not is_replaced:  # the other one has said online
                await self._publish(self._topic("status"), OFFLINE, is_retained=True)
        await self._drop()

    # -- what is shown

    async def _cameras(self) -> dict[str, str]:
        """Return the cameras to be announced, with their names."""
        live = self._record.live_cameras()
        if live is None:
            return {camera: camera for camera in await self._record.recorded_cameras()}
        return {one.id: one.name or one.id for one in live.values()}

    async def _tell_all(self, camera: str, name: str) -> None:
        if self._names.get(camera) != name:
            said = self._said(camera)
            await self._announce(said, homeassistant.camera_configs(said, name, self._page))
            self._names[camera] = name
        state, live = await self._record.state(camera), self._record.live_cameras()
        now = live.get(camera) if live is not None else None
        if now is None or (now.is_moving is None and now.is_heard):
            # of a camera that was not heard yet nothing is said: an event that the record holds open may be over
            await self._retain(self._topic(camera, "motion"), b"ON" if state.is_moving else b"OFF")
        if now is None:
            await self._retain(self._topic(camera, "availability"), ONLINE)
        if state.newest is not None:
            said_of_it = _json(event_json(state.newest, self._page))
            await self._retain(self._topic(camera, "label"), said_of_it)
        if state.picture is not None:
            await self._retain(self._topic(camera, "picture"), state.picture)

    async def _show(self) -> None:
        """Publish what is not of the record: it waits for no database."""
        for one in (self._record.live_cameras() or {}).values():
            if one.id not in self._names:
                continue
            if one.is_moving is not None:
                await self._retain(self._topic(one.id, "motion"), b"ON" if one.is_moving else b"OFF")
            await self._retain(self._topic(one.id, "availability"), ONLINE if one.is_available else OFFLINE)
        gaps = [
            {
                "kind": key.kind,
                "subject": key.subject,
                "camera": key.camera,
                "reason": reason,
                "started_at": started_at.isoformat(),
            }
            for key, reason, started_at in self._record.open_gaps()
        ]
        said = {"version": 1, "state": "problem" if gaps else "ok", "gaps": gaps}
        await self._retain(self._topic("health"), _json(said))

    # -- what is announced, and taken back

    def _said(self, camera: str) -> Announcement:
        target = self._target
        return homeassistant.announced(target.topic, target.discovery, self._installation, self._name, camera)

    async def _announce(self, said: Announcement, configs: Sequence[homeassistant.Config]) -> None:
        await self._record.remember(said)  # first: what is announced can always be taken back
        for topic, config in configs:
            await self._retain(topic, _json(config))

    async def _take_back_what_was_before(self) -> None:
        """Take back cameras that are configured no more, and what was announced under other topics or ids."""
        before, cameras = await self._record.announced(), await self._cameras()
        if not any(said.camera == "" for said in before):  # the first time with this layout
            for camera in sorted({*await self._record.recorded_cameras(), *cameras}):
                old = homeassistant.announced_before(
                    self._target.topic, self._target.discovery, self._name, camera
                )
                await self._empty(old.config_topics)
                if camera not in cameras:
                    await self._empty(old.state_topics)
        for said in before:
            if said != self._said(said.camera) or (said.camera and said.camera not in cameras):
                await self._take_back(said)

    async def _take_back(self, said: Announcement) -> None:
        if said.camera:  # first, for whoever keeps the entity or knows no discovery
            await self._publish(f"{said.topic}/{said.camera}/availability", OFFLINE, is_retained=True)
        await self._empty([*said.config_topics, *said.state_topics])
        await self._record.forget(said.camera)

    async def _empty(self, topics: Sequence[str]) -> None:
        for topic in topics:
            await self._publish(topic, b"", is_retained=True)
            self._retained.pop(topic, None)

    # -- the connection

    async def _connect(self) -> None:
        await self._drop()
        client = self._new_client()
        try:
            async with asyncio.timeout(self._target.timeout_s):
                await client.__aenter__()
        except (aiomqtt.MqttError, OSError, TimeoutError) as exc:
            raise ChannelAway(_why_not(exc)) from exc
        self._client, self._watch = client, asyncio.create_task(_until_lost(client), name="mqtt-watch")
        self._is_told, self._names, self._retained = False, {}, {}

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

    async def _retain(self, topic: str, payload: bytes) -> None:
        """Publish a retained topic unless it stands there already."""
        digest = hashlib.blake2b(payload, digest_size=16).digest()
        if self._retained.get(topic) != digest:
            await self._publish(topic, payload, is_retained=True)
            self._retained[topic] = digest

    async def _publish(self, topic: str, payload: bytes, is_retained: bool = False) -> None:
        """Return once the broker has acknowledged."""
        assert self._client is not None
        try:
            async with asyncio.timeout(self._target.timeout_s):
                await self._client.publish(topic, payload, qos=1, retain=is_retained)
        except (aiomqtt.MqttError, OSError, TimeoutError, ValueError) as exc:
            await self._drop()
            raise ChannelAway(f"the broker did not take it: {_text(exc)}") from exc

    async def _drop(self) -> None:
        client, self._client = self._client, None
        watch, self._watch = self._watch, None
        self._is_told = False
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


def _mark(label: str) -> str:
    """Return what stands for a label in `said`."""
    return hashlib.sha256(label.encode()).hexdigest()[:6]


def _why_not(exc: BaseException) -> str:
    if isinstance(exc, aiomqtt.MqttCodeError):
        code = exc.rc.value if isinstance(exc.rc, ReasonCode) else exc.rc
        if code in _LOGIN:
            return f"the broker refuses our login: {_text(exc)}"
    return f"the broker cannot be reached: {_text(exc)}"


def _text(exc: BaseException) -> str:
    return str(exc)[:200] or type(exc).__name__
