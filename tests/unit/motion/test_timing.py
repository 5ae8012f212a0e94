"""Timestamps of streams: missing, jumping, wrapping, in bursts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.sources.timing import LIVE_JUMP_S, FileTimes, LiveTimes

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
    times = FileTimes(NOW, 0.04)
    ticks = [(2**33 - 5 * 3600 + index * 3600) % 2**33 for index in range(10)]
    shown = [times.of_packet(tick / 90_000, 0) - NOW for tick in ticks]
    assert shown == pytest.approx([index * 0.04 for index in range(10)], abs=1e-4)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=100))
def test_live_times_stay_near_the_arrival(stamps: list[float | None]) -> None:
    times = LiveTimes(0.04)
    for index, stamp in enumerate(stamps):
        arrived_s = NOW + index * 0.04
        assert abs(times.of_packet(stamp, arrived_s) - arrived_s) < 6.0
