"""What somebody said of a picture holds for it, for what looks like it, and for nothing else."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.decisions.examples import (
    REACH,
    USUAL_UNRELATED,
    Example,
    for_labels,
    unrelated_cosine,
    with_examples,
)
from shared.decisions.probabilities import Floats, Shares

LABELS = ("a dog", "a fox", "a flag")
DIM = 8


def unit(*values: float) -> Floats:
    vector = np.zeros(DIM, np.float32)
    vector[: len(values)] = values
    return (vector / np.linalg.norm(vector)).astype(np.float32)


@st.composite
def units(draw: st.DrawFn) -> Floats:
    found = draw(arrays(np.float32, DIM, elements=st.floats(-1, 1, width=32)))
    found[draw(st.integers(0, DIM - 1))] += 2.0
    length = float(np.linalg.norm(found))
    return np.asarray(found / length, np.float32)


@st.composite
def verdicts(draw: st.DrawFn) -> Example:
    label = draw(st.sampled_from((*LABELS, "a kite", None)))
    is_right = draw(st.booleans()) and label is not None
    return Example(draw(st.sampled_from("abcde")), label, is_right, draw(units()))


@st.composite
def looked_at(draw: st.DrawFn) -> tuple[Shares, Floats]:
    n = draw(st.integers(1, 5))
    ratios = st.floats(0, 1, width=32)
    return (
        Shares(
            draw(arrays(np.float32, (n, 4), elements=ratios)),
            draw(arrays(np.float32, (n, 3), elements=ratios)),
            draw(arrays(np.float32, (n, 3), elements=ratios)),
        ),
        np.stack([draw(units()) for _ in range(n)]),
    )


def same(one: Shares, other: Shares) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("probabilities", "scores", "background")
    )


def flat(n: int, score: float = 0.6) -> Shares:
    return Shares(*(np.full((n, len(LABELS)), value, np.float32) for value in (score, score, 0.3)))


@given(looked_at())
def test_without_examples_every_bit_stays(case: tuple[Shares, Floats]) -> None:
    assert with_examples(*case, for_labels([], LABELS)) is case[0]
    other_labels = [Example("a", "a kite", False, case[1][0])]
    assert with_examples(*case, for_labels(other_labels, LABELS)) is case[0]


@given(looked_at(), st.lists(verdicts(), max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_verdicts_does_not_matter(
    case: tuple[Shares, Floats], said: list[Example], order: random.Random
) -> None:
    mixed = order.sample(said, len(said))
    assert same(
        with_examples(*case, for_labels(said, LABELS)), with_examples(*case, for_labels(mixed, LABELS))
    )


@given(looked_at(), st.lists(verdicts(), max_size=12), verdicts())
def test_a_verdict_that_is_taken_back_leaves_nothing(
    case: tuple[Shares, Floats], said: list[Example], undone: Example
) -> None:
    before = with_examples(*case, for_labels(said, LABELS))
    with_examples(*case, for_labels([*said, undone], LABELS))
    assert same(with_examples(*case, for_labels(said, LABELS)), before)


@given(looked_at(), st.lists(verdicts(), max_size=12), st.sampled_from(LABELS), st.booleans())
def test_what_was_said_of_a_picture_holds_for_it(
    case: tuple[Shares, Floats], said: list[Example], label: str, is_right: bool
) -> None:
    pictures, embeddings = case
    others = [one for one in said if float(one.embedding @ embeddings[0]) < 0.999]
    kept = embeddings[0].astype(np.float16).astype(np.float32)  # as it is recorded
    found = with_examples(
        pictures, embeddings, for_labels([*others, Example("x", label, is_right, kept)], LABELS)
    )
    column = LABELS.index(label)
    assert found.scores[0, column] == pytest.approx(float(is_right), abs=1e-6)
    assert found.background[0, column] == pytest.approx(0, abs=1e-6)


@given(looked_at(), st.lists(verdicts(), max_size=12))
def test_scores_stay_shares_and_probabilities_stay_what_they_are(
    case: tuple[Shares, Floats], said: list[Example]
) -> None:
    found = with_examples(*case, for_labels(said, LABELS))
    assert np.array_equal(found.probabilities, case[0].probabilities)
    for values in (found.scores, found.background):
        assert values.dtype == np.float32
        assert ((values >= 0) & (values <= 1)).all()


@given(looked_at(), st.lists(verdicts(), max_size=12))
def test_pictures_out_of_reach_keep_every_bit(case: tuple[Shares, Floats], said: list[Example]) -> None:
    pictures, embeddings = case
    examples = for_labels(said, LABELS)
    found = with_examples(pictures, embeddings, examples)
    if not len(examples):
        return
    distances = (1 - embeddings @ examples.embeddings.T) / (1 - examples.unrelated)
    is_far = (distances > REACH + 1e-3).all(axis=1)
    assert np.array_equal(found.scores[is_far], pictures.scores[is_far])
    assert np.array_equal(found.background[is_far], pictures.background[is_far])


@given(looked_at(), st.lists(verdicts(), max_size=12), st.sampled_from(LABELS))
def test_one_verdict_more_against_a_label_never_raises_it(
    case: tuple[Shares, Floats], said: list[Example], label: str
) -> None:
    more = [*said, Example("x", label, False, case[1][0])]
    before = with_examples(*case, for_labels(said, LABELS)).scores
    after = with_examples(*case, for_labels(more, LABELS)).scores
    assert (after <= before + 1e-5).all()


def test_what_looks_alike_goes_with_it_and_what_does_not_stays() -> None:
    flag, another_flag, dog = unit(1, 0, 0.1), unit(1, 0.1, 0), unit(0.6, 0.8)
    examples = for_labels([Example("e", "a dog", False, flag)], LABELS)
    found = with_examples(flat(3), np.stack([flag, another_flag, dog]), examples)
    assert found.scores[0, 0] == pytest.approx(0, abs=1e-6)
    assert found.scores[1, 0] < 0.05
    assert found.scores[2, 0] == np.float32(0.6)
    assert (found.scores[:, 1] == np.float32(0.6)).all(), "nothing was said of a fox"


def test_nothing_at_all_speaks_against_every_label_but_one_that_was_confirmed() -> None:
    picture = unit(1)
    said = [Example("e", None, False, picture), Example("e", "a fox", True, picture)]
    found = with_examples(flat(1), picture[np.newaxis], for_labels(said, LABELS))
    assert found.scores[0].tolist() == pytest.approx([0, 1, 0], abs=1e-6)


def test_of_two_verdicts_that_contradict_each_other_wrong_stands() -> None:
    picture = unit(1)
    said = [Example("e", "a dog", True, picture), Example("f", "a dog", False, picture)]
    found = with_examples(flat(1), picture[np.newaxis], for_labels(said, LABELS))
    assert found.scores[0, 0] == pytest.approx(0, abs=1e-6)


def around(centre: Floats, spread: float, n: int, seed: int) -> list[Floats]:
    noise = np.random.default_rng(seed).normal(size=(n, DIM)) * spread
    return [unit(*row) for row in centre + noise]


@pytest.mark.parametrize("is_right", [True, False])
def test_at_half_the_reach_an_example_weighs_as_much_as_the_text(is_right: bool) -> None:
    def at(part: float) -> Floats:
        cosine = 1 - part * float(REACH) * (1 - USUAL_UNRELATED)
        return unit(cosine, (1 - cosine**2) ** 0.5)

    examples = for_labels([Example("e", "a dog", is_right, unit(1))], LABELS)
    found = with_examples(flat(3), np.stack([at(0.5), at(0.9), at(1.01)]), examples)
    assert found.scores[0, 0] == pytest.approx((0.6 + is_right) / 2, abs=1e-4)
    assert found.background[0, 0] == pytest.approx(0.15, abs=1e-4)
    assert 0 < abs(found.scores[1, 0] - 0.6) < 0.02
    assert found.scores[2, 0] == np.float32(0.6)


def test_an_example_that_no_picture_is_near_costs_nothing() -> None:
    pictures, embeddings = flat(2), np.stack([unit(1), unit(0, 1)])
    examples = for_labels([Example("e", "a dog", False, unit(0, 0, 1))], LABELS)
    assert with_examples(pictures, embeddings, examples) is pictures


@pytest.mark.parametrize("is_right", [True, False])
def test_an_example_beats_any_number_of_others_beside_it(is_right: bool) -> None:
    beside = [Example(f"e{n}", "a dog", not is_right, unit(1, 0.03 + 0.0001 * n)) for n in range(1000)]
    examples = for_labels([*beside, Example("e", "a dog", is_right, unit(1))], LABELS)
    found = with_examples(flat(1), unit(1)[np.newaxis], examples)
    assert found.scores[0, 0] == pytest.approx(float(is_right), abs=1e-6)


def test_unrelated_pictures_are_those_of_other_events() -> None:
    pictures = np.stack(around(unit(1), 0.01, 6, 3) + around(unit(0, 1), 0.01, 6, 4))
    names = ["flag"] * 6 + ["dog"] * 6
    assert unrelated_cosine(pictures, names) == pytest.approx(0, abs=0.1)
    assert unrelated_cosine(pictures[:2], names[:2]) == USUAL_UNRELATED
