"""What can be asked, and what was answered. Pure.

A *unit* is one question: "is this 'a dog'?" of an event with that label, or "what was missed here?" of an event without
a label. A *group* holds the units of a camera and label (or of a camera's events without a label). A *band* is a range
of scores within a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# lower ends of the bands above the lowest one
ACCEPTED_BANDS = (0.6, 0.75, 0.9)
NOT_ACCEPTED_BANDS = (0.1, 0.25, 0.4)
N_BANDS = 4


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one group, an entry each. Times in seconds since 1970."""

    at: Floats  # float64[N], since when it can be asked
    bands: Ints  # int64[N], 0..N_BANDS-1
    judged_at: Floats  # float64[N], when somebody first answered; NaN: nobody did
    drawn_with: Floats  # float64[N], 0..1, how likely it was drawn for that answer; NaN: it was not
    values: Floats  # float64[N], 1: yes, 0: no; NaN: not answered
    asked_at: Floats  # float64[N], when the check was drawn that asked for that answer; NaN: none did

    def __len__(self) -> int:
        return len(self.at)

    @property
    def is_judged(self) -> Bools:
        """bool[N], whether somebody answered."""
        return ~np.isnan(self.judged_at)

    @property
    def is_drawn(self) -> Bools:
        """bool[N], whether the answer was asked for."""
        return ~np.isnan(self.drawn_with)

    def with_values(self, values: Floats) -> Units:
        """Return the same units, answered to another question."""
        return replace(self, values=values)


def bands_of(scores: Floats, ends: Sequence[float]) -> Ints:
    """Return the band of each score."""
    return np.searchsorted(np.asarray(ends), scores, side="right").astype(np.int64)


def occasions(units: Units) -> Floats:
    """Return when each check of the group was drawn, ascending; those that nobody answered are not known."""
    return np.unique(units.asked_at[units.is_drawn])
