"""Motion on a disk that takes nothing for a while (needs root, for a small file system): nothing ends, all goes on."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.test_motion_service import Motion, Rig, finite, keys_of
from tests.servers import wait_until
from tests.unit.motion.videos import scene, write_video

pytestmark = [pytest.mark.redis]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 4 MB."""
    folder = tmp_path / "data"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "clipwatch-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def rig(tmp_path: Path, redis_url: str, small_disk: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, redis_url)
    yield made
    made.stop_all()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen seconds with motion in 3..10 s."""
    frames = scene(150, 320, 240, 50, moves=range(30, 100))
    return write_video(tmp_path_factory.mktemp("video") / "in.mp4", frames, gop=20)


class Trouble:
    """A disk that takes nothing: full, or made read-only."""

    def __init__(self, disk: Path, kind: str) -> None:
        self._disk = disk
        self._kind = kind

    def begin(self) -> None:
        if self._kind == "read-only":
            wait_until(lambda: self._remounted("ro"), 60, "that nobody writes")
            return
        with (self._disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                continue

    def end(self) -> None:
        if self._kind == "read-only":
            assert self._remounted("rw")
        else:
            (self._disk / "filler").unlink()

    def _remounted(self, how: str) -> bool:
        command = ["mount", "-o", f"remount,{how}", str(self._disk)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def is_ready(motion: Motion) -> bool | None:
    """Return what /readyz says; None when nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{motion.port}/readyz", timeout=5):
            return True
    except urllib.error.HTTPError:
        return False
    except OSError:
        return None


def said(motion: Motion, text: str) -> bool:
    return any(text in str(line.get("event", "")) for line in motion.events())


@pytest.mark.parametrize(
    ("moment", "kind", "told", "told_after"),
    [
        ("start", "full", "the mark of a file cannot be written", "the mark of a file is written"),
        pytest.param(
            *("start", "read-only", "the mark of a file cannot be written", "the mark of a file is written"),
            marks=pytest.mark.slow,
        ),
        ("middle", "full", "no room: what Redis has is no longer kept", "stopped"),  # it makes room
        pytest.param(
            *("middle", "read-only", "the outbox takes no more", "the outbox takes snippets again"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_recording_waits_for_the_disk_and_is_read_to_its_end(
    rig: Rig, video: Path, small_disk: Path, moment: str, kind: str, told: str, told_after: str
) -> None:
    trouble = Trouble(small_disk, kind)
    rig.cameras(finite(video, pace="realtime" if moment == "middle" else "fast"))
    if moment == "start":
        trouble.begin()
    motion = rig.start()
    if moment == "middle":
        wait_until(lambda: motion.snippets() >= 1, 60, "the first snippet")
        trouble.begin()
    wait_until(lambda: said(motion, told), 60, "the complaint")
    if told.startswith("the outbox"):
        wait_until(lambda: is_ready(motion) is False, 60, "that it says it is not ready")
        assert motion.process.poll() is None
    trouble.end()
    assert motion.process.wait(90) == 0
    keys = [key[1:] for key in keys_of(rig.redis_url)]
    assert keys == [(0, False), (1, True)]
    assert said(motion, told_after)


@pytest.mark.slow  # shorter: test_journal.py
def test_a_left_journal_on_a_full_disk_keeps_no_camera_from_running(
    rig: Rig, video: Path, small_disk: Path
) -> None:
    trouble = Trouble(small_disk, "full")
    rig.cameras({"url": str(video), "loop": True, "pace": "realtime"})
    motion = rig.start()
    wait_until(
        lambda: motion.state() == "running" and bool(motion.cameras()["cam"]["open_event"]), 60, "an event"
    )
    event_id = motion.cameras()["cam"]["open_event"]
    motion.process.kill()
    motion.process.wait(10)
    trouble.begin()
    again = rig.start()
    wait_until(lambda: again.state() == "running", 60, "the camera")
    wait_until(lambda: said(again, "stays in its journal for now"), 60, "what is said of the journal")
    wait_until(lambda: is_ready(again) is False, 60, "that it says it is not ready")
    trouble.end()
    wait_until(lambda: is_ready(again) is True, 60, "that it is ready again")
    wait_until(
        lambda: (event_id, True) in [(key[0], key[2]) for key in keys_of(rig.redis_url)], 30, "its end"
    )
    again.process.terminate()
    assert again.process.wait(15) == 0


def test_the_last_state_that_cannot_be_written_does_not_fail_a_stop(
    rig: Rig, video: Path, small_disk: Path
) -> None:
    rig.cameras({"url": str(video), "loop": True, "pace": "realtime"})
    motion = rig.start()
    wait_until(lambda: motion.state() == "running", 60, "the camera")
    Trouble(small_disk, "full").begin()
    motion.process.terminate()
    assert motion.process.wait(20) == 0


def test_a_redis_that_was_emptied_is_given_again_what_nobody_recorded(rig: Rig, video: Path) -> None:
    rig.cameras({"url": str(video), "loop": True, "pace": "realtime"})
    motion = rig.start()
    wait_until(lambda: len(keys_of(rig.redis_url)) >= 2, 60, "two snippets")
    before = set(keys_of(rig.redis_url))
    with contextlib.closing(redis.Redis.from_url(rig.redis_url)) as client:
        client.flushall()
    wait_until(lambda: before <= set(keys_of(rig.redis_url)), 60, "that they are there again")
    after = keys_of(rig.redis_url)
    assert len(after) == len(set(after))
    motion.process.terminate()
    assert motion.process.wait(20) == 0


def test_an_edit_of_the_camera_file_is_taken_once_it_can_be_read(rig: Rig, video: Path) -> None:
    """It cannot be opened at first: the process has no file descriptor left."""
    camera: dict[str, object] = {"url": str(video), "loop": True, "pace": "realtime"}
    rig.cameras(camera)
    motion = rig.start()
    wait_until(lambda: motion.state() == "running", 60, "the camera")
    soft, hard = resource.prlimit(motion.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(motion.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    rig.cameras(camera, {**camera, "id": "other"})
    wait_until(lambda: said(motion, "the camera file has faults"), 60, "the complaint")
    resource.prlimit(motion.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: motion.state("other") == "running", 60, "the added camera")
    motion.process.terminate()
    assert motion.process.wait(20) == 0
