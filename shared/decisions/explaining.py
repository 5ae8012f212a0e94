"""Why the labels of a snippet were accepted or not, in numbers. Pure: no clock, no model, no message.

What was recorded says what was decided: the averages of each moment, the spans of accepted labels, the settings of
then. What the pictures by themselves said is computed again from their embeddings (evidence.py) and stands beside it
only where it leads to the same averages: other words, another model or other examples would explain another decision.
The sentences are made in explanation_words.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shared.contract import AcceptedLabel, DecisionSettings, PictureInfo
from shared.decisions.decision import carries, leave_threshold, neighbours, required_threshold, runs
from shared.decisions.evidence import Competitor, Evidence, Rival, rival_of
from shared.decisions.examples import influence
from shared.decisions.labeller import deciding_pictures
from shared.decisions.probabilities import Floats

DECIDING_MAX = 12  # moments that are shown of a label
EXAMPLES_MAX = 3  # events that are named
EXAMPLE_PART = 0.01  # of a score: an example that had less is not worth a word
SAME = 0.05  # embeddings are kept in half precision, so that averages differ a little (hindsight.md)
Lack = Literal["", "threshold", "background", "moments", "unknown"]


@dataclass(frozen=True, slots=True)
class RecordedLabel:
    """A label as it was recorded. `shares`: softmax shares of its moments, not averaged.

    `scores`, `backgrounds`: the averages that decided, float32[M]; None: the classifier of then did not send them.
    """

    label: str
    peak: float
    shares: tuple[float, ...] = ()
    scores: Floats | None = None
    backgrounds: Floats | None = None
    accepted: AcceptedLabel | None = None


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A snippet's decision as it was recorded. `backgrounds`: softmax shares of what is no target, by name and kind."""

    settings: DecisionSettings
    times: tuple[datetime, ...]
    labels: tuple[RecordedLabel, ...]
    backgrounds: tuple[tuple[str, Competitor, tuple[float, ...]], ...] = ()
    pictures: tuple[PictureInfo, ...] = ()
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    @property
    def deciding(self) -> list[list[int]]:
        """The pictures that decided each moment; empty lists where they were not kept."""
        found = deciding_pictures(self.pictures, self.seen)
        found.sort(key=lambda indices: min(self.pictures[index].captured_at for index in indices))
        return found if len(found) == len(self.times) else [[] for _ in self.times]


@dataclass(frozen=True, slots=True)
class DecidingMoment:
    """A moment that a label's decision hangs on; None: not known.

    `score`, `background`: averages. `picture` is the label's best one there, `own_score` and `own_background` its own.
    """

    number: int
    at: datetime
    score: float | None
    background: float | None
    picture: int | None = None
    own_score: float | None = None
    own_background: float | None = None
    rival: Rival | None = None


@dataclass(frozen=True, slots=True)
class ExampleInfluence:
    """An example that entered a label's scores, from which event, and the largest part that it had in one, 0..1."""

    event: str
    is_right: bool
    part: float


@dataclass(frozen=True, slots=True)
class LabelExplanation:
    """Why a label was accepted or not. The run is the stretch of moments that carried it, or would have; None: none.

    `lacks` what an accepted label has. `n_own`: moments of the run that reach the leave threshold by themselves.
    `background`: its average where the label peaked. `is_accepted_without`: without the examples; None: not known.
    """

    label: str
    is_accepted: bool
    lacks: Lack
    peak: float
    peaked_at: datetime | None
    background: float | None
    started_at: datetime | None
    ended_at: datetime | None
    n_moments: int
    n_own: int | None
    rival: Rival | None
    deciding: tuple[DecidingMoment, ...]
    is_of_crops: bool
    is_accepted_without: bool | None = None
    examples: tuple[ExampleInfluence, ...] = ()


@dataclass(frozen=True, slots=True)
class SnippetExplanation:
    """All labels of a snippet, the best first, with the limits that held for them.

    `is_evident`: what the pictures say by themselves is known.
    """

    settings: DecisionSettings
    n_moments: int
    threshold: float
    leave: float
    needed: int  # moments that must carry a label by themselves
    labels: tuple[LabelExplanation, ...]
    is_evident: bool

    @property
    def is_short(self) -> bool:
        """Whether it has fewer moments than a label needs, so that the threshold was raised."""
        return self.n_moments < self.settings.min_moments


def is_same_decision(recorded: RecordedDecision, evidence: Evidence) -> bool:
    """Return whether the evidence leads to what was recorded, as far as half precision allows."""
    if len(evidence.decided.times) != len(recorded.times):
        return False
    columns = {label: index for index, label in enumerate(evidence.labels)}
    decision = evidence.decided.decision
    for one in recorded.labels:
        column = columns.get(one.label)
        if column is None:
            return False
        if one.scores is None:
            is_close = abs(decision.peaks[column] - one.peak) <= SAME
        else:
            is_close = bool((np.abs(decision.scores[:, column] - one.scores) <= SAME).all())
        if not is_close:
            return False
    return True


