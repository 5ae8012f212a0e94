"""The estimate against values computed by hand, and against the truth over many draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.quality.estimate import estimate, unit_weights
from shared.quality.intervals import wilson
from shared.quality.units import Bools, Floats, Units

DAY_S = 86_400.0
NAN = float("nan")


def units(*rows: tuple[float, float, float, float], bands: Sequence[int] | None = None) -> Units:
    """Return units of (at, judged_at, drawn_with, value); what was drawn was drawn when it was answered."""
    at, judged_at, drawn_with, values = np.array(rows, np.float64).reshape(-1, 4).T
    asked_at = np.where(np.isnan(drawn_with), np.nan, judged_at)
    return Units(at, np.array(bands or [0] * len(rows), np.int64), judged_at, drawn_with, values, asked_at)


def test_a_simple_sample_has_wilsons_interval() -> None:
    drawn = [(0.0, 10.0, 0.001, 1.0)] * 8 + [(0.0, 10.0, 0.001, 0.0)] * 2
    found = estimate([units(*drawn, *[(0.0, NAN, NAN, NAN)] * 9990)])
    assert found is not None
    assert found.share == pytest.approx(0.8)
    assert (found.n, found.n_drawn) == (10_000, 10)
    # of few among very many: as of 10 answers, but for what a band borrows from its group
    assert found.n_effective == pytest.approx(10, rel=0.01)
    # in whole units
    assert (found.low, found.high) == pytest.approx(wilson(0.8, found.n_effective), abs=1 / found.n)


def test_when_all_is_known_the_interval_is_the_truth() -> None:
    found = estimate([units(*[(0.0, 10.0, 1.0, 1.0)] * 7, *[(0.0, 10.0, 1.0, 0.0)] * 3)])
    assert found is not None
    assert (found.share, found.low, found.high) == (0.7, 0.7, 0.7)


def test_answers_that_nobody_asked_for_say_nothing_of_the_rest() -> None:
    clicked = [(0.0, 10.0, NAN, 0.0)] * 5
    assert estimate([units(*clicked, *[(0.0, NAN, NAN, NAN)] * 95)]) is None


def test_what_was_known_before_a_check_counts_as_itself() -> None:
    known = [(0.0, 5.0, NAN, 0.0)] * 20
    drawn = [(0.0, 10.0, 0.125, 1.0)] * 10
    found = estimate([units(*known, *drawn, *[(0.0, NAN, NAN, NAN)] * 70)])
    assert found is not None
    assert found.share == pytest.approx(0.8)  # 80 that look right, 20 that are known to be wrong
    assert found.high == pytest.approx(0.8)  # more cannot be right
    assert found.low < 0.75


def test_what_is_clicked_on_after_its_check_changes_nothing_but_the_bounds() -> None:
    drawn = [(0.0, 10.0, 0.1, 1.0)] * 8 + [(0.0, 10.0, 0.1, 0.0)] * 2
    rest = [(0.0, NAN, NAN, NAN)] * 90
    before = estimate([units(*drawn, *rest)])
    after = estimate([units(*drawn, *[(0.0, 20.0, NAN, 0.0)] * 5, *rest[5:])])
    assert before is not None
    assert after is not None
    assert (after.share, after.low) == (before.share, before.low)


def test_without_a_draw_nothing_stands_for_anything() -> None:
    assert unit_weights(units((0.0, 10.0, NAN, 1.0), (0.0, NAN, NAN, NAN))).tolist() == [0.0, 0.0]
    assert unit_weights(units()).tolist() == []


def test_rare_draws_stand_for_more() -> None:
    rows = [(0.0, 10.0, 0.5, 1.0)] * 4 + [(0.0, 10.0, 0.1, 0.0)] * 4
    found = unit_weights(units(*rows, *[(0.0, NAN, NAN, NAN)] * 40))
    assert found[:8] == pytest.approx([2.0] * 4 + [10.0] * 4)
    assert found[8:] == pytest.approx(np.zeros(40))


def test_each_block_is_weighted_by_its_own_check() -> None:
    first = [(0.0, 10.0, 0.5, 1.0)] * 5 + [(0.0, NAN, NAN, NAN)] * 5
    second = [(DAY_S, DAY_S + 10, 0.1, 0.0)] * 5 + [(DAY_S, NAN, NAN, NAN)] * 45
    found = unit_weights(units(*first, *second))
    assert found.sum() == pytest.approx(10 + 50)


def test_a_second_check_of_the_same_units_shares_their_weight() -> None:
    first = [(0.0, 10.0, 0.1, 1.0)] * 5
    again = [(0.0, DAY_S, 5 / 45, 0.0)] * 5
    found = unit_weights(units(*first, *again, *[(0.0, NAN, NAN, NAN)] * 40))
    assert found.sum() == pytest.approx(50)
    assert found[:5].sum() == pytest.approx(found[5:10].sum(), rel=0.2)


def test_two_checks_a_minute_apart_are_two() -> None:
    first, rest = [(0.0, 10.0, 0.1, 1.0)] * 5, [(0.0, NAN, NAN, NAN)] * 40
    found = unit_weights(units(*first, *[(0.0, 70.0, 5 / 45, 0.0)] * 5, *rest))
    apart = unit_weights(units(*first, *[(0.0, DAY_S, 5 / 45, 0.0)] * 5, *rest))
    assert found.sum() == pytest.approx(50)
    assert found == pytest.approx(apart)


def test_a_pause_in_a_check_makes_no_second_one() -> None:
    rows = [(0.0, 10.0, 0.2, 1.0)] * 5 + [(0.0, 10.0, 0.2, 0.0)] * 5 + [(0.0, NAN, NAN, NAN)] * 40
    at_once = units(*rows)
    judged_at = at_once.judged_at + np.where(np.arange(50) < 5, 0, 7200.0)
    paused = replace(at_once, judged_at=judged_at)
    assert unit_weights(paused) == pytest.approx(unit_weights(at_once))
    assert estimate([paused]) == estimate([at_once])


def test_an_answer_that_comes_after_the_next_check_was_drawn_counts_for_its_own() -> None:
    first = [(0.0, 10.0, 0.5, 1.0)] * 5 + [(0.0, NAN, NAN, NAN)] * 5
    second = [(DAY_S, DAY_S + 10, 0.1, 0.0)] * 5 + [(DAY_S, NAN, NAN, NAN)] * 45
    in_time = units(*first, *second)
    late = replace(in_time, judged_at=in_time.judged_at + np.where(np.arange(60) == 0, 2 * DAY_S, 0))
    assert unit_weights(late) == pytest.approx(unit_weights(in_time))


def test_what_was_drawn_was_there_although_its_camera_was_ahead() -> None:
    rows = [(0.0, 10.0, 0.5, 1.0)] * 4 + [(0.0, NAN, NAN, NAN)] * 5
    found = unit_weights(units((15.0, 10.0, 0.5, 0.0), *rows))
    assert found == pytest.approx([2.0] * 5 + [0.0] * 5)


def test_questions_that_were_left_out_are_stood_for_by_the_others() -> None:
    found = estimate([units(*[(0.0, 10.0, 1.0, 1.0)] * 7, *[(0.0, NAN, NAN, NAN)] * 3)])
    assert found is not None
    assert found.share == pytest.approx(1.0)
    assert found.low < 1.0


def test_of_few_that_are_not_known_all_may_be_right() -> None:
    judged = [(0.0, 10.0, 1.0, 1.0)] * 8 + [(0.0, 10.0, 1.0, 0.0)] * 2
    found = estimate([units(*judged, *[(20.0, NAN, NAN, NAN)] * 2)])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((8 / 12, 10 / 12))


def test_what_came_after_the_last_check_widens_the_interval() -> None:
    drawn = [(0.0, 10.0, 0.5, 1.0)] * 40 + [(0.0, 10.0, 0.5, 0.0)] * 10 + [(0.0, NAN, NAN, NAN)] * 50
    now = estimate([units(*drawn)])
    later = estimate([units(*drawn, *[(20.0, NAN, NAN, NAN)] * 100)])
    assert now is not None
    assert later is not None
    assert later.share == pytest.approx(now.share)
    assert later.width > now.width


def _drawn_twice(truth: Floats, clicks: Bools, chance: np.random.Generator) -> Units:
    """Two checks of 10 of the same units, the second among those that are left; clicks on wrong ones between."""
    n = len(truth)
    judged_at, drawn_with = np.full(n, np.nan), np.full(n, np.nan)
    for time in (10.0, DAY_S):
        left = np.flatnonzero(np.isnan(judged_at))
        taken = chance.choice(left, min(10, len(left)), replace=False)
        judged_at[taken], drawn_with[taken] = time, len(taken) / len(left)
        clicked = np.isnan(judged_at) & clicks
        judged_at[clicked] = time + 5000
    return Units(
        np.zeros(n),
        np.zeros(n, np.int64),
        judged_at,
        drawn_with,
        np.where(np.isnan(judged_at), np.nan, truth),
        np.where(np.isnan(drawn_with), np.nan, judged_at),
    )


def test_clicks_on_what_is_wrong_do_not_bias_the_weights() -> None:
    chance = np.random.default_rng(3)
    truth = (np.arange(60) < 45).astype(np.float64)
    clicks = (truth == 0) & (np.arange(60) % 2 == 0)
    yes, everything = [], []
    for _ in range(4000):
        drawn = _drawn_twice(truth, clicks, chance)
        weights = unit_weights(drawn)
        yes.append(weights @ np.nan_to_num(drawn.values))
        everything.append(weights.sum())
    # the standard error of the mean is about 0.08
    assert np.mean(yes) == pytest.approx(45, abs=0.4)
    assert np.mean(everything) == pytest.approx(60, abs=0.4)


@given(
    st.lists(
        st.tuples(
            st.floats(0, DAY_S),
            st.sampled_from([1.0, 2.0, 3.0, 4.0]),
            st.sampled_from([NAN, 0.01, 0.3, 1.0]),
            st.sampled_from([NAN, 0.0, 1.0]),
            st.integers(0, 3),
        ),
        max_size=60,
    )
)
def test_an_estimate_lies_in_its_interval_and_the_interval_in_bounds(
    rows: list[tuple[float, float, float, float, int]],
) -> None:
    judged = [
        (at, NAN, NAN, NAN) if np.isnan(value) else (at, day * DAY_S, drawn_with, value)
        for at, day, drawn_with, value, _ in rows
    ]
    found = estimate([units(*judged, bands=[row[4] for row in rows])])
    assert (found is None) == (not any(not np.isnan(row[2]) for row in judged))
    if found is not None:
        assert 0 <= found.low <= found.share <= found.high <= 1
        assert found.n == len(rows)
