"""Draws: sizes, probabilities that are true, and which units come first."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.quality.draw import ACCEPTED_RATES, MISSED_RATES, Askable, Drawn, draw, draw_check
from shared.quality.units import Units


def group(n: int, *, at: float = 0.0, rates: tuple[float, ...] = ACCEPTED_RATES) -> Askable:
    """Return `n` units that nobody answered, spread over the bands."""
    nothing = np.full(n, np.nan)
    units = Units(np.full(n, at), np.arange(n) % 4, *(nothing.copy() for _ in range(4)))
    return Askable(units, rates, np.arange(n))


def answered(one: Askable, found: list[Drawn], at: float, value: float = 1.0) -> Askable:
    """Return the group with what was drawn of it answered."""
    units = one.units
    for drawn in found:
        units.judged_at[drawn.unit], units.drawn_with[drawn.unit] = at + 1, drawn.probability
        units.asked_at[drawn.unit] = at
        units.values[drawn.unit] = value
    return Askable(units, one.rates, np.flatnonzero(~units.is_judged))


def test_each_unit_is_drawn_as_often_as_its_probability_says() -> None:
    chance = np.random.default_rng(5)
    times: Counter[int] = Counter()
    said: dict[int, float] = {}
    for _ in range(4000):
        for one in draw([group(40)], 10, chance):
            times[one.unit] += 1
            said[one.unit] = one.probability
    assert sum(said.values()) == pytest.approx(10)
    for unit, probability in said.items():
        assert times[unit] / 4000 == pytest.approx(probability, abs=0.035)  # 4.5 standard errors
    assert said[0] > said[3]  # of low scores more are wrong: they are less certain


@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_as_many_as_wanted_are_drawn_none_twice(sizes: list[int], n: int, seed: int) -> None:
    found = draw([group(size) for size in sizes], n, np.random.default_rng(seed))
    assert len(found) == min(n, sum(sizes))
    assert len({(one.group, one.unit) for one in found}) == len(found)
    assert all(0 < one.probability <= 1 for one in found)


def test_what_is_new_since_the_last_check_comes_first() -> None:
    chance = np.random.default_rng(6)
    nothing = np.full(30, np.nan)
    at, bands = np.repeat([0.0, 5000.0], 15), np.zeros(30, np.int64)
    units = Units(at, bands, *(nothing.copy() for _ in range(4)))
    old = Askable(units, ACCEPTED_RATES, np.arange(15))
    both = answered(old, draw([old], 5, chance), at=100.0)
    assert {one.unit // 15 for one in draw([both], 10, chance)} == {1}
    found = draw([both], 20, chance)
    assert sorted(one.unit for one in found if one.probability == 1.0) == list(range(15, 30))
    assert [one.probability for one in found if one.unit < 15] == pytest.approx([0.5] * 5)


def test_what_was_new_when_a_check_was_answered_late_is_new_to_the_next() -> None:
    nothing = np.full(20, np.nan)
    units = Units(np.repeat([0.0, 200.0], 10), np.zeros(20, np.int64), *(nothing.copy() for _ in range(4)))
    units.judged_at[:5], units.asked_at[:5] = 7200.0, 100.0  # after two hours' pause
    units.drawn_with[:5] = units.values[:5] = 1.0
    group = Askable(units, ACCEPTED_RATES, np.flatnonzero(~units.is_judged))
    assert {one.unit // 10 for one in draw([group], 5, np.random.default_rng(10))} == {1}


def test_a_group_whose_interval_is_wide_is_asked_more() -> None:
    chance = np.random.default_rng(7)
    known = group(400)
    known = answered(known, draw([known], 200, chance), at=100.0)
    counts = Counter(one.group for _ in range(100) for one in draw([known, group(400)], 10, chance))
    assert counts[1] > 3 * counts[0] > 0


def test_a_fifth_of_a_check_is_about_what_was_not_accepted() -> None:
    chance = np.random.default_rng(8)
    accepted, other = group(50), group(50, rates=MISSED_RATES)
    found = draw_check([accepted], [other], 10, chance)
    assert Counter(one.group for one in found) == {0: 8, 1: 2}
    assert len(draw_check([group(3)], [other], 10, chance)) == 10
    assert len(draw_check([], [other], 10, chance)) == 10
    assert draw_check([], [], 10, chance) == []


def test_questions_come_in_no_order() -> None:
    chance = np.random.default_rng(9)
    firsts = Counter(draw_check([group(50)], [group(50)], 10, chance)[0].group for _ in range(300))
    assert firsts[1] / 300 == pytest.approx(0.2, abs=0.09)
