"""The consumer loop while Redis is killed, frozen, full or replaced; what has to hold then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import OutOfMemoryError, ResponseError
from structlog.testing import capture_logs
from structlog.typing import EventDict

from shared.streams.connection import is_away
from shared.streams.outcomes import Delivery, Outcome
from tests.integration.streams_rig import (
    GROUP,
    OUT,
    STREAM,
    Handler,
    add,
    append,
    dead,
    done,
    entries,
    have,
    is_settled,
    pending,
    results,
    running,
    until,
)
from tests.servers import RedisServer

pytestmark = pytest.mark.redis


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[Redis]:
    """A client of the test's own Redis, for tests whose Redis answers: its deadline is long."""
    redis: Redis = Redis.from_url(own_redis.url, socket_timeout=30)
    yield redis
    await redis.aclose()


@pytest.fixture
async def hasty(own_redis: RedisServer) -> AsyncIterator[Redis]:
    """The consumer's client where Redis goes away: its deadline is short, so that a frozen one is noticed soon."""
    redis: Redis = Redis.from_url(own_redis.url, socket_timeout=1)
    yield redis
    own_redis.thaw()
    await redis.aclose()


@pytest.fixture
async def look(own_redis: RedisServer) -> AsyncIterator[Redis]:
    """The test's own client, which connects again by itself."""
    redis: Redis = Redis.from_url(own_redis.url, retry=Retry(ConstantBackoff(0.05), 100))
    yield redis
    await redis.aclose()


