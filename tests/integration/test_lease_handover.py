"""What leases say of a camera that is paused, taken over or handed over at a bad moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import ResponseError

from services.motion.leases.redis_leases import (
    LEASES,
    Claim,
    HeldLease,
    LeaseTable,
    ProcessEntry,
    ReadUntil,
    RedisLeases,
)
from shared.leases import LeaseSettings
from tests.integration.lease_rig import Process, Site, until

pytestmark = [pytest.mark.redis]


@pytest.fixture
async def site(redis_url: str) -> AsyncIterator[Site]:
    made = Site(redis_url, 4)
    yield made
    await made.close()


async def reads(process: Process, camera: str) -> None:
    """Wait until a process has had a picture of a camera."""

    def has_picture() -> bool:
        held = process.leases.held.get(camera)
        return held is not None and held.read_again_ms is not None

    await until(has_picture, f"that {camera} is read")


async def value_of(client: Redis, camera: str = "gate") -> list[str]:
    """Return end, epoch, read until, weight and holder of a lease."""
    value: bytes = await cast("Any", client.hget(LEASES, f"camera {camera}"))  # Any: redis-py's union
    return value.decode().split()


# -- pauses


async def test_a_camera_that_was_paused_was_missed_by_nobody(site: Site) -> None:
    site.unlisted_s = 0.5
    a = site.add("a")
    await reads(a, "c03")
    del site.cameras["c03"]
    await until(lambda: "c03" not in a.leases.held, "that the lease is given back")
    site.cameras["c03"] = ""
    await reads(a, "c03")
    assert a.leases.held["c03"].unread_ms is None


async def test_a_paused_camera_of_a_killed_process_was_missed_by_nobody(site: Site) -> None:
    a = site.add("a")
    await reads(a, "c03")
    del site.cameras["c03"]
    client: Redis = Redis.from_url(site.url)
    async with asyncio.timeout(60):
        while (await value_of(client, "c03"))[2] != "0":
            await asyncio.sleep(0.01)
    assert "c03" in a.leases.held
    await client.aclose()


async def test_a_camera_that_moves_on_at_once_has_its_unread_time_told_all_the_same(site: Site) -> None:
    a = site.add("a")
    await reads(a, "c03")
    await site.is_noted()
    await a.kill()
    b = site.add("b")
    await reads(b, "c03")
    unread_ms = b.leases.unread_times["c03"]
    await b.leases.leave(0.0, 60.0)
    assert not b.leases.held
    assert b.leases.unread_times["c03"] == unread_ms


@pytest.mark.parametrize("is_paused", [True, False])
async def test_a_camera_that_another_list_reads_is_missed_though_this_list_does_not_want_it(
    site: Site, is_paused: bool
) -> None:
    """In the one list it is paused, or was once."""
    mine = {"own": ""} if is_paused else {"own": "", "c03": ""}
    north = site.add("north", cameras=mine)
    if is_paused:
        north.workers.known_paused = {"c03"}
    else:
        await reads(north, "c03")
        del mine["c03"]
        await until(lambda: "c03" not in north.leases.held, "that it is given back")
    south = site.add("south")
    await reads(south, "c03")
    # longer than a process of the one list may still read it
    await asyncio.sleep(site.unlisted_s + site.ttl_s)
    await south.kill()
    await site.has_ended("c03")
    await north.has_looked()
    again = site.add("again")
    await reads(again, "c03")
    assert again.leases.held["c03"].unread_ms is not None


async def test_a_camera_that_is_paused_before_its_first_picture_was_missed_until_then(site: Site) -> None:
    a = site.add("a")
    await reads(a, "c03")
    await site.is_noted()
    await a.kill()
    killed_ms = time.time() * 1000
    b = site.add("b")
    b.workers.is_connecting = True
    await until(lambda: "c03" in b.leases.held, "that the other has it")
    del site.cameras["c03"]
    b.workers.known_paused = {"c03"}
    await until(lambda: "c03" not in b.leases.held, "that it is given back")
    begins_ms, ends_ms = b.leases.unread_times["c03"]
    assert begins_ms <= killed_ms < ends_ms <= time.time() * 1000


@pytest.mark.parametrize("is_removed", [True, False])
async def test_a_camera_that_was_paused_while_nobody_held_it_was_missed_until_then_only(
    site: Site, is_removed: bool
) -> None:
    a = site.add("a")
    await reads(a, "c03")
    await site.is_noted()
    await a.kill()
    killed_ms = time.time() * 1000
    b = site.add("b", load_max=0.1)  # it has room for none
    await until(lambda: b.metrics.cameras_unheld._value.get() == 4, "that it sees that nobody reads them")
    del site.cameras["c03"]
    b.workers.known_paused = set() if is_removed else {"c03"}
    client: Redis = Redis.from_url(site.url)
    async with asyncio.timeout(60):
        while (await value_of(client, "c03"))[2] != "0":
            await asyncio.sleep(0.01)
    noticed_ms = time.time() * 1000
    await until(lambda: is_removed or "c03" in b.leases.unread_times, "that it is told")
    if not is_removed:
        begins_ms, ends_ms = b.leases.unread_times["c03"]
        assert begins_ms <= killed_ms < ends_ms <= noticed_ms
    site.cameras["c03"] = ""
    b.workers.known_paused = set()
    c = site.add("c")
    await reads(c, "c03")
    assert c.leases.held["c03"].unread_ms is None
    assert c.leases.held["c02"].unread_ms is not None
    await client.aclose()


async def test_a_camera_that_is_paused_before_a_killed_process_has_lost_it_was_missed_until_then(
    site: Site,
) -> None:
    a, b = site.add("a"), site.add("b", load_max=0.1)
    await reads(a, "c03")
    await site.is_noted()
    await a.kill()
    del site.cameras["c03"]
    b.workers.known_paused = {"c03"}
    await until(lambda: "c03" in b.leases.unread_times, "that it is told")
    client: Redis = Redis.from_url(site.url)
    lease_ends_ms = int((await value_of(client, "c03"))[0])
    await client.aclose()
    assert b.leases.unread_times["c03"][1] < lease_ends_ms


async def test_a_camera_of_another_list_is_missed_for_as_long_as_nobody_reads_it(site: Site) -> None:
    a = site.add("a")
    await reads(a, "c03")
    await site.is_noted()
    await a.kill()
    b = site.add("b", cameras={"other": ""})
    await reads(b, "other")
    await site.has_ended("c03")
    await b.has_looked()
    c = site.add("c")
    await reads(c, "c03")
    begins_ms, ends_ms = c.leases.held["c03"].unread_ms or (0, 0)
    assert ends_ms - begins_ms >= site.ttl_s * 1000


async def test_a_process_that_has_not_seen_the_pause_yet_does_not_start_the_camera(site: Site) -> None:
    lists = {name: dict(site.cameras) for name in "ab"}
    a, b = (site.add(name, cameras=lists[name]) for name in "ab")
    await site.is_even(a, b)
    paused = min(a.ids)
    del lists["a"][paused]
    await until(lambda: paused not in a.ids, "that it is not read any more")
    await asyncio.sleep(2.0)  # as long as others may take to see the change of the file
    del lists["b"][paused]
    await until(lambda: paused not in a.leases.held, "that the lease is given back")
    assert [one.process for one in site.readings if one.camera == paused] == ["a"]
    assert paused not in b.leases.held


async def test_a_camera_that_is_resumed_soon_is_read_on_by_the_same_lease(site: Site) -> None:
    a = site.add("a")
    await reads(a, "c03")
    epoch = a.leases.held["c03"].claim.epoch
    del site.cameras["c03"]
    await until(lambda: "c03" not in a.ids, "that it is not read any more")
    site.cameras["c03"] = ""
    await site.all_read(a)
    assert a.leases.held["c03"].claim.epoch == epoch


# -- until when a camera was read


@pytest.mark.parametrize("is_killed", [True, False])
async def test_a_holder_that_never_had_a_picture_hides_no_time_from_the_next_one(
    site: Site, is_killed: bool
) -> None:
    a = site.add("a")
    await site.all_read(a)
    await site.is_noted()
    await a.kill()
    killed_ms = time.time() * 1000
    b = site.add("b")
    b.workers.is_connecting = True
    await site.all_read(b)
    await b.has_looked()
    await (b.kill() if is_killed else b.stop())
    c = site.add("c")
    await reads(c, "c03")
    begins_ms, ends_ms = c.leases.held["c03"].unread_ms or (0, 0)
    assert 0 < begins_ms <= killed_ms < ends_ms


async def test_a_claim_whose_answer_was_lost_hides_no_time(site: Site, redis_client: Redis) -> None:
    read_ms = round(time.time() * 1000) - 30_000
    await cast("Any", redis_client.hset(LEASES, "camera c03", f"{read_ms} 7 {read_ms} 1 gone"))
    process = site.add("a", client=LosesAnswers)
    await until(lambda: len(process.ids) == 4, "that it claims again")
    claim = process.leases.held["c03"].claim
    assert (claim.epoch > 8, claim.read_until_ms) == (True, read_ms)


class LosesAnswers(RedisLeases):
    """The answer to the first claim does not arrive."""

    n_claims = 0

    async def claim(self, weights: Mapping[str, float]) -> dict[str, Claim]:
        claims = await super().claim(weights)
        self.n_claims += 1
        if self.n_claims == 1:
            raise RedisAway("lost")
        return claims


@pytest.mark.parametrize(
    ("how", "is_moved", "is_known"),
    [(ReadUntil.NOW, True, True), (ReadUntil.KEPT, False, True), (ReadUntil.UNKNOWN, False, False)],
)
@pytest.mark.parametrize("is_released", [True, False])
async def test_a_lease_says_what_its_holder_says_of_the_camera(
    redis_client: Redis, how: ReadUntil, is_moved: bool, is_known: bool, is_released: bool
) -> None:
    await cast(
        "Any", redis_client.hset(LEASES, "camera gate", f"{(await now_s(redis_client)) * 1000} 3 4 1 x")
    )
    one = RedisLeases(redis_client, LeaseSettings("one", 30))
    epoch = (await one.claim({"gate": 1.0}))["gate"].epoch
    assert (await value_of(redis_client))[2] == "4"
    if is_released:
        await one.release({"gate": (epoch, how)})
    else:
        await one.renew(ProcessEntry(), {"gate": HeldLease(epoch, 1.0, how)})
    read_ms = int((await value_of(redis_client))[2])
    assert (read_ms > 4, read_ms > 0) == (is_moved, is_known)


async def now_s(client: Redis) -> int:
    return int((await client.time())[0])


# -- ends


async def test_a_claim_that_is_answered_after_the_stop_is_given_back(site: Site) -> None:
    process = site.add("a", client=SlowToClaim)
    client = cast("SlowToClaim", process.leases._redis)
    async with asyncio.timeout(60):
        await client.is_claiming.wait()
    leaving = asyncio.create_task(process.stop())
    await asyncio.sleep(0.1)
    client.may_answer.set()
    await leaving
    observer: Redis = Redis.from_url(site.url)
    table = await RedisLeases(observer, LeaseSettings("other", 30)).renew(ProcessEntry(), {})
    await observer.aclose()
    assert sorted(table.leases) == sorted(site.cameras)
    assert not any(lease.is_held for lease in table.leases.values())
    assert process.leases.held == {}
    assert site.readings == []


class SlowToClaim(RedisLeases):
    """The answer to a claim waits for the test."""

    def __init__(self, redis: Redis, settings: LeaseSettings) -> None:
        super().__init__(redis, settings)
        self.is_claiming = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def claim(self, weights: Mapping[str, float]) -> dict[str, Claim]:
        claims = await super().claim(weights)
        self.is_claiming.set()
        await self.may_answer.wait()
        return claims


@pytest.mark.parametrize("within_s", [0.0, 200.0])
async def test_when_the_leases_are_no_longer_kept_a_stop_ends_all_at_once(
    site: Site, within_s: float
) -> None:
    a = site.add("a")
    await site.all_read(a)
    client: Redis = Redis.from_url(site.url)
    await client.delete(LEASES)
    await client.set(LEASES, "not a hash")  # what no waiting cures
    assert a.task is not None
    with pytest.raises(ResponseError):
        await a.task
    assert len(a.ids) == 4
    async with asyncio.timeout(60):
        await a.leases.leave(within_s, 200.0)
    assert a.ids == set()
    await client.delete(LEASES)
    await client.aclose()


async def test_a_spread_stop_ends_when_the_leases_are_no_longer_kept(site: Site) -> None:
    a = site.add("a")
    await site.all_read(a)
    leaving = asyncio.create_task(a.leases.leave(200.0, 200.0))
    await until(lambda: len(a.ids) == 3, "that the first one is handed over")
    assert a.task is not None
    a.task.cancel()
    async with asyncio.timeout(60):
        await leaving
    assert a.ids == set()


@pytest.mark.parametrize("is_hanging", [True, False])
async def test_a_camera_is_read_until_its_lease_ends_and_no_round_longer(
    site: Site, is_hanging: bool
) -> None:
    site.ttl_s = 20.0  # a round and a call last 2 s
    a = site.add("a", client=PartedFromRedis)
    await site.all_read(a)
    client = cast("PartedFromRedis", a.leases._redis)
    client.is_hanging, client.is_parted = is_hanging, True
    ends_s = time.monotonic() + 0.2
    for one in a.leases.held.values():
        one.ends_s = ends_s
    a.leases.stopped()
    await until(lambda: not a.ids, "that nothing is read any more")
    assert max(one.ends_s or 0.0 for one in site.readings) - ends_s < 1.4


class PartedFromRedis(RedisLeases):
    """From some time on Redis does not answer, or refuses."""

    is_parted = False
    is_hanging = False

    async def renew(self, process: ProcessEntry, held: Mapping[str, HeldLease]) -> LeaseTable:
        if self.is_parted and self.is_hanging:
            await asyncio.sleep(600)
        if self.is_parted:
            raise RedisAway("parted")
        return await super().renew(process, held)
