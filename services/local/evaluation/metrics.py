"""How well clips were named: counts, shares and their uncertainty, reliability, thresholds. PURE: values in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.quality import thresholds
from shared.quality.intervals import wilson

NOTHING = "(nothing)"  # in the confusion table: nothing wanted is there, or nothing was accepted
UNSEEN = "(no motion)"  # motion found nothing to look at
N_BINS = 10


@dataclass(frozen=True, slots=True)
class ClipAnswer:
    """One clip: what is true of it, what was accepted, and each label's averaged peak (0 where motion saw nothing)."""

    name: str
    truth: frozenset[str]
    accepted: tuple[str, ...]  # best first
    peaks: Mapping[str, float]
    has_motion: bool = True


@dataclass(frozen=True, slots=True)
class Counts:
    """Right and wrong answers for one label, or for all of them."""

    hits: int = 0
    false_alarms: int = 0
    misses: int = 0
    rejections: int = 0  # rightly not said

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.false_alarms + other.false_alarms,
            self.misses + other.misses,
            self.rejections + other.rejections,
        )

    @property
    def precision(self) -> float | None:
        """Share of what was said that is true; None when nothing was said."""
        return _share(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> float | None:
        """Share of what is true that was said; None when nothing is true."""
        return _share(self.hits, self.hits + self.misses)

    @property
    def accuracy(self) -> float | None:
        """Share of clips with the right answer."""
        return _share(self.hits + self.rejections, self.n)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None when the label neither is true anywhere nor was said."""
        return _share(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)

    @property
    def n(self) -> int:
        """Number of answers."""
        return self.hits + self.false_alarms + self.misses + self.rejections


@dataclass(frozen=True, slots=True)
class Bin:
    """Answers whose peak lies in low..high: their number, mean peak, and the share that is true."""

    low: float
    high: float
    n: int
    mean_peak: float
    share_true: float


@dataclass(frozen=True, slots=True)
class ThresholdCounts:
    """What a threshold would have given."""

    threshold: float
    counts: Counts


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`best`: with the highest F1. `precise`: the lowest that has the wanted precision from there on, or None."""

    best: ThresholdCounts
    precise: ThresholdCounts | None


def counts_of(label: str, clips: Sequence[ClipAnswer]) -> Counts:
    """Return the counts of one label over all clips."""
    total = Counts()
    for clip in clips:
        is_true, is_said = label in clip.truth, label in clip.accepted
        total += Counts(
            int(is_true and is_said),
            int(is_said and not is_true),
            int(is_true and not is_said),
            int(not is_true and not is_said),
        )
    return total


def interval(part: int, whole: int) -> tuple[float, float] | None:
    """Return the 95 % interval of a share; None of nothing."""
    if whole == 0:
        return None
    return wilson(part / whole, whole)


def exact_share(clips: Sequence[ClipAnswer]) -> float | None:
    """Return the share of clips for which exactly what is true was said."""
    return _share(sum(set(clip.accepted) == clip.truth for clip in clips), len(clips))


def confusion(labels: Sequence[str], clips: Sequence[ClipAnswer]) -> dict[str, dict[str, int]]:
    """Return clips by truth (rows) and answer (columns). A clip with several truths counts in each of their rows.

    The answer of a row is that truth itself when it was said, else the best accepted label, else NOTHING or UNSEEN.
    """
    columns = (*labels, NOTHING, UNSEEN)
    table = {row: dict.fromkeys(columns, 0) for row in (*labels, NOTHING)}
    for clip in clips:
        for row in clip.truth or {NOTHING}:
            table[row][answer_of(row, clip)] += 1
    return table


def answer_of(row: str, clip: ClipAnswer) -> str:
    """Return the column of the confusion table that a clip counts in, for one of its truths."""
    if row in clip.accepted:
        return row
    others = [label for label in clip.accepted if label not in clip.truth]
    if others:
        return others[0]
    return NOTHING if clip.has_motion else UNSEEN


def reliability(clips: Sequence[ClipAnswer], labels: Sequence[str]) -> tuple[tuple[Bin, ...], float]:
    """Return bins of equal width and the expected calibration error (Guo et al. 2017), over clips x labels."""
    answers = [(clip.peaks.get(label, 0.0), label in clip.truth) for clip in clips for label in labels]
    bins: list[Bin] = []
    error = 0.0
    for number in range(N_BINS):
        low, high = number / N_BINS, (number + 1) / N_BINS
        here = [answer for answer in answers if number == min(int(answer[0] * N_BINS), N_BINS - 1)]
        if not here:
            bins.append(Bin(low, high, 0, 0.0, 0.0))
            continue
        mean = sum(peak for peak, _ in here) / len(here)
        true = sum(is_true for _, is_true in here) / len(here)
        bins.append(Bin(low, high, len(here), mean, true))
        error += len(here) / len(answers) * abs(mean - true)
    return tuple(bins), error


def suggest(curve: Sequence[ThresholdCounts], wanted_precision: float) -> Suggestion:
    """Choose from what thresholds would have given; the curve is not empty and ascends."""
    found = thresholds.suggest(
        [at.counts.f1 or 0.0 for at in curve], [at.counts.precision for at in curve], wanted_precision
    )
    return Suggestion(curve[found.best], None if found.precise is None else curve[found.precise])


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
