"""Motion that is told to stop while a camera hangs, the disk is full or Redis is away: it ends within its drain."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_hanging_sources import Trickler
from tests.integration.test_motion_disk import Trouble
from tests.integration.test_motion_disk import rig as rig
from tests.integration.test_motion_disk import small_disk as small_disk
from tests.integration.test_motion_disk import video as video
from tests.integration.test_motion_service import Motion, Rig
from tests.servers import RedisServer, wait_until

DRAIN_S = "6"  # what the launcher gives

pytestmark = [pytest.mark.redis]


@pytest.fixture
def trickler() -> Iterator[Trickler]:
    with contextlib.closing(Trickler()) as made:
        yield made


def stop(motion: Motion) -> int:
    motion.process.send_signal(signal.SIGTERM)
    return motion.process.wait(30)


def said(motion: Motion) -> list[str]:
    return [str(line.get("event", "")) for line in motion.events()]


def has_open_event(motion: Motion) -> bool:
    return motion.state() == "running" and bool(motion.cameras()["cam"]["open_event"])


def test_a_stop_ends_with_0_while_a_camera_hangs_the_disk_is_full_and_redis_is_away(
    rig: Rig, video: Path, small_disk: Path, trickler: Trickler, own_redis: RedisServer
) -> None:
    rig.redis_url = own_redis.url
    rig.cameras(
        {"url": str(video), "loop": True, "pace": "realtime"},
        {"id": "hanging", "url": f"http://127.0.0.1:{trickler.port}/video"},
    )
    motion = rig.start(DRAIN_S=DRAIN_S)
    wait_until(
        lambda: has_open_event(motion) and trickler.n_clients > 0, 60, "an event, and a camera that hangs"
    )
    Trouble(small_disk, "full").begin()
    own_redis.kill()
    assert stop(motion) == 0, motion.log.read_text()
    assert said(motion)[-1] == "stopped"


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_stop_ends_with_0_while_redis_hangs_or_is_away(
    rig: Rig, video: Path, own_redis: RedisServer, is_silent: bool
) -> None:
    rig.redis_url = own_redis.url
    rig.cameras({"url": str(video), "loop": True, "pace": "realtime"})
    motion = rig.start(DRAIN_S=DRAIN_S)
    wait_until(lambda: has_open_event(motion), 60, "an event")
    if is_silent:
        own_redis.freeze()
    else:
        own_redis.kill()
    assert stop(motion) == 0, motion.log.read_text()
    assert "snippets stay on disk for the next start" in said(motion)


def test_a_stop_while_hanging_cameras_are_opened_ends_with_0(rig: Rig, trickler: Trickler) -> None:
    url = f"http://127.0.0.1:{trickler.port}/video"
    others: list[dict[str, object]] = [{"id": f"cam{number}", "url": url} for number in range(7)]
    rig.cameras({"url": url}, *others)
    motion = rig.start(DRAIN_S=DRAIN_S)
    wait_until(lambda: trickler.n_clients >= 8, 60, "cameras that hang")
    assert stop(motion) == 0, motion.log.read_text()


def test_a_stop_while_a_journal_is_waited_for_ends_with_0(tmp_path: Path, redis_url: str) -> None:
    rig = Rig(tmp_path, redis_url)
    rig.cameras({"url": str(tmp_path / "none.mp4")})
    journals = rig.folder / "data" / "journal"
    journals.mkdir(parents=True)
    os.mkfifo(journals / "hanging.journal")  # as on a network disk that does not answer
    motion = rig.start(DRAIN_S="2", is_waited_for=False)
    try:
        wait_until(lambda: "listening" in said(motion), 60, "that it listens to us")
        assert stop(motion) == 0, motion.log.read_text()
    finally:
        rig.stop_all()
