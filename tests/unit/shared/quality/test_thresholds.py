"""Curves of answers that each stand for several, and what they suggest."""

from __future__ import annotations

import numpy as np
import pytest

from shared.quality.thresholds import THRESHOLDS, curve_of, suggest


def test_a_curve_counts_what_each_answer_stands_for() -> None:
    scores, truths = np.array([0.9, 0.6, 0.6, 0.3, -1.0]), np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    curve = curve_of(scores, truths, np.array([10.0, 10.0, 30.0, 5.0, 5.0]))
    points = {point.threshold: point for point in curve}
    assert points[0.5].precision == pytest.approx(20 / 50)
    assert points[0.5].recall == pytest.approx(20 / 30)
    assert points[0.8].precision == 1.0
    assert points[0.8].recall == pytest.approx(10 / 30)
    assert points[0.2].recall == pytest.approx(25 / 30)  # no threshold accepts the last one
    assert (points[0.96].precision, points[0.96].f1) == (None, 0.0)
    assert points[0.5].f1 == pytest.approx(2 * 0.4 * (2 / 3) / (0.4 + 2 / 3))


def test_nothing_true_has_no_recall() -> None:
    curve = curve_of(np.array([0.9]), np.array([0.0]), np.array([1.0]))
    assert {point.recall for point in curve} == {None}
    assert curve[0].f1 is None
    assert [point.threshold for point in curve] == list(THRESHOLDS)


def test_the_suggestion_is_by_number() -> None:
    found = suggest([0.5, 0.9, 0.9, 0.9, 0.2], [0.5, 0.8, 0.96, 0.97, None], 0.95)
    assert (found.best, found.precise) == (2, 2)
    assert suggest([0.5], [0.5], 0.95).precise is None
