"""Time and identity."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import (
    EPOCH,
    WallClock,
    duration_s,
    epoch_ms,
    from_epoch_ms,
    now_utc,
    steady_s,
    to_millis,
    uuid7,
)
from shared.contract import PictureInfo, SnippetHeader

FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
moments = st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31)).map(lambda t: t.replace(tzinfo=UTC))
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, st.none() | st.text())
def test_uuid7_has_version_variant_and_its_time_in_front(moment: datetime, seed: str | None) -> None:
    made = uuid7(moment, seed)
    assert FORM.fullmatch(made)
    assert UUID(made).version == 7
    assert UUID(made).int >> 80 == epoch_ms(moment)


@given(moments, moments)
def test_uuid7_sorts_by_time(one: datetime, other: datetime) -> None:
    if epoch_ms(one) < epoch_ms(other):
        assert uuid7(one) < uuid7(other)


@given(moments, st.text(), st.text())
def test_a_seed_gives_the_same_id_again_and_another_seed_another(
    moment: datetime, seed: str, other: str
) -> None:
    assert uuid7(moment, seed) == uuid7(moment, seed)
    assert (uuid7(moment, seed) == uuid7(moment, other)) == (seed == other)


def test_without_a_seed_ids_of_the_same_time_differ() -> None:
    assert len({uuid7(from_epoch_ms(0)) for _ in range(1000)}) == 1000


def test_the_example_of_rfc_9562() -> None:
    """Appendix A.6: 2022-02-22 14:22:22 at -05:00 starts with 017F22E2-79B0-7."""
    moment = datetime(2022, 2, 22, 14, 22, 22, tzinfo=timezone(timedelta(hours=-5)))
    assert uuid7(moment).startswith("017f22e2-79b0-7")


@given(moments, zones)
def test_millis_are_utc_cut_and_survive_the_way_over_numbers(moment: datetime, zone: timezone) -> None:
    cut = to_millis(moment.astimezone(zone))
    assert cut.tzinfo == UTC
    assert timedelta(0) <= moment - cut < timedelta(milliseconds=1)
    assert to_millis(cut) == cut
    assert from_epoch_ms(epoch_ms(cut)) == cut


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        to_millis(datetime(2026, 1, 1))


def test_now_is_utc_in_whole_milliseconds() -> None:
    assert now_utc().tzinfo == UTC
    assert now_utc().microsecond % 1000 == 0


def test_the_contract_takes_the_ids_that_are_made_here() -> None:
    field = SnippetHeader.model_fields["event_id"]
    assert re.fullmatch(field.metadata[0].pattern, uuid7(now_utc()))
    assert (
        PictureInfo(moment=0, kind="frame", captured_at=now_utc(), width=1, height=1).captured_at.tzinfo
        == UTC
    )


class Clocks:
    """A steady clock and a wall clock that a test moves; `held_up_s` passes between two readings, once each."""

    def __init__(self) -> None:
        self.base, self.offset = 5000.0, 1_800_000_000.0
        self.held_up_s: list[float] = []
        self.wall = WallClock(self.wall_s, lambda: self.base)

    def wall_s(self) -> float:
        read = self.base + self.offset
        self.base += self.held_up_s.pop() if self.held_up_s else 0.0
        return read


def test_the_steady_clock_has_the_date_and_keeps_it() -> None:
    assert abs(steady_s() - time.time()) < 1.0
    before = steady_s()
    assert 0.0 <= steady_s() - before < 1.0


@pytest.mark.parametrize("step_s", [-1e9, -3600.0, -1.0, 0.6, 7200.0, 1e9])
def test_a_step_of_the_wall_clock_is_returned_once(step_s: float) -> None:
    clocks = Clocks()
    assert clocks.wall.step_s() == 0.0
    clocks.base += 60.0
    assert clocks.wall.step_s() == 0.0
    clocks.offset += step_s
    assert clocks.wall.step_s() == pytest.approx(step_s)
    assert clocks.wall.step_s() == 0.0
    clocks.offset -= step_s
    assert clocks.wall.step_s() == pytest.approx(-step_s)


def test_a_slow_correction_is_followed_and_told_when_it_comes_to_half_a_second() -> None:
    clocks = Clocks()
    clocks.wall.step_s()
    steps = []
    for _ in range(100):
        clocks.offset -= 0.013
        steps.append(clocks.wall.step_s())
    assert [round(step, 1) for step in steps if step] == [-0.5, -0.5]
    assert clocks.wall.offset_s() == pytest.approx(clocks.offset)


def test_a_process_that_was_held_up_between_two_readings_takes_it_for_no_step() -> None:
    clocks = Clocks()
    clocks.wall.step_s()
    offset_s = clocks.wall.offset_s()
    clocks.held_up_s = [3.0, 2.0]
    assert clocks.wall.step_s() == 0.0
    clocks.held_up_s = [3.0]
    assert clocks.wall.offset_s() == offset_s


def test_what_reading_the_clocks_takes_moves_no_time() -> None:
    clocks = Clocks()
    before = clocks.wall.offset_s()
    clocks.offset += 0.01
    assert clocks.wall.offset_s() == before
    clocks.offset += 0.02
    assert clocks.wall.offset_s() == pytest.approx(clocks.offset)


def test_durations_are_never_negative() -> None:
    later = EPOCH + timedelta(seconds=1.5)
    assert duration_s(EPOCH, later) == 1.5
    assert duration_s(later, EPOCH) == 0
