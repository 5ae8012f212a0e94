"""Who is there, over a real Redis."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from shared import presence
from shared.presence import (
    KEY,
    CameraReport,
    Presence,
    ProcessPresence,
    announce,
    follow_changes,
    list_processes,
)
from tests.servers import RedisServer

pytestmark = [pytest.mark.redis]
MOTION = Presence(
    service="motion", name="m1", cameras=(CameraReport(id="gate", state="away", message="no route"),)
)


async def until_heard(redis: Redis, n: int) -> list[ProcessPresence]:
    async with asyncio.timeout(60):
        while len(found := await list_processes(redis)) != n:
            await asyncio.sleep(0.02)
    return found


async def test_who_speaks_is_there_and_who_stops_leaves(redis_client: Redis) -> None:
    stop = asyncio.Event()
    speaking = asyncio.create_task(announce(redis_client, lambda: MOTION, stop))
    found = await until_heard(redis_client, 1)
    assert found[0].presence == MOTION
    assert found[0].age_s < 10
    assert not found[0].is_silent
    stop.set()
    await speaking
    assert await list_processes(redis_client) == []


async def test_who_was_killed_falls_silent_and_is_forgotten(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, _ = await redis_client.time()
    killed = f"{(int(seconds) - 60) * 1000} {MOTION.model_dump_json()}"
    await cast("Any", redis_client.hset(KEY, "motion m1", killed))
    found = await list_processes(redis_client)
    assert found[0].is_silent
    assert 59 <= found[0].age_s <= 120
    monkeypatch.setattr(presence, "FORGET_S", 30.0)
    assert await list_processes(redis_client) == []
    assert await cast("Any", redis_client.hlen(KEY)) == 0


async def test_a_full_redis_still_hears_who_is_there(own_redis: RedisServer) -> None:
    redis: Redis = Redis.from_url(own_redis.url)
    await redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        await redis.set("anything", "new")
    stop = asyncio.Event()
    speaking = asyncio.create_task(announce(redis, lambda: MOTION, stop))
    (heard,) = await until_heard(redis, 1)
    assert heard.presence == MOTION
    stop.set()
    await speaking
    await redis.aclose()


@pytest.mark.parametrize("said", ["", "x", "1", "99 {", '5 {"service": "oven", "name": "o"}'])
async def test_what_cannot_be_read_is_dropped(redis_client: Redis, said: str) -> None:
    await cast("Any", redis_client.hset(KEY, "motion m1", said))
    assert await list_processes(redis_client) == []
    assert await cast("Any", redis_client.hlen(KEY)) == 0


async def test_redis_being_away_ends_nothing() -> None:
    nobody: Redis = Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=1)
    stop = asyncio.Event()
    speaking = asyncio.create_task(announce(nobody, lambda: MOTION, stop))
    done, _ = await asyncio.wait({speaking}, timeout=0.5)
    assert not done
    stop.set()
    await asyncio.wait_for(speaking, 10)
    await nobody.aclose()


async def test_a_change_is_published_at_once_and_wakes_who_follows(redis_client: Redis) -> None:
    stop, woken, said = asyncio.Event(), asyncio.Event(), MOTION
    async with asyncio.timeout(60):
        following = asyncio.create_task(follow_changes(redis_client, stop, woken.set))
        while not (await redis_client.pubsub_numsub(KEY))[0][1]:
            await asyncio.sleep(0.02)
        speaking = asyncio.create_task(announce(redis_client, lambda: said, stop, lambda: said.cameras))
        await woken.wait()
        woken.clear()
        moving = MOTION.cameras[0].model_copy(update={"is_moving": True})
        said = MOTION.model_copy(update={"cameras": (moving,)})
        await woken.wait()
        [heard] = await list_processes(redis_client)
        assert heard.presence.cameras[0].is_moving
        stop.set()
        await asyncio.gather(speaking, following)


async def test_a_process_that_took_the_place_of_a_silent_one_hides_it(redis_client: Redis) -> None:
    seconds, _ = await redis_client.time()
    for name, age_s, owner in (("m1", 60, "disk-1"), ("m2", 1, "disk-1"), ("m3", 60, "disk-2")):
        said = MOTION.model_copy(update={"name": name, "owner": owner})
        value = f"{(int(seconds) - age_s) * 1000} {said.model_dump_json()}"
        await cast("Any", redis_client.hset(KEY, f"motion {name}", value))
    assert [one.presence.name for one in await list_processes(redis_client)] == ["m2", "m3"]


def test_what_an_older_motion_service_says_is_read() -> None:
    said = Presence.model_validate_json(
        '{"service": "motion", "name": "m1", "cameras": [{"id": "gate", "state": "running"}]}'
    )
    assert (said.owner, said.is_complete, said.cameras[0].is_moving) == ("", True, None)
