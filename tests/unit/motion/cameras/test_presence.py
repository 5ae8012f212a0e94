"""What a motion process says of its cameras."""

from __future__ import annotations

import json
from pathlib import Path

from services.motion.cameras.presence import LeaseReport, presence_of
from services.motion.cameras.registry import CameraRegistry
from shared.cameras.store import CameraFileStore
from tests.unit.motion.cameras.test_supervisor import make_supervisor


def test_cameras_that_are_not_held_say_when_nobody_read_them(
    tmp_path: Path,
) -> None:
    entries = [
        {"id": id_, "url": "rtsp://127.0.0.1:9/s", "labels": ["a dog"], "enabled": id_ != "paused"}
        for id_ in ("paused", "moved", "free")
    ]
    (tmp_path / "cameras.yml").write_text(json.dumps({"cameras": entries}))
    store = CameraFileStore(tmp_path / "cameras.yml", {})
    supervisor = make_supervisor(tmp_path, {})
    registry = CameraRegistry(store, supervisor, store.read())
    leases = LeaseReport(frozenset(), {"paused": (1, 2), "moved": (3, 4)})
    said = presence_of(supervisor, registry, lambda: leases, "owner")
    reports = {one.id: (one.state, one.unread_ms) for one in said.cameras}
    elsewhere = {"moved": ("elsewhere", (3, 4)), "free": ("elsewhere", None)}
    assert reports == {"paused": ("disabled", (1, 2)), **elsewhere}
