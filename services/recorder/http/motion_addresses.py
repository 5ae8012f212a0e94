"""Which motion process a request goes to, where several share the cameras by leases. Pure.

MOTION_URL lists their addresses. What processes say of themselves in Redis (presence) tells which of them reads a
camera; nothing is ever sent to an address that MOTION_URL does not list.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.http_api import ApiFault
from shared.presence import ELSEWHERE, ProcessPresence
from shared.settings import text_parts

_UNREAD = (ELSEWHERE, "disabled")


@dataclass(frozen=True, slots=True)
class MotionAddresses:
    """The addresses of MOTION_URL, and what their processes said last."""

    all: tuple[str, ...]
    heard: Callable[[], Sequence[ProcessPresence]]

    @classmethod
    def of(cls, urls: str | None, heard: Callable[[], Sequence[ProcessPresence]]) -> MotionAddresses:
        """Read MOTION_URL: addresses separated by commas."""
        return cls(tuple(url.rstrip("/") for url in text_parts(urls or "")), heard)

    def find(self, camera_id: str | None, *, is_live: bool) -> str:
        """Return the address for a request about a camera (None: about all), or raise ApiFault.

        That of the process which reads it; where none does, any that lists it may answer, unless `is_live`: pictures
        have to come from a camera that is read.
        """
        if not self.all:
            do = "set MOTION_URL of the recorder to the address of the motion service, and MOTION_TOKEN"
            raise ApiFault(503, "no motion service is named", "the address of a motion service", do)
        if len(self.all) == 1:
            return self.all[0]
        there = [
            one
            for one in sorted(self.heard(), key=lambda one: (one.age_s, one.presence.name))
            if one.presence.service == "motion" and not one.is_silent and _address(one) in self.all
        ]
        listing = [one for one in there if _state(one, camera_id) is not None]
        reading = [one for one in listing if _state(one, camera_id) not in _UNREAD]
        if is_live and listing and not reading:
            raise ApiFault(
                503,
                f"camera '{camera_id}' is read by no motion process now",
                "a camera that is read",
                "look at its state in /api/health; it may be paused, or moving to another process",
            )
        if not listing and any(one.is_silent and _state(one, camera_id) is not None for one in self.heard()):
            raise ApiFault(
                503,
                f"no motion process that has camera '{camera_id}' in its camera file is there",
                "one that has it",
                "start it; what the others have, works",
            )
        return next((_address(one) for one in (*reading, *listing, *there)), self.all[0])


def _address(one: ProcessPresence) -> str:
    return one.presence.address.rstrip("/")


def _state(one: ProcessPresence, camera_id: str | None) -> str | None:
    return next((camera.state for camera in one.presence.cameras if camera.id == camera_id), None)


def merged_cameras(answers: Sequence[bytes]) -> bytes:
    """Return one answer of GET /api/cameras made of those of several processes.

    Of two that name a camera the one that sees it running counts; what waits on their disks is added up.
    """
    cameras: dict[str, dict[str, Any]] = {}  # Any: JSON
    outbox: dict[str, int] = {}
    for answer in answers:
        found = json.loads(answer)
        for camera in found["cameras"]:
            if camera["id"] not in cameras or camera["state"] == "running":
                cameras[camera["id"]] = camera
        for name, count in found.get("outbox", {}).items():
            outbox[name] = outbox.get(name, 0) + count
    return json.dumps({"cameras": [cameras[id_] for id_ in sorted(cameras)], "outbox": outbox}).encode()
