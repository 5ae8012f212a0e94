"""The bar that an int8 tower has to pass, and the proof that is kept."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from services.classifier.model.int8_proof import (
    LEAST_COSINE,
    MOST_SHIFT,
    NO_PRODUCTS,
    Int8Proof,
    LabelEmbeddings,
    distance,
    proof_of,
    prove,
    verdict,
)

LABELS = LabelEmbeddings(np.eye(3, dtype=np.float32), 10.0)


def test_distance_is_the_lowest_cosine_and_the_largest_shift() -> None:
    before = np.array([[1, 0, 0], [0, 2, 0]], np.float32)
    after = np.array([[3, 0, 0], [0, 1, 1]], np.float32)
    cosine, shift = distance(before, after, LABELS)
    assert cosine == pytest.approx(math.sqrt(0.5), abs=1e-6)
    before_share = math.exp(10) / (math.exp(10) + 2)
    e = math.exp(10 * math.sqrt(0.5))
    assert shift == pytest.approx(before_share - e / (2 * e + 1), abs=1e-5)


@pytest.mark.parametrize(
    ("cosine", "shift", "is_near"),
    [
        (LEAST_COSINE, MOST_SHIFT, True),
        (LEAST_COSINE - 1e-6, 0.0, False),
        (1.0, MOST_SHIFT + 1e-6, False),
        (math.nan, 0.0, False),
        (1.0, math.nan, False),
    ],
)
def test_both_bars_have_to_be_met(cosine: float, shift: float, is_near: bool) -> None:
    assert Int8Proof(cosine, shift, 1, 1, 1).is_near == is_near


def test_what_is_no_number_is_not_near() -> None:
    before = np.ones((2, 3), np.float32)
    after = before.copy()
    after[1, 0] = np.nan
    assert not prove(before, after, LABELS, 1, 1).is_near


def test_a_proof_is_kept_as_json() -> None:
    for proof in (Int8Proof(0.9997, 0.01, 60, 72, 23), NO_PRODUCTS):
        assert str(proof_of(json.loads(json.dumps(proof.as_json(), allow_nan=False)))) == str(proof)
    assert proof_of({"cosine": 1}) is None
    assert proof_of(None) is None


def test_the_verdict_says_why() -> None:
    assert verdict(Int8Proof(0.9997, 0.01, 60, 72, 23)) == (
        "int8 is used: 60 of 72 products, 23 pictures: lowest cosine to float32 0.99970, "
        "largest change of a probability 0.0100"
    )
    assert verdict(Int8Proof(0.99, 0.01, 36, 72, 23)).startswith(
        "int8 is not near enough to float32, and not used"
    )
    assert verdict(NO_PRODUCTS) == "int8: no matrix products to replace"
