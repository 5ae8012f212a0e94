"""The rule that turns moments into a decision."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.contract import DecisionSettings
from shared.decisions.decision import Decision, MomentScores, decide, neighbours, runs
from tests.unit.classifier.makers import NOON

SURE = DecisionSettings(threshold=0.5, margin=0.05, window_s=1.5, min_moments=2)


def series(*scores: list[float], background: float = 0.0, every_s: float = 0.5) -> MomentScores:
    """Return a series with one column for each argument."""
    values = np.array(scores, dtype=np.float32).T
    times = tuple(NOON + timedelta(seconds=index * every_s) for index in range(len(values)))
    return MomentScores(times, values, np.full_like(values, background))


def decided(one: MomentScores, settings: DecisionSettings = SURE) -> Decision:
    return decide(one, [f"label {index}" for index in range(one.scores.shape[1])], settings)


def test_a_label_that_holds_is_accepted_with_its_span() -> None:
    found = decided(series([0.0, 0.0, 0.9, 0.9, 0.9, 0.9, 0.0, 0.0]))
    assert [(item.target, item.first, item.last) for item in found.accepted] == [(0, 2, 5)]
    assert found.accepted[0].probability == pytest.approx(0.9)
    assert found.reason == ""


@given(st.integers(2, 12), st.data(), st.sampled_from([0.1, 0.3, 0.5, 0.8, 1.5]))
def test_a_single_frame_flicker_is_never_accepted(
    n_moments: int, data: st.DataObject, every_s: float
) -> None:
    at = data.draw(st.integers(0, n_moments - 1))
    height = data.draw(st.floats(0.5, 1))
    window_s = data.draw(st.floats(0, 10))
    scores = [height if index == at else 0.0 for index in range(n_moments)]
    settings = DecisionSettings(window_s=window_s, threshold=data.draw(st.floats(0.05, 0.9)))
    assert decided(series(scores, every_s=every_s), settings).accepted == ()


@st.composite
def many(draw: st.DrawFn) -> MomentScores:
    m, t = draw(st.integers(1, 10)), draw(st.integers(1, 5))
    scores = draw(arrays(np.float32, (m, t), elements=st.floats(0, 1, width=32)))
    behind = draw(arrays(np.float32, (m, t), elements=st.floats(0, 1, width=32)))
    steps = draw(st.lists(st.floats(0, 3), min_size=m, max_size=m))
    times = tuple(NOON + timedelta(seconds=float(at)) for at in np.cumsum(steps))
    return MomentScores(times, scores, behind)


@given(many(), st.integers(0, 1000))
def test_the_order_of_labels_does_not_matter(one: MomentScores, seed: int) -> None:
    n_labels = one.scores.shape[1]
    order = np.random.default_rng(seed).permutation(n_labels)
    labels = [f"label {index}" for index in range(n_labels)]
    plain = decide(one, labels, SURE)
    mixed = decide(
        MomentScores(one.times, one.scores[:, order], one.background[:, order]),
        [labels[i] for i in order],
        SURE,
    )
    named = [(labels[item.target], item.probability, item.first, item.last) for item in plain.accepted]
    assert [(labels[order[i.target]], i.probability, i.first, i.last) for i in mixed.accepted] == named
    assert mixed.reason == plain.reason


@given(many(), many())
def test_another_label_never_changes_a_decision(one: MomentScores, other: MomentScores) -> None:
    n_moments = min(len(one.times), len(other.times))
    times = one.times[:n_moments]
    alone = MomentScores(times, one.scores[:n_moments], one.background[:n_moments])
    together = MomentScores(
        times,
        np.concatenate([one.scores[:n_moments], other.scores[:n_moments]], axis=1),
        np.concatenate([one.background[:n_moments], other.background[:n_moments]], axis=1),
    )
    n_labels = alone.scores.shape[1]
    kept = [item for item in decided(together).accepted if item.target < n_labels]
    assert {(item.target, item.first, item.last) for item in kept} == {
        (item.target, item.first, item.last) for item in decided(alone).accepted
    }


@given(many())
def test_what_is_accepted_reached_the_threshold_and_the_margin(one: MomentScores) -> None:
    found = decided(one)
    assert all(item.probability >= SURE.threshold for item in found.accepted)
    assert all(0 <= item.first <= item.last < len(one.times) for item in found.accepted)
    assert bool(found.reason) == (not found.accepted)


def test_a_label_that_the_background_comes_near_is_not_accepted() -> None:
    found = decided(series([0.52] * 4, background=0.48))
    assert found.accepted == ()
    assert (
        found.reason
        == 'best was "label 0" with 0.52, but the background had 0.48, wanted 0.05 less than the label'
    )


def test_several_labels_are_accepted_best_first() -> None:
    found = decided(series([0.6] * 4, [0.9] * 4, [0.1] * 4))
    assert [item.target for item in found.accepted] == [1, 0]


def test_a_dip_to_the_leave_threshold_does_not_end_the_span() -> None:
    found = decided(series([0.8, 0.8, 0.45, 0.8, 0.8]), DecisionSettings(window_s=0))
    assert [(item.first, item.last) for item in found.accepted] == [(0, 4)]
    ended = decided(series([0.8, 0.8, 0.35, 0.8, 0.8]), DecisionSettings(window_s=0))
    assert [(item.first, item.last) for item in ended.accepted] == [(0, 1)]


def test_one_moment_alone_has_to_be_surer() -> None:
    assert decided(series([0.7])).accepted == ()
    assert [item.probability for item in decided(series([0.8])).accepted] == [pytest.approx(0.8)]


def test_two_moments_carry_a_label_only_together() -> None:
    three = DecisionSettings(min_moments=3)
    assert len(decided(series([0.8, 0.8]), three).accepted) == 1
    assert decided(series([0.99, 0.1]), three).accepted == ()


def test_the_reason_says_what_was_missing() -> None:
    assert decided(series([0.31] * 4, [0.1] * 4)).reason == 'best was "label 0" with 0.31, wanted 0.50'
    flicker = decided(series([0.0, 1.0, 0.0, 0.0]), DecisionSettings(window_s=0))
    assert flicker.reason == 'best was "label 0" with 1.00, in 1 contiguous moment, wanted 2'


def test_a_snippet_without_moments_accepts_nothing() -> None:
    empty = MomentScores((), np.zeros((0, 2), dtype=np.float32), np.zeros((0, 2), dtype=np.float32))
    found = decide(empty, ["a", "b"], SURE)
    assert found.accepted == ()
    assert found.peaks == (0.0, 0.0)
    assert "no picture" in found.reason


def test_the_window_reaches_half_its_length_to_both_sides() -> None:
    times = [NOON + timedelta(seconds=second) for second in (0, 0.5, 1.0, 3.0)]
    weights = neighbours(times, 1.0)
    assert weights[0] == pytest.approx([0.5, 0.5, 0, 0])
    assert weights[1] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert weights[3] == pytest.approx([0, 0, 0, 1])


def test_runs_are_found_at_both_ends() -> None:
    assert runs(np.array([True, False, True, True])) == [(0, 0), (2, 3)]
    assert runs(np.array([], dtype=np.bool_)) == []
