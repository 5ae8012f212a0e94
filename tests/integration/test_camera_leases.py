"""Processes share cameras by leases in a real Redis: even, stable, killed, frozen, parted from Redis, told to stop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError

from services.motion.leases.camera_leases import USUAL_WEIGHT
from services.motion.leases.redis_leases import LEASES, HeldLease, ProcessEntry, ReadUntil, RedisLeases
from shared.leases import LeaseSettings
from tests.integration.lease_rig import Process, Site, until
from tests.servers import RedisServer

pytestmark = [pytest.mark.redis]


@pytest.fixture
async def site(redis_url: str) -> AsyncIterator[Site]:
    made = Site(redis_url, 12)
    yield made
    await made.close()


@pytest.fixture
async def own_site(own_redis: RedisServer) -> AsyncIterator[Site]:
    """Processes on a Redis that the test may freeze or kill."""
    made = Site(own_redis.url, 4)
    yield made
    await made.close()


async def test_processes_that_start_together_share_the_cameras_and_read_none_twice(site: Site) -> None:
    three = [site.add(name) for name in "abc"]
    await site.is_even(*three)
    assert len(site.readings) == 12  # none moved: each waited for the others before it claimed
    assert site.doubles() == []


async def test_the_cameras_of_a_killed_process_go_to_the_others_once_its_leases_end(site: Site) -> None:
    a, b, c = (site.add(name) for name in "abc")
    await site.is_even(a, b, c)
    await site.is_noted()
    kept = {"a": set(a.ids), "b": set(b.ids)}
    await c.kill()
    killed_s = time.monotonic()
    await site.all_read(a, b)
    assert a.ids > kept["a"]
    assert b.ids > kept["b"]
    assert time.monotonic() - killed_s >= site.ttl_s * 0.5  # not before
    taken = a.ids - kept["a"]
    await until(
        lambda: all(a.leases.held[id_].unread_ms for id_ in taken), "that they know what was not read"
    )
    for id_ in taken:
        begins_ms, ends_ms = a.leases.held[id_].unread_ms or (0, 0)
        assert site.ttl_s * 500 < ends_ms - begins_ms < 60_000
    assert site.doubles() == []


async def test_a_process_that_comes_gets_its_share_and_each_camera_is_handed_over_unread_for_a_moment(
    site: Site,
) -> None:
    a, b = site.add("a"), site.add("b")
    await site.is_even(a, b)
    c = site.add("c")
    await site.is_even(a, b, c)
    assert len(site.readings) == 16  # only what c got has moved
    assert site.doubles() == []


async def test_a_process_that_stops_gives_its_cameras_back_once_they_are_not_read_any_more(
    site: Site,
) -> None:
    site.ttl_s = 30.0  # nothing runs out here
    a, b = site.add("a"), site.add("b")
    await site.is_even(a, b)
    b.workers.is_slow_to_stop = True
    stopping = asyncio.create_task(b.stop())
    await until(lambda: not b.ids, "that b was told to stop")
    slow = set(b.workers.stopping)
    assert len(slow) == 6
    first = min(slow)
    b.workers.stopping.discard(first)
    b.leases.stopped()
    await until(lambda: first in a.ids, "that the camera that has stopped is read again")
    assert not a.ids & (slow - {first})
    b.workers.stopping.clear()
    b.leases.stopped()
    await stopping
    await site.all_read(a)
    assert site.doubles() == []


async def test_a_stop_may_be_spread_so_that_one_camera_moves_at_a_time(site: Site) -> None:
    a, b = site.add("a"), site.add("b")
    await site.is_even(a, b)
    given = sorted(b.ids)
    await b.stop(within_s=3.0)
    await site.all_read(a)
    ends = [one.ends_s for id_ in given for one in site.readings if (one.process, one.camera) == ("b", id_)]
    assert ends == sorted(end for end in ends if end is not None)
    assert max(end or 0 for end in ends) - min(end or 0 for end in ends) > 2.0
    assert site.doubles() == []


async def test_cameras_of_different_lists_are_not_shared(site: Site) -> None:
    a, b = site.add("a"), site.add("b", cameras={"other": ""})
    await site.all_read(a)
    await until(lambda: b.ids == {"other"}, "that b reads its own")


async def test_a_camera_that_two_lists_name_is_read_once(site: Site) -> None:
    a = site.add("a")
    await site.all_read(a)
    b = site.add("b", cameras={"c00": "", "other": ""})
    await until(lambda: b.ids == {"other"}, "that b reads what is free")
    assert site.doubles() == []


async def test_a_camera_that_is_removed_from_the_list_is_given_back(site: Site) -> None:
    a = site.add("a")
    await site.all_read(a)
    del site.cameras["c03"]
    await site.all_read(a)
    held = a.leases.held
    assert "c03" not in held or "c03" not in a.ids
    b = site.add("b", cameras={"c03": ""})
    await until(lambda: b.ids == {"c03"}, "that somebody else may have it")


async def test_a_process_takes_no_more_than_its_cap_until_its_cameras_turn_out_to_be_light(
    site: Site,
) -> None:
    a = site.add("a", load_max=100.0)
    a.workers.weights = dict.fromkeys(site.cameras, USUAL_WEIGHT)
    await until(lambda: len(a.ids) == 3, "that three fit")
    await until(lambda: a.metrics.cameras_unheld._value.get() == 9, "that it is seen that nobody reads nine")
    assert len(a.ids) == 3
    a.workers.weights = {}
    await site.all_read(a)


async def test_cameras_that_nobody_has_measured_yet_count_like_the_others(site: Site) -> None:
    a, b, c = (site.add(name) for name in "abc")
    c.workers.is_connecting = True
    await site.is_even(a, b, c)
    await weigh(1.0, a, b)
    await c.has_looked()  # it sees that the others' are light
    assert len(site.readings) == 12


async def test_a_rate_that_stutters_moves_no_camera_and_one_that_stays_does(site: Site) -> None:
    a, b = site.add("a"), site.add("b")
    await site.is_even(a, b)
    await weigh(1.0, a, b)
    a.workers.weights = Stuttering()
    for _ in range(5):
        await a.has_looked()
        await b.has_looked()
    assert len(site.readings) == 12
    a.workers.weights = dict.fromkeys(site.cameras, 20.0)
    await until(lambda: len(site.readings) > 12, "that a gives some away")


async def weigh(megapixels_hz: float, *processes: Process) -> None:
    """Wait until the processes tell that each of their cameras weighs that."""
    held = [one for process in processes for one in process.leases.held.values()]
    await until(lambda: all(one.weight == megapixels_hz for one in held), "that all are measured")
    for process in processes:
        await process.has_looked()


class Stuttering(dict[str, float]):
    """Weights that are twenty times as much in every second round."""

    def __init__(self) -> None:
        self._numbers: Counter[str] = Counter()

    def get(self, id_: str, _: object = None) -> float:
        self._numbers[id_] += 1
        return 20.0 if self._numbers[id_] % 2 else 1.0


async def test_a_process_at_the_cameras_location_takes_it(site: Site) -> None:
    site.cameras["c00"] = "north"
    a = site.add("a", location="south")
    await site.all_read(a)
    b = site.add("b", location="north")
    await site.is_even(a, b)
    await until(lambda: "c00" in b.ids, "that it is read where it is")


async def test_a_bound_camera_waits_for_a_process_at_its_location(site: Site) -> None:
    site.cameras["c00"] = "north"
    a = site.add("a", location="south")
    a.workers.known_bound = {"c00"}
    await until(lambda: len(a.ids) == 11, "that all others are read")
    await until(lambda: a.metrics.cameras_unheld._value.get() == 1, "that it is seen that nobody reads it")
    b = site.add("b", location="north")
    b.workers.known_bound = {"c00"}
    await site.is_even(a, b)
    assert [one.process for one in site.readings if one.camera == "c00"] == ["b"]


async def test_while_redis_is_frozen_cameras_are_read_until_the_lease_would_have_ended_and_not_longer(
    own_site: Site, own_redis: RedisServer
) -> None:
    a, b = own_site.add("a"), own_site.add("b")
    await own_site.is_even(a, b)
    own_redis.freeze()
    frozen_s = time.monotonic()
    try:
        await until(lambda: not a.ids and not b.ids, "that nobody reads any more")
    finally:
        own_redis.thaw()
    ends = [one.ends_s or 0.0 for one in own_site.readings]
    assert min(ends) - frozen_s > own_site.ttl_s * (1 - 0.2) - 2 * own_site.ttl_s / 10 - 0.5
    assert max(ends) - frozen_s < own_site.ttl_s + 0.5
    await own_site.all_read(a, b)
    assert own_site.doubles() == []


async def test_when_redis_comes_back_soon_nothing_has_stopped(own_site: Site, own_redis: RedisServer) -> None:
    own_site.ttl_s = 20.0
    a, b = own_site.add("a"), own_site.add("b")
    await own_site.is_even(a, b)
    own_redis.kill()
    await asyncio.sleep(2.5)  # a renewal fails meanwhile
    own_redis.start()
    before = [(one.process, one.camera, one.ends_s) for one in own_site.readings]
    renewed = {id_: one.ends_s for id_, one in a.leases.held.items()}
    await until(
        lambda: all(a.leases.held[id_].ends_s > ends_s for id_, ends_s in renewed.items()), "a renewal"
    )
    assert [(one.process, one.camera, one.ends_s) for one in own_site.readings] == before


async def test_after_redis_was_emptied_everybody_keeps_what_they_read(site: Site) -> None:
    a, b = site.add("a"), site.add("b")
    await site.is_even(a, b)
    client: Redis = Redis.from_url(site.url)
    await client.flushall()
    await until_fields(client, 14)
    await client.aclose()
    assert len(site.readings) == 12
    assert all(one.ends_s is None for one in site.readings)


async def until_fields(client: Redis, n: int) -> None:
    async with asyncio.timeout(60):
        while await cast("Any", client.hlen(LEASES)) != n:
            await asyncio.sleep(0.02)


async def test_a_process_that_was_paused_beyond_its_leases_stops_what_others_have(site: Site) -> None:
    a, b = site.add("a"), site.add("b")
    await site.is_even(a, b)
    assert b.task is not None
    b.task.cancel()  # it hangs: it goes on reading, and renews nothing
    await asyncio.gather(b.task, return_exceptions=True)
    await until(lambda: len(a.ids) == 12, "that the other took them")
    b.start()
    await site.is_even(a, b)
    overlaps = site.doubles()
    assert overlaps  # it hung, and read
    assert all(first.process == "b" for first, _ in overlaps)


async def test_an_older_epoch_neither_renews_nor_releases(redis_client: Redis) -> None:
    one, two = (RedisLeases(redis_client, LeaseSettings(name, 0.2)) for name in ("one", "two"))
    first = (await one.claim({"gate": 2.0}))["gate"]
    assert first.read_until_ms is None
    await one.renew(ProcessEntry(), {"gate": HeldLease(first.epoch, 2.0)})
    assert await two.claim({"gate": 2.0}) == {}
    second = None
    while second is None:
        second = (await two.claim({"gate": 2.0})).get("gate")
    assert second.epoch > first.epoch
    assert second.read_until_ms is not None
    longer = RedisLeases(redis_client, LeaseSettings("three", 30))
    longer.name = two.name
    await longer.renew(ProcessEntry(), {"gate": HeldLease(second.epoch, 2.0)})
    await one.release({"gate": (first.epoch, ReadUntil.NOW)})
    late = {"gate": HeldLease(first.epoch, 9.0)}
    table = await one.renew(ProcessEntry(), late)
    assert (table.leases["gate"].holder, table.leases["gate"].weight) == (two.name, 2.0)
    assert table.leases["gate"].is_held
    assert (await longer.renew(ProcessEntry(), late)).leases["gate"].weight == 2.0
    await two.release({"gate": (first.epoch, ReadUntil.NOW)})
    assert (await one.renew(ProcessEntry(), {})).leases["gate"].is_held


async def test_a_claim_that_a_new_master_does_not_know_is_renewed(redis_client: Redis) -> None:
    seconds, _ = await redis_client.time()
    one = RedisLeases(redis_client, LeaseSettings("one", 30))
    epoch = (await one.claim({"gate": 1.0}))["gate"].epoch
    for ends_s, is_renewed in ((-5, True), (+20, False)):  # the lease before, ended or not
        value = f"{(int(seconds) + ends_s) * 1000} {epoch - 1} {int(seconds) * 1000} 1 other"
        await cast("Any", redis_client.hset(LEASES, "camera gate", value))
        table = await one.renew(ProcessEntry(), {"gate": HeldLease(epoch, 1.0)})
        assert (table.leases["gate"].holder == one.name) == is_renewed


async def test_a_full_redis_takes_leases(own_redis: RedisServer) -> None:
    redis: Redis = Redis.from_url(own_redis.url)
    leases = RedisLeases(redis, LeaseSettings("one", 30))
    await redis.config_set("maxmemory", 1)
    with pytest.raises(OutOfMemoryError):
        await redis.set("anything", "new")
    claim = (await leases.claim({"gate": 1.0}))["gate"]
    table = await leases.renew(ProcessEntry(), {"gate": HeldLease(claim.epoch, 1.0)})
    assert table.leases["gate"].is_held
    await leases.release({"gate": (claim.epoch, ReadUntil.NOW)})
    await leases.leave()
    await redis.aclose()


async def test_leases_that_a_clock_made_too_long_are_shortened(redis_client: Redis) -> None:
    seconds, _ = await redis_client.time()
    ends_ms = (int(seconds) + 86_400) * 1000
    await cast("Any", redis_client.hset(LEASES, "camera gate", f"{ends_ms} 7 {ends_ms} 1 gone"))
    one = RedisLeases(redis_client, LeaseSettings("one", 30))
    await one.renew(ProcessEntry(), {})
    value = (await cast("Any", redis_client.hget(LEASES, "camera gate"))).decode()
    assert int(value.split()[0]) <= (int(seconds) + 120) * 1000


@pytest.mark.parametrize("value", ["", "x", "1", "1 2 3 4", "99999999999999 {"])
async def test_what_cannot_be_read_is_nobodys(redis_client: Redis, value: str) -> None:
    await cast("Any", redis_client.hset(LEASES, "camera gate", value))
    one = RedisLeases(redis_client, LeaseSettings("one", 30))
    assert "gate" not in (await one.renew(ProcessEntry(), {})).leases
    assert (await one.claim({"gate": 1.0}))["gate"].epoch
