"""Replicas with simulated GPUs agree over a real Redis: spread, shared, killed, paused, without Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import cast

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from structlog.testing import capture_logs

from services.classifier.devices.choice import Gpu, pick
from services.classifier.devices.leases import CLAIM, LEASES, Lease, hold_gpu
from shared.leases import LeaseSettings
from tests.servers import RedisServer, spawn, wait_until

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 30.0
SHORT_S = 1.5  # a lease that a test waits to run out
IDS = [f"GPU-{number}" for number in range(4)]

pytestmark = pytest.mark.redis


def simulated(*ids: str) -> list[Gpu]:
    return [Gpu(index, f"simulated {index}", has_bf16=True, id=gpu_id) for index, gpu_id in enumerate(ids)]


async def until(condition: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < ends_at, f"{what} did not hold within {LIMIT_S:g} s"
        await asyncio.sleep(0.01)


class Replicas:
    """Simulated replicas of one test: tasks of this process, each with a lease of its own."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.stop = asyncio.Event()
        self._stacks: list[contextlib.AsyncExitStack] = []

    async def start(self, *ids: str, ttl_s: float = 30, name: str = "replica") -> Lease:
        stack = contextlib.AsyncExitStack()
        hold = hold_gpu(self.redis, simulated(*ids), LeaseSettings(name, ttl_s), self.stop)
        lease = await stack.enter_async_context(hold)
        self._stacks.append(stack)
        return lease

    async def end(self, number: int) -> None:
        await self._stacks[number].aclose()

    async def leases(self) -> Counter[str]:
        members = cast("list[bytes]", await self.redis.zrange(LEASES, 0, -1))
        return Counter(member.decode().split()[0] for member in members)


@pytest.fixture
async def replicas(redis_client: Redis) -> AsyncIterator[Replicas]:
    made = Replicas(redis_client)
    yield made
    for stack in made._stacks:
        await stack.aclose()


async def test_replicas_that_start_at_once_spread_evenly(replicas: Replicas) -> None:
    held = await asyncio.gather(*(replicas.start(*IDS) for _ in range(4)))
    assert sorted(lease.gpu.id for lease in held) == IDS
    assert [lease.replicas for lease in held] == [1, 1, 1, 1]


async def test_the_fifth_of_four_shares_and_says_so(replicas: Replicas) -> None:
    for _ in range(4):
        await replicas.start(*IDS)
    with capture_logs() as lines:
        fifth = await replicas.start(*IDS)
    assert (fifth.gpu.id, fifth.replicas) == (IDS[0], 2)
    assert [(line["log_level"], line["replicas"]) for line in lines] == [("warning", 2)]
    assert await replicas.leases() == {IDS[0]: 2, IDS[1]: 1, IDS[2]: 1, IDS[3]: 1}


async def test_the_first_of_equals_is_taken_as_the_caller_orders_them(replicas: Replicas) -> None:
    assert (await replicas.start(IDS[2], IDS[0])).gpu.id == IDS[2]
    assert (await replicas.start(IDS[2], IDS[0])).gpu.id == IDS[0]


async def test_a_pinned_gpu_is_avoided_by_the_others(replicas: Replicas) -> None:
    await replicas.start(IDS[0])
    assert (await replicas.start(*IDS[:2])).gpu.id == IDS[1]
    assert (await replicas.start(IDS[0])).replicas == 2


async def test_containers_that_number_the_same_gpus_differently_agree(replicas: Replicas) -> None:
    first = await replicas.start(IDS[0], IDS[1])
    second = await replicas.start(IDS[1], IDS[2])
    third = await replicas.start(IDS[2], IDS[1], IDS[0])
    assert [lease.gpu.id for lease in (first, second, third)] == [IDS[0], IDS[1], IDS[2]]
    assert [lease.gpu.index for lease in (first, second, third)] == [0, 0, 0]


async def test_a_gpu_that_was_given_back_is_free(replicas: Replicas) -> None:
    await replicas.start(*IDS[:2])
    await replicas.start(*IDS[:2])
    await replicas.end(0)
    assert await replicas.leases() == {IDS[1]: 1}
    assert (await replicas.start(*IDS[:2])).gpu.id == IDS[0]


async def test_with_the_last_lease_the_key_goes(replicas: Replicas) -> None:
    await replicas.start(*IDS)
    assert 0 < await replicas.redis.pttl(LEASES) <= 30_000
    await replicas.end(0)
    assert await replicas.redis.exists(LEASES) == 0


