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

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from services.recorder.access.links import EventLink
from services.recorder.gaps.values import Gap, LiveCamera
from services.recorder.gaps.watch import OpenGap
from services.recorder.notify import homeassistant
from services.recorder.notify.file import MqttTarget
from services.recorder.notify.homeassistant import EVENT_TYPE, Announcement
from services.recorder.notify.mqtt_connection import MqttConnection
from services.recorder.notify.payload import event_json, gap_json, gap_type, notice_json
from services.recorder.notify.port import ChannelAway, Notice
from services.recorder.record.values import Event

ONLINE, OFFLINE = b"online", b"offline"
PICTURE_MAX_BYTES = 2 * 1024 * 1024
EVENT_MAX_AGE = timedelta(minutes=10)  # an automation is not for what happened long ago
MARKS_MAX = 8  # labels of an event that the digest remembers, 64 characters in all


@dataclass(frozen=True, slots=True)
class CameraState:
    """How one camera stands in the record."""

    camera: str
    is_moving: bool
    newest: Event | None  # of those that pass the filter
    picture: bytes | None  # JPEG of that event
    link: EventLink | None = None  # opens that event without a login


class RecordView(Protocol):
    """What the channel asks of the record. All but `live_cameras` and `open_gaps` raise Transient of the database."""

    async def installation(self) -> str:
        """Return the installation's own id."""

    async def recorded_cameras(self) -> Sequence[str]:
        """Return the cameras that have events and pass the filter, configured or not."""

    async def announced(self) -> list[Announcement]:
        """Return what this target was announced, and was not withdrawn."""

    async def remember(self, announcement: Announcement) -> None:
        """Note that this is announced."""

    async def forget(self, camera: str) -> None:
        """Note that the announcement was withdrawn."""

    def live_cameras(self) -> Mapping[str, LiveCamera] | None:
        """Return the configured cameras that pass the filter; None: nobody says which there are."""

    def open_gaps(self) -> Sequence[OpenGap]:
        """Return the gaps that last and pass the filter."""

    def name_of(self, camera: str) -> str:
        """Return what people call a camera."""

    async def state(self, camera: str) -> CameraState:
        """Return how a camera stands in the record."""