def explain(recorded: RecordedDecision, evidence: Evidence | None = None) -> SnippetExplanation:
    """Explain a snippet's labels. `evidence` is used only where it leads to what was recorded."""
    if evidence is not None and not is_same_decision(recorded, evidence):
        evidence = None
    if evidence is not None:
        recorded = _with_averages(recorded, evidence)
    settings, n = recorded.settings, len(recorded.times)
    limits = SnippetExplanation(
        settings,
        n,
        required_threshold(settings, n),
        leave_threshold(settings),
        min(settings.min_moments, n),
        (),
        evidence is not None,
    )
    look = _Look(recorded, limits, recorded.deciding, evidence)
    found = [look.label(one) for one in recorded.labels]
    found.sort(key=lambda one: (not one.is_accepted, -one.peak, one.label))
    return replace(limits, labels=tuple(found))


def _with_averages(recorded: RecordedDecision, evidence: Evidence) -> RecordedDecision:
    """Put the averages in where the classifier of then did not send them."""
    columns = {label: index for index, label in enumerate(evidence.labels)}
    decision = evidence.decided.decision
    labels = [
        one
        if one.scores is not None
        else replace(
            one,
            scores=decision.scores[:, columns[one.label]],
            backgrounds=decision.backgrounds[:, columns[one.label]],
        )
        for one in recorded.labels
    ]
    return replace(recorded, labels=tuple(labels))


