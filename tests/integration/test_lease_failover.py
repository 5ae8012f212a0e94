"""Redis' master is killed while three motion processes share cameras by leases: Sentinel names the replica."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.failover_rig import WatchedRedis, watched_redis
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
from tests.servers import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def watched() -> Iterator[WatchedRedis]:
    with watched_redis(down_after_ms=4000) as made:
        yield made


@pytest.fixture
def recorder(watched: WatchedRedis, tmp_path: Path) -> Iterator[Recorder]:
    with started(tmp_path, watched.url) as made:
        yield made


@pytest.mark.parametrize("lease_s", [4, 20])
def test_cameras_are_read_again_once_sentinel_has_named_another_master(
    watched: WatchedRedis, recorder: Recorder, tmp_path: Path, lease_s: float
) -> None:
    """A lease of 4 s ends before the failover does, one of 20 s does not."""
    site = LeasedSite(Rig(tmp_path, watched.url), n_cameras=6, lease_s=lease_s)
    try:
        site.start("a", "b", "c")
        site.wait_until_even()
        site.rig.redis_url = watched.master().url
        since_s = time.time() + WARM_UP_S
        await_scene(site, "c00")
        wait_until(watched.is_whole, LIMIT_S, "that the replica is in step")
        before = {name: site.read_by(name) for name in site.running}
        killed = watched.master()
        killed_s = time.time()
        killed.kill()
        if lease_s == 4:
            wait_until(lambda: not any(map(site.read_by, site.running)), LIMIT_S, "that all leases end")
        wait_until(lambda: watched.master() is not killed, LIMIT_S, "another master")
        wait_until(site.are_all_read, LIMIT_S, "that all cameras are read again")
        print(f"with a lease of {lease_s} s read again {time.time() - killed_s:.1f} s after the kill")
        site.rig.redis_url = watched.master().url
        for _ in range(3):  # the first may lie before since_s, and the last may be open
            await_scene(site, "c00")
        until_s = time.time() - PERIOD_S  # events of later scenes may be open
        gaps = {id_: gaps_of(recorder, id_) for id_ in site.ids}
        looked_s = time.time()
        ended = [one for one in site.reading_times() if killed_s < one.ends_s < looked_s]
        assert site.read_twice_s() == 0
        if lease_s == 4:
            assert {one.camera for one in ended} == set(site.ids)
            assert all(any(begin < killed_s + 4 < end for begin, end in gaps[id_]) for id_ in site.ids)
        else:
            assert {name: site.read_by(name) for name in site.running} == before
            assert not ended
            # what was read later by the handovers of the beginning is a gap before the kill
            assert not [end for of_camera in gaps.values() for _, end in of_camera if end > killed_s]
        for name in list(site.running):
            assert site.stop(name) == 0
        events = events_of(site.rig.redis_url)
        assert all(are_whole(snippets) for snippets in events.values())
        assert len(scene_begins(since_s, until_s)) >= 2
        faults = {id_: faults_of(begins_of(events, id_), gaps[id_], since_s, until_s) for id_ in site.ids}
        assert not any(faults.values()), (faults, gaps)
    finally:
        site.close()
