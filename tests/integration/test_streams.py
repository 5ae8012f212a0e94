"""The consumer loop against a real redis-server: every rule of shared/streams/ that needs no fault of Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from shared.errors import Permanent, Transient
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Dead, Delivery, Done, Outcome, Output, Retry
from tests.integration.streams_rig import (
    GROUP,
    OUT,
    QUICK,
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
from tests.servers import spawn

pytestmark = pytest.mark.redis
WORKER = Path(__file__).with_name("stream_worker.py")


def worker(url: str, name: str, behaviour: str, folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return spawn([sys.executable, WORKER, url, name, behaviour], folder / f"{name}.txt", environment)


# -- groups


async def test_entries_written_before_the_group_existed_are_read(redis_client: Redis) -> None:
    await add(redis_client, 1, 2)
    async with running(redis_client, Handler()):
        await until(lambda: have(redis_client, 1, 2))


@pytest.mark.parametrize("claim_every_s", [0.0, 1000.0], ids=["told by the claim", "told by the read"])
async def test_a_lost_group_is_made_again(redis_client: Redis, claim_every_s: float) -> None:
    async with running(redis_client, Handler(), claim_every_s=claim_every_s) as consumer:
        await add(redis_client, 1)
        await until(lambda: have(redis_client, 1))
        await redis_client.flushall()
        await add(redis_client, 2)
        await until(lambda: have(redis_client, 2))
        assert not consumer.task.done()


async def test_a_group_that_is_lost_while_the_consumer_waits_is_made_again(redis_client: Redis) -> None:
    async with running(redis_client, Handler(), block_ms=3000):
        await add(redis_client, 1)
        await until(lambda: have(redis_client, 1))

        async def waits() -> bool:
            return any("b" in row["flags"] for row in await redis_client.client_list())

        await until(waits)
        await redis_client.flushall()  # Redis 7.0 answers UNBLOCKED, 6.2 answers when BLOCK ends
        await add(redis_client, 2)
        await until(lambda: have(redis_client, 2))


async def test_a_key_of_another_type_fails_loudly(redis_client: Redis) -> None:
    await redis_client.set(STREAM, "not a stream")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        async with running(redis_client, Handler()) as consumer:
            await until(consumer.task.done)


# -- outcomes


async def test_a_done_entry_is_gone_its_outputs_are_there_and_its_deletions_made(redis_client: Redis) -> None:
    media = await append(redis_client, "media.v1", {b"mp4": b"clip"})
    await redis_client.xadd("media.v1", {b"mp4": b"of another"})
    await add(redis_client, 1)
    outputs = (Output(OUT, {b"of": b"1"}), Output("more.v1", {b"a": b"\x00\xff", b"b": b""}))
    answer = Done(outputs=outputs, deletions=(("media.v1", media),))
    async with running(redis_client, Handler(lambda _: answer)) as consumer:
        await until(lambda: is_settled(redis_client))
        await until(
            lambda: (
                consumer.counted("clipwatch_stream_entries_settled_total", stream=STREAM, outcome="done") == 1
            )
        )
    assert await results(redis_client) == [1]
    assert await entries(redis_client, "more.v1") == [{b"a": b"\x00\xff", b"b": b""}]
    assert await entries(redis_client, "media.v1") == [{b"mp4": b"of another"}]


async def test_waiting_entries_come_as_one_batch_of_at_most_batch_max(redis_client: Redis) -> None:
    await add(redis_client, *range(10))
    handler = Handler()
    async with running(redis_client, handler, batch_max=8):
        await until(lambda: have(redis_client, *range(10)))
    assert [len(batch) for batch in handler.batches] == [8, 2]


async def test_of_a_batch_that_raises_only_the_poison_dies(redis_client: Redis) -> None:
    def answer(delivery: Delivery) -> Outcome:
        if delivery.fields[b"n"] == b"3":
            raise KeyError("no such thing")
        return done(delivery)

    handler = Handler(answer)
    await add(redis_client, *range(6))
    async with running(redis_client, handler):
        await until(lambda: have(redis_client, 0, 1, 2, 4, 5))
        await until(lambda: is_settled(redis_client))
    (letter,) = await dead(redis_client)
    assert letter[b"n"] == b"3"
    assert "KeyError" in json.loads(letter[b"dead"])["reason"]
    assert handler.seen(3) == [1, 1, 2, 3]  # with its batch, alone, and twice claimed
    assert handler.seen(2) == [1, 1]


async def test_retry_comes_back_after_min_idle_with_attempts_counted_by_the_server(
    redis_client: Redis,
) -> None:
    handler = Handler(lambda d: done(d) if d.attempts == 3 else Retry("not yet"))
    await add(redis_client, 1)
    async with running(redis_client, handler, min_idle_s=0.3):
        await until(lambda: have(redis_client, 1))
    assert handler.seen(1) == [1, 2, 3]
    waits_s = [later - earlier for earlier, later in zip(handler.times, handler.times[1:], strict=False)]
    assert min(waits_s) >= 0.29
    assert max(waits_s) < 2


async def test_past_max_attempts_an_entry_is_a_dead_letter_with_reason_and_history(
    redis_client: Redis,
) -> None:
    (entry,) = await add(redis_client, 1)
    url = "rtsp://user:secret@10.0.0.7/stream"
    async with running(redis_client, Handler(lambda _: Retry(f"cannot open {url}"))) as consumer:
        await until(lambda: is_settled(redis_client))
        await until(
            lambda: (
                consumer.counted("clipwatch_stream_entries_settled_total", stream=STREAM, outcome="dead") == 1
            )
        )
    (letter,) = await dead(redis_client)
    note = json.loads(letter.pop(b"dead"))
    assert letter == {b"n": b"1"}
    assert note.pop("died_at").endswith("+00:00")
    assert note == {
        "reason": "gave up after 3 attempts, last: cannot open rtsp://***@10.0.0.7/stream",
        "stream": STREAM,
        "id": entry,
        "attempts": 3,
    }


@pytest.mark.parametrize("how", ["answered", "raised"])
async def test_dead_and_permanent_move_an_entry_at_once(redis_client: Redis, how: str) -> None:
    def answer(_: Delivery) -> Outcome:
        if how == "raised":
            raise Permanent("a broken picture")
        return Dead("a broken picture")

    await add(redis_client, 1)
    async with running(redis_client, Handler(answer)):
        await until(lambda: is_settled(redis_client))
    (letter,) = await dead(redis_client)
    assert json.loads(letter[b"dead"])["reason"] == "a broken picture"
    assert json.loads(letter[b"dead"])["attempts"] == 1


async def test_dead_letters_are_bounded_and_the_dropped_ones_counted(redis_client: Redis) -> None:
    await add(redis_client, *range(7))
    with capture_logs() as logs:
        async with running(redis_client, Handler(lambda _: Dead("no")), dead_max=4) as consumer:
            await until(lambda: is_settled(redis_client))
    assert [letter[b"n"] for letter in await dead(redis_client)] == [b"3", b"4", b"5", b"6"]
    assert consumer.counted("clipwatch_stream_dead_letters_dropped_total", stream=STREAM) == 3
    assert sum(line["dropped"] for line in logs if line["event"] == "oldest dead letters dropped") == 3


async def test_a_transient_fault_is_never_charged_and_the_loop_goes_slowly(redis_client: Redis) -> None:
    is_away = True

    def answer(delivery: Delivery) -> Outcome:
        if is_away:
            raise Transient("the database is away")
        return done(delivery)

    handler = Handler(answer)
    await add(redis_client, *range(40))
    with capture_logs() as logs:
        async with running(redis_client, handler, max_attempts=2, min_idle_s=0.1) as consumer:
            # far more tries than attempts are allowed; what is in hand stays small
            await until(lambda: len(handler.seen(0)) >= 6)
            assert await pending(redis_client) < 20
            assert not consumer.task.done()
            is_away = False
            await until(lambda: have(redis_client, *range(40)))
    assert set(handler.seen(0)) == {1}
    assert await dead(redis_client) == []
    told = [line for line in logs if "hindered" in line["event"]]
    assert [(line["log_level"], line["event"]) for line in told] == [
        ("warning", "hindered, going slowly"),
        ("info", "no longer hindered"),
    ]
    assert told[0]["reason"] == "the database is away"


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("of the handler's own"),
        OSError(28, "no space left on device"),
        TimeoutError("slow"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_a_handler_raises_is_not_taken_for_redis_being_away(
    redis_client: Redis, error: Exception
) -> None:
    def answer(delivery: Delivery) -> Outcome:
        if delivery.fields[b"n"] == b"1":
            raise error
        return done(delivery)

    await add(redis_client, 0, 1, 2)
    with capture_logs() as logs:
        async with running(redis_client, Handler(answer)) as consumer:
            await until(lambda: is_settled(redis_client))
            assert consumer.counted("clipwatch_redis_connected_ratio") == 1
    assert await have(redis_client, 0, 2)
    assert [letter[b"n"] for letter in await dead(redis_client)] == [b"1"]
    assert not [line for line in logs if "Redis" in line["event"]]


async def test_a_handler_that_answers_too_few_outcomes_is_a_bug_that_ends_in_dead_letters(
    redis_client: Redis,
) -> None:
    async def forgetful(deliveries: Sequence[Delivery]) -> list[Outcome]:
        return []

    await add(redis_client, 1)
    async with running(redis_client, forgetful):
        await until(lambda: is_settled(redis_client))
    (letter,) = await dead(redis_client)
    assert "0 outcomes for 1 deliveries" in json.loads(letter[b"dead"])["reason"]


async def test_a_cancellation_that_a_handler_lets_out_does_not_end_the_loop(redis_client: Redis) -> None:
    async def answer(delivery: Delivery) -> Outcome:
        if delivery.fields[b"n"] == b"1":
            inner = asyncio.ensure_future(asyncio.Event().wait())
            inner.cancel()
            await inner
        return done(delivery)

    await add(redis_client, 1, 2)
    async with running(redis_client, Handler(answer)) as consumer:
        await until(lambda: is_settled(redis_client))
        assert not consumer.task.done()
    assert await results(redis_client) == [2]


# -- several consumers, dead and frozen ones


async def test_two_consumers_in_one_process_share_the_work(redis_client: Redis) -> None:
    handlers = Handler(), Handler()
    async with (
        running(redis_client, handlers[0], consumer="a", batch_max=1),
        running(redis_client, handlers[1], consumer="b", batch_max=1),
    ):
        await add(redis_client, *range(50))
        await until(lambda: have(redis_client, *range(50)))
    counts = [sum(len(batch) for batch in handler.batches) for handler in handlers]
    assert sum(counts) == 50
    assert min(counts) > 0


async def test_the_work_of_a_killed_consumer_is_taken_over(
    redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    await add(redis_client, *range(5))
    victim = worker(redis_url, "victim", "hang", tmp_path)
    await until(lambda: pending_is(redis_client, 5))
    victim.kill()
    victim.wait()
    handler = Handler()
    async with running(redis_client, handler):
        await until(lambda: have(redis_client, *range(5)))
        await until(lambda: is_settled(redis_client))
    assert [len(batch) for batch in handler.batches] == [1] * 5  # each alone: one of them may have killed it
    assert handler.seen(0) == [2]


async def pending_is(redis: Redis, number: int) -> bool:
    try:
        return await pending(redis) == number
    except ResponseError:  # no group yet
        return False


async def test_a_stable_name_takes_up_all_of_its_own_work_at_once(redis_client: Redis) -> None:
    numbers = range(230)  # more than a page
    await add(redis_client, *numbers)
    await redis_client.xgroup_create(STREAM, GROUP, id="0")
    await redis_client.xreadgroup(GROUP, "alone", {STREAM: ">"}, count=230)
    async with running(redis_client, Handler(), min_idle_s=3600, claim_every_s=3600):
        await until(lambda: have(redis_client, *numbers))
        await until(lambda: is_settled(redis_client))


async def test_another_name_leaves_work_in_hand_alone_until_min_idle(redis_client: Redis) -> None:
    await add(redis_client, 1)
    await redis_client.xgroup_create(STREAM, GROUP, id="0")
    await redis_client.xreadgroup(GROUP, "other", {STREAM: ">"}, count=1)
    handler = Handler()
    async with running(redis_client, handler, min_idle_s=3600):
        await add(redis_client, 2)
        await until(lambda: have(redis_client, 2))
        assert handler.seen(1) == []


async def test_a_slow_batch_is_not_taken_for_a_dead_consumer(redis_client: Redis) -> None:
    ended = asyncio.Event()

    async def slow(delivery: Delivery) -> Outcome:
        await ended.wait()
        return done(delivery)

    owner, thief = Handler(slow), Handler()
    await add(redis_client, 1)
    async with running(redis_client, owner, consumer="owner", min_idle_s=0.2):
        await until(lambda: len(owner.batches) == 1)
        async with running(redis_client, thief, consumer="thief", min_idle_s=0.2) as other:
            turns = len(other.beats)
            await until(lambda: len(other.beats) > turns + 25)  # a second of claims, five times min_idle
            ended.set()
            await until(lambda: is_settled(redis_client))
    assert thief.batches == []
    assert await results(redis_client) == [1]


async def test_a_handler_that_blocks_the_loop_does_not_hang_the_consumer(redis_client: Redis) -> None:
    """The freshening is under way just when the batch ends: its cancellation was swallowed, and waited for."""

    def answer(delivery: Delivery) -> Outcome:
        time.sleep(0.02)
        return done(delivery)

    await add(redis_client, *range(40))
    async with running(redis_client, Handler(answer), min_idle_s=0.03, batch_max=1):
        await until(lambda: have(redis_client, *range(40)))


async def test_an_entry_that_was_stolen_all_the_same_has_one_output(
    redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    await add(redis_client, 1)
    frozen = worker(redis_url, "frozen", "hang", tmp_path)
    await until(lambda: pending_is(redis_client, 1))
    await until(lambda: is_in(redis_client, b"frozen 1"))
    os.kill(frozen.pid, signal.SIGSTOP)
    async with running(redis_client, Handler()):
        await until(lambda: have(redis_client, 1))
    await redis_client.set("go", "1")
    os.kill(frozen.pid, signal.SIGCONT)
    await add(redis_client, 2)  # that the thawed one is done with 1 shows in its taking 2
    await until(lambda: is_in(redis_client, b"frozen 2"))
    await until(lambda: have(redis_client, 1, 2))
    frozen.kill()
    frozen.wait()


async def is_in(redis: Redis, note: bytes) -> bool:
    return note in await redis.lrange("taken", 0, -1)


async def test_of_a_batch_that_kills_the_process_only_the_poison_dies(
    redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    await add(redis_client, *range(6))
    restarts = 0
    while not await dead(redis_client):
        process = worker(redis_url, "stable", "poison", tmp_path)
        await until(partial(has_ended_or_buried, process, redis_client))
        restarts += 1
        if process.poll() is None:
            process.kill()
        assert process.wait() in (9, -signal.SIGKILL)
        assert restarts < 10
    assert await have(redis_client, 0, 1, 2, 4, 5)
    (letter,) = await dead(redis_client)
    assert letter[b"n"] == b"3"
    assert json.loads(letter[b"dead"])["reason"] == "gave up after 3 attempts"
    taken = await redis_client.lrange("taken", 0, -1)
    assert {n: taken.count(b"stable %d" % n) for n in range(6)} == {0: 2, 1: 2, 2: 2, 3: 3, 4: 2, 5: 2}


async def has_ended_or_buried(process: subprocess.Popen[bytes], redis: Redis) -> bool:
    return process.poll() is not None or bool(await dead(redis))


async def test_deleted_entries_leave_the_pending_list(redis_client: Redis) -> None:
    ids = await add(redis_client, 1, 2, 3)
    await redis_client.xgroup_create(STREAM, GROUP, id="0")
    await redis_client.xreadgroup(GROUP, "gone", {STREAM: ">"})
    await redis_client.xdel(STREAM, ids[1])
    handler = Handler()
    async with running(redis_client, handler):
        await until(lambda: have(redis_client, 1, 3))
        await until(lambda: is_settled(redis_client))
    assert handler.seen(2) == []


async def test_consumers_that_are_gone_are_removed_when_they_hold_nothing(redis_client: Redis) -> None:
    await add(redis_client, 1)
    await redis_client.xgroup_create(STREAM, GROUP, id="0")
    await redis_client.xreadgroup(GROUP, "holds one", {STREAM: ">"})
    for n in range(5):
        await redis_client.xgroup_createconsumer(STREAM, GROUP, f"gone {n}")

    async def are(*wanted: bytes) -> bool:
        return {row["name"] for row in await redis_client.xinfo_consumers(STREAM, GROUP)} == set(wanted)

    async with running(redis_client, Handler(), forget_after_s=0.5, min_idle_s=3600):
        await add(redis_client, 2)
        await until(lambda: are(b"alone", b"holds one"))
        assert await pending(redis_client) == 1


async def test_a_living_consumer_that_is_removed_goes_on(redis_client: Redis) -> None:
    """Redis before 7.2 counts only what a consumer was given as a sign of life."""
    async with running(redis_client, Handler()) as consumer:
        await add(redis_client, 1)
        await until(lambda: have(redis_client, 1))
        await redis_client.xgroup_delconsumer(STREAM, GROUP, "alone")
        await add(redis_client, 2)
        await until(lambda: have(redis_client, 1, 2))
        assert not consumer.task.done()


# -- stopping


async def test_stop_finishes_the_batch_in_hand_and_takes_no_more(redis_client: Redis) -> None:
    go = asyncio.Event()

    async def answer(delivery: Delivery) -> Outcome:
        await go.wait()
        return done(delivery)

    handler = Handler(answer)
    async with running(redis_client, handler, batch_max=2) as consumer:
        await add(redis_client, 1)
        await until(lambda: len(handler.batches) == 1)
        await add(redis_client, 2, 3)
        consumer.stop.set()
        go.set()
        await until(consumer.task.done)
    assert await results(redis_client) == [1]
    assert await redis_client.xlen(STREAM) == 2
    assert await pending(redis_client) == 0


async def test_a_stop_gives_back_what_takes_too_long_and_charges_nothing(redis_client: Redis) -> None:
    async def answer(_: Delivery) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    handler = Handler(answer)
    ids = await add(redis_client, 1, 2)
    for _ in range(QUICK.max_attempts + 1):
        async with running(redis_client, handler, finish_s=0.05) as consumer:
            n_before = len(handler.batches)
            await until(lambda n=n_before: len(handler.batches) > n)  # type: ignore[misc]  # bound in the loop
            consumer.stop.set()
            await until(consumer.task.done, limit_s=2)
        rows = await redis_client.xpending_range(STREAM, GROUP, "-", "+", 9)
        assert [row["times_delivered"] for row in rows] == [0, 0]
    async with running(redis_client, Handler()):
        await until(lambda: have(redis_client, 1, 2))
    assert await dead(redis_client) == []
    assert len(ids) == 2


async def test_an_entry_whose_handler_waits_for_something_else_survives_any_number_of_kills(
    redis_client: Redis,
) -> None:
    waiting = asyncio.Event()

    async def wait(deliveries: Sequence[Delivery]) -> list[Outcome]:
        await consumer.uncharge(deliveries[0])  # it is sound
        waiting.set()
        await asyncio.Event().wait()
        raise AssertionError

    await add(redis_client, 1)
    for _ in range(QUICK.max_attempts + 2):
        waiting.clear()
        consumer = Consumer(redis_client, QUICK, wait)
        task = asyncio.create_task(consumer.run(asyncio.Event()))
        async with asyncio.timeout(60):
            await waiting.wait()
        task.cancel()  # as a kill: nothing is given back
        await asyncio.wait({task})
    async with running(redis_client, Handler()):
        await until(lambda: have(redis_client, 1))
    assert await dead(redis_client) == []


async def test_an_entry_that_waits_alone_does_not_slow_the_others_down(redis_client: Redis) -> None:
    def answer(delivery: Delivery) -> Outcome:
        if delivery.fields[b"n"] == b"0":
            return Retry("its own disk is full", is_charged=False, is_alone=True)
        return done(delivery)

    handler = Handler(answer)
    await add(redis_client, 0)
    with capture_logs() as logs:
        async with running(redis_client, handler, min_idle_s=0.1):
            await until(lambda: len(handler.seen(0)) >= 5)
            await add(redis_client, *range(1, 30))
            await until(lambda: have(redis_client, *range(1, 30)))
    assert set(handler.seen(0)) == {1}
    assert max(len(batch) for batch in handler.batches) > 1  # not one at a time
    assert not [line for line in logs if "hindered" in line["event"]]


async def test_a_cancelled_batch_stays_pending(redis_client: Redis) -> None:
    async def answer(_: Delivery) -> Outcome:
        await asyncio.Event().wait()
        raise AssertionError

    handler = Handler(answer)
    await add(redis_client, 1, 2)
    async with running(redis_client, handler) as consumer:
        await until(lambda: bool(handler.batches))
        consumer.task.cancel()
        await until(consumer.task.done)
        assert consumer.task.cancelled()
    assert await pending(redis_client) == 2
    assert await redis_client.xlen(STREAM) == 2


class SwallowingRedis(Redis):
    """A client that answers although it was cancelled, as clients on asyncio.wait_for do (Python 3.11)."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # Any: as redis-py declares it
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py
        except asyncio.CancelledError:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py


