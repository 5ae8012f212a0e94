"""What has to be shown before an int8 image tower is used, and the proof that is kept with it. numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from services.classifier.words.prompts import SCENES, THINGS

# Two pictures at this cosine have unit vectors 0.032 apart. In a direction of no importance that is 0.1 of a logit at a
# temperature of 100, 512 numbers and texts 0.7 apart; in the worst one it is 2.2, so probabilities are looked at too.
LEAST_COSINE = 0.9995
MOST_SHIFT = 0.05  # the margin by which a label has to beat the background, unless it is set
WORDS = (*THINGS, *SCENES)  # of which probabilities are compared


@dataclass(frozen=True, slots=True)
class LabelEmbeddings:
    """Embedded WORDS, float32[K,D] of unit length, and the temperature that multiplies cosines before the softmax."""

    texts: NDArray[np.float32]
    temperature: float


@dataclass(frozen=True, slots=True)
class Int8Proof:
    """How near an int8 tower stays to float32 on the pictures that ship."""

    cosine: float  # the lowest of a picture
    shift: float  # the largest change of a probability
    n_int8: int  # matrix products in int8
    n_products: int
    n_pictures: int

    @property
    def is_near(self) -> bool:
        """Tell whether the tower may be used; not where a number is none."""
        return self.cosine >= LEAST_COSINE and self.shift <= MOST_SHIFT

    def __str__(self) -> str:
        """Say it for the log and for `models list`."""
        if not self.n_products:
            return "no matrix products to replace"
        return (
            f"{self.n_int8} of {self.n_products} products, {self.n_pictures} pictures: lowest cosine to float32 "
            f"{self.cosine:.5f}, largest change of a probability {self.shift:.4f}"
        )

    def as_json(self) -> dict[str, float | None]:
        """Return it as clipwatch.json keeps it, where no number is null."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}


NO_PRODUCTS = Int8Proof(math.nan, math.nan, 0, 0, 0)


def proof_of(value: object) -> Int8Proof | None:
    """Return what as_json() wrote, None for anything else."""
    if not isinstance(value, Mapping):
        return None
    try:
        cosine, shift = (
            math.nan if value[name] is None else float(value[name]) for name in ("cosine", "shift")
        )
        return Int8Proof(
            cosine, shift, *(int(value[name]) for name in ("n_int8", "n_products", "n_pictures"))
        )
    except (KeyError, TypeError, ValueError):
        return None


def verdict(proof: Int8Proof) -> str:
    """Say whether the tower is used, and why."""
    if not proof.n_products:
        return f"int8: {proof}"
    return f"int8 {'is used' if proof.is_near else 'is not near enough to float32, and not used'}: {proof}"


def distance(
    before: NDArray[np.float32], after: NDArray[np.float32], labels: LabelEmbeddings
) -> tuple[float, float]:
    """Return the lowest cosine of a picture, and the largest change of a probability; NaN where a number is none."""
    vectors = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (before, after)]
    shares = [_softmax(labels.temperature * one @ labels.texts.T) for one in vectors]
    return float((vectors[0] * vectors[1]).sum(1).min()), float(np.abs(shares[0] - shares[1]).max())


def prove(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    labels: LabelEmbeddings,
    n_int8: int,
    n_products: int,
) -> Int8Proof:
    """Compare features of the same pictures, float32[N,D] each."""
    return Int8Proof(*distance(before, after, labels), n_int8, n_products, len(before))


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[np.float32] = e / e.sum(axis=1, keepdims=True)
    return shares
