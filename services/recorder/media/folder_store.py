"""The media folder as a store: its blocking calls in threads, its errors translated."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from services.recorder.media.files import MediaFolder, StagedFiles
from services.recorder.media.store import PIECE_BYTES, MediaAway, MediaFile, MediaGone, Space
from services.recorder.media.values import StoredMedia
from shared.contract import MediaMessage
from shared.errors import reason

THREADS = 4  # of a folder's own: a disk that hangs holds up nothing else, and writes of a batch overlap
_T = TypeVar("_T")


class _Threads:
    """Runs blocking calls in threads of its own."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="media")

    async def run(self, call: Callable[..., _T], *arguments: Any) -> _T:  # Any: of any call
        return await asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)


@dataclass(frozen=True, slots=True)
class StagedInFolder:
    """Implements StagedMedia."""

    files: StagedFiles
    threads: _Threads

    @property
    def kept(self) -> StoredMedia:
        return self.files.kept

    @property
    def was_there(self) -> bool:
        return self.files.was_there

    async def publish(self) -> None:
        await self.threads.run(self.files.publish)

    async def discard(self) -> None:
        await self.threads.run(self.files.discard)


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Implements MediaStore."""

    folder: MediaFolder
    threads: _Threads = field(default_factory=_Threads)
    readers: _Threads = field(default_factory=_Threads)  # who looks does not wait behind writes that hang
    place = "media folder"

    @classmethod
    def at(cls, root: Path) -> FolderStore:
        return cls(MediaFolder(root))

    async def prepare(self) -> int:
        """As MediaFolder.prepare; raises MediaAway."""
        try:
            return await self.threads.run(self.folder.prepare)
        except OSError as exc:
            raise MediaAway(reason(exc)) from exc

    async def check(self) -> None:
        try:
            await self.threads.run(self.folder.check)
        except OSError as exc:
            raise MediaAway(reason(exc)) from exc

    async def has_room(self, n_bytes: int) -> bool:
        return await self.threads.run(self.folder.has_room, n_bytes)

    async def stage(self, message: MediaMessage) -> StagedInFolder:
        staging = asyncio.create_task(self.threads.run(self.folder.stage, message))
        try:
            return StagedInFolder(await asyncio.shield(staging), self.threads)
        except asyncio.CancelledError:  # the thread goes on: what it has written is to go
            staging.add_done_callback(_discard)
            raise

    async def find(self, name: str) -> MediaFile | None:
        found = await self.readers.run(self.folder.find, name)
        if found is None:
            return None
        path, status, media_type = found
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC)
        return MediaFile(name, media_type, status.st_size, modified_at, (path, status))

    async def read(self, file: MediaFile, start: int, stop: int) -> AsyncIterator[bytes]:
        for at in range(start, stop, PIECE_BYTES):
            try:
                piece = await self.readers.run(self._piece, file.name, at, min(stop, at + PIECE_BYTES))
            except FileNotFoundError as exc:
                raise MediaGone(reason(exc)) from exc
            except OSError as exc:
                raise MediaAway(reason(exc)) from exc
            yield piece

    def _piece(self, name: str, start: int, stop: int) -> bytes:
        with (self.folder.root / name).open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    async def remove(self, names: Sequence[str]) -> None:
        try:
            await self.threads.run(self.folder.remove, names)
        except OSError as exc:
            raise MediaAway(reason(exc)) from exc

    async def space(self) -> Space | None:
        try:
            usage = await self.readers.run(shutil.disk_usage, self.folder.root)
        except OSError as exc:
            raise MediaAway(reason(exc)) from exc
        return Space(usage.free, usage.total)


def _discard(staging: asyncio.Task[StagedFiles]) -> None:
    if not staging.cancelled() and staging.exception() is None:
        staging.result().discard()
