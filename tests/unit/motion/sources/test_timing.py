"""Timestamps of streams: missing, jumping, wrapping, in bursts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.sources.stream import SourceAway
from services.motion.sources.timing import (
    HOLD_MAX_S,
    LIVE_JUMP_S,
    SETTLE_S,
    Arrival,
    Discontinuity,
    FileTimes,
    LiveTimes,
    TimedPacket,
    with_times,
)

NOW = 1_800_000_000.0


def test_a_file_starts_at_its_time_whatever_its_first_timestamp() -> None:
    times = FileTimes(NOW, 0.04)
    assert [times.of_packet(s, 0) for s in (7.0, 7.04, 7.12)] == pytest.approx([NOW, NOW + 0.04, NOW + 0.12])
    assert times.of_frame(7.04) == pytest.approx(NOW + 0.04)
    assert times.of_frame(None) is None


def test_a_file_without_timestamps_is_counted() -> None:
    times = FileTimes(NOW, 0.1)
    assert [times.of_packet(None, 0) for _ in range(3)] == pytest.approx([NOW, NOW + 0.1, NOW + 0.2])


def test_frames_stored_out_of_order_keep_their_times() -> None:
    times = FileTimes(NOW, 0.1)
    shown = [times.of_packet(s, 0) - NOW for s in (0.0, 0.3, 0.1, 0.2, 0.6, 0.4, 0.5)]
    assert shown == pytest.approx([0.0, 0.3, 0.1, 0.2, 0.6, 0.4, 0.5], abs=1e-5)


def test_a_files_clock_that_falls_back_goes_on_where_it_was() -> None:
    times = FileTimes(NOW, 0.1)
    shown = [times.of_packet(s, 0) - NOW for s in (50.0, 50.1, 0.0, 0.1)]
    assert shown == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-5)


def times_of(
    stamps: list[float], max_discontinuity_s: float = 43_200.0
) -> tuple[list[float], list[Discontinuity]]:
    """Return the shown times of a file's stamps from its start, and the discontinuities that were reported."""
    discontinuities: list[Discontinuity] = []
    times = FileTimes(NOW, 0.1, max_discontinuity_s, discontinuities.append)
    shown = [times.of_packet(stamp, 0) - NOW for stamp in stamps]
    return shown, [Discontinuity(one.t_s - NOW, one.closed_s) for one in discontinuities]


@pytest.mark.parametrize("gap_s", [60.0, 7200.0, 43_000.0])
def test_a_pause_in_a_file_stays_as_long_as_it_was(gap_s: float) -> None:
    shown, discontinuities = times_of([5.0, 5.1, 5.1 + gap_s, 5.2 + gap_s])
    assert shown == pytest.approx([0, 0.1, 0.1 + gap_s, 0.2 + gap_s], abs=1e-5)
    assert [(one.t_s, one.closed_s) for one in discontinuities] == [
        pytest.approx((0.1 + gap_s, 0.0), abs=1e-5)
    ]


@pytest.mark.parametrize("jump_s", [72_000.0, 93_600.0, 1e9, -3600.0])
def test_a_files_clock_that_jumps_is_closed_up_and_told(jump_s: float) -> None:
    shown, discontinuities = times_of([5.0, 5.1, 5.2 + jump_s, 5.3 + jump_s])
    assert shown == pytest.approx([0, 0.1, 0.2, 0.3], abs=1e-5)
    assert [one.t_s for one in discontinuities] == [pytest.approx(0.2, abs=1e-5)]
    assert discontinuities[0].closed_s == pytest.approx(jump_s, abs=1e-5)


def test_several_jumps_to_and_fro_are_closed_up_one_by_one() -> None:
    shown, discontinuities = times_of([0.0, 9e4, 9e4 + 0.1, 10.0, 10.1, 2e5, 2e5 + 0.1])
    assert shown == pytest.approx([i / 10 for i in range(7)], abs=1e-5)
    assert len(discontinuities) == 3


