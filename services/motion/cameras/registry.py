"""Keeps to the camera file: follows it, changes it, and applies each version to the workers once."""

from __future__ import annotations

import asyncio
from typing import Protocol

from shared.cameras import Camera
from shared.cameras.editor import Values
from shared.cameras.store import CameraFileStore, CameraFileVersion
from shared.errors import ConfigError, redact
from shared.logs import get_logger

log = get_logger(__name__)

WATCH_FILE_S = 2.0  # how often `follow` is called


class Workers(Protocol):
    """What runs the cameras."""

    def change(self, cameras: dict[str, Camera]) -> None:
        """Run exactly those of these cameras that are enabled, with these settings."""


def by_id(version: CameraFileVersion) -> dict[str, Camera]:
    """Return the cameras of the file, enabled or not."""
    return {camera.id: camera for camera in version.cameras.cameras}


class CameraRegistry:
    """Which cameras there are, with which settings. A version is known by the file's bytes, not by its time."""

    def __init__(self, store: CameraFileStore, workers: Workers, version: CameraFileVersion) -> None:
        self._store = store
        self._workers = workers
        self._lock = asyncio.Lock()  # one change at a time
        self._begun = asyncio.Event()
        self._seen: tuple[int, int, int] | None = None
        self._logged: tuple[int, int, int] | None = None  # the file whose faults were logged
        self.version = version

    def begin(self) -> None:
        """Allow versions to be applied: the workers run."""
        self._begun.set()

    @property
    def has_begun(self) -> bool:
        return self._begun.is_set()

    def camera(self, camera_id: str) -> Camera | None:
        """Return a camera of the file in force, enabled or not."""
        return next((camera for camera in self.version.cameras.cameras if camera.id == camera_id), None)

    async def follow(self) -> None:
        """Apply the file if somebody else changed it; a broken one changes nothing and is logged once."""
        if not self._begun.is_set():
            return
        async with self._lock:
            stamp = self._stamp()
            if stamp == self._seen:
                return
            try:
                version = await asyncio.to_thread(self._store.read)
            except ConfigError as exc:
                if stamp != self._logged:
                    log.error(
                        "the camera file has faults, the settings stay as they were", faults=redact(str(exc))
                    )
                self._logged = stamp  # it is read again all the same: the disk may be at fault
                return
            self._seen = stamp
            await self._apply(version)

    async def change(
        self, camera_id: str, values: Values, if_revision: str | None = None
    ) -> CameraFileVersion:
        """Change a camera in the file and apply that at once; raises what CameraFileStore.change raises."""
        await self._begun.wait()
        async with self._lock:
            version = await asyncio.to_thread(self._store.change, camera_id, values, if_revision)
            log.info("camera changed by request", camera=camera_id, settings=sorted(values))
            await self._apply(version)
        return version

    async def _apply(self, version: CameraFileVersion) -> None:
        if version.revision == self.version.revision:
            return
        await asyncio.to_thread(self._workers.change, by_id(version))
        self.version = version

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            stat = self._store.path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