async def test_a_consumer_whose_cancellation_is_swallowed_ends_all_the_same(redis_url: str) -> None:
    redis = SwallowingRedis.from_url(redis_url)
    consuming = asyncio.create_task(
        Consumer(redis, replace(QUICK, block_ms=400), Handler()).run(asyncio.Event())
    )
    await until(lambda: any(task.get_name().startswith("consume") for task in asyncio.all_tasks()))
    await asyncio.sleep(0)
    consuming.cancel()
    await asyncio.wait({consuming})
    await until(lambda: not any(task.get_name().startswith("consume") for task in asyncio.all_tasks()))
    await redis.aclose()


async def test_stop_while_nothing_comes_ends_within_a_block(redis_client: Redis) -> None:
    async with running(redis_client, Handler()) as consumer:
        await until(lambda: len(consumer.beats) > 3)
        consumer.stop.set()
        await until(consumer.task.done, limit_s=1)


# -- settings


async def test_a_socket_deadline_shorter_than_the_block_is_refused(redis_url: str) -> None:
    client: Redis = Redis.from_url(redis_url, socket_timeout=0.5)
    with pytest.raises(ValueError, match="socket_timeout"):
        Consumer(client, replace(QUICK, block_ms=500), Handler())
    await client.aclose()


@pytest.mark.parametrize("change", [{"consumer": ""}, {"batch_max": 0}, {"block_ms": 0}, {"dead_max": 0}])
def test_settings_without_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        replace(QUICK, **change)  # type: ignore[arg-type]  # any field