def test_whoever_plays_a_file_as_a_camera_has_every_hole_closed() -> None:
    shown, discontinuities = times_of([0.0, 0.1, 60.1, 60.2], max_discontinuity_s=10.0)
    assert shown == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=1e-5)
    assert len(discontinuities) == 1


def test_frames_that_a_decoder_still_holds_at_a_jump_keep_their_times() -> None:
    times = FileTimes(NOW, 0.1)
    for stamp in (0.0, 0.1, 0.2, 90_000.0):
        times.of_packet(stamp, 0)
    shown = [times.of_frame(stamp) or 0.0 for stamp in (0.1, 0.2, 90_000.0)]
    assert [t_s - NOW for t_s in shown] == pytest.approx([0.1, 0.2, 0.3], abs=1e-5)


def test_the_first_stamps_of_a_file_may_be_missing_huge_or_negative() -> None:
    for first in (0.0, -3.5, 8e9):
        times = FileTimes(NOW, 0.1)
        shown = [times.of_packet(stamp, 0) - NOW for stamp in (None, None, first, first + 0.1, None)]
        assert shown == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4], abs=1e-5)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=60))
def test_a_played_file_never_stands_still_for_longer_than_a_pause(stamps: list[float | None]) -> None:
    times = FileTimes(NOW, 0.1, 10.0)
    latest_s = NOW
    for stamp in stamps:
        shown_s = times.of_packet(stamp, 0)
        assert shown_s <= latest_s + 10.1
        latest_s = max(latest_s, shown_s)


def test_a_gap_between_reordered_frames_is_no_jump() -> None:
    times = FileTimes(NOW, 0.1)
    rows = [(2.1, 2.0), (2.2, 2.1), (5.8, 2.2), (2.6, 2.3), (2.4, 2.4), (5.7, 2.6), (6.1, 5.7)]
    shown = [times.of_packet(pts, 0, dts) - NOW for pts, dts in rows]
    assert shown == pytest.approx([pts - 2.1 for pts, _ in rows], abs=1e-5)


def test_a_live_stream_keeps_its_own_rhythm_under_jitter() -> None:
    times = LiveTimes(0.04)
    jitter = [0.0, 0.03, 0.01, 0.08, 0.0, 0.02] * 50
    shown = [times.of_packet(i * 0.04, NOW + i * 0.04 + late) for i, late in enumerate(jitter)]
    steps = [b - a for a, b in itertools.pairwise(shown)]
    assert max(steps) < 0.05
    assert min(steps) > 0.03
    assert abs(shown[-1] - (NOW + 299 * 0.04)) < 0.05


def test_a_burst_at_the_start_is_not_dated_into_the_future() -> None:
    times = LiveTimes(0.04)
    shown = [times.of_packet(i * 0.04, NOW + max(0.0, (i - 50) * 0.04)) for i in range(120)]
    assert max(s - (NOW + max(0.0, (i - 50) * 0.04)) for i, s in enumerate(shown)) < 0.1


@pytest.mark.parametrize("jump_s", [-47721.858, 95443.717, -3.0, 600.0])
def test_a_live_clock_that_wraps_or_jumps_is_followed(jump_s: float) -> None:
    times = LiveTimes(0.04)
    before = [times.of_packet(100 + i * 0.04, NOW + i * 0.04) for i in range(50)]
    after = [times.of_packet(102 + jump_s + i * 0.04, NOW + 2 + i * 0.04) for i in range(50)]
    assert after[0] >= before[-1] - 1e-6
    assert abs(after[-1] - (NOW + 2 + 49 * 0.04)) < 0.2


