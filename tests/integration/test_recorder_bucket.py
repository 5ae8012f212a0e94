"""`python -m services.recorder` with its clips in a bucket: killed, and with an object store that goes and comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from services.recorder import report
from services.recorder.record.engines import make_engine
from shared.contract import LABELS, MEDIA
from tests.integration.test_recorder_service import Recorder, holds, redis, settled
from tests.servers import S3Server
from tests.unit.recorder.messages import CLIP, THUMBNAIL, Said, send

__all__ = ["redis"]

PREFIX = "site"
Made = Callable[..., Recorder]


def bucket_environment(server: S3Server, bucket: str, folder: Path) -> dict[str, str]:
    secret = folder / "secret"
    secret.write_text(S3Server.key)
    secret.chmod(0o600)
    return {
        "MEDIA_URL": f"s3://{bucket}/{PREFIX}",
        "MEDIA_DIR": str(folder / "not-made"),
        "S3_ENDPOINT_URL": server.url,
        "S3_ACCESS_KEY_ID": S3Server.key_id,
        "S3_SECRET_ACCESS_KEY_FILE": str(secret),
    }


@pytest.fixture
def own_s3() -> Iterator[S3Server]:
    """An object store that is not running yet."""
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def made(tmp_path: Path, redis_url: str) -> Iterator[Made]:
    recorders: list[Recorder] = []

    def make(server: S3Server, bucket: str, database_url: str = "", name: str = "one") -> Recorder:
        folder = tmp_path / name
        folder.mkdir()
        url = database_url or f"sqlite:///{tmp_path}/clipwatch.db"
        environment = {**bucket_environment(server, bucket, folder), "INSTANCE": name}
        recorders.append(Recorder(folder, redis_url, url, environment))
        return recorders[-1]

    yield make
    for recorder in recorders:
        if recorder.process is not None and recorder.process.poll() is None:
            recorder.kill()


def names_of(all_said: list[Said]) -> list[str]:
    return sorted(
        f"{PREFIX}/2026/05/04/{said.media_key}.{end}" for said in all_said for end in ("jpg", "mp4")
    )


async def check_record(database_url: str, n_events: int, n_snippets: int) -> None:
    engine = make_engine(database_url)
    recorded = await report.event_records(engine)
    await engine.dispose()
    assert len(recorded) == n_events
    assert all([one.snippet for one in event.snippets] == [*range(n_snippets)] for event in recorded)
    assert not any(one.is_media_lost for event in recorded for one in event.snippets)


@pytest.mark.slow
async def test_three_recorders_on_one_bucket_under_kills_record_each_snippet_once(
    made: Made, redis: Redis, s3_server: S3Server, bucket: str, mariadb_url: str
) -> None:
    recorders = [made(s3_server, bucket, mariadb_url, name) for name in ("one", "two", "three")]
    for recorder in recorders:
        recorder.start()
    said = [Said(event=e, snippet=s, is_last=s == 2) for e in range(20) for s in range(3)]
    rng, n_in_hand = random.Random(18), 0
    for round_number in range(4):
        for one in said[15 * round_number : 15 * (round_number + 1)]:
            await send(redis, one, CLIP * 20)
        await asyncio.sleep(rng.uniform(0.05, 0.2))
        killed = recorders[round_number % 3]
        killed.kill()
        n_in_hand += await redis.xlen(LABELS)
        await asyncio.to_thread(killed.start)
    assert n_in_hand > 0, "no kill came while there was something to record"
    await settled(redis, 120)
    await check_record(mariadb_url, 20, 3)
    assert s3_server.names(bucket) == names_of(said)
    assert {s3_server.get(bucket, name) for name in s3_server.names(bucket)} == {CLIP * 20, THUMBNAIL}
    assert await redis.xlen(MEDIA) == 0
    assert await redis.xlen(f"{LABELS}:dead") == 0
    for recorder in recorders:  # each serves what another one kept
        clip = f"{recorder.url}/media/2026/05/04/{said[0].media_key}.mp4"
        answer = httpx.get(clip, headers={"range": "bytes=256-511"}, trust_env=False)
        assert (answer.status_code, answer.content) == (206, CLIP[256:512])
        assert S3Server.key not in recorder.log
        assert recorder.stop() == 0


async def test_an_object_store_that_is_away_costs_time_and_nothing_else(
    made: Made, redis: Redis, own_s3: S3Server, tmp_path: Path
) -> None:
    recorder = made(own_s3, "clips")
    recorder.environment["MAX_ATTEMPTS"] = "2"
    recorder.start(is_ready=False)

    def problems() -> str:
        try:
            return str(httpx.get(f"{recorder.url}/api/health", trust_env=False).json().get("problems"))
        except httpx.HTTPError:
            return ""

    await holds(lambda: "bucket clips: " in problems() and "cannot be reached" in problems())
    assert not recorder.is_ready()
    for event in range(3):
        await send(redis, Said(event=event, is_last=True))
    await holds(
        lambda: "3 clips wait in the queue" in problems(), what="the clips wait, and the page says so"
    )
    own_s3.start()
    await holds(lambda: "NoSuchBucket" in problems(), what="a bucket that is missing is told")
    own_s3.make_bucket("clips")
    await settled(redis)
    await holds(recorder.is_ready)
    await check_record(recorder.database_url, 3, 1)
    assert own_s3.names("clips") == names_of([Said(event=event) for event in range(3)])
    assert await redis.xlen(MEDIA) == 0
    assert await redis.xlen(f"{LABELS}:dead") == 0
    assert recorder.metric('clipwatch_media_lost_total{reason="full"}') == 0
    assert recorder.metric("clipwatch_media_free_bytes") == float("inf")
    assert httpx.get(f"{recorder.url}/api/health", trust_env=False).json()["disk"] is None
    assert recorder.stop() == 0
    assert "clips can be kept again" in recorder.log
    assert not (tmp_path / "one" / "not-made").exists()
    assert S3Server.key not in recorder.log
