"""The media files: clips and thumbnails below one folder, whole or not at all. Knows no database and no queue.

MEDIA_DIR/.incoming/<key>.mp4.<random>      until its row is written, locked by its writer
MEDIA_DIR/<yyyy>/<mm>/<dd>/<key>.mp4|.jpg   complete and on the disk
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from services.recorder.media.store import MediaRefused
from services.recorder.media.values import NAME, TYPES, StoredMedia, media_names
from shared.contract import MediaMessage
from shared.errors import reason
from shared.files import sync_folder
from shared.logs import get_logger

log = get_logger(__name__)

INCOMING = ".incoming"
PROBE_BYTES = 4096
# What lies in the file itself. Everything else (full, read-only, unmounted, no rights, broken) may pass.
_LASTING = {errno.EFBIG, errno.ENAMETOOLONG, errno.EISDIR, errno.EINVAL}


@dataclass(slots=True)
class StagedFiles:
    """Files on the disk under temporary names, held by their locks. Its methods block: call them in a thread.

    A transaction that is cancelled discards while its `publish` may still run: one waits for the other.
    """

    kept: StoredMedia
    root: Path
    files: list[tuple[int, Path, Path]] = field(default_factory=list)  # handle, temporary, target
    was_there: bool = False  # a file of this name was there: of an earlier delivery, or another snippet's
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def publish(self) -> None:
        """Give the files their names, on the disk when this returns; raises MediaRefused."""
        with self._one_at_a_time:
            try:
                for _, temporary, target in self.files:
                    _make_folder(target.parent, self.root)
                    if temporary.exists():  # not when the transaction is run again
                        temporary.rename(target)
                for folder in {target.parent for _, _, target in self.files}:
                    sync_folder(folder)
            except OSError as exc:
                raise MediaRefused(f"{self.kept.clip_name}: {reason(exc)}", is_lasting=False) from exc

    def discard(self) -> None:
        """Remove what was not published, and let go of the rest."""
        with self._one_at_a_time:
            for handle, temporary, _ in self.files:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                os.close(handle)
            self.files.clear()


@dataclass(frozen=True, slots=True)
class MediaFolder:
    """The media folder. All methods block on the disk: call them in a thread."""

    root: Path

    def prepare(self) -> int:
        """Make the folder and remove what killed writers left half-written; return how many files went.

        Raises OSError when the folder cannot be made or written. A file that is still locked belongs to a living
        recorder on the same folder and stays.
        """
        incoming = self.root / INCOMING
        incoming.mkdir(parents=True, exist_ok=True)
        removed = 0
        for path in incoming.iterdir():
            try:
                handle = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                continue  # its writer finished it meanwhile
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
                removed += 1
            except BlockingIOError:
                continue
            finally:
                os.close(handle)
        return removed

    def check(self) -> None:
        """Raise OSError when the folder takes no file: it is full, read-only, gone."""
        probe = self.root / INCOMING / f"probe.{secrets.token_hex(8)}"
        try:
            probe.write_bytes(bytes(PROBE_BYTES))
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)

    def has_room(self, n_bytes: int) -> bool:
        """Return whether a file of this size may be taken now."""
        try:
            self.check()
            return shutil.disk_usage(self.root).free > n_bytes
        except OSError:
            return False

    def stage(self, message: MediaMessage) -> StagedFiles:
        """Write clip and thumbnail under temporary names, on the disk when this returns.

        Files that are there already are left alone. Raises MediaRefused when the file system does not take them;
        nothing is left then.
        """
        clip_name, thumbnail_name = media_names(message.header)
        staged = StagedFiles(StoredMedia(clip_name, None, len(message.clip)), self.root)
        try:
            self._write(staged, clip_name, message.clip)
            if message.thumbnail and self._thumbnail_is_kept(staged, thumbnail_name, message.thumbnail):
                staged.kept = StoredMedia(clip_name, thumbnail_name, len(message.clip))
        except MediaRefused:
            staged.discard()
            raise
        return staged

    def _thumbnail_is_kept(self, staged: StagedFiles, name: str, thumbnail: bytes) -> bool:
        try:
            self._write(staged, name, thumbnail)
        except MediaRefused as exc:
            if not exc.is_lasting:
                raise
            log.warning("the thumbnail cannot be kept", name=name, error=exc)
            return False
        return True

    def find(self, name: str) -> tuple[Path, os.stat_result, str] | None:
        """Return path, status and media type of a name; None when it is not a name or there is no such file."""
        found = NAME.fullmatch(name)
        if found is None:
            return None
        path = self.root / name
        try:
            return path, path.stat(), TYPES[found["kind"]]
        except OSError:
            return None

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; what is not there is removed already. Raises OSError."""
        for name in names:
            (self.root / name).unlink(missing_ok=True)

    def _write(self, staged: StagedFiles, name: str, content: bytes) -> None:
        target = self.root / name
        try:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if target.exists():
                staged.was_there = True
                if target.stat().st_size == len(content):
                    return
            staged.files.append((*self._written(target.name, content), target))
        except OSError as exc:
            raise MediaRefused(f"{name}: {reason(exc)}", exc.errno in _LASTING) from exc

    def _written(self, name: str, content: bytes) -> tuple[int, Path]:
        temporary = self.root / INCOMING / f"{name}.{secrets.token_hex(8)}"
        _make_folder(temporary.parent, self.root)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(handle)
        except OSError:
            os.close(handle)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return handle, temporary


def _make_folder(folder: Path, root: Path) -> None:
    """Make `folder` below `root`; each new entry is on the disk when this returns."""
    if folder.is_dir() or folder == root:
        return
    _make_folder(folder.parent, root)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
