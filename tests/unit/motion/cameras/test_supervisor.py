"""The workers of all cameras: one that is there runs."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.motion.app import RESTARTS, Crew
from services.motion.cameras.worker import FileWorker, Place, Worker
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox
from services.motion.spool.recordings import find_recording
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.runtime import Health, Runtime
from tests.servers import wait_until
from tests.unit.motion.videos import scene, write_video


class Seen(dict[str, Worker]):
    """Notes of each worker, as it becomes visible, whether it seems to be done."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[bool] = []

    def __setitem__(self, camera: str, worker: Worker) -> None:
        super().__setitem__(camera, worker)
        self.done.append(worker.is_done)


def make_crew(tmp_path: Path, workers: dict[str, Worker]) -> Crew:
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(tmp_path / "outbox", 1 << 24, metrics)
    place = Place(MotionServiceSettings(), outbox, b"s" * 32, tmp_path / "journal")
    runtime = Runtime("motion", asyncio.Event(), Health(), FastAPI())
    return Crew(place, tmp_path / "recordings", runtime, metrics, workers)


def test_a_worker_that_outlives_its_join_does_not_take_the_watchdog_of_its_successor(tmp_path: Path) -> None:
    crew = make_crew(tmp_path, {})
    url = str(write_video(tmp_path / "a.mp4", scene(20)))
    camera = Camera.model_validate({"id": "cam", "url": url, "labels": ["a square"]})
    try:
        crew.start({"cam": camera})
        old = crew.workers["cam"]
        crew.change({"cam": camera.model_copy(update={"pace": "fast"})})
        assert crew.workers["cam"] is not old
        old.on_end()  # late
        assert crew.runtime.health.parts == ("camera cam",)
    finally:
        crew.stop(20)
    assert not crew.runtime.health.parts


class Broken(FileWorker):
    """A recording that meets a bug."""

    def _work(self) -> None:
        raise ZeroDivisionError("a bug")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_recording_that_met_a_bug_is_started_again_and_not_for_ever(tmp_path: Path) -> None:
    crew = make_crew(tmp_path, {})
    camera = Camera.model_validate({"id": "cam", "url": str(tmp_path / "a.mp4"), "labels": ["a square"]})
    status = CameraStatus("cam", camera.url, crew.metrics)
    restarted: list[Worker] = []
    for _ in range(RESTARTS + 2):
        worker = crew.workers["cam"] = Broken(camera, crew.place, status, None)
        worker.start()
        assert worker.join(20)
        assert crew.is_broken
        assert crew.is_done == (len(restarted) == RESTARTS)
        crew.restart_broken()
        crew.restart_broken(after_s=0.0)
        if crew.workers["cam"] is not worker:
            restarted.append(crew.workers["cam"])
    assert len(restarted) == RESTARTS
    assert all(worker.join(20) for worker in restarted)


def test_a_camera_that_is_resumed_never_looks_like_a_file_at_its_end(tmp_path: Path) -> None:
    seen = Seen()
    crew = make_crew(tmp_path, seen)
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


def test_a_recording_waits_while_the_machine_has_no_file_descriptors(tmp_path: Path) -> None:
    crew = make_crew(tmp_path, {})
    url = str(write_video(tmp_path / "a.mp4", scene(20)))
    camera = Camera.model_validate(
        {"id": "cam", "url": url, "labels": ["a square"], "pace": "fast", "loop": False}
    )
    status = CameraStatus("cam", camera.url, crew.metrics)
    worker = FileWorker(camera, crew.place, status, find_recording(tmp_path / "recordings", camera))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        worker.start()
        wait_until(lambda: "Too many open files" in status.message or worker.is_done, 20, "what is said")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert worker.join(30)
    assert (status.state, status.message, worker.is_broken) == ("ended", "", False)
