"""When a fault becomes a gap, and when the gap is over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.recorder.gaps.tracker import GapTracker
from services.recorder.gaps.values import Gap, GapFault, GapKey

START = datetime(2026, 7, 1, 12, tzinfo=UTC)
GATE = GapKey("camera.away", "gate")
MOTION_GONE = GapKey("motion.gone", "motion")
AWAY = GapFault("no route to host")


def stepped(tracker: GapTracker, at_s: float, fault: GapFault | None) -> list[tuple[str, float | None]]:
    """Look at the gate at `at_s`; return what changed, with how long it lasted."""
    changes = tracker.step({GATE: fault}, START + timedelta(seconds=at_s), at_s)
    return [
        (c.reason, None if c.ended_at is None else (c.ended_at - c.started_at).total_seconds())
        for c in changes
    ]


def test_a_gap_is_told_once_each_way_with_how_long_it_lasted() -> None:
    tracker = GapTracker(after_s=10, back_s=5)
    told = [(at, said) for at in range(60) for said in stepped(tracker, at, AWAY if at < 30 else None)]
    assert told == [(10, ("no route to host", None)), (35, ("no route to host", 30.0))]


def test_a_short_fault_is_no_gap() -> None:
    tracker = GapTracker(after_s=10, back_s=5)
    assert [stepped(tracker, at, AWAY if at % 10 else None) for at in range(60)] == [[]] * 60


def test_a_camera_that_flickers_is_one_gap() -> None:
    tracker = GapTracker(after_s=10, back_s=5)
    told = []
    for at in range(200):
        is_away = at < 100 and at % 15 < 12  # back for 3 s of every 15
        told += stepped(tracker, at, AWAY if is_away else None)
    assert told == [("no route to host", None), ("no route to host", 100.0)]


def test_what_is_not_known_neither_begins_nor_ends_a_gap() -> None:
    tracker = GapTracker(after_s=10, back_s=5)
    stepped(tracker, 0, AWAY)
    stepped(tracker, 10, AWAY)
    assert tracker.step({}, START + timedelta(seconds=500), 500) == []
    assert tracker.open_keys == {GATE}


def test_a_service_that_fell_silent_is_gone_since_its_last_word() -> None:
    tracker = GapTracker(after_s=10, back_s=5)
    [change] = tracker.step({MOTION_GONE: GapFault("gone", age_s=21.0)}, START, 100)
    assert change.started_at == START - timedelta(seconds=21)


def test_a_gap_of_before_a_restart_is_told_once_more_only_when_it_ends() -> None:
    tracker = GapTracker(after_s=10, back_s=5)
    tracker.restore([Gap("1", GATE, "no route to host", START - timedelta(hours=1), None)], 0)
    assert [stepped(tracker, at, AWAY) for at in range(20)] == [[]] * 20
    told = [said for at in range(20, 40) for said in stepped(tracker, at, None)]
    assert told == [("no route to host", 3620.0)]


def test_a_wall_clock_that_steps_makes_no_gap_and_ends_none_before_its_start() -> None:
    tracker = GapTracker(after_s=10, back_s=5)
    assert tracker.step({GATE: AWAY}, START, 0) == []
    assert tracker.step({GATE: AWAY}, START + timedelta(hours=5), 1) == []
    assert len(tracker.step({GATE: AWAY}, START, 10)) == 1
    tracker.step({GATE: None}, START - timedelta(hours=5), 11)
    [ended] = tracker.step({GATE: None}, START, 17)
    assert ended.ended_at == START
