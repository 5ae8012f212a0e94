"""A camera over an hour by its own clock: neither threads nor memory grow, with event after event."""

from __future__ import annotations

import gc
import resource
import threading
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.motion.cameras.context import CameraContext
from services.motion.cameras.file_worker import FileWorker
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox
from services.motion.status import CameraStatus
from shared.cameras import Camera
from tests.unit.motion.videos import scene, write_video

FPS, LOOP_S, HOUR_S = 2, 60, 3600
WARM_S = 600  # after that nothing may grow
GROWTH_MIB = 12.0  # every 7th frame of 7200 kept for ever would be 14 MiB
LIMIT_S = 600.0


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024 / 1024


@pytest.mark.slow  # shorter: the bounds of ring, tracks and outbox in the unit tests
@pytest.mark.timeout(LIMIT_S + 60)
def test_a_camera_that_runs_for_an_hour_grows_neither_in_memory_nor_in_threads(tmp_path: Path) -> None:
    crossing = range(30 * FPS, 38 * FPS)
    video = write_video(
        tmp_path / "in.mp4", scene(LOOP_S * FPS, moves=crossing), fps=FPS, gop=3 * FPS, options={"bf": "0"}
    )
    (tmp_path / "journal").mkdir()
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(tmp_path / "outbox", 64 * 1024 * 1024, metrics)
    camera = Camera.model_validate(
        {"id": "cam", "labels": ["x"], "url": str(video), "pace": "fast", "loop": True}
    )
    status = CameraStatus("cam", camera.url, metrics)
    worker = FileWorker(
        camera, CameraContext(MotionServiceSettings(), outbox, b"s" * 32, tmp_path / "journal"), status, None
    )
    seen: list[tuple[int, float, int]] = []  # frames, MiB, threads
    ends_s = time.monotonic() + LIMIT_S
    worker.start()
    try:
        while (n_frames := status.n_frames + status.n_skipped) < HOUR_S * FPS:
            assert time.monotonic() < ends_s, status.as_json()
            outbox.wait_for_change(1.0)
            while (entry := outbox.first()) is not None:  # the publisher's part
                outbox.remove(entry)
            seen.append((n_frames, resident_mib(), threading.active_count()))
    finally:
        worker.stop()
        assert worker.join(30)
    early = [(mib, threads) for frames, mib, threads in seen if WARM_S * FPS <= frames < 2 * WARM_S * FPS]
    late = [(mib, threads) for frames, mib, threads in seen if frames >= (HOUR_S - WARM_S) * FPS]
    assert early
    assert late
    assert status.n_events >= 0.9 * HOUR_S / LOOP_S
    assert max(mib for mib, _ in late) - max(mib for mib, _ in early) < GROWTH_MIB
    assert max(threads for _, threads in late) <= max(threads for _, threads in early)
    assert not list((tmp_path / "journal").iterdir())
    assert len(worker._ring) <= FPS * 20  # its seconds bound it
