"""How cameras stand in the record, for channels that show state. Knows no channel's protocol."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from services.recorder import queries
from services.recorder.database import Database
from services.recorder.media import MediaFolder
from services.recorder.notify.filters import Filter
from services.recorder.notify.mqtt import PICTURE_MAX_BYTES, CameraState
from services.recorder.queries import EventFilter

CAMERAS_MAX = 1000  # announced at a connection at most
LOOKED_AT = 50  # accepted events of a camera among which one that passes the filter is looked for


@dataclass(frozen=True, slots=True)
class StateOfRecord:
    """Reads what mqtt.RecordView asks for."""

    database: Database
    media: MediaFolder
    filter: Filter

    async def cameras(self) -> list[str]:
        async with self.database.reading() as connection:
            seen = [named.name for named in await queries.seen_cameras(connection)]
        return [camera for camera in seen if self.filter.takes_camera(camera)][:CAMERAS_MAX]

    async def state(self, camera: str) -> CameraState:
        async with self.database.reading() as connection:
            is_moving = await queries.is_moving(connection, camera)
            found = await queries.find_events(connection, EventFilter(camera=camera), LOOKED_AT)
        newest = next((event for event in found if self.filter.match(event) is not None), None)
        name = newest.thumbnail_name if newest is not None else None
        picture = await asyncio.to_thread(self._read, name) if name is not None else None
        return CameraState(camera, is_moving, newest, picture)

    def _read(self, name: str) -> bytes | None:
        found = self.media.find(name)
        if found is None or found[1].st_size > PICTURE_MAX_BYTES:
            return None
        try:
            return found[0].read_bytes()
        except OSError:
            return None
