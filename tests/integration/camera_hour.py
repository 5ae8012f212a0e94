"""A camera over an hour by its own clock, in a process of its own: `camera_hour.py FOLDER` prints what became of it.

Other tests leave hundreds of MiB in a process, which move by more than a camera may grow.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import threading
import time
from pathlib import Path

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
LIMIT_S = 600.0


def resident_mib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024 / 1024


def run(folder: Path) -> dict[str, object]:
    """Play a video of a minute for an hour; return what was seen: [frames, MiB, threads] each."""
    crossing = range(30 * FPS, 38 * FPS)
    video = write_video(
        folder / "in.mp4", scene(LOOP_S * FPS, moves=crossing), fps=FPS, gop=3 * FPS, options={"bf": "0"}
    )
    (folder / "journal").mkdir()
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(folder / "outbox", 64 * 1024 * 1024, metrics)
    camera = Camera.model_validate(
        {"id": "cam", "labels": ["x"], "url": str(video), "pace": "fast", "loop": True}
    )
    status = CameraStatus("cam", camera.url, metrics)
    worker = FileWorker(
        camera, CameraContext(MotionServiceSettings(), outbox, b"s" * 32, folder / "journal"), status, None
    )
    seen: list[tuple[int, float, int]] = []
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
    journals = [path.name for path in (folder / "journal").iterdir()]
    return {"seen": seen, "events": status.n_events, "journals": journals, "ring": len(worker._ring)}


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]))))
