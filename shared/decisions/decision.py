"""From the moments of a snippet to a decision. Pure: no clock, no model, no message.

    average   mean of a label's score over the moments within window_s / 2 before and after
    run       contiguous moments whose average stays >= leave and beats the background by `margin`
    accepted  a run whose averaged peak reaches the threshold, and in which at least `min_moments` moments reach `leave`
              by themselves: an average may not stretch one flicker over its neighbours

A snippet with fewer moments than `min_moments` can carry a label only by all of them, and then has to be surer: the
threshold is raised half-way to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from shared.contract import DecisionSettings
from shared.decisions.probabilities import Floats

LEAVE_RATIO = 0.8  # leave threshold where none is set, as a part of the threshold


@dataclass(frozen=True, slots=True)
class AcceptedRun:
    """A label, by its index among the targets, with its averaged peak and the moments that carried it."""

    target: int
    probability: float
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Decision:
    """`accepted` is sorted best first; `reason` says in words why nothing was accepted.

    `scores` and `backgrounds` are the averages that decided, float32[M,T], 0..1: a target's peak is its column's
    maximum in `scores`. `own`: the scores of single moments that were averaged, NaN where a moment has none.
    """

    accepted: tuple[AcceptedRun, ...]
    peaks: tuple[float, ...]  # averaged peak of each target
    reason: str
    scores: Floats = field(compare=False)
    backgrounds: Floats = field(compare=False)
    own: Floats = field(compare=False)


@dataclass(frozen=True, slots=True)
class MomentScores:
    """A snippet's moments in time order (UTC); scores and background beside them: float32[M,T]."""

    times: tuple[datetime, ...]
    scores: Floats
    background: Floats


@dataclass(frozen=True, slots=True)
class _RunLimits:
    threshold: float
    leave: float
    margin: float
    moments: int


def decide(series: MomentScores, labels: Sequence[str], settings: DecisionSettings) -> Decision:
    """Return which of `labels` (one per column of the scores) the snippet shows."""
    if not series.times:
        none = np.zeros((0, len(labels)), np.float32)
        return Decision(
            (), (0.0,) * len(labels), "no picture of the snippet could be looked at", none, none, none
        )
    wanted = _run_limits(settings, len(series.times))
    window = neighbours(series.times, settings.window_s)
    average: Floats = window @ series.scores
    behind: Floats = window @ series.background
    accepted: list[AcceptedRun] = []
    reasons: list[str] = []
    for target in range(len(labels)):
        found = _best_run(target, average[:, target], behind[:, target], series.scores[:, target], wanted)
        if isinstance(found, AcceptedRun):
            accepted.append(found)
        else:
            reasons.append(found)
    accepted.sort(key=lambda item: (-item.probability, labels[item.target]))
    peaks: tuple[float, ...] = tuple(average.max(axis=0).tolist())
    best = max(range(len(labels)), key=lambda index: (peaks[index], labels[index]))
    reason = "" if accepted else f'best was "{labels[best]}" with {peaks[best]:.2f}, {reasons[best]}'
    return Decision(tuple(accepted), peaks, reason, average, behind, series.scores)


def averaged_peaks(times: Sequence[datetime], values: Floats, window_s: float) -> tuple[float, ...]:
    """Return the averaged peak of each column of float32[M,K]; zeros when there is no moment."""
    if not len(times):
        return (0.0,) * int(values.shape[1])
    average: Floats = neighbours(times, window_s) @ values
    highest: list[float] = average.max(axis=0).tolist()
    return tuple(highest)


def neighbours(times: Sequence[datetime], window_s: float) -> NDArray[np.float32]:
    """Return float32[M,M]: row i averages the moments within half the window of moment i, itself always included."""
    at = np.array([(time - times[0]).total_seconds() for time in times])
    near = np.abs(at[:, np.newaxis] - at[np.newaxis, :]) <= window_s / 2
    np.fill_diagonal(near, val=True)
    weights: NDArray[np.float32] = (near / near.sum(axis=1, keepdims=True)).astype(np.float32)
    return weights


def required_threshold(settings: DecisionSettings, n_moments: int) -> float:
    """Return the averaged score that a label of a snippet with `n_moments` moments has to reach."""
    return (1 + settings.threshold) / 2 if n_moments < settings.min_moments else settings.threshold


def leave_threshold(settings: DecisionSettings) -> float:
    """Return the score that a moment has to reach to carry a label on."""
    leave = settings.leave_threshold
    return LEAVE_RATIO * settings.threshold if leave is None else min(leave, settings.threshold)


def _run_limits(settings: DecisionSettings, n_moments: int) -> _RunLimits:
    leave = leave_threshold(settings)
    threshold = required_threshold(settings, n_moments)
    return _RunLimits(threshold, leave, settings.margin, min(settings.min_moments, n_moments))


def _best_run(
    target: int, average: Floats, behind: Floats, own: Floats, wanted: _RunLimits
) -> AcceptedRun | str:
    """Return the run with the highest averaged peak that is accepted, or in words what the best one lacks."""
    best: AcceptedRun | None = None
    lacking = ""
    for first, last in runs(carries(average, behind, wanted.leave, wanted.margin)):
        peak = float(average[first : last + 1].max())
        n_own = int((own[first : last + 1] >= wanted.leave).sum())
        if peak >= wanted.threshold and n_own >= wanted.moments:
            if best is None or peak > best.probability:
                best = AcceptedRun(target, min(peak, 1.0), first, last)
        elif peak >= wanted.threshold:
            lacking = f"in {n_own} contiguous moment{'s' * (n_own != 1)}, wanted {wanted.moments}"
    if best is not None:
        return best
    if lacking:
        return lacking
    at = int(average.argmax())
    if average[at] >= wanted.threshold:
        return f"but the background had {behind[at]:.2f}, wanted {wanted.margin:.2f} less than the label"
    return f"wanted {wanted.threshold:.2f}"


def carries(average: Floats, behind: Floats, leave: float, margin: float) -> NDArray[np.bool_]:
    """Return which moments carry a label, from its averages and those of the background beside it."""
    holds: NDArray[np.bool_] = (average >= leave) & (average >= behind + margin)
    return holds


def runs(holds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and last index of every contiguous stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8)))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]
