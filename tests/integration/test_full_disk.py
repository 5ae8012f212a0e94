"""A full disk costs time: clips wait in the queue, events do not. On a small file system, which needs root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from services.recorder import report
from services.recorder.media.files import INCOMING
from shared.contract import LABELS, MEDIA
from tests.integration.test_recorder_service import Recorder, holds, settled
from tests.unit.recorder.messages import CLIP, Said, send

pytestmark = [pytest.mark.redis]
N_WAITING = 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 1 MB."""
    folder = tmp_path / "media"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "clipwatch-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root; tests of the intake need none")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(filler: Path) -> None:
    """Write until the disk takes no more."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            continue
    assert shutil.disk_usage(filler.parent).free < 4096


async def test_clips_wait_while_the_disk_is_full_and_events_do_not(
    small_disk: Path, tmp_path: Path, redis_url: str, redis_client: Redis
) -> None:
    url = f"sqlite:///{tmp_path}/clipwatch.db"
    recorder = Recorder(tmp_path, redis_url, url, {"MAX_ATTEMPTS": "2"}).start()

    def said() -> str:
        return str(httpx.get(f"{recorder.url}/api/health").json()["problems"])

    try:
        await send(redis_client, Said(event=0, is_last=True, accepted=[("a dog", 0.9)]))
        await settled(redis_client)
        filler = small_disk / "filler"
        fill_up(filler)
        await holds(lambda: not recorder.is_ready(), what="readiness follows the disk")
        for event in range(1, 1 + N_WAITING):
            await send(redis_client, Said(event=event, is_last=True, accepted=[("a dog", 0.9)]), CLIP * 4)
        await holds(lambda: httpx.get(f"{recorder.url}/api/stats").json()["events"] == 1 + N_WAITING)
        await holds(lambda: f"{N_WAITING} clips wait in the queue" in said(), what="the page says so")
        assert "The disk is full" in said()
        assert await redis_client.xlen(MEDIA) == N_WAITING
        assert list((small_disk / INCOMING).iterdir()) == []
        assert recorder.stop() == 0  # what waits is given back
        filler.unlink()
        recorder.start()
        await settled(redis_client)
        engine = report.open_record(url)
        recorded = await report.event_records(engine)
        totals = await report.totals(engine)
        await engine.dispose()
        assert [event.label for event in recorded] == ["a dog"] * (N_WAITING + 1)
        assert [event.snippets[0].is_media_lost for event in recorded] == [False] * (N_WAITING + 1)
        assert (totals.events, totals.lost_clips) == (N_WAITING + 1, 0)
        assert totals.clip_bytes == len(CLIP) * (1 + 4 * N_WAITING)
        assert await redis_client.xlen(MEDIA) == 0
        assert await redis_client.xlen(f"{LABELS}:dead") == 0
        assert recorder.stop() == 0
    finally:
        if recorder.process is not None and recorder.process.poll() is None:
            recorder.kill()
