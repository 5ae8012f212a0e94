"""A recording's worker on a machine that cannot open it for a while."""

from __future__ import annotations

import resource
from pathlib import Path

from prometheus_client import CollectorRegistry

from services.motion.cameras.context import CameraContext
from services.motion.cameras.file_worker import FileWorker
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox
from services.motion.spool.recordings import find_recording
from services.motion.status import CameraStatus
from shared.cameras import Camera
from tests.servers import wait_until
from tests.unit.motion.videos import scene, write_video


def test_a_recording_waits_while_the_machine_has_no_file_descriptors(tmp_path: Path) -> None:
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(tmp_path / "outbox", 1 << 24, metrics)
    context = CameraContext(MotionServiceSettings(), outbox, b"s" * 32, tmp_path / "journal")
    url = str(write_video(tmp_path / "a.mp4", scene(20)))
    camera = Camera.model_validate(
        {"id": "cam", "url": url, "labels": ["a square"], "pace": "fast", "loop": False}
    )
    status = CameraStatus("cam", camera.url, metrics)
    worker = FileWorker(camera, context, status, find_recording(tmp_path / "recordings", camera))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        worker.start()
        wait_until(lambda: "Too many open files" in status.message or worker.is_done, 60, "what is said")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert worker.join(30)
    assert (status.state, status.message, worker.is_broken) == ("ended", "", False)