@pytest.mark.parametrize("bits", [32, 33], ids=["RTP", "MPEG-TS"])
def test_a_day_of_wrap_arounds_and_a_drifting_clock_stays_in_step(bits: int) -> None:
    """24 h at one frame a second; 32 bits at 90 kHz wrap after 13.25 h, 33 bits after 26.5 h (begun at 10 h)."""
    times = LiveTimes(1.0)
    begin = 10 * 3600 * 90_000
    shown = []
    for second in range(86_400):
        ticks = (begin + round(second * 90_000 * 1.0001)) % 2**bits  # a cheap crystal: 100 ppm too fast
        shown.append(times.of_packet(ticks / 90_000, NOW + second) - NOW - second)
    assert max(map(abs, shown)) < 1.0
    steps = [1 + after - before for before, after in itertools.pairwise(shown)]
    assert min(steps) > 0
    assert max(steps) < 2.0


def test_single_packets_without_a_time_do_not_disturb_the_others() -> None:
    times = LiveTimes(0.04)
    stamps = [None if index % 5 == 0 else index * 0.04 for index in range(200)]
    shown = [times.of_packet(stamp, NOW + index * 0.04) - NOW for index, stamp in enumerate(stamps)]
    assert shown == pytest.approx([index * 0.04 for index in range(200)], abs=0.01)


def test_a_live_clock_that_stands_still_is_replaced_by_the_arrival() -> None:
    times = LiveTimes(0.04)
    shown = [times.of_packet(7.0, NOW + index * 0.04) - NOW for index in range(500)]
    assert abs(shown[-1] - 499 * 0.04) <= LIVE_JUMP_S


def test_a_files_clock_of_33_bits_wraps_without_a_gap() -> None:
    discontinuities: list[Discontinuity] = []
    times = FileTimes(NOW, 0.04, on_discontinuity=discontinuities.append)
    ticks = [(2**33 - 5 * 3600 + index * 3600) % 2**33 for index in range(10)]
    shown = [times.of_packet(tick / 90_000, 0) - NOW for tick in ticks]
    assert shown == pytest.approx([index * 0.04 for index in range(10)], abs=1e-4)
    assert not discontinuities  # it is no interruption: an event goes on


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=100))
def test_live_times_stay_near_the_arrival(stamps: list[float | None]) -> None:
    times = LiveTimes(0.04)
    for index, stamp in enumerate(stamps):
        arrived_s = NOW + index * 0.04
        assert abs(times.of_packet(stamp, arrived_s) - arrived_s) < 6.0


STEPS_S = [-1e6, -3600.0, -1.9, -1.5, -1.0, -0.5, 0.5, 1.5, 4.0, 3600.0, 1e6]


def unseen_s(arrived: list[float], shown: list[float]) -> float:
    """Return the longest time during which no packet was later than all before it."""
    longest_s, latest_s, seen_s = 0.0, float("-inf"), arrived[0]
    for at_s, t_s in zip(arrived, shown, strict=True):
        if t_s > latest_s:
            longest_s, latest_s, seen_s = max(longest_s, at_s - seen_s), t_s, at_s
    return longest_s


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("fps", [2, 10, 25])
@pytest.mark.parametrize("has_dts", [True, False], ids=["dts", "pts only"])
def test_a_camera_that_sets_its_clock_is_unseen_for_a_second_at_most(
    step_s: float, fps: int, has_dts: bool
) -> None:
    times = LiveTimes(1 / fps)
    arrived = [NOW + index / fps for index in range(20 * fps)]
    stamps = [100 + index / fps + (step_s if index >= 10 * fps else 0) for index in range(20 * fps)]
    rows = zip(stamps, arrived, strict=True)
    shown = [times.of_packet(pts_s, at_s, pts_s if has_dts else None) for pts_s, at_s in rows]
    assert unseen_s(arrived, shown) <= 1.0 + 1 / fps
    assert abs(shown[-1] - arrived[-1]) <= 1.0  # a small step back looks like packets that are late


def test_a_burst_after_a_network_that_stood_still_keeps_its_rhythm() -> None:
    times = LiveTimes(0.04)
    arrived = [
        NOW + max(index * 0.04, 18.0 if index >= 250 else 0.0) for index in range(600)
    ]  # 8 s of nothing
    shown = [times.of_packet(index * 0.04, at_s) for index, at_s in enumerate(arrived)]
    assert shown == pytest.approx([NOW + index * 0.04 for index in range(600)], abs=0.05)


