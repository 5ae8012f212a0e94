"""What is configured, wrong and shown, by what services say of themselves at one moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.recorder.gaps.snapshot import (
    START_GRACE_S,
    PipelineSnapshot,
    cameras_now,
    configured,
    faults,
    unread_times,
)
from services.recorder.gaps.values import ConfiguredCamera, GapFault, GapKey, LiveCamera, UnreadTime
from services.recorder.health.pipeline import Disk, reports_of
from shared.clock import from_epoch_ms
from shared.presence import CameraReport, Presence, ProcessPresence

GATE = GapKey("camera.away", "gate")
MOTION_GONE = GapKey("motion.gone", "motion")


def motion(
    *cameras: CameraReport, owner: str = "disk-1", age_s: float = 1.0, is_complete: bool = True
) -> ProcessPresence:
    said = Presence(
        service="motion", name=f"m-{owner}", cameras=cameras, owner=owner, is_complete=is_complete
    )
    return ProcessPresence(said, age_s)


def camera(id_: str = "gate", state: str = "running", **more: object) -> CameraReport:
    return CameraReport.model_validate({"id": id_, "state": state, **more})


def known(*ids: str, owner: str = "disk-1") -> dict[str, ConfiguredCamera]:
    return {id_: ConfiguredCamera(id_, "", owner) for id_ in ids}


def test_cameras_of_all_motion_services_are_configured_and_renamed_ones_are_other() -> None:
    heard = [motion(camera(name="Front gate")), motion(camera("yard"), owner="disk-2")]
    cameras, changed, removed = configured(known("gate"), heard)
    assert {one.id: one.name for one in cameras.values()} == {"gate": "Front gate", "yard": ""}
    assert sorted(one.id for one in changed) == ["gate", "yard"]
    assert removed == []


@pytest.mark.parametrize(
    ("heard", "removed"),
    [
        ([motion(camera())], ["yard"]),  # taken out of the file
        ([motion(camera(), is_complete=False)], []),  # it has not said all
        ([motion(camera(), age_s=60.0)], []),  # it is silent
        ([motion(camera(), owner="disk-2")], []),  # it is another's
        ([motion(camera()), motion(camera("yard"), owner="disk-2")], []),  # it moved
        ([], []),
    ],
)
def test_only_its_own_motion_service_takes_a_camera_away(
    heard: list[ProcessPresence], removed: list[str]
) -> None:
    cameras, _, found = configured(known("gate", "yard"), heard)
    assert found == removed
    assert set(cameras) == {"gate", "yard"} - set(removed)


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("running", None),
        ("ended", None),
        ("disabled", None),
        ("away", GapFault("no route")),
        ("failed", GapFault("no route")),
    ],
)
def test_a_camera_is_away_when_motion_says_so(state: str, fault: GapFault | None) -> None:
    seen = PipelineSnapshot(
        up_s=1, heard=[motion(camera(state=state, message="no route"))], cameras=known("gate")
    )
    assert faults(seen, ())[GATE] == fault


def test_a_camera_that_connects_is_neither_there_nor_away() -> None:
    seen = PipelineSnapshot(up_s=1, heard=[motion(camera(state="connecting"))], cameras=known("gate"))
    assert GATE not in faults(seen, ())


def test_a_motion_service_that_is_gone_is_one_gap_and_not_one_a_camera() -> None:
    seen = PipelineSnapshot(up_s=500, heard=[motion(camera(), age_s=25.0)], cameras=known("gate", "yard"))
    found = {key for key, fault in faults(seen, ()).items() if fault is not None}
    assert found == {MOTION_GONE, GapKey("classifier.gone", "classifier")}


def test_of_two_motion_services_the_cameras_of_the_one_that_is_gone_are_away() -> None:
    gone = motion(camera("yard"), owner="disk-2", age_s=30.0)
    cameras = known("gate") | known("yard", owner="disk-2")
    found = faults(PipelineSnapshot(up_s=1, heard=[motion(camera()), gone], cameras=cameras), ())
    assert found[GATE] is None
    assert found[GapKey("camera.away", "yard")] == GapFault(
        "the motion service that watches it is gone", 30.0
    )
    assert found[MOTION_GONE] is None


def test_services_have_time_to_start() -> None:
    early = PipelineSnapshot(up_s=START_GRACE_S - 1, heard=[])
    assert faults(early, ()) == {}
    late = faults(replace(early, up_s=START_GRACE_S), ())
    assert all(late[key] is not None for key in (MOTION_GONE, GapKey("classifier.gone", "classifier")))
    loading = ProcessPresence(Presence(service="classifier", name="c1", state="loading"), 1.0)
    assert faults(replace(early, heard=[loading]), ()) == {}
    assert faults(replace(early, up_s=START_GRACE_S, heard=[loading]), ()).keys() == late.keys()
    left = faults(replace(early, were_there=frozenset({"motion"})), ())
    assert list(left) == [MOTION_GONE]


def test_a_classifier_that_is_started_when_snippets_wait_is_not_missed_before() -> None:
    gone = GapKey("classifier.gone", "classifier")
    stopped = PipelineSnapshot(up_s=500, heard=[motion()], were_there=frozenset({"classifier"}))
    assert faults(stopped, ())[gone] is not None
    assert faults(replace(stopped, is_classifier_due=False), {gone})[gone] is None
    assert faults(PipelineSnapshot(up_s=500, heard=[], is_classifier_due=False), ())[MOTION_GONE] is not None


def test_a_redis_that_is_away_says_nothing_of_services_and_cameras() -> None:
    seen = PipelineSnapshot(up_s=500, heard=None, cameras=known("gate"), recorder_fault="Redis: refused")
    assert faults(seen, {GATE}) == {GapKey("recorder.unready", "recorder"): GapFault("Redis: refused")}


def test_a_camera_that_was_taken_out_of_the_file_is_missed_no_more() -> None:
    assert faults(PipelineSnapshot(up_s=1, heard=[motion()]), {GATE})[GATE] is None


@pytest.mark.parametrize(("free", "is_full"), [(10**6, True), (10**12, False)])
def test_a_full_disk_is_a_gap(free: int, is_full: bool) -> None:
    found = faults(PipelineSnapshot(up_s=1, disk=Disk(free, 2 * 10**12)), ())
    assert (found[GapKey("disk.full", "media")] is not None) is is_full


def test_a_target_that_takes_nothing_is_a_gap_of_its_name() -> None:
    found = faults(
        PipelineSnapshot(up_s=1, targets={"home": "the broker refuses our login", "hook": None}), ()
    )
    assert found == {
        GapKey("target.away", "home"): GapFault("the broker refuses our login"),
        GapKey("target.away", "hook"): None,
    }


def shown(heard: list[ProcessPresence], gaps: set[GapKey], before: LiveCamera | None = None) -> LiveCamera:
    seen = PipelineSnapshot(up_s=1, heard=heard, cameras=known("gate"))
    return cameras_now(seen, gaps, {"gate": before} if before else {})["gate"]


def test_a_camera_is_available_from_its_first_picture_until_it_counts_as_away() -> None:
    first = shown([motion(camera(state="connecting"))], set())
    assert not first.is_available
    unheard = shown([], set())
    assert (unheard.is_heard, unheard.is_moving, unheard.is_available) == (False, None, False)
    running = shown([motion(camera(is_moving=True))], set(), first)
    assert (running.is_available, running.is_moving) == (True, True)
    blinked = shown([motion(camera(state="away", is_moving=False))], set(), running)
    assert (blinked.is_available, blinked.is_moving) == (True, False)
    assert not shown([motion(camera(state="away"))], {GATE}, blinked).is_available


def test_no_camera_is_available_without_motion() -> None:
    before = LiveCamera("gate", "", is_available=True, is_moving=False)
    assert not shown([motion(camera(), age_s=30)], {MOTION_GONE}, before).is_available
    assert not shown([motion(camera(state="disabled"))], set(), before).is_available


def test_no_camera_is_available_while_redis_says_nothing() -> None:
    before = LiveCamera("gate", "", is_available=True, is_moving=False)
    seen = PipelineSnapshot(up_s=1, heard=None, cameras=known("gate"))
    unready = GapKey("recorder.unready", "recorder")
    assert cameras_now(seen, (), {"gate": before})["gate"].is_available
    assert not cameras_now(seen, {unready}, {"gate": before})["gate"].is_available


# -- cameras that several processes share by leases


def test_a_shared_camera_belongs_to_the_process_that_reads_it_and_is_not_removed_between_two() -> None:
    one, two = motion(camera()), motion(camera(state="elsewhere"), owner="disk-2")
    for heard in ([one, two], [two, one]):
        cameras, _, removed = configured({}, heard)
        assert (cameras["gate"].owner, removed) == ("disk-1", [])
    both = [motion(camera(state="elsewhere")), two]
    cameras, changed, removed = configured(known("gate", owner="disk-2"), both)
    assert (cameras["gate"].owner, changed, removed) == ("disk-2", [], [])


def test_what_a_process_says_of_a_camera_that_it_does_not_read_is_no_report() -> None:
    heard = [motion(camera(state="elsewhere")), motion(camera(state="away", message="x"), owner="disk-2")]
    seen = PipelineSnapshot(1.0, heard, cameras=known("gate", owner="disk-2"))
    assert faults(seen, ())[GATE] == GapFault("x")


def test_a_shared_camera_that_nobody_reads_is_a_fault_once_processes_had_time_to_start() -> None:
    heard = [motion(camera(state="elsewhere"))]
    assert GATE not in faults(PipelineSnapshot(1.0, heard, cameras=known("gate")), ())
    assert faults(PipelineSnapshot(START_GRACE_S, heard, cameras=known("gate")), ())[GATE] is not None


def test_the_times_in_which_nobody_read_a_camera_are_found_and_nonsense_is_left_out() -> None:
    heard = [
        motion(camera(unread_ms=(1000, 2500)), camera("yard"), camera("x" * 65, unread_ms=(1, 2))),
        motion(camera("hall", unread_ms=(5, 4)), camera("door", unread_ms=(-9, 4)), owner="disk-2"),
        motion(camera("shed", unread_ms=(1, 10**18)), owner="disk-3"),
        motion(camera("silent", unread_ms=(1, 2)), owner="disk-4", age_s=60.0),
    ]
    assert unread_times(heard) == [UnreadTime("gate", from_epoch_ms(1000), from_epoch_ms(2500))]


def test_a_camera_that_several_processes_list_is_shown_once() -> None:
    off = camera("yard", "disabled")
    heard = [motion(camera(state="elsewhere"), off), motion(camera(), off, owner="disk-2")]
    assert [(name, one.id, one.state) for name, one in reports_of(heard)] == [
        ("m-disk-2", "gate", "running"),
        ("m-disk-1", "yard", "disabled"),
    ]
    (unread,) = reports_of([motion(camera(state="elsewhere"))])
    assert (unread[1].state, unread[1].message) == ("away", "no motion process reads it")
