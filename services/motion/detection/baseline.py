"""Keeps what a quiet scene looks like, and compares a plane with it. Pure: state in, state out.

The baseline is a running average. Beside it are learned the noise of a still pixel, the variance of each pixel, how
often each begins to differ (swaying things drive that up), and a second, steady average without patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from services.motion.detection import tuning
from services.motion.detection.planes import above, blurred, flat_share, quantile
from services.motion.detection.values import (
    Comparison,
    DetectorSettings,
    DetectorState,
    Floats,
    Gray,
    Indices,
    Observation,
    Patch,
    as_floats,
)
from services.motion.detection.zones import mask_of


def start(plane: Gray, t_s: float) -> DetectorState:
    """Return the state after the first blurred plane of a scene."""
    zeros = np.zeros(plane.shape, np.float32)
    return DetectorState(
        t_s=t_s,
        mean=plane.astype(np.float32),
        steady=plane.astype(np.float32),
        steadied_s=t_s,
        variance=np.full(plane.shape, 4.0, np.float32),
        onsets_hz=zeros,
        foreground=np.zeros(plane.shape, np.bool_),
        heat=zeros,
        history=((t_s, plane),),
        started_s=t_s,
        learned_s=t_s,
        is_guess=True,
        noise=1.0,
        drowned_s=0.0,
        is_active=False,
        flat_share=flat_share(plane),
    )


def start_from(planes: Sequence[Gray], t_s: float, ksize: int) -> DetectorState | None:
    """Return a state whose baseline is the median of `planes`, the first seconds of a recording.

    What moves in the recording's very first frame is then seen at once, and leaves no ghost where it stood. Returns
    None when the planes are too few, or show more than one scene.
    """
    if len(planes) < 5 or any(plane.shape != planes[0].shape for plane in planes):
        return None
    smooth = [blurred(plane, ksize) for plane in planes]
    median = np.median(np.stack(smooth), axis=0).astype(np.float32)
    apart = [float((np.abs(plane - median) > 16.0).mean()) for plane in (smooth[0], smooth[-1])]
    if max(apart) > 0.35:
        return None
    return replace(start(smooth[0], t_s - 0.1), mean=median, steady=median, is_guess=False)


def compare(state: DetectorState, new: Observation, noise: float, settings: DetectorSettings) -> Comparison:
    """Compare a plane with the baseline and with what was LOOK_BACK_S ago."""
    plane, t_s = new.plane, new.t_s
    difference = as_floats(cv2.subtract(plane, state.mean, dtype=cv2.CV_32F))
    offset = quantile(difference[::4, ::4].ravel(), 0.5)
    if abs(offset) > 0.5:  # exposure that breathes moves all pixels alike
        difference -= np.float32(min(max(offset, -25.0), 25.0))
    size = np.abs(difference)
    limit = _limit(state, noise, settings)
    foreground = size > limit
    ignored = mask_of(settings.masks, plane.shape)
    if ignored is not None:
        foreground &= ~ignored
    changed = above(cv2.absdiff(plane, state.past_plane(t_s)), max(6.0, 5.0 * noise))
    dt_s = state.elapsed_s(t_s)
    heat = np.maximum(state.heat - np.float32(dt_s / tuning.HEAT_S), changed.astype(np.float32) / 255)
    return Comparison(plane, t_s, dt_s, noise, difference, size, limit, foreground, heat)


def _limit(state: DetectorState, noise: float, settings: DetectorSettings) -> Floats:
    """Return the difference from which a pixel counts as changed, grey levels."""
    if settings.threshold == "auto":
        limit = as_floats(cv2.sqrt(state.variance))
        limit *= np.float32(4.5)
        limit += np.float32(2.0)
        np.maximum(limit, np.float32(max(tuning.FLOOR_LEVELS, 6.0 * noise)), out=limit)
    else:
        limit = np.full(state.mean.shape, settings.threshold, np.float32)
    sway_hz = min(tuning.SWAY_HZ, tuning.SWAY_SHARE / state.period_s) if state.period_s else tuning.SWAY_HZ
    swaying = np.flatnonzero(state.onsets_hz > sway_hz)
    if swaying.size:
        sway = np.minimum((state.onsets_hz.ravel()[swaying] - sway_hz) / sway_hz, 4.0)
        limit.ravel()[swaying] *= 1.0 + 2.0 * sway
    if state.is_active:
        limit *= np.float32(0.85)  # hysteresis: what moves is followed a little further
    return limit


def learn(state: DetectorState, seen: Comparison, light: Sequence[Patch]) -> DetectorState:
    """Return what is known after a frame.

    Most pixels are quiet: all are learned as if they were, then those that differ are put right.
    """
    t_s = seen.t_s
    at = np.flatnonzero(seen.foreground)
    is_due = t_s - state.steadied_s >= tuning.STEADY_EVERY_S
    recent = tuple((s, plane) for s, plane in state.history if t_s - s <= 2 * tuning.LOOK_BACK_S)[-24:]
    return replace(
        state,
        t_s=t_s,
        mean=_mean(state, seen, at, light),
        steady=_steady(state, seen) if is_due else state.steady,
        steadied_s=t_s if is_due else state.steadied_s,
        variance=_variance(state, seen, at),
        onsets_hz=_onsets_hz(state, seen, at),
        foreground=seen.foreground,
        heat=seen.heat,
        history=(*recent, (t_s, seen.plane)),
        noise=seen.noise,
    )


def _onsets_hz(state: DetectorState, seen: Comparison, at: Indices) -> Floats:
    """Return how often pixels begin to differ; single key frames do not tell that. `at`: the foreground."""
    if seen.t_s - state.t_s > max(tuning.SPARSE_S, 1.2 * state.period_s):
        return state.onsets_hz
    window_s = min(max(seen.t_s - state.started_s, 5.0), tuning.ONSET_S)
    begun = at[~state.foreground.ravel()[at]]
    onsets_hz: Floats = state.onsets_hz * np.float32(1.0 - seen.dt_s / window_s)
    onsets_hz.ravel()[begun] += np.float32(1.0 / window_s)
    return onsets_hz


def _mean(state: DetectorState, seen: Comparison, at: Indices, light: Sequence[Patch]) -> Floats:
    """Return the baseline after a frame; `at`: its foreground."""
    dt_s = seen.dt_s
    mean = state.mean.copy()
    cv2.accumulateWeighted(seen.plane, mean, min(dt_s / tuning.BASELINE_S, 1.0))
    is_ghost_phase = state.is_guess and seen.t_s - state.learned_s < tuning.GHOST_PHASE_S
    resting = min(dt_s / (tuning.GHOST_S if is_ghost_phase else tuning.RESTING_S), 1.0)
    rate = np.where(seen.heat.ravel()[at] > 0, np.float32(dt_s / tuning.MOVING_S), np.float32(resting))
    known = state.mean.ravel()[at]
    mean.ravel()[at] = known + (seen.plane.ravel()[at] - known) * rate
    quick = np.float32(min(1.0, dt_s / tuning.LIGHT_S))
    for patch in light:
        known = state.mean[patch.area][patch.inside]
        mean[patch.area][patch.inside] = known + (seen.plane[patch.area][patch.inside] - known) * quick
    return mean


def _steady(state: DetectorState, seen: Comparison) -> Floats:
    """Return the steady baseline after a frame: the average since the baseline was made, of STEADY_S at most."""
    elapsed_s = min(seen.t_s - state.steadied_s, max(1.0, state.period_s))
    age_s = seen.t_s - state.learned_s if state.is_guess else tuning.STEADY_S
    steady = state.steady.copy()
    cv2.accumulateWeighted(seen.plane, steady, elapsed_s / min(age_s + elapsed_s, tuning.STEADY_S))
    return steady


def _variance(state: DetectorState, seen: Comparison, at: Indices) -> Floats:
    """Return the variance of quiet pixels after a frame; `at`: its foreground."""
    fine = as_floats(cv2.subtract(seen.difference, cv2.blur(seen.difference, (15, 15))))
    fine *= fine  # of what stands out: a light that goes slowly is not variance
    squared = np.minimum(fine, np.float32(225.0), out=fine)
    known = state.variance.ravel()[at]
    put_right = known + (squared.ravel()[at] - known) * np.float32(min(seen.dt_s / 60.0, 1.0))
    quick = min(seen.dt_s / tuning.VARIANCE_S, 1.0)
    variance = as_floats(cv2.addWeighted(state.variance, 1.0 - quick, squared, quick, 0.0))
    variance.ravel()[at] = put_right
    return variance
