"""What is a match, and what is merely the nearest there is: for every model alike, and only where there is enough."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.recorder.search.common_words import COMMON_WORDS
from services.recorder.search.floor import BANK_MIN, COHORT_MIN, Floats, PictureFloor, WordFloor

DIM = 64


def units(rng: np.random.Generator, n: int) -> Floats:
    rows = rng.standard_normal((n, DIM)).astype(np.float32)
    found: Floats = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return found


def alone(pictures: Floats) -> list[Floats]:
    """Return objects of one picture each."""
    return [one[np.newaxis] for one in pictures]


def near(rng: np.random.Generator, vector: Floats, cosine: float) -> Floats:
    """Return a unit vector with that cosine to `vector`."""
    other = units(rng, 1)[0]
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    found: Floats = (cosine * vector + np.sqrt(1 - cosine**2) * other).astype(np.float32)
    return found


def in_a_cone(rows: Floats, common: float) -> Floats:
    """Return the same as a model sees it whose cosines are c + common - c * common: all higher, and closer together."""
    extra = np.full((*rows.shape[:-1], 1), np.sqrt(common), np.float32)
    return np.concatenate([rows * np.float32(np.sqrt(1 - common)), extra], axis=-1)


@given(seed=st.integers(0, 10_000), common=st.floats(0.0, 0.9))
@settings(max_examples=60, deadline=None)
def test_a_floor_is_the_same_for_a_model_whose_cosines_lie_closer_together(seed: int, common: float) -> None:
    rng = np.random.default_rng(seed)
    sought, others = units(rng, 1)[0], units(rng, 60)
    pictures = np.stack([near(rng, sought, cosine) for cosine in (0.05, 0.2, 0.9)])
    for floor in (WordFloor, PictureFloor):
        plain = floor(others).passes(alone(pictures), sought)
        narrow = floor(in_a_cone(others, common)).passes(
            alone(in_a_cone(pictures, common)), in_a_cone(sought, common)
        )
        assert plain is not None
        assert narrow is not None
        assert plain.tolist() == narrow.tolist() == [False, plain[1], True]


def test_words_match_when_they_stand_out_from_common_ones() -> None:
    rng = np.random.default_rng(3)
    sought, bank = units(rng, 1)[0], units(rng, 60)
    fits, is_like_others = near(rng, sought, 0.8), near(rng, sought, 0.1)
    passed = WordFloor(bank).passes(alone(np.stack([fits, is_like_others])), sought)
    assert passed is not None
    assert passed.tolist() == [True, False]


def test_a_picture_matches_when_it_is_much_nearer_than_the_record_is() -> None:
    """The same cosine is a match in a record of other things, and none in one whose pictures all look like it."""
    rng = np.random.default_rng(4)
    sought = units(rng, 1)[0]
    picture = near(rng, sought, 0.7)[np.newaxis]
    apart = PictureFloor(units(rng, 60)).passes([picture], sought)
    alike = PictureFloor(np.stack([near(rng, sought, 0.7) for _ in range(60)])).passes([picture], sought)
    assert apart is not None
    assert alike is not None
    assert (apart.tolist(), alike.tolist()) == ([True], [False])


def test_words_match_an_object_by_all_of_its_pictures() -> None:
    """One picture that fits by chance, among others that do not, makes no match."""
    rng = np.random.default_rng(6)
    sought, others = units(rng, 1)[0], units(rng, 60)
    chance = np.stack([near(rng, sought, cosine) for cosine in (0.8, 0.05, 0.05, 0.05)])
    steady = np.stack([near(rng, sought, cosine) for cosine in (0.75, 0.8, 0.8, 0.85)])
    passed = WordFloor(others).passes([chance[:1], chance, steady], sought)
    assert passed is not None
    assert passed.tolist() == [True, False, True]


def test_a_picture_matches_an_object_by_its_nearest_picture() -> None:
    """A thing that turns looks like the picture only once."""
    rng = np.random.default_rng(6)
    sought, others = units(rng, 1)[0], units(rng, 60)
    turning = np.stack([near(rng, sought, cosine) for cosine in (0.8, 0.05, 0.05)])
    passed = PictureFloor(others).passes([turning, turning[1:]], sought)
    assert passed is not None
    assert passed.tolist() == [True, False]


def test_too_little_to_compare_with_says_nothing() -> None:
    rng = np.random.default_rng(5)
    sought, pictures = units(rng, 1)[0], units(rng, 3)
    for floor, least in ((WordFloor, BANK_MIN), (PictureFloor, COHORT_MIN)):
        assert floor(units(rng, least - 1)).passes(alone(pictures), sought) is None
        assert floor(units(rng, least)).passes(alone(pictures), sought) is not None
        assert floor(np.zeros((0, DIM), np.float32)).passes(alone(pictures), sought) is None


@pytest.mark.parametrize("floor", [WordFloor, PictureFloor])
def test_pictures_that_are_all_one_divide_by_nothing(floor: type[WordFloor] | type[PictureFloor]) -> None:
    one = np.eye(1, DIM, dtype=np.float32)
    passed = floor(np.repeat(one, 60, axis=0)).passes([one], one[0])
    assert passed is not None
    assert np.isfinite(passed.astype(np.float32)).all()


def test_common_words_are_many_and_each_is_one() -> None:
    assert len(set(COMMON_WORDS)) == len(COMMON_WORDS) >= 2 * BANK_MIN
    assert all(text == text.strip() and "  " not in text for text in COMMON_WORDS)
