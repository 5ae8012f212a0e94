"""Counts, intervals, confusion, reliability and thresholds, against values computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.local.evaluation.metrics import (
    NOTHING,
    UNSEEN,
    ClipAnswer,
    Counts,
    ThresholdCounts,
    confusion,
    counts_of,
    exact_share,
    interval,
    reliability,
    suggest,
)

DOG, CAT = "a dog", "a cat"


def clip(truth: str, said: str = "", has_motion: bool = True, **peaks: float) -> ClipAnswer:
    true, spoken = ([part for part in text.split(";") if part] for text in (truth, said))
    named = {f"a {name}": peak for name, peak in peaks.items()}
    return ClipAnswer("c", frozenset(true), tuple(spoken), named, has_motion)


CLIPS = (
    clip(DOG, DOG, dog=0.9, cat=0.1),
    clip(DOG, CAT, dog=0.2, cat=0.6),
    clip(DOG, "", dog=0.3, cat=0.0),
    clip(CAT, f"{CAT};{DOG}", dog=0.7, cat=0.8),
    clip("", "", dog=0.0, cat=0.0),
    clip(DOG, "", has_motion=False),
    clip(f"{DOG};{CAT}", f"{DOG};{CAT}", dog=0.95, cat=0.9),
)


def test_counts_are_those_counted_by_hand() -> None:
    assert counts_of(DOG, CLIPS) == Counts(hits=2, false_alarms=1, misses=3, rejections=1)
    assert counts_of(CAT, CLIPS) == Counts(hits=2, false_alarms=1, misses=0, rejections=4)
    dog = counts_of(DOG, CLIPS)
    assert dog.precision == pytest.approx(2 / 3)
    assert dog.recall == pytest.approx(2 / 5)
    assert dog.accuracy == pytest.approx(3 / 7)
    assert dog.f1 == pytest.approx(0.5)


def test_nothing_said_has_no_precision_and_nothing_true_no_recall() -> None:
    none = Counts(rejections=3)
    assert (none.precision, none.recall, none.f1, none.accuracy) == (None, None, None, 1.0)


def test_exactly_right_asks_for_all_truths_and_nothing_else() -> None:
    assert exact_share(CLIPS) == pytest.approx(3 / 7)
    assert exact_share(()) is None


def test_the_confusion_table_names_what_was_said_instead() -> None:
    table = confusion((DOG, CAT), CLIPS)
    assert table[DOG] == {DOG: 2, CAT: 1, NOTHING: 1, UNSEEN: 1}
    assert table[CAT] == {DOG: 0, CAT: 2, NOTHING: 0, UNSEEN: 0}
    assert table[NOTHING] == {DOG: 0, CAT: 0, NOTHING: 1, UNSEEN: 0}


def test_the_interval_is_wilsons() -> None:
    # Brown, Cai, DasGupta 2001, Interval Estimation for a Binomial Proportion: score interval of 0 of 10 and 5 of 10
    assert interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert interval(0, 0) is None


@given(st.integers(0, 500), st.integers(1, 500))
def test_an_interval_holds_its_share_and_stays_in_bounds(part: int, whole: int) -> None:
    part = min(part, whole)
    found = interval(part, whole)
    assert found is not None
    assert 0 <= found[0] <= part / whole <= found[1] <= 1


def test_answers_that_are_as_true_as_they_are_sure_have_no_error() -> None:
    clips = [clip(DOG, "", dog=0.75)] * 3 + [clip("", "", dog=0.75)]
    bins, error = reliability(clips, (DOG,))
    assert error == pytest.approx(0.0)
    assert [(one.n, one.share_true) for one in bins if one.n] == [(4, 0.75)]


def test_the_error_weighs_bins_by_their_answers() -> None:
    clips = [clip(DOG, "", dog=0.55)] * 3 + [clip("", "", dog=1.0)]
    _, error = reliability(clips, (DOG,))
    assert error == pytest.approx(3 / 4 * 0.45 + 1 / 4 * 1.0)


def at(threshold: float, hits: int, false_alarms: int, misses: int) -> ThresholdCounts:
    return ThresholdCounts(threshold, Counts(hits, false_alarms, misses, 0))


def test_the_best_threshold_lies_in_the_middle_of_the_best_stretch() -> None:
    curve = [
        at(0.1, 4, 3, 0),
        at(0.2, 4, 0, 0),
        at(0.3, 3, 0, 1),
        *(at(t / 10, 4, 0, 0) for t in (4, 5, 6)),
        at(0.7, 1, 0, 3),
    ]
    assert suggest(curve, 0.95).best.threshold == 0.5


def test_the_careful_threshold_is_the_lowest_that_stays_precise() -> None:
    curve = [at(0.1, 4, 4, 0), at(0.2, 3, 0, 1), at(0.3, 3, 1, 1), at(0.4, 2, 0, 2), at(0.5, 0, 0, 4)]
    found = suggest(curve, 0.95)
    assert found.precise is not None
    assert found.precise.threshold == 0.4
    assert suggest(curve[:1], 0.95).precise is None