@dataclass(frozen=True, slots=True)
class _Look:
    recorded: RecordedDecision
    limits: SnippetExplanation
    pictures: Sequence[Sequence[int]]
    evidence: Evidence | None

    def label(self, one: RecordedLabel) -> LabelExplanation:
        times = self.recorded.times
        span, lacks = self._span(one)
        peak_at = None if one.scores is None or not times else int(one.scores.argmax())
        if span is not None and one.scores is not None:
            peak_at = span[0] + int(one.scores[span[0] : span[1] + 1].argmax())
        moments = self._moments(one, span, peak_at)
        accepted = one.accepted is not None
        return LabelExplanation(
            one.label,
            accepted,
            lacks,
            self._peak(one, lacks, peak_at),
            None if peak_at is None else times[peak_at],
            None if peak_at is None or one.backgrounds is None else float(one.backgrounds[peak_at]),
            times[span[0]] if span else None,
            times[span[1]] if span else None,
            span[1] - span[0] + 1 if span else 0,
            self._n_own(one, span, lacks),
            _strongest(moments) if self.evidence else self._larger_share(one, moments),
            self._shown(moments, peak_at),
            self._is_of_crops(moments),
            None if self.evidence is None else one.label in self.evidence.without,
            self._examples(one, moments),
        )

    def _peak(self, one: RecordedLabel, lacks: Lack, peak_at: int | None) -> float:
        if one.accepted is not None:
            return one.accepted.probability
        if lacks == "moments" and one.scores is not None and peak_at is not None:
            return float(one.scores[peak_at])  # of this run; elsewhere it may be higher, behind a background
        return one.peak

    def _span(self, one: RecordedLabel) -> tuple[tuple[int, int] | None, Lack]:
        """Return the first and last moment of the label's run, and what it lacks."""
        times, limits = self.recorded.times, self.limits
        if one.accepted is not None:
            inside = [
                number
                for number, at in enumerate(times)
                if one.accepted.started_at <= at <= one.accepted.ended_at
            ]
            return ((inside[0], inside[-1]) if inside else None), ""
        scores, behind = one.scores, one.backgrounds
        if scores is None or behind is None or not times:
            return None, "threshold" if one.peak < limits.threshold else "unknown"
        found = runs(carries(scores, behind, limits.leave, limits.settings.margin))
        highest = {run: float(scores[run[0] : run[1] + 1].max()) for run in found}
        best = max(found, key=lambda run: highest[run], default=None)
        if best is not None and highest[best] >= limits.threshold:
            return best, "moments"
        at = int(scores.argmax())
        around = next((run for run in found if run[0] <= at <= run[1]), None)
        return around, "threshold" if float(scores[at]) < limits.threshold else "background"

    def _n_own(self, one: RecordedLabel, span: tuple[int, int] | None, lacks: Lack) -> int | None:
        """Return how many moments carry the label by themselves; None where that is not what was decided by."""
        if self.evidence is None or span is None:
            return None
        column = self.evidence.labels.index(one.label)
        own = self.evidence.decided.decision.own[span[0] : span[1] + 1, column]
        n = int((own >= self.limits.leave).sum())
        is_enough = n >= self.limits.needed
        # a score that stands exactly at its limit may fall to either side in half precision
        contradicts = (not lacks and not is_enough) or (lacks == "moments" and is_enough)
        return None if contradicts else n

    def _moments(
        self, one: RecordedLabel, span: tuple[int, int] | None, peak_at: int | None
    ) -> list[DecidingMoment]:
        """Return the moments of the run, or those that are averaged into the peak."""
        times = self.recorded.times
        if span is not None:
            numbers = list(range(span[0], span[1] + 1))
        elif peak_at is not None:
            near = neighbours(times, self.limits.settings.window_s)[peak_at] > 0
            numbers = [int(number) for number in np.flatnonzero(near)]
        else:
            numbers = []
        if self.evidence is not None:
            own = self.evidence.decided.decision.own[:, self.evidence.labels.index(one.label)]
            numbers = [number for number in numbers if not np.isnan(own[number])]
        return [self._moment(one, number) for number in numbers]

    def _moment(self, one: RecordedLabel, number: int) -> DecidingMoment:
        pictures = self.pictures[number]
        score = None if one.scores is None else float(one.scores[number])
        behind = None if one.backgrounds is None else float(one.backgrounds[number])
        plain = DecidingMoment(
            number, self.recorded.times[number], score, behind, pictures[0] if len(pictures) == 1 else None
        )
        if self.evidence is None or not pictures:
            return plain
        shares, column = self.evidence.shares, self.evidence.labels.index(one.label)
        own = float(self.evidence.decided.decision.own[number, column])
        best = min(pictures, key=lambda index: abs(float(shares.scores[index, column]) - own))
        return DecidingMoment(
            number,
            plain.at,
            score,
            behind,
            best,
            float(shares.scores[best, column]),
            float(shares.background[best, column]),
            rival_of(self.evidence, best, column),
        )

    def _examples(
        self, one: RecordedLabel, moments: Sequence[DecidingMoment]
    ) -> tuple[ExampleInfluence, ...]:
        """Return the events whose examples changed the label's scores in these moments most."""
        evidence = self.evidence
        pictures = [moment.picture for moment in moments if moment.picture is not None]
        if evidence is None or not len(evidence.examples) or not pictures:
            return ()
        column = evidence.labels.index(one.label)
        parts = influence(evidence.embeddings[pictures], evidence.examples, column).max(axis=0)
        strongest: dict[str, ExampleInfluence] = {}
        for number in np.argsort(-parts, kind="stable"):
            event, part = evidence.examples.events[number], float(parts[number])
            if part >= EXAMPLE_PART:
                is_right = bool(evidence.examples.says[number, column] > 0)
                strongest.setdefault(event, ExampleInfluence(event, is_right, part))
        return tuple(strongest.values())[:EXAMPLES_MAX]

    def _is_of_crops(self, moments: Sequence[DecidingMoment]) -> bool:
        pictures = [index for moment in moments for index in self.pictures[moment.number]]
        return bool(pictures) and all(self.recorded.pictures[index].kind == "crop" for index in pictures)

    def _shown(self, moments: list[DecidingMoment], peak_at: int | None) -> tuple[DecidingMoment, ...]:
        """Return at most DECIDING_MAX moments in the order of time: the peak, and those with the highest scores."""

        def weight(moment: DecidingMoment) -> tuple[bool, float]:
            own = moment.own_score if moment.own_score is not None else moment.score or 0.0
            return moment.number != peak_at, -own

        chosen = sorted(moments, key=weight)[:DECIDING_MAX]
        return tuple(sorted(chosen, key=lambda moment: moment.number))

    def _larger_share(self, one: RecordedLabel, moments: list[DecidingMoment]) -> Rival | None:
        """Return what had the largest shares of the deciding moments, if those are larger than the label's."""
        numbers = [moment.number for moment in moments]
        if not numbers or not one.shares:
            return None

        def mean(shares: Sequence[float]) -> float:
            return sum(shares[number] for number in numbers) / len(numbers)

        others = [
            (mean(other.shares), Rival(other.label, "target", None))
            for other in self.recorded.labels
            if other.label != one.label and other.shares
        ]
        others += [
            (mean(shares), Rival(name, kind, None)) for name, kind, shares in self.recorded.backgrounds
        ]
        share, rival = max(others, key=lambda item: item[0], default=(0.0, None))
        return rival if share > mean(one.shares) else None


def _strongest(moments: Sequence[DecidingMoment]) -> Rival | None:
    """Return what fitted better than the label in most of these moments, with what it took on average."""
    by_name: dict[tuple[str, Competitor], list[Rival]] = {}
    for moment in moments:
        if moment.rival is not None:
            by_name.setdefault((moment.rival.name, moment.rival.kind), []).append(moment.rival)
    if not by_name:
        return None

    def strength(rivals: Sequence[Rival]) -> tuple[int, float]:
        return sum(one.is_better for one in rivals), sum(one.took or 0.0 for one in rivals)

    (name, kind), strongest = max(by_name.items(), key=lambda item: (strength(item[1]), item[0]))
    n_better, took = strength(strongest)
    return Rival(name, kind, took / len(moments), n_better > 0, n_better == len(moments))
