"""Three motion processes with twelve cameras and a recorder: one is killed, one told to stop, each while things move.

Every camera shows the same scene, so it is known when each had to see something: at each begin of the scene, there has
to be one event, unless a gap of the camera is recorded then.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from shared.clock import epoch_ms
from shared.contract import SnippetHeader
from tests.integration.leased_site import LeasedSite, are_whole, events_of
from tests.integration.shared_scene import MOVES_S, PERIOD_S
from tests.integration.test_motion_service import Rig
from tests.integration.test_recorder_service import Recorder, started
from tests.servers import wait_until

pytestmark = [pytest.mark.redis, pytest.mark.timeout(400)]
MATCH_S = 1.5  # a camera sees the scene begin within this
WARM_UP_S = 2.0  # of a detector that begins, and its first picture
LIMIT_S = 60.0
Span = tuple[float, float]  # seconds since 1970


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[LeasedSite]:
    made = LeasedSite(Rig(tmp_path, redis_url))
    yield made
    made.close()


@pytest.fixture
def recorder(site: LeasedSite, tmp_path: Path, redis_url: str) -> Iterator[Recorder]:
    """A recorder that knows the addresses of all three processes."""
    addresses = ",".join(map(site.address_of, site.ports))
    with started(tmp_path, redis_url, MOTION_URL=addresses) as made:
        yield made


def asked(recorder: Recorder, path: str) -> httpx.Response:
    return httpx.get(f"{recorder.url}{path}", timeout=20, trust_env=False)


def are_shown(recorder: Recorder, cameras: list[str]) -> bool:
    """Whether the recorder lists these cameras as running and gets a picture of each."""
    listed = {one["id"]: one["state"] for one in asked(recorder, "/api/cameras").json()["cameras"]}
    pictures = [asked(recorder, f"/api/cameras/{id_}/picture.jpg").status_code for id_ in cameras]
    return listed == dict.fromkeys(cameras, "running") and pictures == [200] * len(cameras)


def gaps_of(recorder: Recorder, camera: str) -> list[Span]:
    """Return the gaps of a camera that are over."""
    answer = httpx.get(f"{recorder.url}/api/gaps", params={"camera": camera}, timeout=10, trust_env=False)
    spans = [(one["started_at"], one["ended_at"]) for one in answer.json()["gaps"] if one["camera"] == camera]
    return [(seconds(begin), seconds(end)) for begin, end in spans if end is not None]


def seconds(moment: str) -> float:
    return epoch_ms(datetime.fromisoformat(moment)) / 1000


def begins_of(events: dict[str, list[SnippetHeader]], camera: str) -> list[float]:
    """Return when a camera's events began."""
    return sorted(
        snippets[0].event_started_at.timestamp()
        for snippets in events.values()
        if snippets[0].camera == camera
    )


