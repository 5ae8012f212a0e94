"""Three recorders on one queue, one database and one media folder, killed again and again at random."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from services.recorder import report
from services.recorder.record.engines import make_engine
from shared.contract import LABELS, MEDIA
from tests.integration.test_recorder_service import Recorder, holds, redis, settled
from tests.unit.recorder.messages import CLIP, THUMBNAIL, Said, send

__all__ = ["redis"]

N_EVENTS, N_SNIPPETS, N_KILLS = 60, 3, 6


@pytest.fixture
def recorders(tmp_path: Path, redis_url: str, mariadb_url: str) -> Iterator[list[Recorder]]:
    made = []
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        recorder = Recorder(tmp_path / name, redis_url, mariadb_url)
        recorder.environment = {"MEDIA_DIR": str(tmp_path / "media"), "INSTANCE": name}
        made.append(recorder)
    yield made
    for recorder in made:
        if recorder.process is not None and recorder.process.poll() is None:
            recorder.kill()


def parts() -> list[list[Said]]:
    """Return what is said between two kills; an event's snippets are in the hands of different recorders."""
    said = [
        Said(
            event=event,
            snippet=snippet,
            is_last=snippet == N_SNIPPETS - 1,
            accepted=[("a dog", 0.5 + snippet / 10)],
        )
        for snippet in range(N_SNIPPETS)
        for event in range(N_EVENTS)
    ]
    return [said[number :: N_KILLS + 1] for number in range(N_KILLS + 1)]


async def send_all(redis: Redis, said: list[Said]) -> None:
    for one in said:
        await send(redis, one, CLIP * 20)


@pytest.mark.slow
async def test_three_recorders_under_kills_record_each_snippet_once(
    recorders: list[Recorder], redis: Redis
) -> None:
    rng = random.Random(18)
    for recorder in recorders:
        recorder.start()
    *before_kills, last = parts()
    n_in_hand = 0
    for number, said in enumerate(before_kills):
        sending = asyncio.create_task(send_all(redis, said))
        await asyncio.sleep(rng.uniform(0.05, 0.3))
        killed = recorders[number % 3]
        killed.kill()
        n_in_hand += await redis.xlen(LABELS)
        await sending
        await asyncio.to_thread(killed.start)
    await send_all(redis, last)
    assert n_in_hand > 0, "no kill came while there was something to record"
    await settled(redis, 120)
    engine = make_engine(recorders[0].database_url)
    recorded = await report.event_records(engine)
    await engine.dispose()
    assert len(recorded) == N_EVENTS
    assert all(
        [one.snippet for one in event.snippets] == [0, 1, 2] and not event.is_open for event in recorded
    )
    assert {(event.label, event.probability) for event in recorded} == {("a dog", 0.7)}
    media = Path(recorders[0].environment["MEDIA_DIR"])
    files = [path for path in media.rglob("*") if path.suffix in (".mp4", ".jpg")]
    assert len(files) == 2 * N_EVENTS * N_SNIPPETS
    assert all(path.read_bytes() == (CLIP * 20 if path.suffix == ".mp4" else THUMBNAIL) for path in files)
    assert await redis.xlen(MEDIA) == 0
    assert await redis.xlen(f"{LABELS}:dead") == 0
    with contextlib.ExitStack() as pages:  # each of them shows what all recorded
        for recorder in recorders:
            http = pages.enter_context(httpx.Client(base_url=recorder.url, timeout=60, trust_env=False))
            await holds(lambda http=http: http.get("/api/stats").json()["events"] == N_EVENTS)  # type: ignore[misc]
    assert [recorder.stop() for recorder in recorders] == [0, 0, 0]
