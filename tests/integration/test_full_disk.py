"""A full disk costs clips, never events: on a small file system (needs root), and on a folder that refuses."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.recorder import report
from services.recorder.database import open_database
from services.recorder.intake import Intake
from services.recorder.media import INCOMING, MediaFolder
from services.recorder.metrics import RecorderMetrics
from shared.contract import LABELS, MEDIA
from shared.streams import Delivery, Done
from tests.integration.test_recorder_service import Recorder, holds, settled
from tests.unit.recorder.messages import CLIP, Said, labels_message, send

pytestmark = [pytest.mark.redis]
N_LOST = 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted file system of 1 MB."""
    folder = tmp_path / "media"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "clipwatch-test", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root; the test below needs none")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(filler: Path) -> None:
    """Write until the disk takes no more."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            continue
    assert shutil.disk_usage(filler.parent).free < 4096


async def test_the_record_goes_on_while_the_disk_is_full(
    small_disk: Path, tmp_path: Path, redis_url: str, redis_client: Redis
) -> None:
    url = f"sqlite:///{tmp_path}/clipwatch.db"
    recorder = Recorder(tmp_path, redis_url, url).start()
    try:
        await send(redis_client, Said(event=0, is_last=True, accepted=[("a dog", 0.9)]))
        await settled(redis_client)
        filler = small_disk / "filler"
        fill_up(filler)
        for event in range(1, 1 + N_LOST):
            await send(redis_client, Said(event=event, is_last=True, accepted=[("a dog", 0.9)]), CLIP * 4)
        await settled(redis_client)
        assert recorder.metric('clipwatch_media_lost_total{reason="full"}') == N_LOST
        assert list((small_disk / INCOMING).iterdir()) == []
        assert await redis_client.xlen(MEDIA) == 0
        assert await redis_client.xlen(f"{LABELS}:dead") == 0
        assert recorder.log.count("the clip cannot be kept") == N_LOST

        def said() -> dict[str, object]:
            health: dict[str, object] = httpx.get(f"{recorder.url}/api/health").json()
            return health

        await holds(lambda: "The disk is full" in str(said()["problems"]), what="the page says so")
        await holds(
            lambda: f"{N_LOST} clips were dropped" in str(said()["problems"]), what="and what it cost"
        )

        filler.unlink()
        await send(redis_client, Said(event=9, is_last=True, accepted=[("a dog", 0.9)]))
        await settled(redis_client)
        engine = report.open_record(url)
        recorded = await report.event_records(engine)
        totals = await report.totals(engine)
        await engine.dispose()
        assert [event.label for event in recorded] == ["a dog"] * (N_LOST + 2)
        assert [event.snippets[0].is_media_lost for event in recorded] == [False, True, True, True, False]
        assert (totals.events, totals.lost_clips, totals.clip_bytes) == (N_LOST + 2, N_LOST, 2 * len(CLIP))
        assert recorder.stop() == 0
    finally:
        if recorder.process is not None and recorder.process.poll() is None:
            recorder.kill()


@dataclass(frozen=True, slots=True)
class FullFolder(MediaFolder):
    """A media folder on a disk that takes nothing more."""

    def _write(self, name: str, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_clip_that_the_disk_refuses_is_counted_and_its_event_recorded(
    tmp_path: Path, redis_client: Redis
) -> None:
    url = f"sqlite:///{tmp_path}/clipwatch.db"
    database = await open_database(url, asyncio.Event(), connect_s=30, transaction_s=60)
    metrics = RecorderMetrics(CollectorRegistry())
    media = FullFolder(tmp_path / "media")
    media.prepare()
    told: list[str] = []
    intake = Intake(redis_client, database, media, metrics, asyncio.Event(), lambda: None, told.append)
    said = Said(is_last=True, accepted=[("a dog", 0.9)])
    await send(redis_client, said)
    entries: Any = await redis_client.xrange(MEDIA)  # Any: redis-py's unions of both clients
    media_id = entries[0][0]
    fields = labels_message(said, media_id.decode()).encode()
    outcome = await intake.handle([Delivery(LABELS, "1-1", fields, 1)])
    assert outcome == [Done(deletions=((MEDIA, media_id.decode()),))]  # a clip that cannot be kept is let go
    assert told == [said.event_id]
    assert metrics.media_lost.labels("full")._value.get() == 1
    engine = report.open_record(url)
    recorded = (await report.event_records(engine))[0]
    await engine.dispose()
    await database.close()
    assert (recorded.label, recorded.clip_name, recorded.snippets[0].is_media_lost) == ("a dog", None, True)
