"""The files of a snippet, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class StoredMedia:
    """The files of a snippet, as names below the media folder; None: there is none."""

    clip_name: str | None = None
    thumbnail_name: str | None = None
    clip_bytes: int = 0

    @property
    def columns(self) -> dict[str, Any]:  # Any: a value of a row
        return {
            "clip_name": self.clip_name,
            "thumbnail_name": self.thumbnail_name,
            "clip_bytes": self.clip_bytes,
            "is_media_lost": self.clip_name is None,
        }
