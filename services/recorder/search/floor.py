"""When a picture fits what is sought well enough to be called a match. Pure; knows the model by its embeddings alone.

A cosine says little by itself: those of pictures and words lie lower than those of two pictures, and each model has a
range of its own (docs/design/search.md). So it is compared with what is no match, as the same model sees it:

- words: with the cosines of the same picture and common words. Most of them do not fit any given picture; words that
  do stand out from them by several of their standard deviations.
- a picture: with the cosines of the same pictures and others of the record. A match lies much nearer than they do.

Both are ratios, so that no cosine of a certain model is built in. Words count on average over an object's pictures: a
chance likeness is in one of them. Both floors were chosen, with mini, by bench/search_floor.py (30 November 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
WORDS_DEVIATIONS = 2.83
PICTURE_DISTANCE = 0.357
BANK_MIN = 24  # common words, and pictures of the record, below which nothing is said
COHORT_MIN = 24


class Floor(Protocol):
    """Tells matches from what is merely nearest."""

    def passes(self, objects: Sequence[Floats], sought: Floats) -> NDArray[np.bool_] | None:
        """Return which objects match float32[D]; None where there is too little to tell.

        `objects`: pictures of one object each, float32[N,D]; all embeddings are of unit length.
        """
        ...


@dataclass(frozen=True, slots=True)
class WordFloor:
    """For words that are sought. `bank`: float32[B,D], common words."""

    bank: Floats

    def passes(self, objects: Sequence[Floats], sought: Floats) -> NDArray[np.bool_] | None:
        if len(self.bank) < BANK_MIN:
            return None
        return np.array([deviations(one, sought, self.bank).mean() >= WORDS_DEVIATIONS for one in objects])


@dataclass(frozen=True, slots=True)
class PictureFloor:
    """For a picture that is sought. `cohort`: float32[C,D], pictures of the record."""

    cohort: Floats

    def passes(self, objects: Sequence[Floats], sought: Floats) -> NDArray[np.bool_] | None:
        if len(self.cohort) < COHORT_MIN:
            return None
        return np.array([distances(one, sought, self.cohort).min() <= PICTURE_DISTANCE for one in objects])


def deviations(pictures: Floats, sought: Floats, bank: Floats) -> Floats:
    """Return by how many standard deviations each picture fits what is sought better than it fits the bank."""
    others = pictures @ bank.T
    above: Floats = (pictures @ sought - others.mean(axis=1)) / np.maximum(others.std(axis=1), 1e-6)
    return above


def distances(pictures: Floats, sought: Floats, cohort: Floats) -> Floats:
    """Return how far each picture lies from what is sought, as a part of how far the cohort lies from it on average."""
    unrelated = float((cohort @ sought).mean())
    parts: Floats = (1 - pictures @ sought) / max(1 - unrelated, 1e-6)
    return parts
