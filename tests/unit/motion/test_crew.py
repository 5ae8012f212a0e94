"""The workers of all cameras: one that is there runs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.motion.app import Crew
from services.motion.camera import Place, Worker
from services.motion.metrics import MotionMetrics
from services.motion.outbox import Outbox
from services.motion.settings import MotionServiceSettings
from shared.cameras import Camera
from shared.runtime import Health, Runtime
from tests.unit.motion.videos import scene, write_video


class Seen(dict[str, Worker]):
    """Notes of each worker, as it becomes visible, whether it seems to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bool] = []

    def __setitem__(self, camera: str, worker: Worker) -> None:
        super().__setitem__(camera, worker)
        self.done.append(worker.is_done)


def test_a_camera_that_is_resumed_never_looks_like_a_file_at_its_end(tmp_path: Path) -> None:
    metrics = MotionMetrics(CollectorRegistry())
    (tmp_path / "journal").mkdir()
    outbox = Outbox(tmp_path / "outbox", 1 << 24, metrics)
    place = Place(MotionServiceSettings(), outbox, b"s" * 32, tmp_path / "journal")
    runtime = Runtime("motion", asyncio.Event(), Health(), FastAPI())
    seen = Seen()
    crew = Crew(place, tmp_path / "recordings", runtime, metrics, seen)
    url = str(write_video(tmp_path / "a.mp4", scene(20)))
    camera = Camera.model_validate({"id": "cam", "url": url, "labels": ["a square"]})
    try:
        crew.start({"cam": camera})
        crew.change({})
        assert not crew.is_done
        crew.change({"cam": camera})
        assert not crew.is_done
    finally:
        crew.stop(20)
    assert seen.done == [False, False]