async def test_a_batch_is_settled_when_redis_forgot_the_script(redis_client: Redis) -> None:
    async def answer(delivery: Delivery) -> Done:
        await redis_client.script_flush()
        return done(delivery)

    await add(redis_client, *range(8))
    async with running(redis_client, Handler(answer)) as consumer:
        await until(lambda: is_settled(redis_client))
        counter = "clipwatch_stream_entries_settled_total"
        await until(lambda: consumer.counted(counter, stream=STREAM, outcome="done") == 8)
    assert await have(redis_client, *range(8))


async def test_an_output_that_redis_refuses_leaves_the_rest_of_its_batch_settled(redis_client: Redis) -> None:
    await redis_client.set("not-a-stream", "x")

    def answer(delivery: Delivery) -> Done:
        stream = "not-a-stream" if delivery.fields[b"n"] == b"3" else OUT
        return Done(outputs=(Output(stream, {b"of": delivery.fields[b"n"]}),))

    await add(redis_client, *range(8))
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        async with running(redis_client, Handler(answer)) as consumer:
            await asyncio.wait({consumer.task}, timeout=60)
    assert await have(redis_client, 0, 1, 2, 4, 5, 6, 7)
    assert await pending(redis_client) == 1


async def test_what_is_done_is_settled_beside_what_is_to_be_tried_again(redis_client: Redis) -> None:
    def answer(delivery: Delivery) -> Outcome:
        is_early = delivery.fields[b"n"] == b"0" and delivery.attempts == 1
        return Retry("not yet") if is_early else done(delivery)

    handler = Handler(answer)
    await add(redis_client, *range(8))
    async with running(redis_client, handler):
        await until(lambda: is_settled(redis_client))
    assert await results(redis_client) == [*range(1, 8), 0]
    assert handler.seen(0) == [1, 2]
    assert handler.seen(7) == [1]
