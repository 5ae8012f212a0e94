"""The supervisor: every worker that it lists runs, and one that met a bug is restarted."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.motion.cameras.context import CameraContext
from services.motion.cameras.file_worker import FileWorker
from services.motion.cameras.supervisor import RESTARTS, CameraSupervisor
from services.motion.cameras.worker import CameraWorker
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.runtime import Health, Runtime
from tests.unit.motion.videos import scene, write_video


class Seen(dict[str, CameraWorker]):
    """Notes of each worker, as it becomes visible, whether it seems to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bool] = []

    def __setitem__(self, camera: str, worker: CameraWorker) -> None:
        super().__setitem__(camera, worker)
        self.done.append(worker.is_done)


def make_supervisor(tmp_path: Path, workers: dict[str, CameraWorker]) -> CameraSupervisor:
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(tmp_path / "outbox", 1 << 24, metrics)
    context = CameraContext(MotionServiceSettings(), outbox, b"s" * 32, tmp_path / "journal")
    runtime = Runtime("motion", asyncio.Event(), Health(), FastAPI())
    return CameraSupervisor(context, tmp_path / "recordings", runtime, metrics, workers)


def test_a_paused_camera_has_no_worker(tmp_path: Path) -> None:
    supervisor = make_supervisor(tmp_path, {})
    url = str(write_video(tmp_path / "a.mp4", scene(20)))
    camera = Camera.model_validate({"id": "cam", "url": url, "labels": ["a square"]})
    paused = {"cam": camera.model_copy(update={"enabled": False})}
    try:
        supervisor.start(paused)
        assert not supervisor.workers
        supervisor.change({"cam": camera})
        assert list(supervisor.workers) == ["cam"]
        supervisor.change(paused)
        assert not supervisor.workers
    finally:
        supervisor.stop(20)


def test_a_worker_that_outlives_its_join_does_not_take_the_watchdog_of_its_successor(tmp_path: Path) -> None:
    supervisor = make_supervisor(tmp_path, {})
    url = str(write_video(tmp_path / "a.mp4", scene(20)))
    camera = Camera.model_validate({"id": "cam", "url": url, "labels": ["a square"]})
    try:
        supervisor.start({"cam": camera})
        old = supervisor.workers["cam"]
        supervisor.change({"cam": camera.model_copy(update={"pace": "fast"})})
        assert supervisor.workers["cam"] is not old
        old.on_end()  # late
        assert supervisor.runtime.health.parts == ("camera cam",)
    finally:
        supervisor.stop(20)
    assert not supervisor.runtime.health.parts


class Broken(FileWorker):
    """A recording that meets a bug."""

    def _run_camera(self) -> None:
        raise ZeroDivisionError("a bug")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_recording_that_met_a_bug_is_started_again_and_not_for_ever(tmp_path: Path) -> None:
    supervisor = make_supervisor(tmp_path, {})
    camera = Camera.model_validate({"id": "cam", "url": str(tmp_path / "a.mp4"), "labels": ["a square"]})
    status = CameraStatus("cam", camera.url, supervisor.metrics)
    restarted: list[CameraWorker] = []
    for _ in range(RESTARTS + 2):
        worker = supervisor.workers["cam"] = Broken(camera, supervisor.context, status, None)
        worker.start()
        assert worker.join(20)
        assert supervisor.is_broken
        assert supervisor.is_done == (len(restarted) == RESTARTS)
        supervisor.restart_broken()
        supervisor.restart_broken(after_s=0.0)
        if supervisor.workers["cam"] is not worker:
            restarted.append(supervisor.workers["cam"])
    assert len(restarted) == RESTARTS
    assert all(worker.join(20) for worker in restarted)


def test_a_camera_that_is_resumed_never_looks_like_a_file_at_its_end(tmp_path: Path) -> None:
    seen = Seen()
    supervisor = make_supervisor(tmp_path, seen)
    url = str(write_video(tmp_path / "a.mp4", scene(20)))
    camera = Camera.model_validate({"id": "cam", "url": url, "labels": ["a square"]})
    try:
        supervisor.start({"cam": camera})
        supervisor.change({})
        assert not supervisor.is_done
        supervisor.change({"cam": camera})
        assert not supervisor.is_done
    finally:
        supervisor.stop(20)
    assert seen.done == [False, False]


class Restarting(Broken):
    """One that is restarted while it is being stopped."""

    supervisor: CameraSupervisor

    def stop(self) -> None:
        super().stop()
        self.supervisor.restart_broken(after_s=0.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_worker_that_is_restarted_while_its_camera_is_removed_is_stopped_too(tmp_path: Path) -> None:
    supervisor = make_supervisor(tmp_path, seen := Seen())
    url = str(write_video(tmp_path / "a.mp4", scene(20)))
    camera = Camera.model_validate({"id": "cam", "url": url, "labels": ["a square"], "loop": True})
    worker = Restarting(camera, supervisor.context, CameraStatus("cam", url, supervisor.metrics), None)
    worker.supervisor, supervisor.workers["cam"] = supervisor, worker
    worker.start()
    assert worker.join(20)
    supervisor.restart_broken()  # it counts from here how long a worker is broken
    supervisor.change({})
    assert len(seen.done) == 2
    assert not supervisor.workers
    assert not [thread.name for thread in threading.enumerate() if "cam" in thread.name]
