"""How cameras stand in the record, for channels that show state. Knows no channel's protocol."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import delete, select, update

from services.recorder.access.links import TargetLinks
from services.recorder.gaps.values import LiveCamera
from services.recorder.gaps.watch import LiveState, OpenGap
from services.recorder.media.store import MediaAway, MediaStore
from services.recorder.notify.filters import Filter
from services.recorder.notify.homeassistant import Announcement
from services.recorder.notify.mqtt import PICTURE_MAX_BYTES, CameraState
from services.recorder.record import queries
from services.recorder.record.database import Database
from services.recorder.record.engines import insert_or_keep
from services.recorder.record.queries import EventFilter
from services.recorder.record.schema import announcements, installation

CAMERAS_MAX = 1000  # announced at a connection at most
LOOKED_AT = 50  # accepted events of a camera among which one that passes the filter is looked for


@dataclass(frozen=True, slots=True)
class DatabaseRecordView:
    """Implements mqtt.RecordView for one target."""

    database: Database
    media: MediaStore
    filter: Filter
    links: TargetLinks
    live: LiveState = field(default_factory=LiveState)

    @property
    def target(self) -> str:
        return self.links.target

    async def installation(self) -> str:
        table = installation
        async with self.database.writing() as connection:
            row = {"number": 1, "id": secrets.token_hex(4)}
            await connection.execute(insert_or_keep(connection.dialect.name, table, "number").values(row))
            return str(await connection.scalar(select(table.c.id).where(table.c.number == 1)))

    async def recorded_cameras(self) -> list[str]:
        async with self.database.reading() as connection:
            seen = [named.name for named in await queries.seen_cameras(connection)]
        return [camera for camera in seen if self.filter.takes_camera(camera)][:CAMERAS_MAX]

    async def announced(self) -> list[Announcement]:
        table = announcements
        columns = (table.c.camera, table.c.topic, table.c.discovery, table.c.node)
        query = select(*columns).where(table.c.target == self.target).order_by(table.c.camera)
        async with self.database.reading() as connection:
            return [Announcement(*row) for row in await connection.execute(query)]

    async def remember(self, announcement: Announcement) -> None:
        table = announcements
        row = {"topic": announcement.topic, "discovery": announcement.discovery, "node": announcement.node}
        key = {"target": self.target, "camera": announcement.camera}
        async with self.database.writing() as connection:
            await connection.execute(
                insert_or_keep(connection.dialect.name, table, "target").values(key | row)
            )
            mine = (table.c.target == self.target, table.c.camera == announcement.camera)
            await connection.execute(update(table).where(*mine).values(row))

    async def forget(self, camera: str) -> None:
        table = announcements
        mine = (table.c.target == self.target, table.c.camera == camera)
        async with self.database.writing() as connection:
            await connection.execute(delete(table).where(*mine))

    def live_cameras(self) -> Mapping[str, LiveCamera] | None:
        if self.live.cameras is None:
            return None
        taken = [one for one in self.live.cameras.values() if self.filter.takes_camera(one.id)]
        return {one.id: one for one in taken[:CAMERAS_MAX]}

    def name_of(self, camera: str) -> str:
        return self.live.name_of(camera)

    def open_gaps(self) -> list[OpenGap]:
        return [
            gap for gap in self.live.gaps if gap[0].camera is None or self.filter.takes_camera(gap[0].camera)
        ]

    async def state(self, camera: str) -> CameraState:
        async with self.database.reading() as connection:
            is_moving = await queries.is_moving(connection, camera)
            found = await queries.find_events(connection, EventFilter(camera=camera), LOOKED_AT)
        newest = next((event for event in found if self.filter.match(event) is not None), None)
        name = newest.thumbnail_name if newest is not None else None
        picture = await self._read(name) if name is not None else None
        link = await self.links.of(newest.id) if newest is not None else None
        return CameraState(camera, is_moving, newest, picture, link)

    async def _read(self, name: str) -> bytes | None:
        try:
            found = await self.media.find(name)
            if found is None or found.n_bytes > PICTURE_MAX_BYTES:
                return None
            return b"".join([piece async for piece in self.media.read(found, 0, found.n_bytes)])
        except MediaAway:
            return None
