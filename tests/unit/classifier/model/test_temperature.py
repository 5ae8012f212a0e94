"""The fitted temperature: found again where it is known, and never worse than what it replaces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.classifier.model.temperature import HIGHEST, LOWEST, LabelledMoments, fit_temperature, mean_loss


def drawn(temperature: float, n: int, seed: int) -> list[LabelledMoments]:
    """Clips whose truths are drawn from the softmax at `temperature`: that one is the right one."""
    rng = np.random.default_rng(seed)
    examples = []
    for _ in range(n):
        cosines = rng.normal(0.2, 0.08, (1, 6))
        z = temperature * cosines[0]
        share = np.exp(z - z.max())
        truth = rng.choice(6, p=share / share.sum())
        examples.append(LabelledMoments(cosines, np.arange(6) == truth, "all"))
    return examples


@pytest.mark.parametrize("temperature", [8.0, 20.0, 60.0])
def test_a_temperature_that_is_known_is_found_again(temperature: float) -> None:
    found = fit_temperature(drawn(temperature, 4000, seed=1))
    assert found == pytest.approx(temperature, rel=0.12)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(2, 150))
def test_no_other_temperature_fits_better(seed: int, other: float) -> None:
    examples = drawn(20.0, 30, seed)
    found = fit_temperature(examples)
    assert LOWEST <= found <= HIGHEST * 1.001
    assert mean_loss(examples, found) <= mean_loss(examples, other) + 1e-5


def test_what_is_always_wrong_asks_for_the_lowest() -> None:
    wrong = LabelledMoments(np.array([[0.9, 0.1]]), np.array([False, True]), "all")
    assert fit_temperature([wrong]) == pytest.approx(LOWEST, rel=0.01)


def test_several_true_columns_count_together() -> None:
    example = LabelledMoments(np.array([[0.3, 0.3, 0.3]]), np.array([True, True, False]), "nothing")
    assert mean_loss([example], 10.0) == pytest.approx(-np.log(2 / 3))


def test_groups_weigh_alike_however_many_clips_they_have() -> None:
    sure = LabelledMoments(np.array([[1.0, 0.0]]), np.array([True, False]), "a dog")
    wrong = LabelledMoments(np.array([[1.0, 0.0]]), np.array([False, True]), "a cat")
    alike = (mean_loss([sure], 3.0) + mean_loss([wrong], 3.0)) / 2
    assert mean_loss([sure] * 9 + [wrong], 3.0) == pytest.approx(alike)


def test_no_examples_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no examples"):
        fit_temperature([])
