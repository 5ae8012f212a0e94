"""Timestamps of streams: missing, jumping, wrapping, in bursts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.sources.timing import FileTimes, LiveTimes

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


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=100))
def test_live_times_stay_near_the_arrival(stamps: list[float | None]) -> None:
    times = LiveTimes(0.04)
    for index, stamp in enumerate(stamps):
        arrived_s = NOW + index * 0.04
        assert abs(times.of_packet(stamp, arrived_s) - arrived_s) < 6.0