class Mqtt:
    """The adapter; implements Channel."""

    cooldown_s = 0.0
    is_proven_by_prepare = True

    def __init__(self, target: MqttTarget, name: str, page: str, record: RecordView) -> None:
        self._target = target
        self._name = name
        self._page = page
        self._record = record
        self._connection = MqttConnection(target, (self._topic("status"), OFFLINE))
        self._installation = ""
        self._is_complete = False  # everything was published over this connection
        self._names: dict[str, str] = {}  # announced cameras and what they were called

    def digest(self, notice: Notice) -> str | None:
        """Return the version, and marks of the labels whose detections were published: they are not published again."""
        _, *marks = (notice.last_sent or "v0").split()
        marks += [mark for mark in map(_mark, (d.label for d in notice.passing)) if mark not in marks]
        return " ".join([f"v{notice.version}", *marks[-MARKS_MAX:]])

    async def prepare(self) -> None:
        if self._connection.is_lost:
            self._is_complete = False
            await self._connection.connect()
            self._names = {}
        if self._is_complete:
            return
        self._installation = await self._record.installation()
        await self._withdraw_outdated()
        announcement = self._announcement("")
        await self._announce(announcement, homeassistant.installation_configs(announcement, self._page))
        for camera, name in (await self._cameras()).items():
            await self._publish_camera(camera, name)
        await self._publish_live_state()
        # last: all topics are right by now
        await self._connection.publish(self._topic("status"), ONLINE, is_retained=True)
        self._is_complete = True

    async def refresh(self) -> None:
        live = self._record.live_cameras()
        if not (self._is_complete and self._connection.is_open) or live is None:
            return
        for camera in [known for known in self._names if known not in live]:
            await self._withdraw(self._announcement(camera))
            del self._names[camera]
        for one in live.values():
            if self._names.get(one.id) != (one.name or one.id):
                await self._publish_camera(one.id, one.name or one.id)
        await self._publish_live_state()

    async def send(self, notice: Notice, now: datetime) -> None:
        camera = notice.event.camera
        live = self._record.live_cameras()
        is_announced = live is None or camera in live  # others are recorded, but not configured (any more)
        if is_announced:
            await self._publish_camera(camera, self._record.name_of(camera))
        if notice.match is None:
            return
        document = notice_json(notice, self._page, self._record.name_of)
        await self._connection.publish(self._topic("events"), _json(document))
        is_news = notice.noted_at is None or now - notice.noted_at <= EVENT_MAX_AGE
        if is_announced and is_news:
            await self._publish_detections(notice)

    async def _publish_detections(self, notice: Notice) -> None:
        """Publish each label of the event that was not published before."""
        _, *marks = (notice.last_sent or "v0").split()
        for detection in notice.passing:
            if _mark(detection.label) in marks:
                continue
            facts = event_json(notice.event, self._page, self._record.name_of, notice.link)
            facts |= {"label": detection.label, "probability": detection.probability}
            payload = _json({"event_type": EVENT_TYPE, **facts})
            await self._connection.publish(self._topic(notice.event.camera, "event"), payload)

    async def send_gap(self, gap: Gap, now: datetime) -> None:
        facts = gap_json(gap, self._page, self._record.name_of)
        document = {"type": gap_type(gap), "timestamp": now.isoformat(), **facts}
        await self._connection.publish(self._topic("gaps"), _json(document))

    async def close(self, is_replaced: bool = False) -> None:
        with contextlib.suppress(ChannelAway):
            if self._connection.is_open and not is_replaced:  # the other one has announcement online
                await self._connection.publish(self._topic("status"), OFFLINE, is_retained=True)
        await self._connection.drop()

    # -- what is shown

    async def _cameras(self) -> dict[str, str]:
        """Return the cameras to be announced, with their names."""
        live = self._record.live_cameras()
        if live is None:
            return {camera: camera for camera in await self._record.recorded_cameras()}
        return {one.id: one.name or one.id for one in live.values()}

    async def _publish_camera(self, camera: str, name: str) -> None:
        if self._names.get(camera) != name:
            announcement = self._announcement(camera)
            await self._announce(announcement, homeassistant.camera_configs(announcement, name, self._page))
            self._names[camera] = name
        state, live = await self._record.state(camera), self._record.live_cameras()
        now = live.get(camera) if live is not None else None
        if now is None or (now.is_moving is None and now.is_heard):
            # a camera that was not heard yet is left out: an event that the record holds open may be over
            await self._connection.retain(self._topic(camera, "motion"), b"ON" if state.is_moving else b"OFF")
        if now is None:
            await self._connection.retain(self._topic(camera, "availability"), ONLINE)
        if state.newest is not None:
            label = _json(event_json(state.newest, self._page, self._record.name_of, state.link))
            await self._connection.retain(self._topic(camera, "label"), label)
        if state.picture is not None:
            await self._connection.retain(self._topic(camera, "picture"), state.picture)

    async def _publish_live_state(self) -> None:
        """Publish what is not of the record: it waits for no database."""
        for one in (self._record.live_cameras() or {}).values():
            if one.id not in self._names:
                continue
            if one.is_moving is not None:
                await self._connection.retain(
                    self._topic(one.id, "motion"), b"ON" if one.is_moving else b"OFF"
                )
            await self._connection.retain(
                self._topic(one.id, "availability"), ONLINE if one.is_available else OFFLINE
            )
        gaps = [
            {
                "kind": key.kind,
                "subject": key.subject,
                "camera": key.camera,
                "camera_name": None if key.camera is None else self._record.name_of(key.camera),
                "reason": reason,
                "started_at": started_at.isoformat(),
            }
            for key, reason, started_at in self._record.open_gaps()
        ]
        health = {"version": 1, "state": "problem" if gaps else "ok", "gaps": gaps}
        await self._connection.retain(self._topic("health"), _json(health))

    # -- announcements, and their withdrawal

    def _announcement(self, camera: str) -> Announcement:
        target = self._target
        return homeassistant.announced(target.topic, target.discovery, self._installation, self._name, camera)

    async def _announce(self, announcement: Announcement, configs: Sequence[homeassistant.Config]) -> None:
        await self._record.remember(announcement)  # first: what is announced can always be withdrawn
        for topic, config in configs:
            await self._connection.retain(topic, _json(config))

    async def _withdraw_outdated(self) -> None:
        """Withdraw cameras that are configured no more, and what was announced under other topics or ids."""
        before, cameras = await self._record.announced(), await self._cameras()
        if not any(announcement.camera == "" for announcement in before):  # the first time with this layout
            for camera in sorted({*await self._record.recorded_cameras(), *cameras}):
                old = homeassistant.announced_before(
                    self._target.topic, self._target.discovery, self._name, camera
                )
                await self._remove(old.config_topics)
                if camera not in cameras:
                    await self._remove(old.state_topics)
        for one in before:
            is_gone = one.camera and one.camera not in cameras
            if is_gone or one != self._announcement(one.camera):
                await self._withdraw(one)

    async def _withdraw(self, announcement: Announcement) -> None:
        if announcement.camera:  # first, for whoever keeps the entity or knows no discovery
            await self._connection.publish(
                f"{announcement.topic}/{announcement.camera}/availability", OFFLINE, is_retained=True
            )
        await self._remove([*announcement.config_topics, *announcement.state_topics])
        await self._record.forget(announcement.camera)

    async def _remove(self, topics: Sequence[str]) -> None:
        for topic in topics:
            await self._connection.remove(topic)

    def _topic(self, *parts: str) -> str:
        return "/".join((self._target.topic, *parts))


def _json(value: dict[str, Any]) -> bytes:  # Any: JSON
    return json.dumps(value, ensure_ascii=False).encode()


def _mark(label: str) -> str:
    """Return what stands for a label in the digest."""
    return hashlib.sha256(label.encode()).hexdigest()[:6]