def scene_begins(since_s: float, until_s: float) -> list[float]:
    """Return when the scene begins to move, from its first begin after `since_s` on."""
    first = int(since_s // PERIOD_S) * PERIOD_S + MOVES_S[0]
    return [at for at in range(first, int(until_s), PERIOD_S) if since_s < at]


def faults_of(begins: list[float], gaps: list[Span], since_s: float, until_s: float) -> list[str]:
    """Return what is missing of a camera's events, or there twice."""
    faults = []
    for scene_s in scene_begins(since_s, until_s):
        found = [at for at in begins if abs(at - scene_s) < MATCH_S]
        is_gap = any(begin - MATCH_S < scene_s < end + WARM_UP_S for begin, end in gaps)
        if len(found) > 1 or not (found or is_gap):
            faults.append(f"{len(found)} events at {scene_s}")
        lasts_s = scene_s + MOVES_S[1] - MOVES_S[0]
        later = [at for at in begins if scene_s + MATCH_S <= at < scene_s + PERIOD_S - MATCH_S]
        n_ends = sum(scene_s - WARM_UP_S < end < lasts_s + WARM_UP_S for _, end in gaps)
        if len(later) > n_ends:
            faults.append(f"{len(later)} events in the middle of the scene at {scene_s}")
    return faults


def await_scene(site: LeasedSite, camera: str) -> None:
    """Wait until a camera has seen the scene begin from now on."""
    now_s = time.time()
    wait_until(
        lambda: any(at > now_s for at in begins_of(events_of(site.rig.redis_url), camera)),
        LIMIT_S,
        "an event",
    )


@pytest.mark.slow  # shorter: test_camera_leases.py, in one process
def test_what_is_lost_when_processes_die_or_stop_is_recorded_as_gaps_and_nothing_is_doubled(
    site: LeasedSite, recorder: Recorder
) -> None:
    site.start("a", "b", "c", CAMERA_HANDOVER_S="3")
    site.wait_until_even()
    wait_until(lambda: are_shown(recorder, site.ids), LIMIT_S, "that each camera is shown by its process")
    since_s = time.time() + WARM_UP_S
    taken = min(site.read_by("c"))
    wait_until(lambda: site.has_open_event("c"), LIMIT_S, "that something moves")
    killed_s = time.time()
    site.kill("c")
    wait_until(site.are_all_read, LIMIT_S, "that the others read its cameras")
    wait_until(lambda: are_shown(recorder, site.ids), LIMIT_S, "that they are shown by the others")
    await_scene(site, taken)
    site.start("c", CAMERA_HANDOVER_S="3")  # it takes up what it had not sent, and its share
    site.wait_until_even()
    wait_until(lambda: site.has_open_event("b"), LIMIT_S, "that something moves")
    assert site.stop("b") == 0
    wait_until(site.are_all_read, LIMIT_S, "that the others read its cameras")
    for _ in range(2):
        await_scene(site, taken)
    until_s = time.time() - PERIOD_S  # events of later scenes may be open
    gaps = {id_: gaps_of(recorder, id_) for id_ in site.ids}
    for name in list(site.running):
        assert site.stop(name) == 0
    assert [one for one in gaps[taken] if one[0] < killed_s + 1 < one[1]]
    events = events_of(site.rig.redis_url)
    assert all(are_whole(snippets) for snippets in events.values())
    assert len(scene_begins(since_s, until_s)) >= 3
    faults = {id_: faults_of(begins_of(events, id_), gaps[id_], since_s, until_s) for id_ in site.ids}
    assert not any(faults.values()), (faults, gaps)


def test_a_process_that_hands_over_follows_the_camera_file_until_it_is_done(
    tmp_path: Path, redis_url: str
) -> None:
    site = LeasedSite(Rig(tmp_path, redis_url), n_cameras=3)
    try:
        (motion,) = site.start("a", CAMERA_HANDOVER_S="400", DRAIN_S="500")
        wait_until(lambda: len(site.read_by("a")) == 3, LIMIT_S, "that all are read")
        motion.process.send_signal(signal.SIGTERM)
        wait_until(lambda: site.read_by("a") == {"c01", "c02"}, LIMIT_S, "that the first is handed over")
        site.pause("c02")
        wait_until(lambda: site.read_by("a") == {"c01"}, LIMIT_S, "that the paused camera is not read")
    finally:
        site.close()


def test_the_check_finds_what_is_lost_and_what_is_doubled() -> None:
    begins = [12 * number + MOVES_S[0] + 0.4 for number in range(5)]
    assert faults_of(begins, [], 0, 60) == []
    assert faults_of(begins[:2] + begins[3:], [], 0, 60) == ["0 events at 26"]
    assert faults_of(begins[:2] + begins[3:], [(25.0, 29.0)], 0, 60) == []
    assert faults_of([*begins, begins[2] + 0.2], [], 0, 60) == ["2 events at 26"]
    assert faults_of([*begins, begins[2] + 2], [], 0, 60) == ["1 events in the middle of the scene at 26"]
    assert faults_of([*begins, begins[2] + 2], [(26.5, 27.0)], 0, 60) == []
