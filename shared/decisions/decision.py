"""From the moments of a snippet to a decision. Pure: no clock, no model, no message.

    series    of each object that moments show: their scores for it; of crops that nobody followed, or that are in fewer
              than `min_moments` moments, together: the best of each moment
    average   mean of a label's score over the moments of a series within window_s / 2 before and after
    run       contiguous moments whose average stays >= leave and beats the background by `margin`
    accepted  a run whose averaged peak reaches the threshold, and in which at least `min_moments` moments reach `leave`
              by themselves: an average may not stretch one flicker over its neighbours

A snippet with fewer moments than `min_moments` can carry a label only by all of them, and then has to be surer: the
threshold is raised half-way to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
class TrackScores:
    """What one object scored in the moments that show it: bool[M], float32[M,T], zeros where it is not shown.

    `number` None: crops that nobody followed, and whole frames.
    """

    number: int | None
    is_shown: NDArray[np.bool_]
    scores: Floats
    background: Floats


@dataclass(frozen=True, slots=True)
class MomentScores:
    """A snippet's moments in time order (UTC); scores and background beside them: float32[M,T].

    `tracks`: the same for each object, where it is known which crop shows which; then these decide.
    """

    times: tuple[datetime, ...]
    scores: Floats
    background: Floats
    tracks: tuple[TrackScores, ...] = ()


@dataclass(frozen=True, slots=True)
class _RunLimits:
    threshold: float
    leave: float
    margin: float
    moments: int


@dataclass(frozen=True, slots=True)
class _Series:
    """K of a snippet's moments, by their indices, with the averages of their scores: float32[K,T].

    `own`: these scores, NaN where nothing of the series is shown, which counts as 0 in the averages.
    """

    at: NDArray[np.intp]
    own: Floats
    average: Floats
    behind: Floats

    def over_all(self, target: int, values: Floats, n_moments: int) -> Floats:
        """Return a column of `values` at every moment: between two of the series' own the earlier one's stands."""
        moments = np.arange(n_moments)
        before = np.searchsorted(self.at, moments, side="right") - 1
        is_within = (moments >= self.at[0]) & (moments <= self.at[-1])
        return np.where(is_within, values[np.maximum(before, 0), target], np.float32(0))


def decide(series: MomentScores, labels: Sequence[str], settings: DecisionSettings) -> Decision:
    """Return which of `labels` (one per column of the scores) the snippet shows."""
    n_moments = len(series.times)
    if not n_moments:
        none = np.zeros((0, len(labels)), np.float32)
        return Decision(
            (), (0.0,) * len(labels), "no picture of the snippet could be looked at", none, none, none
        )
    wanted = _run_limits(settings, n_moments)
    parts = _series_of(series, wanted.moments, settings.window_s)
    accepted: list[AcceptedRun] = []
    reasons: dict[int, str] = {}
    scores = np.zeros((n_moments, len(labels)), np.float32)
    backgrounds = np.zeros_like(scores)
    own = np.full_like(scores, np.nan)
    for target in range(len(labels)):
        part, found = _best_series(target, parts, wanted)
        if isinstance(found, AcceptedRun):
            accepted.append(found)
        else:
            reasons[target] = found
        scores[:, target] = part.over_all(target, part.average, n_moments)
        backgrounds[:, target] = part.over_all(target, part.behind, n_moments)
        own[part.at, target] = part.own[:, target]
    accepted.sort(key=lambda item: (-item.probability, labels[item.target]))
    peaks: tuple[float, ...] = tuple(scores.max(axis=0).tolist())
    best = max(range(len(labels)), key=lambda index: (peaks[index], labels[index]))
    reason = "" if accepted else f'best was "{labels[best]}" with {peaks[best]:.2f}, {reasons[best]}'
    return Decision(tuple(accepted), peaks, reason, scores, backgrounds, own)


def _series_of(moments: MomentScores, n_long: int, window_s: float) -> list[_Series]:
    """Return what is averaged: each object that at least `n_long` moments show, and the best of all else together."""
    everywhere = np.ones(len(moments.times), np.bool_)
    if not moments.tracks:
        whole = TrackScores(None, everywhere, moments.scores, moments.background)
        return [_series(moments.times, everywhere, whole, window_s)]
    is_long = [one.number is not None and one.is_shown.sum() >= n_long for one in moments.tracks]
    found = [
        _series(moments.times, one.is_shown, one, window_s)
        for one, long in zip(moments.tracks, is_long, strict=True)
        if long
    ]
    rest = [one for one, long in zip(moments.tracks, is_long, strict=True) if not long]
    if rest:
        found.append(_series(moments.times, everywhere, _best_of(rest), window_s))
    return found


def _best_of(tracks: Sequence[TrackScores]) -> TrackScores:
    """Return the best score of each moment and label, and the background beside it; zeros where nothing is shown."""
    scores = np.stack([one.scores for one in tracks])
    is_shown = np.stack([one.is_shown for one in tracks])
    best = np.where(is_shown[:, :, np.newaxis], scores, -1).argmax(axis=0)[np.newaxis]
    behind = np.stack([one.background for one in tracks])
    return TrackScores(
        None,
        is_shown.max(axis=0),
        np.take_along_axis(scores, best, axis=0)[0],
        np.take_along_axis(behind, best, axis=0)[0],
    )


def _series(
    times: tuple[datetime, ...], is_in: NDArray[np.bool_], one: TrackScores, window_s: float
) -> _Series:
    at = np.flatnonzero(is_in)
    window = neighbours([times[index] for index in at], window_s)
    own = np.where(one.is_shown[at, np.newaxis], one.scores[at], np.float32(np.nan))
    return _Series(at, own, window @ one.scores[at], window @ one.background[at])


def _best_series(
    target: int, parts: Sequence[_Series], wanted: _RunLimits
) -> tuple[_Series, AcceptedRun | str]:
    """Return the series that decides: with the best run that is accepted, else with the highest averaged peak."""
    by_peak = sorted(parts, key=lambda part: -float(part.average[:, target].max()))
    best: tuple[_Series, AcceptedRun] | None = None
    lacking = ""
    for part in by_peak:
        average = part.average[:, target]
        if part is not by_peak[0] and average.max() < wanted.threshold:
            break
        run = _best_run(target, average, part.behind[:, target], part.own[:, target], wanted)
        if isinstance(run, str):
            lacking = lacking or run
        elif best is None or run.probability > best[1].probability:
            best = part, replace(run, first=int(part.at[run.first]), last=int(part.at[run.last]))
    return best or (by_peak[0], lacking)


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