class Gate:
    """A handler that waits until it is let go."""

    def __init__(self) -> None:
        self.entered, self.open = asyncio.Event(), asyncio.Event()
        self.calls = 0

    async def __call__(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        self.calls += 1
        self.entered.set()
        await self.open.wait()
        return [done(delivery) for delivery in deliveries]


def of_redis(logs: Sequence[EventDict]) -> list[tuple[str, str]]:
    return [(line["log_level"], line["event"]) for line in logs if "Redis" in line["event"]]


WENT_AND_RETURNED = [("warning", "Redis is away, waiting for it"), ("info", "Redis is back")]


async def test_redis_killed_while_the_consumer_waits_comes_back(
    own_redis: RedisServer, client: Redis, look: Redis
) -> None:
    with capture_logs() as logs:
        async with running(client, Handler()) as consumer:
            await add(look, 1)
            await until(lambda: have(look, 1))
            own_redis.kill()
            await until(lambda: bool(of_redis(logs)))
            assert consumer.counted("clipwatch_redis_connected_ratio") == 0
            beats = len(consumer.beats)
            await until(lambda: len(consumer.beats) > beats + 1)  # waiting is progress
            own_redis.start()
            await add(look, 2)
            await until(lambda: have(look, 1, 2))
            await until(lambda: len(of_redis(logs)) == 2)
    assert of_redis(logs) == WENT_AND_RETURNED


async def test_a_batch_in_hand_while_redis_is_killed_and_restarted_is_settled_once(
    own_redis: RedisServer, client: Redis, look: Redis
) -> None:
    gate = Gate()
    await add(look, 1, 2)
    with capture_logs() as logs:
        async with running(client, gate, min_idle_s=60):
            await gate.entered.wait()
            own_redis.kill()
            gate.open.set()
            await until(lambda: bool(of_redis(logs)))
            own_redis.start()
            await until(lambda: is_settled(look))
            await until(lambda: len(of_redis(logs)) == 2)
    assert await results(look) == [1, 2]
    assert gate.calls == 1
    assert of_redis(logs) == WENT_AND_RETURNED


async def test_a_frozen_redis_is_told_once_each_way_and_nothing_is_lost(
    own_redis: RedisServer, hasty: Redis, look: Redis
) -> None:
    with capture_logs() as logs:
        async with running(hasty, Handler()):
            await add(look, 1)
            await until(lambda: have(look, 1))
            own_redis.freeze()
            await until(lambda: bool(of_redis(logs)))
            own_redis.thaw()
            await add(look, 2)
            await until(lambda: have(look, 1, 2))
            await until(lambda: len(of_redis(logs)) == 2)
            await until(lambda: is_settled(look))
    assert of_redis(logs) == WENT_AND_RETURNED


async def test_settling_into_a_frozen_redis_writes_one_output(
    own_redis: RedisServer, hasty: Redis, look: Redis
) -> None:
    gate = Gate()
    await add(look, 1)
    with capture_logs() as logs:
        async with running(hasty, gate):
            await gate.entered.wait()
            own_redis.freeze()
            gate.open.set()
            await until(lambda: bool(of_redis(logs)))
            own_redis.thaw()
            await until(lambda: is_settled(look))
            await add(look, 2)
            await until(lambda: have(look, 1, 2))
    assert gate.calls == 2


async def test_stop_while_redis_is_away_ends_at_once(own_redis: RedisServer, client: Redis) -> None:
    with capture_logs() as logs:
        async with running(client, Handler()) as consumer:
            own_redis.kill()
            await until(lambda: bool(of_redis(logs)))
            started = time.monotonic()
            consumer.stop.set()
            await until(consumer.task.done)
            assert time.monotonic() - started < 1


async def test_stop_while_redis_is_frozen_ends_within_the_time_to_finish(
    own_redis: RedisServer, hasty: Redis, look: Redis
) -> None:
    gate = Gate()
    await add(look, 1)
    async with running(hasty, gate, finish_s=0.2) as consumer:
        await gate.entered.wait()
        own_redis.freeze()
        gate.open.set()  # settling hangs, for as long as the socket's deadline
        started = time.monotonic()
        consumer.stop.set()
        await until(consumer.task.done)
        assert time.monotonic() - started < 2
        own_redis.thaw()
    async with running(look, Handler()):  # delivered again, unless it was settled when Redis thawed
        await until(lambda: is_settled(look))


# -- full


async def fill(redis: Redis) -> None:
    """Let Redis have no room left for anything."""
    await redis.config_set("maxmemory", "1")
    with pytest.raises(OutOfMemoryError):
        await redis.xadd("anything", {b"a": b"b"})


async def test_a_full_redis_takes_the_output_in_place_of_the_input(client: Redis) -> None:
    big = b"x" * 200_000
    media = await append(client, "media.v1", {b"mp4": big})
    for n in range(5):
        await append(client, STREAM, {b"n": b"%d" % n, b"p0": big})
    await client.xgroup_create(STREAM, GROUP, id="0")
    await fill(client)
    async with running(client, Handler()):  # starts while it is full
        await until(lambda: have(client, *range(5)))
        await until(lambda: is_settled(client))
    with pytest.raises(OutOfMemoryError):
        await append(client, STREAM, {b"n": b"9"})
    assert await client.xlen("media.v1") == 1
    assert media


async def test_a_full_redis_takes_dead_letters_and_retries(client: Redis) -> None:
    await add(client, 1, 2)
    await client.xgroup_create(STREAM, GROUP, id="0")
    await fill(client)

    def answer(delivery: Delivery) -> Outcome:
        if delivery.fields[b"n"] == b"1" or delivery.attempts < 2:
            raise KeyError("poison")
        return done(delivery)

    async with running(client, Handler(answer)):
        await until(lambda: is_settled(client))
    assert [letter[b"n"] for letter in await dead(client)] == [b"1"]
    assert await results(client) == [2]


async def test_multi_would_be_refused_by_a_full_redis(client: Redis) -> None:
    """Why settling is a script; see docs/design/delivery.md."""
    (entry,) = await add(client, 1)
    await client.xgroup_create(STREAM, GROUP, id="0")
    await client.xreadgroup(GROUP, "c", {STREAM: ">"})
    await fill(client)
    pipeline = client.pipeline(transaction=True)
    pipeline.xack(STREAM, GROUP, entry)
    pipeline.xdel(STREAM, entry)
    pipeline.xadd(OUT, {b"of": b"1"})
    with pytest.raises(ResponseError, match="maxmemory"):
        await pipeline.execute()
    assert await pending(client) == 1


async def test_a_consumer_whose_group_cannot_be_made_waits_for_room(client: Redis) -> None:
    await fill(client)
    with capture_logs() as logs:
        async with running(client, Handler()):
            await until(lambda: bool(of_redis(logs)))
            await client.config_set("maxmemory", "0")
            await add(client, 1)
            await until(lambda: have(client, 1))
    assert of_redis(logs) == WENT_AND_RETURNED


async def test_a_redis_that_refuses_writes_is_waited_for(client: Redis) -> None:
    gate = Gate()
    await add(client, 1)
    with capture_logs() as logs:
        async with running(client, gate):
            await gate.entered.wait()
            await client.config_set("min-replicas-to-write", "1")  # like a full disk: NOREPLICAS, MISCONF
            gate.open.set()
            await until(lambda: bool(of_redis(logs)))
            await client.config_set("min-replicas-to-write", "0")
            await until(lambda: is_settled(client))
    assert await results(client) == [1]


# -- replaced


async def test_work_in_hand_is_written_when_redis_lost_the_entry(client: Redis) -> None:
    gate = Gate()
    await add(client, 1)
    async with running(client, gate):
        await gate.entered.wait()
        await client.flushall()  # as when it restarts from an older file, or from none
        gate.open.set()
        await until(lambda: have(client, 1))
        await add(client, 2)
        await until(lambda: have(client, 1, 2))


async def test_work_in_hand_is_left_to_who_gets_the_entry_again(client: Redis) -> None:
    """Redis lost the last delivery, not the entry: it will be handed out again."""
    gate = Gate()
    await add(client, 1)
    async with running(client, gate, consumer="first"):
        await gate.entered.wait()
        await client.xgroup_destroy(STREAM, GROUP)
        await client.xgroup_create(STREAM, GROUP, id="0")
        gate.open.set()
        await until(lambda: is_settled(client))
    assert await results(client) == [1]
    assert gate.calls == 2


async def test_an_output_to_a_stream_of_another_type_fails_loudly_and_loses_nothing(client: Redis) -> None:
    await client.set(OUT, "not a stream")
    await add(client, 1)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        async with running(client, Handler()) as consumer:
            await until(consumer.task.done)
    assert await entries(client, STREAM) == [{b"n": b"1"}]
    assert await pending(client) == 1


def test_errors_of_other_kinds_are_not_taken_for_absence() -> None:
    assert not is_away(ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"))
    assert not is_away(ResponseError("BUSYGROUP Consumer Group name already exists"))
    assert not is_away(KeyError("MISCONF "))
    assert is_away(ResponseError("MISCONF Errors writing to the AOF file: No space left on device"))
    assert is_away(ResponseError("ERR Error running script: @user_script:1: -OOM command not allowed"))