async def test_renewing_keeps_a_lease_past_its_time_and_counts_the_others(replicas: Replicas) -> None:
    first = await replicas.start(IDS[0], ttl_s=SHORT_S)
    (member,) = cast("list[bytes]", await replicas.redis.zrange(LEASES, 0, -1))
    ends_ms = await replicas.redis.zscore(LEASES, member)
    assert ends_ms is not None
    second = await replicas.start(IDS[0], ttl_s=SHORT_S)
    await until(lambda: first.replicas == 2, "the first one's knowledge of the second")
    await replicas.end(1)
    await until(lambda: first.replicas == 1, "the first one's knowledge of the end")
    assert await replicas.redis.zrange(LEASES, 0, -1) == [member]
    assert (await replicas.redis.zscore(LEASES, member) or 0) > ends_ms
    assert second.gpu.id == IDS[0]


async def test_a_lease_that_was_lost_is_claimed_again_on_the_same_gpu(replicas: Replicas) -> None:
    lease = await replicas.start(*IDS[:2], ttl_s=SHORT_S)
    with capture_logs() as lines:
        async with replicas.redis.pipeline(transaction=True) as at_once:
            ends_ms = 2**42  # in the year 2109
            at_once.delete(LEASES)
            at_once.zadd(LEASES, {f"{IDS[0]} another": ends_ms})
            await at_once.execute()
        await until(lambda: lease.replicas == 2, "the lease")
    assert await replicas.leases() == {IDS[0]: 2}
    assert [line["event"].split(":")[0] for line in lines] == [
        "the lease on the GPU was gone, claimed the same GPU again",
        "the GPU is shared",
    ]


async def test_a_claim_whose_answer_was_lost_leaves_one_lease(redis_client: Redis) -> None:
    claim = redis_client.register_script(CLAIM)
    assert await claim(keys=[LEASES], args=["ours", 5000, *IDS]) == [1, 1]
    assert await claim(keys=[LEASES], args=["another", 5000, IDS[0]]) == [1, 2]
    assert await claim(keys=[LEASES], args=["ours", 5000, *IDS]) == [2, 1]
    members = cast("list[bytes]", await redis_client.zrange(LEASES, 0, -1))
    assert {member.decode() for member in members} == {f"{IDS[0]} another", f"{IDS[1]} ours"}


async def test_a_full_redis_still_takes_leases(replicas: Replicas) -> None:
    await replicas.redis.set("filling", b"x" * 100_000)
    await replicas.redis.config_set("maxmemory", "1")
    with pytest.raises(ResponseError, match="maxmemory"):
        await replicas.redis.set("more", b"x")
    lease = await replicas.start(*IDS, ttl_s=SHORT_S)
    assert lease.replicas == 1
    assert await replicas.leases() == {IDS[0]: 1}
    await replicas.redis.config_set("maxmemory", "0")


async def test_a_key_of_another_type_stops_the_service_with_the_error(replicas: Replicas) -> None:
    async def held() -> None:
        async with hold_gpu(replicas.redis, simulated(*IDS), LeaseSettings("one", SHORT_S), replicas.stop):
            await replicas.redis.set(LEASES, "another's")
            await asyncio.wait_for(replicas.stop.wait(), LIMIT_S)

    with capture_logs() as lines, pytest.raises(ResponseError, match="WRONGTYPE"):
        await held()
    assert [line["event"] for line in lines if line["log_level"] == "error"] == [
        "renewing the lease on the GPU failed, stopping"
    ]


async def test_without_redis_the_best_gpu_is_used_and_registered_later(own_redis: RedisServer) -> None:
    redis: Redis = Redis.from_url(own_redis.url)
    own_redis.kill()
    told: list[int] = []
    lease_settings = LeaseSettings("one", SHORT_S)
    with capture_logs() as lines:
        async with hold_gpu(redis, simulated(*IDS), lease_settings, asyncio.Event(), told.append) as lease:
            assert (lease.gpu.id, lease.replicas) == (IDS[0], 0)
            own_redis.start()
            await until(lambda: bool(told), "the lease")
            own_redis.kill()
            own_redis.start()
            n_told = len(told)
            await until(lambda: len(told) > n_told, "the lease after a restart")
        assert await redis.exists(LEASES) == 0
        assert set(told) == {1}
    await redis.aclose()
    events = [(line["log_level"], line["event"]) for line in lines]
    assert events[:2] == [
        ("warning", "the GPU is used without a lease until Redis is back"),
        ("info", "the lease on the GPU is back"),
    ]


ids_strategy = st.lists(st.sampled_from([*IDS, "host-a/0000:3b:00:00", "host-b/0"]), min_size=1, unique=True)


