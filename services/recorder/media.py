"""The files: clips and thumbnails below one folder, whole or not at all. Knows no database and no queue.

    MEDIA_DIR/.incoming/<key>.mp4.<random>      while it is written, locked by its writer
    MEDIA_DIR/<yyyy>/<mm>/<dd>/<key>.mp4|.jpg   complete and on the disk; the day is that of the clip's start, UTC

A key is 128 random bits, so that a name is a capability: who knows it may see the clip.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

from services.recorder.derivation import KeptMedia
from shared.contract import MediaMessage
from shared.errors import ClipwatchError
from shared.logs import get_logger

log = get_logger(__name__)

NAME = re.compile(r"(?P<day>\d{4}/\d{2}/\d{2})/(?P<key>[0-9a-f]{32})\.(?P<kind>mp4|jpg)")
TYPES = {"mp4": "video/mp4", "jpg": "image/jpeg"}
INCOMING = ".incoming"


class MediaRefused(ClipwatchError):
    """The file system did not take a file (full, read-only, no rights); `is_full` tells the first from the rest."""

    def __init__(self, reason: str, is_full: bool) -> None:
        super().__init__(reason)
        self.is_full = is_full


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
        """Raise OSError when the folder cannot be written."""
        probe = self.root / INCOMING / f"probe.{secrets.token_hex(8)}"
        probe.touch()
        probe.unlink()

    def keep(self, message: MediaMessage) -> KeptMedia:
        """Write clip and thumbnail, on the disk when this returns; files that are there already are left alone.

        Raises MediaRefused when the file system does not take the clip; nothing was written then.
        """
        header = message.header
        day = header.started_at.astimezone(UTC).strftime("%Y/%m/%d")
        clip_name = f"{day}/{header.media_key}.mp4"
        try:
            self._write(clip_name, message.clip)
        except OSError as exc:
            is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            raise MediaRefused(f"{clip_name}: {exc.strerror}", is_full) from exc
        return KeptMedia(
            clip_name, self._keep_thumbnail(f"{day}/{header.media_key}.jpg", message), len(message.clip)
        )

    def _keep_thumbnail(self, name: str, message: MediaMessage) -> str | None:
        """Return the name of the written thumbnail; None when there is none: a clip is kept without one."""
        if not message.thumbnail:
            return None
        try:
            self._write(name, message.thumbnail)
        except OSError as exc:
            log.warning("the thumbnail cannot be kept", name=name, error=exc)
            return None
        return name

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

    def _write(self, name: str, content: bytes) -> None:
        target = self.root / name
        if target.exists() and target.stat().st_size == len(content):
            return
        _make_folder(target.parent, self.root)
        temporary = self.root / INCOMING / f"{target.name}.{secrets.token_hex(8)}"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with os.fdopen(handle, "wb", closefd=False) as file:
                file.write(content)
            os.fsync(handle)
            temporary.rename(target)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.close(handle)
        _sync_folder(target.parent)


def _make_folder(folder: Path, root: Path) -> None:
    """Make `folder` below `root`; each new entry is on the disk when this returns."""
    if folder.is_dir() or folder == root:
        return
    _make_folder(folder.parent, root)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
