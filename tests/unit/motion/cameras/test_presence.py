"""What a motion process says of its cameras."""

from __future__ import annotations

import json
from pathlib import Path

from services.motion.cameras.presence import presence_of
from services.motion.cameras.registry import CameraRegistry
from shared.cameras.store import CameraFileStore
from tests.unit.motion.cameras.test_supervisor import make_supervisor


def test_a_paused_camera_says_when_nobody_read_it_before_and_one_that_is_elsewhere_does_not(
    tmp_path: Path,
) -> None:
    entries = [
        {"id": id_, "url": "rtsp://127.0.0.1:9/s", "labels": ["a dog"], "enabled": id_ != "paused"}
        for id_ in ("paused", "free")
    ]
    (tmp_path / "cameras.yml").write_text(json.dumps({"cameras": entries}))
    store = CameraFileStore(tmp_path / "cameras.yml", {})
    supervisor = make_supervisor(tmp_path, {})
    registry = CameraRegistry(store, supervisor, store.read())
    said = presence_of(supervisor, registry, lambda: {"paused": (1, 2)}, "owner")
    reports = {one.id: (one.state, one.unread_ms) for one in said.cameras}
    assert reports == {"paused": ("disabled", (1, 2)), "free": ("elsewhere", None)}