@given(
    gpu_ids=ids_strategy,
    held=st.lists(st.tuples(st.sampled_from([*IDS, "host-b/0"]), st.booleans()), max_size=12),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_chooses_as_the_pure_function(
    redis_server: RedisServer, gpu_ids: list[str], held: list[tuple[str, bool]]
) -> None:
    """`held`: leases of others, each live or run out."""
    redis_server.start()
    with contextlib.closing(redis_server.client()) as client:
        client.delete(LEASES)
        now_s, microseconds = client.time()
        now_ms = now_s * 1000 + microseconds // 1000
        for number, (gpu_id, is_live) in enumerate(held):
            client.zadd(LEASES, {f"{gpu_id} other-{number}": now_ms + (60_000 if is_live else -1)})
        position, replicas = cast(
            "list[int]", client.register_script(CLAIM)(keys=[LEASES], args=["ours", 60_000, *gpu_ids])
        )
        left = cast("list[bytes]", client.zrange(LEASES, 0, -1))
    live = Counter(gpu_id for gpu_id, is_live in held if is_live)
    wanted = pick(gpu_ids, live)
    assert (gpu_ids[position - 1], replicas) == (wanted, live[wanted] + 1)
    assert Counter(member.decode().split()[0] for member in left) == live + Counter([wanted])


# -- processes

Start = Callable[..., "tuple[subprocess.Popen[bytes], str]"]


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Start]:
    """Start a replica as a process, and return it with the id of the GPU it holds."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*ids: str) -> tuple[subprocess.Popen[bytes], str]:
        output = tmp_path / f"replica {len(started)}"
        command = [
            sys.executable,
            "-m",
            "tests.integration.lease_replica",
            redis_url,
            f"{SHORT_S * 1000:.0f}",
        ]
        process = spawn([*command, *ids], output, {**os.environ, "PYTHONPATH": str(ROOT)})
        started.append(process)

        def holds() -> bool:
            assert process.poll() is None, output.read_text()
            return "holds " in output.read_text()

        wait_until(holds, LIMIT_S, "a lease")
        found = re.search(r"^holds (\S+)$", output.read_text(), re.MULTILINE)
        assert found is not None
        return process, found[1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def leases(server: RedisServer) -> Counter[str]:
    with contextlib.closing(server.client()) as client:
        members = cast("list[bytes]", client.zrange(LEASES, 0, -1))
    return Counter(member.decode().split()[0] for member in members)


def test_the_gpu_of_a_killed_replica_is_taken_by_the_next(redis_server: RedisServer, start: Start) -> None:
    victim, of_victim = start(*IDS[:2])
    other, of_other = start(*IDS[:2])
    assert (of_victim, of_other) == (IDS[0], IDS[1])
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    # seen by whoever claims or renews: the survivor's renewal drops what has run out
    wait_until(lambda: leases(redis_server) == {IDS[1]: 1}, what="the end of the killed one's lease")
    _, of_next = start(*IDS[:2])
    assert of_next == IDS[0]
    other.send_signal(signal.SIGTERM)
    assert other.wait(timeout=LIMIT_S) == 0
    assert leases(redis_server)[IDS[1]] == 0


def test_a_replica_that_was_paused_takes_its_gpu_again(
    redis_server: RedisServer, start: Start, tmp_path: Path
) -> None:
    paused, of_paused = start(*IDS[:2])
    start(*IDS[:2])
    paused.send_signal(signal.SIGSTOP)
    wait_until(lambda: of_paused not in leases(redis_server), what="the end of the paused one's lease")
    _, of_next = start(*IDS[:2])
    assert of_next == of_paused == IDS[0]
    paused.send_signal(signal.SIGCONT)
    wait_until(lambda: leases(redis_server) == {IDS[0]: 2, IDS[1]: 1}, what="the lease of the paused one")
    assert "claimed the same GPU again" in (tmp_path / "replica 0").read_text()


async def test_a_lease_that_the_clock_of_redis_left_in_the_future_ends_in_a_minute(
    redis_client: Redis,
) -> None:
    seconds, _ = await redis_client.time()
    await redis_client.zadd(
        LEASES, {"GPU-0 dead:1": (int(seconds) + 3600) * 1000}
    )  # the clock was set back since
    async with hold_gpu(redis_client, simulated("GPU-0"), LeaseSettings("alive"), asyncio.Event()):
        left_ms = cast("float", await redis_client.zscore(LEASES, "GPU-0 dead:1"))
    assert left_ms / 1000 - int(seconds) <= 90
