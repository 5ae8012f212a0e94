"""The port behind which clips and thumbnails are kept: a folder (folder_store.py) or a bucket (s3_store.py).

What is published is durable and whole, or not there. A store that is away raises MediaAway or MediaRefused, which may
pass; whoever calls waits and tries again.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from services.recorder.media.values import StoredMedia
from shared.contract import MediaMessage
from shared.errors import ClipwatchError

PIECE_BYTES = 1 << 20  # of a file that is read piece by piece


class MediaAway(ClipwatchError):
    """The store cannot be used now: it is full, read-only, gone, refuses, or does not answer. It may pass."""


class MediaGone(MediaAway):
    """There is no such file; a store that does not say why may also have lost all of its files."""


class MediaRefused(ClipwatchError):
    """The store did not take a file; `is_lasting`: nor will it ever, the fault lies in this very file."""

    def __init__(self, reason: str, is_lasting: bool) -> None:
        super().__init__(reason)
        self.is_lasting = is_lasting


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A kept file; `local`: where it can be opened as a file of this machine, with its status."""

    name: str
    media_type: str
    n_bytes: int
    modified_at: datetime
    local: tuple[Path, os.stat_result] | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """How full a disk is."""

    free_bytes: int
    total_bytes: int


class StagedMedia(Protocol):
    """Files of a snippet that are written, and belong to no row yet."""

    @property
    def kept(self) -> StoredMedia: ...

    @property
    def was_there(self) -> bool:
        """Whether a file of this name was there: of an earlier delivery, or another snippet's."""
        ...

    async def publish(self) -> None:
        """Give the files their names, durable when this returns; raises MediaRefused. Called before the commit."""
        ...

    async def discard(self) -> None:
        """Let go of everything; what was not published is not kept, or belongs to nothing and is removed later."""
        ...


class MediaStore(Protocol):
    """Keeps media files by their names (values.py)."""

    @property
    def place(self) -> str:
        """What it is, for people: `media folder`, `bucket clips`."""
        ...

    async def check(self) -> None:
        """Raise MediaAway when no file can be kept now."""
        ...

    async def has_room(self, n_bytes: int) -> bool:
        """Return whether a file of this size may be taken now, without writing it."""
        ...

    async def stage(self, message: MediaMessage) -> StagedMedia:
        """Write clip and thumbnail, durable when this returns; raises MediaRefused, with nothing to discard."""
        ...

    async def find(self, name: str) -> MediaFile | None:
        """Return the file of a name; None when it is not a name or there is no such file. Raises MediaAway."""
        ...

    def read(self, file: MediaFile, start: int, stop: int) -> AsyncIterator[bytes]:
        """Yield the bytes from `start` to before `stop`, in pieces. Raises MediaAway, or MediaGone since `find`."""
        ...

    async def remove(self, names: Sequence[str]) -> None:
        """Remove files; what is not there is removed already. Raises MediaAway."""
        ...

    async def space(self) -> Space | None:
        """Return how full the disk is; None: the store has no end. Raises MediaAway."""
        ...
