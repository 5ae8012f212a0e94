"""Clips of dead letters leave the queue after a day; clips that somebody will fetch stay."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from services.recorder.intake.orphans import KEPT_S, MARGIN_S, Orphans, remove_orphans
from shared.contract import LABELS, MEDIA, SNIPPETS
from tests.servers import RedisServer
from tests.wall_clock import SettableClock

pytestmark = [pytest.mark.redis]


async def add(redis: Redis, stream: str, age_s: float) -> str:
    """Append an entry as it was added `age_s` ago; call from old to new."""
    seconds, micros = await redis.time()
    entry_id = f"{int(seconds) * 1000 + int(micros) // 1000 - int(age_s * 1000)}-0"
    await redis.xadd(stream, {b"clip": b"x"}, id=entry_id)
    return entry_id


async def clips(redis: Redis) -> list[str]:
    found: Any = await redis.xrange(MEDIA)  # Any: redis-py's unions of both clients
    return [entry_id.decode() for entry_id, _ in found]


async def test_the_clip_of_a_dead_snippet_goes_after_a_day(redis_client: Redis) -> None:
    await add(redis_client, MEDIA, KEPT_S + 60)
    young = await add(redis_client, MEDIA, KEPT_S - 60)
    await add(redis_client, f"{SNIPPETS}:dead", KEPT_S + 60)
    assert await remove_orphans(redis_client) == 1
    assert await clips(redis_client) == [young]
    assert await remove_orphans(redis_client) == 0


async def test_clips_of_a_backlog_of_days_stay(redis_client: Redis) -> None:
    await add(redis_client, MEDIA, 4 * KEPT_S)
    waiting = await add(redis_client, MEDIA, 3 * KEPT_S)
    await add(redis_client, SNIPPETS, 3 * KEPT_S)
    assert await remove_orphans(redis_client) == 1
    assert await clips(redis_client) == [waiting]


async def test_a_clock_that_was_set_costs_no_clip(redis_client: Redis) -> None:
    stays = await add(redis_client, MEDIA, 3 * KEPT_S + MARGIN_S - 60)
    await add(redis_client, SNIPPETS, 3 * KEPT_S)
    assert await remove_orphans(redis_client) == 0
    assert await clips(redis_client) == [stays]


async def test_nothing_goes_while_an_answer_waits(redis_client: Redis) -> None:
    old = await add(redis_client, MEDIA, 5 * KEPT_S)
    answer = await add(redis_client, LABELS, 1)  # of a snippet that waited for days
    assert await remove_orphans(redis_client) == 0
    await redis_client.xdel(LABELS, answer)
    assert await clips(redis_client) == [old]
    assert await remove_orphans(redis_client) == 1


async def test_without_streams_there_is_nothing_to_do(redis_client: Redis) -> None:
    assert await remove_orphans(redis_client) == 0


async def leap(redis: Redis, clock: SettableClock, offset_s: float) -> None:
    """Set the clock of the server, and wait until it tells the new time: it looks now and then."""
    clock.set(offset_s)
    async with asyncio.timeout(60):
        while (await redis.time())[0] < time.time() + offset_s - 60:
            await asyncio.sleep(0.005)


async def test_a_leap_of_the_clock_of_redis_makes_no_clip_older_for_a_day(
    settable_clock: SettableClock,
) -> None:
    server, passed_s = RedisServer(), [0.0]
    server.environment = settable_clock.environment
    server.start()
    redis: Redis = Redis.from_url(server.url)
    orphans = Orphans(redis, lambda: passed_s[0])
    try:
        await add(redis, MEDIA, KEPT_S - 7200)
        assert await orphans.remove() == 0
        await leap(redis, settable_clock, 3 * KEPT_S)
        assert await orphans.remove() == 0
        await leap(redis, settable_clock, 3 * KEPT_S + 10_800)
        passed_s[0] = 10_800  # it is a day old in truth
        assert await orphans.remove() == 1
        await add(redis, MEDIA, 0)
        passed_s[0] += 2 * KEPT_S
        await leap(redis, settable_clock, 5 * KEPT_S + 10_800)
        assert await orphans.remove() == 1
    finally:
        await redis.aclose()
        server.close()
