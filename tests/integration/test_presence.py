"""Who is there, over a real Redis."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from shared import presence
from shared.presence import KEY, CameraSeen, Heard, Presence, announce, who_is_there

pytestmark = [pytest.mark.redis]
MOTION = Presence(
    service="motion", name="m1", cameras=(CameraSeen(id="gate", state="away", message="no route"),)
)


async def until_heard(redis: Redis, n: int) -> list[Heard]:
    async with asyncio.timeout(30):
        while len(found := await who_is_there(redis)) != n:
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
    assert await who_is_there(redis_client) == []


async def test_who_was_killed_falls_silent_and_is_forgotten(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, _ = await redis_client.time()
    killed = f"{(int(seconds) - 60) * 1000} {MOTION.model_dump_json()}"
    await cast("Any", redis_client.hset(KEY, "motion m1", killed))
    found = await who_is_there(redis_client)
    assert found[0].is_silent
    assert 59 <= found[0].age_s <= 120
    monkeypatch.setattr(presence, "FORGET_S", 30.0)
    assert await who_is_there(redis_client) == []
    assert await cast("Any", redis_client.hlen(KEY)) == 0


@pytest.mark.parametrize("said", ["", "x", "1", "99 {", '5 {"service": "oven", "name": "o"}'])
async def test_what_cannot_be_read_is_dropped(redis_client: Redis, said: str) -> None:
    await cast("Any", redis_client.hset(KEY, "motion m1", said))
    assert await who_is_there(redis_client) == []
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
