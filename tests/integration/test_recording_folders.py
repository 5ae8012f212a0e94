"""A folder that recorders and uploads write into while it is watched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.motion.cameras.folder_worker import FolderWorker
from services.motion.metrics import MotionMetrics
from services.motion.spool.recordings import find_recording
from services.motion.status import CameraStatus, State
from shared.cameras import Camera
from tests.integration.recording_rig import clips_in, context_in
from tests.servers import wait_until
from tests.unit.motion.videos import scene, write_video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds, with one event."""
    return write_video(
        tmp_path_factory.mktemp("video") / "in.mp4", scene(60, 320, 180, 40, moves=range(20, 45))
    )


class NotedStatus(CameraStatus):
    """Remembers all of its states."""

    def __init__(self, camera: Camera) -> None:
        super().__init__(camera.id, camera.url, MotionMetrics(CollectorRegistry()))
        self.states: list[str] = []

    def become(self, state: State) -> None:
        super().become(state)
        self.states.append(state)


@contextmanager
def folder_camera(tmp_path: Path, *, loop: bool) -> Iterator[tuple[Path, NotedStatus]]:
    """Run a camera over an empty folder; yield the folder and what the camera says."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    camera = Camera.model_validate(
        {"id": "cam", "labels": ["x"], "url": str(folder), "loop": loop, "pace": "fast"}
    )
    status = NotedStatus(camera)
    context = context_in(tmp_path, exit_when_done=False)
    worker = FolderWorker(
        camera, context, status, lambda one: None if one.loop else find_recording(tmp_path / "marks", one)
    )
    worker.start()
    try:
        yield folder, status
        assert not worker.is_done, status.as_json()
    finally:
        worker.stop()
        assert worker.join(20)
    assert not worker.is_broken


def n_events(tmp_path: Path) -> int:
    return len({clip.event_id for clip in clips_in(tmp_path, 0.0)})


def test_files_are_taken_up_when_they_are_whole_and_each_is_read_once(tmp_path: Path, video: Path) -> None:
    whole = video.read_bytes()
    with folder_camera(tmp_path, loop=False) as (folder, status):
        wait_until(lambda: "holds none" in status.message, 60, "an empty folder")
        written = (folder / "a.mp4").open("wb")  # without its index, which comes last
        written.write(whole[: len(whole) // 2])
        written.flush()
        wait_until(lambda: status.state == "failed", 60, "a file that cannot be used yet")
        assert "a.mp4" in status.last_error
        written.write(whole[len(whole) // 2 :])
        written.close()
        wait_until(lambda: status.state == "ended", 60, "the file's end")
        assert (status.message, status.last_error) == ("", "")
        assert n_events(tmp_path) == 1
        (folder / "a.mp4").rename(folder / "z.mp4")
        (folder / "b.mp4").write_text("no video")
        shutil.copy(video, folder / "c.mp4")
        wait_until(lambda: "1 of 3" in status.message, 60, "the end of the next file")
        assert status.state == "ended"
        assert n_events(tmp_path) == 2
        for path in folder.iterdir():
            path.unlink()
        wait_until(lambda: "holds none" in status.message, 60, "an empty folder again")


def test_a_looped_folder_goes_on_running_between_its_files_and_takes_up_new_ones(
    tmp_path: Path, video: Path
) -> None:
    with folder_camera(tmp_path, loop=True) as (folder, status):
        shutil.copy(video, folder / "a.mp4")
        wait_until(lambda: status.n_events >= 2, 60, "the file, twice")
        assert set(status.states[status.states.index("running") :]) == {"running"}
        (folder / "a.mp4").unlink()
        wait_until(lambda: status.state == "connecting" or "holds none" in status.message, 60, "no file")


def test_what_an_earlier_run_read_is_said_of_no_other_file(tmp_path: Path, video: Path) -> None:
    with folder_camera(tmp_path, loop=False) as (folder, status):
        shutil.copy(video, folder / "a.mp4")
        wait_until(lambda: status.state == "ended", 60, "the file's end")
        n_first = n_events(tmp_path)
    shutil.rmtree(folder)
    with folder_camera(tmp_path, loop=False) as (folder, status):
        shutil.copy(video, folder / "a.mp4")
        shutil.copy(video, folder / "b.mp4")
        wait_until(lambda: status.state == "ended", 60, "the folder's end")
        assert status.message == ""
        assert n_events(tmp_path) == n_first + 1
