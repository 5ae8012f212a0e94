"""From the answers to some questions to the share of all that would be answered with yes, with a 95 % interval. Pure.

What a check drew is weighted by how likely it was drawn (Horvitz and Thompson 1952), what was known before a check is
counted as it is, and several checks of the same units are combined (Farquhar et al. 2021): unbiased whatever people
answered unasked, and whatever made a check prefer some units. Within the bands of scores the weights are scaled to the
number of units (Hajek 1971). The interval is Wilson's, for as many answers as the weights are worth (Kish 1965, Korn
and Graubard 1998). docs/design/quality.md has the formulas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from shared.quality.intervals import wilson
from shared.quality.units import N_BANDS, Bools, Floats, Ints, Units, occasions

BAND_DRAWN_MIN = 3  # answers that a band must have of its own; else it is put together with its neighbour
PRIOR = 2.0  # answers that a band's variance borrows from its group: a band of 3 times yes is not certain
_NEVER_ZERO = 1e-9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share of `n` units. `n_effective`: of as many simple answers the interval would be as wide."""

    share: float
    low: float
    high: float
    n: int
    n_judged: int
    n_drawn: int
    n_effective: float

    @property
    def width(self) -> float:
        """Half of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class _Weights:
    """What each unit stands for. All float64[N]; `known` and `drawn` together come to the number of covered units."""

    known: Floats  # as itself, 0..1
    drawn: Floats  # for itself and for others that could have been drawn
    spread: Floats  # drawn^2 (1 - probability): what the draw leaves uncertain
    is_covered: Bools  # a check could have drawn it, or it was answered before one


@dataclass(frozen=True, slots=True)
class _Stratum:
    """A band, or several: sums of weights, and the yes among them."""

    n: int
    n_covered: int
    known: float
    known_yes: float
    n_answers: int
    drawn: float
    drawn_yes: float
    spread: float

    @property
    def rate(self) -> float:
        """Share of yes among what is not known; where all that was to be asked was answered, among that."""
        if self.drawn:
            return self.drawn_yes / self.drawn
        return self.known_yes / self.known if self.known else 0.0

    @property
    def rest(self) -> float:
        """Covered units that are not known."""
        return max(0.0, self.n_covered - self.known)

    @property
    def unknown(self) -> float:
        """Units that are not known, also those that came after the last check."""
        return self.rest + self.n - self.n_covered

    @property
    def unknown_yes(self) -> float:
        """Estimated number of yes among them. What came after the last check is taken to be like what was before."""
        covered = self.known_yes + self.rest * self.rate
        return covered * self.n / self.n_covered - self.known_yes

    def cautious_rate(self, overall: float) -> float:
        """Return the rate as if PRIOR answers more had been as those of all strata: never quite 0 or 1."""
        return (self.n_answers * self.rate + PRIOR * overall) / (self.n_answers + PRIOR)

    def variance(self, rate: float) -> float:
        """Return the variance of `unknown_yes` if this was the rate."""
        ratio = self.n / self.n_covered
        of_draw = (self.rest * ratio) ** 2 * self.spread / self.drawn**2 if self.drawn else 0.0
        return rate * (1 - rate) * (of_draw + (self.n - self.n_covered) * ratio)


def estimate(groups: Sequence[Units]) -> Estimate | None:
    """Return the share of yes over all units of the groups; None when nothing was drawn from any.

    Groups of which nothing was drawn are left out.
    """
    asked = [units for units in groups if units.is_drawn.any()]
    strata = [stratum for units in asked for stratum in _strata(units)]
    if not strata:
        return None
    n = sum(stratum.n for stratum in strata)
    n_drawn = sum(int(units.is_drawn.sum()) for units in asked)
    n_judged = sum(int(units.is_judged.sum()) for units in asked)
    known_yes = sum(stratum.known_yes for stratum in strata)
    unknown = sum(stratum.unknown for stratum in strata)
    rate, low, high, n_effective = _rate(strata, unknown, n_drawn)
    share, low, high = (known_yes + unknown * one for one in (rate, low, high))
    # the truth is a whole number of units: of two that are not known it is 0, 1 or 2, and never 1.96
    share, low, high = share / n, math.floor(low + _NEVER_ZERO) / n, math.ceil(high - _NEVER_ZERO) / n
    surely_yes = sum(float((units.values == 1).sum()) for units in asked) / n
    surely_no = sum(float((units.values == 0).sum()) for units in asked) / n
    low, high = max(low, surely_yes), min(high, 1 - surely_no)
    share = min(max(share, low, 0.0), high, 1.0)
    return Estimate(share, min(low, share), max(high, share), n, n_judged, n_drawn, n_effective)


def _rate(strata: Sequence[_Stratum], unknown: float, n_drawn: int) -> tuple[float, float, float, float]:
    """Return the share of yes among what is not known, its interval, and of how many simple answers that is."""
    if unknown <= _NEVER_ZERO:
        return 0.0, 0.0, 0.0, math.inf
    rate = min(1.0, max(0.0, sum(stratum.unknown_yes for stratum in strata) / unknown))
    overall = (rate * n_drawn + PRIOR / 2) / (n_drawn + PRIOR)
    rates = [stratum.cautious_rate(overall) for stratum in strata]
    variance = sum(stratum.variance(one) for stratum, one in zip(strata, rates, strict=True)) / unknown**2
    if not variance:
        return rate, rate, rate, math.inf
    mean = sum(stratum.unknown * one for stratum, one in zip(strata, rates, strict=True)) / unknown
    n_effective = mean * (1 - mean) / variance
    return rate, *wilson(rate, n_effective), n_effective


def unit_weights(units: Units) -> Floats:
    """Return how many units each answered one stands for: float64[N], 0 for what was not answered.

    Where nothing was drawn, answers stand for nothing: nobody knows how they were chosen.
    """
    if not units.is_drawn.any():
        return np.zeros(len(units))
    weights = _weights(units)
    return weights.known + weights.drawn


def _weights(units: Units) -> _Weights:
    times = occasions(units)
    at = np.fmin(units.at, units.asked_at)  # what was drawn was there, whatever a camera's clock said
    block = np.searchsorted(times, at).astype(np.int64)  # the first check that could have drawn it
    # the check that drew it
    asking = np.searchsorted(times, np.where(units.is_drawn, units.asked_at, -np.inf)).astype(np.int64)
    following = np.searchsorted(times, units.judged_at, side="right")  # the first check after the answer
    probability, shares = _checks(units, times, block, asking)
    later = np.vstack([np.cumsum(shares[::-1], axis=0)[::-1], np.zeros((1, len(times) + 1))])
    is_judged, is_drawn = units.is_judged, units.is_drawn
    known = np.where(is_judged, later[np.where(is_judged, following, len(times)), block], 0.0)
    own = np.where(is_drawn, shares[asking, block], 0.0)
    is_certain = probability == 1.0
    drawn = np.where(is_certain, 0.0, own / probability)
    is_covered = shares.sum(axis=0)[block] > 0
    return _Weights(known + np.where(is_certain, own, 0.0), drawn, drawn**2 * (1 - probability), is_covered)


def _checks(units: Units, times: Floats, block: Ints, asking: Ints) -> tuple[Floats, Floats]:
    """Return the units' probabilities, float64[N], and by how much each check counts for the units of each block:
    float64[checks, checks + 1], where the last block is what came after the last check.

    A check draws from the block of units that are new at it, and beyond that from older blocks (draw.py). Where several
    checks drew from a block, each counts by the inverse of its variance. Blocks of which nothing was drawn have zeros.
    Where all was to be asked and some was not answered, those who answered stand for all.
    """
    n = len(times)
    precision = np.zeros((n, n + 1))
    probability = np.where(units.is_drawn, np.clip(units.drawn_with, _NEVER_ZERO, 1.0), 1.0)
    for check in range(n):
        here = units.is_drawn & (asking == check)
        n_open = np.bincount(block[~(units.judged_at < times[check])], minlength=n + 1)
        for blocks, sample in ((slice(check, check + 1), block == check), (slice(check), block < check)):
            sample = here & sample
            n_asked = int(n_open[blocks].sum())
            if not sample.any():
                continue
            if (probability[sample] == 1).all() and sample.sum() < n_asked:
                probability[sample] = sample.sum() / n_asked
            odds = float(np.mean(1 / probability[sample] - 1))
            precision[check, blocks] = 1 / (n_open[blocks] * odds + _NEVER_ZERO)
    total = precision.sum(axis=0)
    return probability, precision / np.where(total > 0, total, 1.0)


def _strata(units: Units) -> Iterator[_Stratum]:
    weights = _weights(units)
    for bands in _joined_bands(units, weights):
        within = np.isin(units.bands, bands)
        if not (within & weights.is_covered).any():
            continue
        values = np.where(units.is_judged, units.values, 0.0)[within]
        known, drawn = weights.known[within], weights.drawn[within]
        yield _Stratum(
            n=int(within.sum()),
            n_covered=int((within & weights.is_covered).sum()),
            known=float(known.sum()),
            known_yes=float(known @ values),
            n_answers=int((drawn > 0).sum()),
            drawn=float(drawn.sum()),
            drawn_yes=float(drawn @ values),
            spread=float(weights.spread[within].sum()),
        )


def _joined_bands(units: Units, weights: _Weights) -> list[list[int]]:
    """Put bands together until each has enough answers. Looks at how many there are, never at what they say."""
    n_answers = np.bincount(units.bands[weights.drawn > 0], minlength=N_BANDS)
    joined: list[list[int]] = []
    open_bands: list[int] = []
    for band in range(N_BANDS):
        open_bands.append(band)
        if n_answers[open_bands].sum() >= BAND_DRAWN_MIN:
            joined.append(open_bands)
            open_bands = []
    if not joined:
        return [open_bands]
    joined[-1] = joined[-1] + open_bands
    return joined
