"""What was recorded and said, as units of groups, and what follows from them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np

from shared.quality.answers import StandingVerdict, UnitAnswer, is_missed, is_right
from shared.quality.draw import ACCEPTED_RATES, MISSED_RATES, Askable, draw_check
from shared.quality.estimate import Estimate, estimate, unit_weights
from shared.quality.thresholds import CurvePoint, Suggested, curve_of, suggest
from shared.quality.units import ACCEPTED_BANDS, NOT_ACCEPTED_BANDS, Units, bands_of

WANTED_PRECISION = 0.95  # as `clipwatch evaluate` proposes unless told otherwise
PROPOSAL_MIN = 20  # answers on whether the label is right, below which no threshold is proposed
Pair = tuple[str, str]  # camera, label
_Recorded = TypeVar("_Recorded", "EventLabel", "RecordedMotion")


@dataclass(frozen=True, slots=True)
class EventLabel:
    """A label of an event. `at`: when the event ended, seconds since 1970. `score`: its averaged peak."""

    event_id: str
    camera: str
    at: float
    is_shown: bool  # there is a picture or a clip
    label: str
    score: float


@dataclass(frozen=True, slots=True)
class RecordedMotion:
    """An event without a label. `score`: the best peak of all labels.

    `peaks`: of each label that was asked for; -1 where it reached the threshold and was refused for another reason.
    """

    event_id: str
    camera: str
    at: float
    is_shown: bool
    score: float
    peaks: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RecordedUnits:
    """What was recorded since a time, and what was said of it, oldest first by event. `at`: when it was read."""

    at: datetime
    since: datetime
    labels: Sequence[EventLabel]
    motions: Sequence[RecordedMotion]
    motions_since: datetime  # later than `since` where there are very many
    said: Mapping[str, Sequence[StandingVerdict]]

    def of_pairs(self) -> dict[Pair, list[EventLabel]]:
        """Return the labels by camera and label, in order."""
        found: dict[Pair, list[EventLabel]] = defaultdict(list)
        for one in self.labels:
            found[(one.camera, one.label)].append(one)
        return dict(sorted(found.items()))

    def of_cameras(self) -> dict[str, list[RecordedMotion]]:
        """Return the events without a label by camera, in order."""
        found: dict[str, list[RecordedMotion]] = defaultdict(list)
        for one in self.motions:
            found[one.camera].append(one)
        return dict(sorted(found.items()))

    def label_units(self, labels: Sequence[EventLabel]) -> Units:
        """Return whether each label is right, as units."""
        return self._units(labels, ACCEPTED_BANDS, lambda one, said: is_right(said, one.label))

    def motion_units(self, motions: Sequence[RecordedMotion], label: str | None) -> Units:
        """Return whether a label (None: any) is missing on each event, as units."""
        return self._units(motions, NOT_ACCEPTED_BANDS, lambda _, said: is_missed(said, label))

    def _units(
        self,
        recorded: Sequence[_Recorded],
        bands: Sequence[float],
        answer: Callable[[_Recorded, Sequence[StandingVerdict]], UnitAnswer | None],
    ) -> Units:
        judged_at, drawn_with, values, asked_at = (np.full(len(recorded), np.nan) for _ in range(4))
        for number, one in enumerate(recorded):
            found = answer(one, said) if (said := self.said.get(one.event_id)) else None
            if found is not None:
                judged_at[number], values[number] = found.at, float(found.value)
                if found.drawn_with is not None and found.drawn_at is not None:
                    drawn_with[number], asked_at[number] = found.drawn_with, found.drawn_at
        return Units(
            np.array([one.at for one in recorded], np.float64),
            bands_of(np.array([one.score for one in recorded], np.float64), bands),
            judged_at,
            drawn_with,
            values,
            asked_at,
        )


@dataclass(frozen=True, slots=True)
class PairQuality:
    """A camera and label: precision (None: nothing was asked), and how many events without a label lack it."""

    camera: str
    label: str
    n: int
    n_judged: int
    n_known_wrong: int
    precision: Estimate | None
    missed: Estimate | None  # as a share of the camera's events without a label


@dataclass(frozen=True, slots=True)
class Quality:
    """All pairs, and all of them together."""

    pairs: tuple[PairQuality, ...]
    together: Estimate | None


def quality_of(recorded: RecordedUnits) -> Quality:
    """Return the quality of each camera and label that was recorded, or missed on a judged event."""
    pairs, cameras = recorded.of_pairs(), recorded.of_cameras()
    named = {
        (one.camera, said.label)
        for one in recorded.motions
        for said in recorded.said.get(one.event_id, ())
        if said.kind in ("missed", "is") and said.label is not None
    }
    found: list[PairQuality] = []
    together: list[Units] = []
    for camera, label in sorted({*pairs, *named}):
        units = recorded.label_units(pairs.get((camera, label), []))
        together.append(units)
        motions = cameras.get(camera, [])
        found.append(
            PairQuality(
                camera,
                label,
                n=len(units),
                n_judged=int(units.is_judged.sum()),
                n_known_wrong=int((units.values == 0).sum()),
                precision=estimate([units]),
                missed=estimate([recorded.motion_units(motions, label)]) if motions else None,
            )
        )
    return Quality(tuple(found), estimate(together))


@dataclass(frozen=True, slots=True)
class Question:
    """An event to look at. `label`: is it right? None: which of `labels` was missed?"""

    event_id: str
    label: str | None
    labels: tuple[str, ...]
    drawn_with: float


def questions_of(recorded: RecordedUnits, n: int, chance: np.random.Generator) -> list[Question]:
    """Draw up to `n` questions."""
    pairs, cameras = list(recorded.of_pairs().values()), list(recorded.of_cameras().values())
    accepted = [_askable(one, recorded.label_units(one), ACCEPTED_RATES) for one in pairs]
    others = [_askable(one, recorded.motion_units(one, None), MISSED_RATES) for one in cameras]
    found: list[Question] = []
    for drawn in draw_check(accepted, others, n, chance):
        if drawn.group < len(pairs):
            label = pairs[drawn.group][drawn.unit]
            found.append(Question(label.event_id, label.label, (), drawn.probability))
        else:
            motion = cameras[drawn.group - len(pairs)][drawn.unit]
            found.append(Question(motion.event_id, None, tuple(motion.peaks), drawn.probability))
    return found


def _askable(
    recorded: Sequence[EventLabel] | Sequence[RecordedMotion], units: Units, rates: tuple[float, ...]
) -> Askable:
    is_shown = np.array([one.is_shown for one in recorded], np.bool_)
    return Askable(units, rates, np.flatnonzero(is_shown & ~units.is_judged))


@dataclass(frozen=True, slots=True)
class ThresholdProposal:
    """Precision and recall by threshold. Recall is among the events with the label and those without any.

    `n_answers`: to the question whether the label is right, when a check asked it. `suggested` None: too few of these.
    """

    curve: tuple[CurvePoint, ...]
    suggested: Suggested | None
    n_answers: int


def proposal_of(recorded: RecordedUnits, camera: str, label: str) -> ThresholdProposal:
    """Return what thresholds would give for a camera and label, from what was said.

    What somebody said unasked is weighed as in the estimates; the questions of checks alone make a threshold proposed.
    """
    labels = recorded.of_pairs().get((camera, label), [])
    motions = recorded.of_cameras().get(camera, [])
    scores = np.array(
        [*(one.score for one in labels), *(one.peaks.get(label, -1.0) for one in motions)], np.float64
    )
    both = [recorded.label_units(labels), recorded.motion_units(motions, label)]
    weights = np.concatenate([unit_weights(units) for units in both])
    values = np.nan_to_num(np.concatenate([units.values for units in both]))
    curve = curve_of(scores, values, weights)
    n_answers = int(both[0].is_drawn.sum())
    if n_answers < PROPOSAL_MIN or not (weights @ values):
        return ThresholdProposal(curve, None, n_answers)
    found = suggest(
        [point.f1 or 0.0 for point in curve], [point.precision for point in curve], WANTED_PRECISION
    )
    return ThresholdProposal(curve, found, n_answers)
