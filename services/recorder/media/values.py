"""The files of a snippet, as values. Pure.

<yyyy>/<mm>/<dd>/<key>.mp4|.jpg   the day is that of the clip's start, UTC; the key is 128 random bits
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from shared.contract import MediaHeader

NAME = re.compile(r"(?P<day>\d{4}/\d{2}/\d{2})/(?P<key>[0-9a-f]{32})\.(?P<kind>mp4|jpg)")
TYPES = {"mp4": "video/mp4", "jpg": "image/jpeg"}


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


def media_names(header: MediaHeader) -> tuple[str, str]:
    """Return the names of clip and thumbnail."""
    day = header.started_at.astimezone(UTC).strftime("%Y/%m/%d")
    return f"{day}/{header.media_key}.mp4", f"{day}/{header.media_key}.jpg"