def test_a_camera_that_stood_still_is_followed_again_after_a_second() -> None:
    times = LiveTimes(0.04)
    arrived = [NOW + index * 0.04 + (8.0 if index >= 250 else 0.0) for index in range(600)]
    shown = [times.of_packet(index * 0.04, at_s) for index, at_s in enumerate(arrived)]
    assert all(later > earlier for earlier, later in itertools.pairwise(shown))
    assert shown[280:] == pytest.approx(arrived[280:], abs=0.05)


def connection(rows: list[Arrival], fault: Exception | None = None) -> list[TimedPacket[Arrival]]:
    def packets() -> Iterator[Arrival]:
        yield from rows
        if fault is not None:
            raise fault

    found: list[TimedPacket[Arrival]] = []
    try:
        found.extend(with_times(packets(), lambda one: one, lambda _: 1000, LiveTimes(0.04)))
    except SourceAway:
        assert fault is not None
    return found


@pytest.mark.parametrize("step_s", [0.0, *STEPS_S], ids=lambda step_s: f"first packets {step_s:g} s off")
def test_the_packets_that_were_kept_for_us_lie_in_the_past(step_s: float) -> None:
    """2 s of packets come within milliseconds, the others as they are taken; the first five may be of another time."""
    rows = [
        Arrival(7 + index * 0.04 + (step_s if index < 5 else 0), NOW + max(index * 0.001, index * 0.04 - 2.0))
        for index in range(150)
    ]
    rows = [Arrival(one.pts_s, one.arrived_s, one.pts_s) for one in rows]
    found = connection(rows)
    steps = [after.t_s - before.t_s for before, after in itertools.pairwise(found)]
    assert steps[5:] == pytest.approx([0.04] * 144, abs=0.005)
    assert min(steps) > 0
    assert max(steps) < LIVE_JUMP_S + 0.1
    assert found[-1].t_s == pytest.approx(rows[-1].arrived_s, abs=0.01)
    n_late = sum(one.is_late for one in found)
    assert 50 <= n_late <= 50 + 1.5 * SETTLE_S / 0.04


@pytest.mark.parametrize("fps", [2, 12.5, 25, 60])
def test_pictures_without_a_time_that_were_kept_for_us_lie_in_the_past(fps: float) -> None:
    n_kept = 20
    rows = [Arrival(None, NOW + max(i * 0.0005, (i - n_kept) / fps)) for i in range(n_kept + round(5 * fps))]
    found = connection(rows)
    steps = [after.t_s - before.t_s for before, after in itertools.pairwise(found)]
    assert min(steps) > 0.4 / fps
    assert steps[:n_kept] == pytest.approx([min(1 / fps, 1.0)] * n_kept, rel=0.6)
    assert found[-1].t_s == pytest.approx(rows[-1].arrived_s, abs=0.01)


def test_packets_that_come_as_they_are_taken_keep_their_times() -> None:
    rows = [Arrival(index * 0.1, NOW + index * 0.1) for index in range(30)]
    found = connection(rows)
    assert [one.t_s for one in found] == pytest.approx([one.arrived_s for one in rows], abs=0.01)
    assert [one.item for one in found] == rows


def test_a_burst_without_an_end_is_not_held_for_ever() -> None:
    rows = [Arrival(index * 0.04, NOW + index * 0.01) for index in range(1000)]  # four times too fast
    assert sum(one.is_late for one in connection(rows)) == pytest.approx(HOLD_MAX_S / 0.01, abs=2)


def test_what_was_held_is_not_lost_when_the_connection_breaks() -> None:
    rows = [Arrival(index * 0.04, NOW + index * 0.001) for index in range(10)]
    for fault in (None, SourceAway("gone")):
        assert [one.item for one in connection(rows, fault)] == rows
