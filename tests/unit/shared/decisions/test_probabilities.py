"""Probabilities and scores of pictures and moments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.decisions.probabilities import Groups, Shares, combine, shares


def groups(n_targets: int, n_background: int, n_others: int) -> Groups:
    return Groups(
        n_targets,
        n_background,
        rivals=~np.eye(n_targets, dtype=np.bool_),
        against=np.ones((n_targets, n_others), dtype=np.bool_),
        shown=np.ones(n_others, dtype=np.bool_),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, Groups]:
    t, b, o = draw(st.integers(1, 5)), draw(st.integers(0, 3)), draw(st.integers(0, 4))
    n = draw(st.integers(1, 6))
    logits = draw(arrays(np.float64, (n, t + b + o), elements=st.floats(-100, 100)))
    return logits, groups(t, b, o)


@given(cases())
def test_the_probabilities_of_a_picture_sum_to_one_and_all_numbers_are_shares(
    case: tuple[np.ndarray, Groups],
) -> None:
    found = shares(*case)
    assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
    for values in (found.probabilities, found.scores, found.background):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
        assert (values <= 1 + 1e-6).all()


@given(cases())
def test_float16_rows_still_sum_to_one(case: tuple[np.ndarray, Groups]) -> None:
    rows = shares(*case).probabilities.astype(np.float16).astype(np.float64)
    assert np.allclose(rows.sum(axis=1), 1, atol=1e-2)


@given(cases())
def test_a_moment_of_several_pictures_sums_to_one_and_keeps_the_best_scores(
    case: tuple[np.ndarray, Groups],
) -> None:
    pictures = shares(*case)
    moment = combine(pictures)
    assert moment.probabilities.shape == (1, pictures.probabilities.shape[1])
    assert moment.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(moment.scores[0], pictures.scores.max(axis=0))


@given(cases(), st.floats(-50, 50))
def test_adding_a_constant_to_all_logits_changes_nothing(
    case: tuple[np.ndarray, Groups], shift: float
) -> None:
    logits, of = case
    assert np.allclose(shares(logits + shift, of).scores, shares(logits, of).scores, atol=1e-4)


def test_two_things_in_two_crops_of_a_moment_both_keep_their_score() -> None:
    of = groups(2, 1, 0)
    person, dog = [8.0, 0.0, 1.0], [0.0, 8.0, 1.0]
    moment = combine(shares(np.array([person, dog]), of))
    assert (moment.scores[0] > 0.99).all()
    assert moment.probabilities[0, :2] == pytest.approx([0.5, 0.5], abs=0.01)


def test_a_label_that_a_rival_beats_clearly_loses_its_score() -> None:
    of = groups(2, 1, 0)
    found = shares(np.array([[6.0, 9.0, 1.0]]), of)
    assert found.scores[0, 0] < 0.15
    assert found.scores[0, 1] > 0.99


def test_a_rival_that_is_less_likely_takes_nothing() -> None:
    alone = shares(np.array([[6.0, 5.0]]), groups(1, 1, 0))
    beside = shares(np.array([[6.0, 5.9, 5.0]]), groups(2, 1, 0))
    assert beside.scores[0, 0] == pytest.approx(alone.scores[0, 0])


def test_an_other_that_is_kin_of_one_label_still_competes_with_the_next() -> None:
    of = Groups(
        2,
        0,
        rivals=~np.eye(2, dtype=np.bool_),
        against=np.array([[False], [True]]),
        shown=np.array([False]),
    )
    found = shares(np.array([[5.0, 5.0, 5.0]]), of)
    assert found.scores[0] == pytest.approx([1.0, 0.5])
    assert found.probabilities[0] == pytest.approx([0.5, 0.5, 0.0])


def test_no_picture_gives_no_rows() -> None:
    found = shares(np.zeros((0, 3)), groups(2, 1, 0))
    assert found.probabilities.shape == (0, 4)
    assert isinstance(found, Shares)
