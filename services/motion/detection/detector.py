"""Says whether something moves in a frame, and where. Pure: a luma plane goes in, a Motion comes out.

One step: has the scene changed as a whole (scene.py)? What differs from the baseline (baseline.py)? Which of it are
objects (blobs.py)? Which of those travel (tracks.py)? Only what travels is motion. Then the baseline learns.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from services.motion.detection import scene, tracks, tuning
from services.motion.detection.baseline import compare, learn, start
from services.motion.detection.blobs import MovingBlobs, find_blobs, is_displaced, scaled
from services.motion.detection.planes import blurred, flat_share
from services.motion.detection.values import (
    Blob,
    Comparison,
    DetectorSettings,
    DetectorState,
    Gray,
    Mask,
    Motion,
    Observation,
    Track,
)

_BLIND = Motion(0.0, is_active=False, is_blind=True)
_DISC = np.ones((9, 9), np.uint8)


def step(
    state: DetectorState | None, luma: Gray, t_s: float, settings: DetectorSettings
) -> tuple[DetectorState, Motion]:
    """Take a plane (uint8[H, W], of plane_size) taken at `t_s`; return the new state and the motion."""
    plane = blurred(luma, settings.gaussian_ksize)
    if state is None or state.mean.shape != plane.shape:
        return start(plane, t_s), Motion(0.0, is_active=False)
    new = Observation(plane, t_s, state.elapsed_s(t_s), flat_share(luma))
    state = replace(state, intervals_s=(*state.intervals_s, t_s - state.t_s)[-tuning.INTERVALS :])
    state, noise = scene.check(state, new)
    if noise is None:
        return state, _BLIND
    seen = compare(state, new, noise, settings)
    share = cv2.countNonZero(seen.foreground.view(np.uint8)) / plane.size
    drowned_s = state.drowned_s + new.dt_s if share > tuning.DROWNED_SHARE else 0.0
    if drowned_s > tuning.DROWNED_S:
        return scene.relearn(state, new, noise), _BLIND

    found = find_blobs(state, seen, _without_ghosts(state, seen), settings)
    followed, owners = _follow(state, seen, found)
    travelling = [track for track in owners if track.is_believed(t_s, state.period_s)]
    is_active = bool(travelling) and t_s >= state.started_s + settings.warm_up_s
    unseen_s = tracks.bridged_s(t_s - state.t_s)
    is_on_way = is_active and any(
        t_s - track.travelled_s <= unseen_s and t_s - track.since_s >= tuning.SURE_S for track in travelling
    )
    motion = Motion(0.0, is_active=False, period_s=state.period_s)
    if is_active:
        numbered = replace(found, blobs=tuple(map(_numbered, found.blobs, owners)))
        motion = replace(
            _motion(state, numbered, travelling, settings), is_sure=is_on_way and state.is_on_way
        )
    after = replace(
        learn(state, seen, found.light),
        drowned_s=drowned_s,
        is_active=is_active,
        is_on_way=is_on_way,
        tracks=followed,
        next_track=max(state.next_track, *(track.number + 1 for track in owners), 0),
        flat_share=state.flat_share + (new.flat_share - state.flat_share) * min(1.0, new.dt_s / 2.0),
    )
    return after, motion


def _without_ghosts(state: DetectorState, seen: Comparison) -> Mask:
    """Return the foreground; only what is near a recent change while a baseline of one frame is new."""
    if not state.is_guess or seen.t_s - state.learned_s >= tuning.GHOST_PHASE_S:
        return seen.foreground
    return seen.foreground & (cv2.dilate(seen.heat, _DISC) > 0)


def _follow(
    state: DetectorState, seen: Comparison, found: MovingBlobs
) -> tuple[tuple[Track, ...], tuple[Track, ...]]:
    """Return all tracks after a frame, and for each blob the track that it belongs to."""
    age_s = seen.t_s - state.learned_s
    is_doubtful = state.is_guess and age_s < tuning.DOUBT_PHASE_S
    # a baseline just made shows the thing itself, where it was some frames ago
    is_itself = state.is_guess and age_s < tuning.ITSELF_S
    frame = tracks.TrackedFrame(
        t_s=seen.t_s,
        size=(seen.plane.shape[1], seen.plane.shape[0]),
        next_track=state.next_track,
        doubt=tuning.DOUBT if is_doubtful else 1.0,
        is_rooted=lambda i: not is_itself and is_displaced(state.mean, seen, found.blobs[i]),
        bridged_s=tracks.bridged_s(seen.t_s - state.t_s),
        period_s=state.period_s,
    )
    return tracks.follow(state.tracks, found.blobs, frame)


def _numbered(blob: Blob, owner: Track) -> Blob:
    return replace(blob, track=owner.number)


def _motion(
    state: DetectorState, found: MovingBlobs, travelling: list[Track], settings: DetectorSettings
) -> Motion:
    """Return what is said of a frame in which something travels.

    Once one thing is believed, everything that moves is shown: under a camera that pans nothing travels.
    """
    warm_s = state.started_s + settings.warm_up_s
    return Motion(
        score=found.strength / (found.strength + 4.0),
        is_active=True,
        boxes=tuple(scaled(blob, state.mean.shape, settings) for blob in found.blobs),
        since_s=max(warm_s, min(track.since_s for track in travelling)),  # no event begins before
        n_frames=max(len(track.positions) for track in travelling),
        period_s=state.period_s,
    )


def after_discontinuity(state: DetectorState) -> DetectorState:
    """Keep what is known of the scene, forget what was on its way: a time passed of which there are no frames."""
    return replace(state, tracks=(), is_active=False, is_on_way=False)


def after_skip(state: DetectorState) -> DetectorState:
    """Count the last interval as two: one frame was left out on purpose."""
    last = tuple(interval_s / 2 for interval_s in state.intervals_s[-1:])
    return replace(state, intervals_s=(*state.intervals_s[:-1], *last))


def after_peek(state: DetectorState, before: DetectorState | None) -> DetectorState:
    """Forget the last interval: a single key frame does not tell how often frames come."""
    return replace(state, intervals_s=() if before is None else before.intervals_s)
