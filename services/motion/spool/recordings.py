"""Marks on disk for finite files: the time of the first frame, and whether the file was read to its end.

With them a restart does not read a finished file again, and gives the events of a half-read file the same ids.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from shared.cameras import Camera
from shared.clock import now_utc, uuid7
from shared.files import write_durably


@dataclass(frozen=True, slots=True)
class Recording:
    """A finite file, and what this or an earlier run knows of it."""

    camera: Camera
    path: Path  # of the mark
    starts_at: datetime
    is_finished: bool

    @property
    def starts_s(self) -> float:
        return self.starts_at.timestamp()

    def event_id(self, event_started_s: float) -> str:
        """Return the id that this event gets however often the file is read."""
        offset_ms = round((event_started_s - self.starts_s) * 1000)
        seed = f"{self.camera.id}|{self.camera.url}|{self.starts_at.isoformat()}|{offset_ms}"
        return uuid7(datetime.fromtimestamp(round(event_started_s, 3) + 1e-6, self.starts_at.tzinfo), seed)

    def finish(self) -> None:
        """Remember that it was read to the end."""
        self._write(is_finished=True)

    def begin(self) -> None:
        """Remember the time that its first frame was given."""
        self._write(is_finished=False)

    def _write(self, *, is_finished: bool) -> None:
        mark = {
            "camera": self.camera.id,
            "starts_at": self.starts_at.isoformat(),
            "is_finished": is_finished,
        }
        write_durably(self.path, json.dumps(mark).encode())


def find_recording(folder: Path, camera: Camera) -> Recording:
    """Return what is known of the camera's file. Without `starts_at` a file starts at the time of its first run."""
    given = camera.starts_at.isoformat() if camera.starts_at else ""
    name = hashlib.sha256(f"{camera.id}|{camera.url}|{given}".encode(errors="surrogateescape")).hexdigest()[
        :32
    ]
    path = folder / f"{name}.json"
    try:
        mark = json.loads(path.read_text())
        starts_at = datetime.fromisoformat(mark["starts_at"])
        return Recording(camera, path, starts_at, bool(mark["is_finished"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Recording(camera, path, camera.starts_at or now_utc(), is_finished=False)
