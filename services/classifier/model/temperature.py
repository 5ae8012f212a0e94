"""Fits the softmax temperature to labelled pictures. PURE: numpy in, numbers out; no model, no message, no file.

Temperature scaling (Guo et al. 2017, *On Calibration of Modern Neural Networks*, 4.2): one number multiplies all
cosines, chosen so that the probabilities of the true answers are as high as they can be (lowest mean negative log).
It changes how sure the model is, never which answer is the best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 1.0, 400.0  # CLIP's own logit scale is 100, SigLIP's about 110, mini's 20
_GOLDEN = (math.sqrt(5) - 1) / 2
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class LabelledMoments:
    """Moments of one clip: cosines float[M,K] to all texts, and the columns any of which is the truth, bool[K]."""

    cosines: NDArray[np.floating]
    is_true: NDArray[np.bool_]
    group: str  # clips of one group weigh as much together as those of another


def mean_loss(examples: Sequence[LabelledMoments], temperature: float) -> float:
    """Return the mean negative log of the true columns' softmax share; moments in a clip, then clips, then groups."""
    by_group: dict[str, list[float]] = {}
    for example in examples:
        z = temperature * np.asarray(example.cosines, dtype=np.float64)
        z -= z.max(axis=1, keepdims=True)
        e = np.exp(z)
        share = e[:, example.is_true].sum(axis=1) / e.sum(axis=1)
        by_group.setdefault(example.group, []).append(float(-np.log(np.maximum(share, _TINY)).mean()))
    return float(np.mean([np.mean(losses) for losses in by_group.values()]))


def fit_temperature(examples: Sequence[LabelledMoments], precision: float = 1e-3) -> float:
    """Return the temperature in LOWEST..HIGHEST with the lowest mean_loss, to a relative `precision`.

    Golden-section search on the logarithm. With one true column a moment the loss is convex in the temperature; with
    several it need not be, so the search begins around the best of a coarse grid.
    """
    if not examples:
        raise ValueError("no examples to fit a temperature to")
    grid = np.linspace(math.log(LOWEST), math.log(HIGHEST), 25)
    losses = [mean_loss(examples, math.exp(at)) for at in grid]
    best = int(np.argmin(losses))
    low, high = float(grid[max(0, best - 1)]), float(grid[min(len(grid) - 1, best + 1)])
    a, b = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_a, at_b = mean_loss(examples, math.exp(a)), mean_loss(examples, math.exp(b))
    while high - low > precision:
        if at_a <= at_b:
            high, b, at_b = b, a, at_a
            a = high - _GOLDEN * (high - low)
            at_a = mean_loss(examples, math.exp(a))
        else:
            low, a, at_a = a, b, at_b
            b = low + _GOLDEN * (high - low)
            at_b = mean_loss(examples, math.exp(b))
    return math.exp((low + high) / 2)
