"""Precision and recall by threshold, and which threshold they suggest. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.quality.units import Floats

THRESHOLDS = tuple(round(number / 50, 2) for number in range(1, 50))


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """What a threshold would give. Precision: of what would be accepted; None: nothing would be."""

    threshold: float
    precision: float | None
    recall: float | None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; 0 where nothing would be accepted, None where nothing is true."""
        if self.recall is None:
            return None
        both = (self.precision or 0.0) + self.recall
        return 2 * (self.precision or 0.0) * self.recall / both if both else 0.0


@dataclass(frozen=True, slots=True)
class Suggested:
    """Numbers of points of a curve. `best`: with the highest F1. `precise`: the lowest that has the wanted precision
    from there on, or None.
    """

    best: int
    precise: int | None


def curve_of(scores: Floats, truths: Floats, weights: Floats) -> tuple[CurvePoint, ...]:
    """Return what thresholds would give, from answers that each stand for `weights` units.

    scores: float64[N], averaged peaks, -1 where no threshold would accept it; truths: float64[N], 1 or 0.
    """
    n_true = float(weights @ truths)
    points = []
    for threshold in THRESHOLDS:
        passes = scores >= threshold
        n_accepted, n_hits = float(weights[passes].sum()), float((weights * truths)[passes].sum())
        points.append(
            CurvePoint(
                threshold, n_hits / n_accepted if n_accepted else None, n_hits / n_true if n_true else None
            )
        )
    return tuple(points)


def suggest(f1: Sequence[float], precisions: Sequence[float | None], wanted_precision: float) -> Suggested:
    """Choose from what ascending thresholds would have given; there is at least one.

    Best: the middle of the longest stretch with the highest F1, farthest from where it begins to fail on either side.
    Precise: not a lucky dip, since every later one that says anything is precise enough, too.
    """
    highest = max(f1)
    spoken = [number for number, precision in enumerate(precisions) if precision is not None]
    steady = [
        number
        for place, number in enumerate(spoken)
        if all((precisions[later] or 0.0) >= wanted_precision for later in spoken[place:])
    ]
    return Suggested(_middle([one >= highest for one in f1]), steady[0] if steady else None)


def _middle(holds: Sequence[bool]) -> int:
    """Return the index in the middle of the longest stretch of True; the later of two as long."""
    best = (0, 0)  # length, first
    first = 0
    for index, is_held in enumerate([*holds, False]):
        if is_held:
            continue
        if index - first >= best[0]:
            best = (index - first, first)
        first = index + 1
    return best[1] + (best[0] - 1) // 2 if best[0] else 0
