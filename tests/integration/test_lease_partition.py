"""A motion process that is cut off from Redis, and from nothing else, while things move before its cameras."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.motion.leases.camera_leases import MOST_MARGIN_S, ROUNDS
from shared.contract import SnippetHeader
from tests.integration.cut_proxy import Cut, CutProxy
from tests.integration.leased_site import LeasedSite, are_whole, events_of
from tests.integration.shared_scene import PERIOD_S
from tests.integration.test_leased_cameras import (
    LIMIT_S,
    WARM_UP_S,
    await_scene,
    begins_of,
    faults_of,
    gaps_of,
    scene_begins,
)
from tests.integration.test_motion_service import Rig
from tests.integration.test_recorder_service import Recorder, started
from tests.servers import HOST, RedisServer, wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def site(tmp_path: Path, own_redis: RedisServer) -> Iterator[LeasedSite]:
    made = LeasedSite(Rig(tmp_path, own_redis.url), n_cameras=4, lease_s=10)
    yield made
    made.close()


@pytest.fixture
def way(own_redis: RedisServer) -> Iterator[CutProxy]:
    """The way of one process to Redis."""
    made = CutProxy(own_redis.port)
    yield made
    made.close()


@pytest.fixture
def recorder(site: LeasedSite, tmp_path: Path) -> Iterator[Recorder]:
    with started(tmp_path, site.rig.redis_url) as made:
        yield made


def n_spooled(site: LeasedSite, name: str) -> int:
    answer = httpx.get(f"{site.address_of(name)}/api/cameras", timeout=10, trust_env=False)
    outbox: dict[str, Any] = answer.json()["outbox"]  # Any: JSON
    return int(outbox["entries"])


def lasted_at(snippets: Sequence[SnippetHeader], at_s: float) -> bool:
    """Whether an event lasted at a time, in seconds since 1970."""
    ends = [one.event_ended_at.timestamp() for one in snippets if one.event_ended_at is not None]
    return snippets[0].event_started_at.timestamp() < at_s < max(ends, default=0.0)


@pytest.mark.parametrize("how", list(Cut))
def test_a_process_that_is_cut_off_records_until_its_leases_end_and_sends_it_later(
    site: LeasedSite, recorder: Recorder, way: CutProxy, how: Cut
) -> None:
    site.start("a", REDIS_URL=f"redis://{HOST}:{way.port}/0")
    site.start("b")
    site.wait_until_even()
    mine = site.read_by("a")
    since_s = time.time() + WARM_UP_S
    await_scene(site, min(mine))  # all have seen what they watch
    wait_until(lambda: not site.has_open_event("a"), LIMIT_S, "that it is still")
    wait_until(lambda: site.has_open_event("a"), LIMIT_S, "that something moves")
    cut_s = time.time()
    way.cut(how)
    wait_until(lambda: n_spooled(site, "a") > 0, LIMIT_S, "that it records all the same")
    wait_until(lambda: not site.read_by("a"), LIMIT_S, "that it reads nothing any more")
    wait_until(site.are_all_read, LIMIT_S, "that the other reads its cameras")
    spooled_s = time.time()
    assert n_spooled(site, "a") >= len(mine)
    way.mend()
    wait_until(lambda: n_spooled(site, "a") == 0, LIMIT_S, "that what was spooled is sent")
    site.wait_until_even()
    for _ in range(2):
        await_scene(site, min(mine))
    until_s = time.time() - PERIOD_S  # events of later scenes may be open
    gaps = {id_: gaps_of(recorder, id_) for id_ in site.ids}
    stopped = [one for one in site.reading_times() if one.process == "a" and cut_s < one.ends_s < spooled_s]
    twice_s = site.read_twice_s()
    for name in list(site.running):
        assert site.stop(name) == 0
    assert {one.camera for one in stopped} == mine
    shortest_s = site.lease_s - MOST_MARGIN_S - site.lease_s / ROUNDS
    assert shortest_s - 1 < min(one.ends_s for one in stopped) - cut_s
    assert twice_s == 0
    assert all(any(begin < cut_s + 1 < end for begin, end in gaps[id_]) for id_ in mine)
    events = events_of(site.rig.redis_url)
    assert all(are_whole(snippets) for snippets in events.values())
    assert len(scene_begins(since_s, until_s)) >= 2
    faults = {id_: faults_of(begins_of(events, id_), gaps[id_], since_s, until_s) for id_ in site.ids}
    assert not any(faults.values()), (faults, gaps)
    # what it saw while it was cut off is there, though the other did not know that it read
    assert {snippets[0].camera for snippets in events.values() if lasted_at(snippets, cut_s + 1)} >= mine
