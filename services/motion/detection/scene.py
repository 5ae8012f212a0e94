"""Tells when the scene changed as a whole, and keeps what is known of it then. Pure: state in, state out.

Lamps, the infrared switch, cuts, a decoder that lost its stream, a camera that pans or shakes: none of them is motion,
and after each of them the baseline has to fit again.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from services.motion.detection import tuning
from services.motion.detection.baseline import start
from services.motion.detection.planes import above, noise_of
from services.motion.detection.values import DetectorState, Floats, Gray, Observation, as_gray


def check(state: DetectorState, new: Observation) -> tuple[DetectorState, float | None]:
    """Return the state that a new plane can be compared with, and the noise of a still pixel.

    The noise is None when the scene changed as a whole: of this plane nothing can be said.
    """
    if new.flat_share > state.flat_share + tuning.DAMAGED_SHARE:
        return _after_damage(state, new), None
    before = state.mean
    state = _recall(state, new)
    is_recalled = state.mean is not before
    state = _follow_camera(state, new.plane)
    change = as_gray(cv2.absdiff(new.plane, state.history[-1][1]))
    noise_now = min(noise_of(change), tuning.LARGEST_NOISE)
    noise = state.noise + (noise_now - state.noise) * min(1.0, new.dt_s / 2.0)
    if not _is_jump(change, max(10.0, 6.0 * noise)):
        return state, noise
    if not is_recalled:
        return relearn(state, new, noise), None
    # the light is as it was before: what stands there now is no part of the baseline
    still = np.zeros_like(state.heat)
    history = ((new.t_s, new.plane),)
    return replace(state, t_s=new.t_s, history=history, heat=still, is_on_way=False), None


def relearn(state: DetectorState, new: Observation, noise: float) -> DetectorState:
    """Make the baseline anew from one plane, and keep what does not depend on it."""
    is_settled = new.t_s - state.learned_s > 2.0 or state.known is None
    return replace(
        start(new.plane, new.t_s),
        variance=state.variance,
        onsets_hz=state.onsets_hz,
        started_s=state.started_s,
        noise=min(noise, state.noise * 1.5),
        is_active=state.is_active,
        tracks=state.tracks,
        next_track=state.next_track,
        known=state.mean if is_settled else state.known,
        known_s=new.t_s if is_settled else state.known_s,
        flat_share=new.flat_share,
        intervals_s=state.intervals_s,
    )


def _after_damage(state: DetectorState, new: Observation) -> DetectorState:
    """Learn nothing of a plane that a decoder painted grey, for DROWNED_S: then the scene has become like that."""
    drowned_s = state.drowned_s + new.dt_s
    if drowned_s <= tuning.DROWNED_S:
        return replace(state, t_s=new.t_s, drowned_s=drowned_s, is_on_way=False)
    return relearn(state, new, state.noise)


def _recall(state: DetectorState, new: Observation) -> DetectorState:
    """Take the baseline from before the last change again when the picture looks like it.

    So after a lamp that went out, or a stream that recovered, nothing has to be learned. What moves differs from both.
    """
    if state.known is None:
        return state
    if new.t_s - state.known_s > tuning.KNOWN_S:
        return replace(state, known=None)
    part = np.s_[::4, ::4]
    far = max(10.0, 6.0 * state.noise)
    alike = float((np.abs(new.plane[part] - state.known[part]) < far).mean())
    now = float((np.abs(new.plane[part] - state.mean[part]) < far).mean())
    if alike < tuning.ALIKE or alike < now + 0.1:
        return state
    return replace(state, mean=state.known, steady=state.known, known=None, is_guess=False, learned_s=new.t_s)


def _is_jump(change: Gray, limit: float) -> bool:
    """Tell whether the scene changed as a whole between two frames: a lamp, the IR switch, a cut."""
    changed = above(change, limit)
    if cv2.countNonZero(changed) < tuning.JUMP_SHARE * change.size:
        return False
    cells = cv2.resize(changed.astype(np.float32) / 255, (4, 4), interpolation=cv2.INTER_AREA)
    return float((cells > 0.3).mean()) >= 0.75


def _follow_camera(state: DetectorState, plane: Gray) -> DetectorState:
    """Move what is known of the scene along with a camera that pans or shakes."""
    past = state.past_plane(state.t_s)
    part = above(cv2.absdiff(plane, past), 8)[::2, ::2]
    if np.count_nonzero(part) < tuning.SHAKE_SHARE * part.size:
        return state
    move = _shift_of(state.mean, plane)
    if move is None:
        return state
    mean = _moved(state.mean, move)
    if not _explains(state.mean, mean, plane):
        return state
    is_new = _moved(np.ones_like(mean), move, cv2.BORDER_CONSTANT) < 0.999
    history = tuple((t, np.where(is_new, plane, _moved(p, move)).astype(np.uint8)) for t, p in state.history)
    return replace(
        state,
        mean=np.where(is_new, plane, mean).astype(np.float32),
        steady=np.where(is_new, plane, _moved(state.steady, move)).astype(np.float32),
        variance=_moved(state.variance, move),
        onsets_hz=_moved(state.onsets_hz, move),
        heat=_moved(state.heat, move),
        foreground=_moved(state.foreground.astype(np.float32), move) > 0.5,
        history=history,
    )


def _shift_of(mean: Floats, plane: Gray) -> Floats | None:
    """Return the shift from the baseline to a plane as float32[2, 3], by phase correlation; None when there is none.

    Source: Kuglin and Hines, "The phase correlation image alignment method", 1975, as cv2.phaseCorrelate.
    """
    small = (plane.shape[1] // 2, plane.shape[0] // 2)
    if min(small) < 16:
        return None
    now = cv2.resize(plane, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    before = cv2.resize(mean, small, interpolation=cv2.INTER_AREA)
    (half_x, half_y), response = cv2.phaseCorrelate(before, now, _window(small))
    x, y = 2 * half_x, 2 * half_y
    if response < 0.15 or not 0.2 <= math.hypot(x, y) <= tuning.SHAKE_PX:
        return None
    return np.array([[1, 0, x], [0, 1, y]], np.float32)


def _explains(before: Floats, after: Floats, plane: Gray) -> bool:
    """Tell whether the shift explains the changes nearly everywhere: a large object explains its own place only."""
    raw_cells = _cells(np.abs(plane - before))
    left_cells = _cells(np.abs(plane - after))
    asked = raw_cells > 2.0
    return bool(asked.mean() >= 0.3 and float((left_cells < 0.8 * raw_cells)[asked].mean()) >= 0.7)


def _moved(
    array: Any, move: Floats, border: int = cv2.BORDER_REPLICATE
) -> Any:  # Any: keeps the array's type
    size = (array.shape[1], array.shape[0])
    return cv2.warpAffine(array, move, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=0)


def _cells(array: Floats) -> Floats:
    cells: Floats = cv2.resize(array, (8, 6), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cells


@lru_cache(maxsize=16)
def _window(size: tuple[int, int]) -> Floats:
    window: Floats = cv2.createHanningWindow(size, cv2.CV_32F).astype(np.float32)
    return window
