"""Which units to ask next: a stratified random sample whose probabilities are known. Pure: the chance is given.

In two stages. First each group gets a number of questions: more, the wider its interval is and the more units it has
(the square root: Bankier 1988), so that neither a busy camera nor a quiet one takes all. Then a group's units are drawn
with probabilities that follow how uncertain the answers in their band are (Neyman 1934), systematically in the order of
bands (Madow 1949). Units that no check could have drawn yet come first, since each then has its one chance; where there
are fewer than questions, all of them are asked, and older ones beside them.

The probability of a unit is that within its group, given the group's number of questions: so much is needed to estimate
the group, whatever made it get so many (estimate.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from shared.quality.estimate import estimate
from shared.quality.units import N_BANDS, Floats, Ints, Units, occasions

ACCEPTED_RATES = (0.5, 0.7, 0.85, 0.95)  # by band: how often a label is right, before anybody said so
MISSED_RATES = (0.01, 0.03, 0.1, 0.3)  # how often something was missed
NOT_ACCEPTED_SHARE = 0.2
PRIOR = 4.0  # answers that these rates count as
RATE_MIN = 0.05  # a band is taken for no surer than this: what was never wrong is asked for, too
UNKNOWN_WIDTH = 0.5  # half of the interval of a group of which nothing is known
WIDTH_MIN = 0.01  # a group that is known better than this is asked as if it were not


@dataclass(frozen=True, slots=True)
class Drawn:
    """A unit to ask about, by the numbers of its group and of the unit within it."""

    group: int
    unit: int
    probability: float


@dataclass(frozen=True, slots=True)
class Askable:
    """A group: its units, which of them can be shown, and by band how often the answer is yes before anybody said."""

    units: Units
    rates: tuple[float, ...]
    can_be_asked: Ints  # numbers of units that nobody answered yet


def draw_check(
    accepted: Sequence[Askable], not_accepted: Sequence[Askable], n: int, chance: np.random.Generator
) -> list[Drawn]:
    """Draw up to `n` units, in random order; groups are numbered through, the accepted ones first.

    NOT_ACCEPTED_SHARE of the questions are about what was not accepted, more where the others are not enough.
    """
    n_each = [sum(len(group.can_be_asked) for group in groups) for groups in (accepted, not_accepted)]
    n_other = min(n_each[1], max(round(NOT_ACCEPTED_SHARE * n), n - n_each[0]))
    found = draw(accepted, n - n_other, chance)
    found += [replace(one, group=one.group + len(accepted)) for one in draw(not_accepted, n_other, chance)]
    return [found[int(index)] for index in chance.permutation(len(found))]


def draw(groups: Sequence[Askable], n: int, chance: np.random.Generator) -> list[Drawn]:
    """Draw up to `n` units of the groups."""
    n_units = np.array([len(group.can_be_asked) for group in groups], np.float64)
    is_choice = (n_units > 0).sum() > 1
    sizes = np.array([_size(group) if is_choice else 1.0 for group in groups], np.float64)
    numbers = _rounded(_capped(sizes, n_units, n), chance)
    return [
        Drawn(number, unit, probability)
        for number, (group, n_here) in enumerate(zip(groups, numbers, strict=True))
        if n_here
        for unit, probability in _draw_units(group, int(n_here), chance)
    ]


def _size(group: Askable) -> float:
    known = estimate([group.units])
    return float(np.sqrt(len(group.units))) * (max(known.width, WIDTH_MIN) if known else UNKNOWN_WIDTH)


def _draw_units(group: Askable, n: int, chance: np.random.Generator) -> list[tuple[int, float]]:
    times = occasions(group.units)
    last = times[-1] if len(times) else -np.inf
    is_new = group.units.at[group.can_be_asked] > last
    new, older = group.can_be_asked[is_new], group.can_be_asked[~is_new]
    uncertainty = _uncertainty(group)
    found: list[tuple[int, float]] = []
    for among in (new, older):
        n_here = min(n - len(found), len(among))
        if n_here:
            found += _draw_among(among, uncertainty[among], n_here, chance)
    return found


def _draw_among(
    among: Ints, uncertainty: Floats, n: int, chance: np.random.Generator
) -> list[tuple[int, float]]:
    """Draw `n` of `among`, systematically: units as uncertain as each other stand together, in random order."""
    order = np.lexsort((chance.random(len(among)), uncertainty))
    probabilities = _capped(uncertainty[order], np.ones(len(among)), n)
    taken = np.flatnonzero(_rounded(probabilities, chance))
    return [(int(among[order[index]]), float(probabilities[index])) for index in taken]


def _uncertainty(group: Askable) -> Floats:
    """Return for each unit the standard deviation of its answer, from what was said in its band: float64[N]."""
    units = group.units
    deviations = np.zeros(N_BANDS)
    for band in range(N_BANDS):
        said = units.values[units.is_drawn & (units.bands == band)]
        rate = (said.sum() + PRIOR * group.rates[band]) / (len(said) + PRIOR)
        rate = min(max(rate, RATE_MIN), 1 - RATE_MIN)
        deviations[band] = np.sqrt(rate * (1 - rate))
    return deviations[units.bands]


def _capped(sizes: Floats, limits: Floats, n: float) -> Floats:
    """Share `n` in proportion to the sizes, at most its limit to each; all of the limits where they are less."""
    if limits.sum() <= n:
        return limits.copy()
    shares = np.zeros(len(sizes))
    is_full = limits == 0
    while True:
        rest = n - limits[is_full].sum()
        shares[~is_full] = rest * sizes[~is_full] / sizes[~is_full].sum()
        shares[is_full] = limits[is_full]
        exceeds = ~is_full & (shares > limits)
        if not exceeds.any():
            return shares
        is_full |= exceeds


def _rounded(shares: Floats, chance: np.random.Generator) -> Ints:
    """Round to whole numbers with the same sum, each up or down with such chances that its mean is its share."""
    ends = np.cumsum(shares)
    ends = ends / ends[-1] * round(float(ends[-1])) if len(ends) and ends[-1] > 0 else ends
    steps = np.floor(np.concatenate([[0.0], ends]) + chance.random())
    return np.diff(steps).astype(np.int64)
