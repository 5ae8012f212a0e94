"""Scores the events that a method found in a scene against the scene's truth. Pure.

    truth      ......[========].................[=====]......
    outputs    .......[-------]...[--]..........[-][--]......
                       hit         false         hit, two fragments

An output hits a true event that it overlaps, with GRACE_S of tolerance. One that hits nothing is false. One that
stays open over more than OPEN_S of nothing is false too and hits one event at most, the first that it overlaps: a
method that never closes would find everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

GRACE_S = 1.0
OPEN_S = 5.0


@dataclass(frozen=True, slots=True)
class Span:
    """From start to end, seconds of the scene."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted, of one scene or of many."""

    n_true: int = 0
    n_hit: int = 0
    n_fragments: int = 0  # outputs that hit something
    n_false: int = 0
    free_s: float = 0.0  # time in which nothing moves, without GRACE_S around what does
    covered_s: float = 0.0  # of which outputs cover
    start_errors_s: tuple[float, ...] = ()

    @property
    def recall(self) -> float | None:
        return self.n_hit / self.n_true if self.n_true else None

    @property
    def false_per_hour(self) -> float:
        return self.n_false * 3600 / self.free_s if self.free_s else 0.0

    @property
    def covered(self) -> float:
        return self.covered_s / self.free_s if self.free_s else 0.0

    @property
    def fragments(self) -> float | None:
        return self.n_fragments / self.n_hit if self.n_hit else None

    @property
    def start_error_s(self) -> float | None:
        return median(self.start_errors_s) if self.start_errors_s else None

    @property
    def mean_start_error_s(self) -> float | None:
        return sum(self.start_errors_s) / len(self.start_errors_s) if self.start_errors_s else None


def tally(truth: Sequence[Span], outputs: Sequence[Span], length_s: float) -> Tally:
    """Count one scene of `length_s`. Both rows ascend; a row's spans do not overlap."""
    free = _free(truth, length_s)
    hits: dict[int, list[float]] = {}
    n_false = n_fragments = 0
    for output in outputs:
        met = [i for i, span in enumerate(truth) if _overlap_s(_grown(span), output) > 0]
        longest_s = max((_overlap_s(output, gap) for gap in free), default=0.0)
        if not met or longest_s > OPEN_S:
            n_false += 1
            met = met[:1]
        n_fragments += len(met)
        for i in met:
            hits.setdefault(i, []).append(output.start_s)
    return Tally(
        n_true=len(truth),
        n_hit=len(hits),
        n_fragments=n_fragments,
        n_false=n_false,
        free_s=sum(gap.end_s - gap.start_s for gap in free),
        covered_s=sum(_overlap_s(output, gap) for output in outputs for gap in free),
        start_errors_s=tuple(abs(min(starts) - truth[i].start_s) for i, starts in hits.items()),
    )


def total(tallies: Iterable[Tally]) -> Tally:
    """Add the counts of many scenes."""
    rows = list(tallies)
    return Tally(
        n_true=sum(row.n_true for row in rows),
        n_hit=sum(row.n_hit for row in rows),
        n_fragments=sum(row.n_fragments for row in rows),
        n_false=sum(row.n_false for row in rows),
        free_s=sum(row.free_s for row in rows),
        covered_s=sum(row.covered_s for row in rows),
        start_errors_s=tuple(error for row in rows for error in row.start_errors_s),
    )


def _free(truth: Sequence[Span], length_s: float) -> list[Span]:
    edges = [0.0]
    for span in truth:
        edges += [span.start_s - GRACE_S, span.end_s + GRACE_S]
    edges.append(length_s)
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [Span(start, end) for start, end in pairs if end > start]


def _grown(span: Span) -> Span:
    return Span(span.start_s - GRACE_S, span.end_s + GRACE_S)


def _overlap_s(a: Span, b: Span) -> float:
    return max(0.0, min(a.end_s, b.end_s) - max(a.start_s, b.start_s))
