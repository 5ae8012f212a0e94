"""Which process should read which camera."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import given

from services.motion.leases.plan import CameraLoad, MotionProcess, plan_cameras

LOCATIONS = st.sampled_from(["", "north", "south"])
WEIGHTS = st.sampled_from([0.5, 1.0, 2.3, 8.0, 31.1])
CAMERAS = st.lists(
    st.builds(
        CameraLoad,
        st.integers(0, 30).map(lambda number: f"c{number:02}"),
        WEIGHTS,
        LOCATIONS,
        st.booleans(),
    ),
    max_size=20,
    unique_by=lambda one: one.id,
)
PROCESSES = st.lists(
    st.builds(MotionProcess, st.sampled_from("abcde"), st.sampled_from([0.0, 5.0, 40.0]), LOCATIONS),
    max_size=5,
    unique_by=lambda one: one.name,
)
HELD = st.dictionaries(
    st.integers(0, 30).map(lambda number: f"c{number:02}"), st.sampled_from("abcdex"), max_size=20
)


def equal(n: int) -> list[CameraLoad]:
    return [CameraLoad(f"c{number:02}", 1.0) for number in range(n)]


def processes(names: str, load_max: float = 0.0) -> list[MotionProcess]:
    return [MotionProcess(name, load_max) for name in names]


def loads(plan: dict[str, str], cameras: Sequence[CameraLoad]) -> Counter[str]:
    found: Counter[str] = Counter()
    for camera in cameras:
        if camera.id in plan:
            found[plan[camera.id]] += camera.weight  # type: ignore[assignment]  # typeshed counts in int only
    return found


def test_cameras_are_spread_evenly() -> None:
    plan = plan_cameras(equal(12), processes("abc"), {})
    assert sorted(Counter(plan.values()).values()) == [4, 4, 4]


def test_when_a_process_goes_only_its_cameras_move() -> None:
    before = plan_cameras(equal(12), processes("abc"), {})
    after = plan_cameras(equal(12), processes("ab"), before)
    assert {id_ for id_ in before if before[id_] != after[id_]} == {
        id_ for id_, name in before.items() if name == "c"
    }
    assert Counter(after.values()) == {"a": 6, "b": 6}


def test_when_a_process_comes_it_gets_its_share_and_nothing_else_moves() -> None:
    before = plan_cameras(equal(12), processes("ab"), {})
    after = plan_cameras(equal(12), processes("abc"), before)
    assert {after[id_] for id_ in before if before[id_] != after[id_]} == {"c"}
    assert Counter(after.values()) == {"a": 4, "b": 4, "c": 4}


def test_heavy_cameras_count_by_their_weight() -> None:
    cameras = [CameraLoad("uhd", 8.0), *equal(8)]
    assert loads(plan_cameras(cameras, processes("ab"), {}), cameras) == {"a": 8.0, "b": 8.0}


def test_a_process_at_the_cameras_location_is_preferred_however_loaded_it_is() -> None:
    cameras = [CameraLoad(f"c{number}", 1.0, "north") for number in range(4)]
    everyone = [MotionProcess("a", location="south"), MotionProcess("b", location="north")]
    assert set(plan_cameras(cameras, everyone, {"c0": "a"}).values()) == {"b"}
    assert set(plan_cameras(cameras, everyone[:1], {}).values()) == {"a"}


def test_a_bound_camera_is_read_at_its_location_or_nowhere() -> None:
    camera = CameraLoad("usb", 1.0, "north", is_bound=True)
    south, north = MotionProcess("a", location="south"), MotionProcess("b", location="north")
    crowd = [CameraLoad(f"c{number}", 9.0, "north") for number in range(4)]
    assert plan_cameras([camera], [south], {}) == {}
    assert plan_cameras([camera, *crowd], [south, north], {"usb": "a"})["usb"] == "b"
    assert plan_cameras([CameraLoad("usb", 1.0, is_bound=True)], [south], {}) == {"usb": "a"}


def test_a_process_takes_no_more_than_its_cap_and_what_has_no_room_is_left_out() -> None:
    plan = plan_cameras(equal(7), processes("ab", load_max=3.0), {})
    assert Counter(plan.values()) == {"a": 3, "b": 3}


def test_a_held_camera_stays_beyond_the_cap_where_nobody_else_has_room() -> None:
    cameras = [CameraLoad("c0", 5.0)]
    assert plan_cameras(cameras, processes("ab", load_max=3.0), {"c0": "b"}) == {"c0": "b"}


def test_a_process_beyond_its_cap_gives_its_lightest_camera_to_one_that_has_room() -> None:
    cameras = [CameraLoad("big", 3.0), CameraLoad("small", 1.0)]
    plan = plan_cameras(cameras, processes("ab", load_max=3.0), {"big": "a", "small": "a"})
    assert plan == {"big": "a", "small": "b"}


def test_a_capped_process_gets_in_proportion_to_its_cap() -> None:
    everyone = [MotionProcess("a", load_max=30.0), MotionProcess("b", load_max=10.0)]
    assert Counter(plan_cameras(equal(12), everyone, {}).values()) == {"a": 9, "b": 3}


@given(CAMERAS, PROCESSES, HELD)
def test_a_plan_that_is_carried_out_stays(
    cameras: list[CameraLoad], everyone: list[MotionProcess], held: dict[str, str]
) -> None:
    plan = plan_cameras(cameras, everyone, held)
    assert plan_cameras(cameras, everyone, plan) == plan


@given(CAMERAS, PROCESSES, HELD, st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_does_not_matter(
    cameras: list[CameraLoad], everyone: list[MotionProcess], held: dict[str, str], random: st.DrawFn
) -> None:
    plan = plan_cameras(cameras, everyone, held)
    for values in (cameras, everyone):
        random.shuffle(values)  # type: ignore[attr-defined]  # hypothesis' Random
    assert plan_cameras(cameras, everyone, dict(reversed(held.items()))) == plan


@given(CAMERAS, PROCESSES, HELD)
def test_no_camera_is_left_out_where_somebody_has_room_and_no_cap_is_passed_anew(
    cameras: list[CameraLoad], everyone: list[MotionProcess], held: dict[str, str]
) -> None:
    plan = plan_cameras(cameras, everyone, held)
    known = {process.name: process for process in everyone}
    after = loads(plan, cameras)
    for camera in cameras:
        if camera.id not in plan:
            able = [one for one in everyone if not camera.is_bound or camera.location in ("", one.location)]
            assert all(one.load_max and after[one.name] + camera.weight > one.load_max for one in able)
        elif held.get(camera.id) != plan[camera.id]:
            cap = known[plan[camera.id]].load_max
            assert not cap or after[plan[camera.id]] <= cap + 1e-6


@given(CAMERAS, st.sampled_from("abcd"), st.integers(1, 4))
def test_after_a_process_went_all_cameras_are_held_and_loads_differ_by_a_camera_at_most(
    cameras: list[CameraLoad], gone: str, n: int
) -> None:
    cameras = [replace(camera, is_bound=False) for camera in cameras]
    everyone = processes("abcde"[: n + 1])
    plan = plan_cameras(cameras, everyone, {})
    left = [one for one in everyone if one.name != gone]
    after = plan_cameras(cameras, left, plan)
    heaviest = max((camera.weight for camera in cameras), default=0.0)
    found = [loads(after, cameras)[one.name] for one in left]
    assert set(after) == {camera.id for camera in cameras}
    assert max(found) - min(found) <= max(heaviest, 0.1 * max(found)) + 1e-6
