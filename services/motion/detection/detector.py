"""Says whether something moves in a frame, and where. Pure: a luma plane goes in, a Motion comes out.

The origin's method (difference, blur, threshold, dilate, area) against a running-average baseline, and what keeps
it quiet: a noise level measured per pixel, a rate of change per pixel that swaying things drive up, a baseline that
starts anew when the scene changes as a whole, and two questions to every blob. Has it moved lately? A ghost (where
something stood when the baseline was made) and a thing that came to rest have not. Does it keep the structure of the
background? Light does, an object does not. And a third to what goes some way: is it the background itself, a little
beside its place? What sways is, and stays rooted.
Every array of the state is replaced, never written to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from services.motion.detection.tracks import Track, bridged, follow
from shared.cameras import MotionSettings, Point

Gray = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.intp]  # of pixels in a plane that is one row

PLANE_WIDTH_PX = 320
AREA_WIDTH_PX = 640  # areas in the settings are px of a picture this wide


@dataclass(frozen=True, slots=True)
class Blob:
    """A moving object: its rectangle in px of the full frame, and how many plane px of it changed."""

    x: int
    y: int
    w: int
    h: int
    weight: float = 0.0
    fill: float = 1.0  # share of the rectangle that changed

    @property
    def area(self) -> int:
        return self.w * self.h


@dataclass(frozen=True, slots=True)
class Motion:
    """The answer for one frame. `is_blind`: the scene changed as a whole, nothing can be said of this frame."""

    score: float
    is_active: bool
    boxes: tuple[Blob, ...] = ()
    is_blind: bool = False
    since_s: float = math.inf  # when what moves began to; known only once it has gone some way
    n_looks: int = 0  # in how many frames it was followed since
    period_s: float = 0.0  # the usual time between two looks; 0: not known
    is_sure: bool = False  # as in the look before, something is there that has been on its way for SURE_S


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """The camera's settings, in px of the plane."""

    gaussian_ksize: int
    threshold: float | Literal["auto"]
    dilate_iterations: int
    min_area_px: float
    masks: tuple[tuple[Point, ...], ...]
    frame_width: int
    frame_height: int
    warm_up_s: float = 0.0  # nothing fires this long after the first frame (a camera that just came back)

    @classmethod
    def of(
        cls,
        motion: MotionSettings,
        plane_width: int,
        frame_width: int,
        frame_height: int,
        warm_up_s: float = 0.0,
    ) -> DetectorSettings:
        return cls(
            gaussian_ksize=motion.gaussian_ksize,
            threshold=motion.threshold,
            dilate_iterations=math.ceil(motion.dilate_iterations * plane_width / AREA_WIDTH_PX),
            min_area_px=motion.min_contour_area * (plane_width / AREA_WIDTH_PX) ** 2,
            masks=motion.masks,
            frame_width=frame_width,
            frame_height=frame_height,
            warm_up_s=warm_up_s,
        )


@dataclass(frozen=True, slots=True)
class DetectorState:
    """What is known of the scene. Arrays have the plane's shape; times are epoch seconds."""

    t_s: float
    mean: Floats  # the baseline, grey levels
    steady: Floats  # the same learned everywhere alike: it has no edges but the scene's
    steadied_s: float  # when that was last learned
    variance: Floats  # of quiet pixels around it
    onsets_hz: Floats  # how often a pixel begins to differ
    foreground: Mask
    heat: Floats  # 1 where something just changed, falling to 0 within HEAT_S
    history: tuple[tuple[float, Gray], ...]  # recent planes, oldest first
    started_s: float  # first frame
    learned_s: float  # when the baseline was last made anew
    is_guess: bool  # it was made of a single frame: what stood in it leaves a ghost
    noise: float  # standard deviation of a still pixel, grey levels
    drowned_s: float  # how long most of the picture has differed from the baseline
    is_active: bool
    is_on_way: bool = False  # the last look showed something that had been on its way for SURE_S
    tracks: tuple[Track, ...] = ()
    known: Floats | None = None  # baseline before the scene last changed as a whole
    known_s: float = 0.0  # when that was
    flat_share: float = 0.0  # largest share of pixels of one level, in the last good frame
    gaps_s: tuple[float, ...] = ()  # between the last looks

    @property
    def period_s(self) -> float:
        """The usual time between two looks, the shortest of late, LONGEST_PERIOD_S at most; 0 before the second."""
        gaps_s = [gap_s for gap_s in self.gaps_s if gap_s >= SHORTEST_PERIOD_S]
        return min(*gaps_s, LONGEST_PERIOD_S) if gaps_s else 0.0

    @property
    def too_rare_hz(self) -> float | None:
        """How many looks a second there are, when that is too few to tell motion; else None."""
        if len(self.gaps_s) < PERIODS // 2 or min(self.gaps_s) < LONGEST_PERIOD_S:
            return None
        return 1 / min(self.gaps_s)


@dataclass(frozen=True, slots=True)
class _Look:
    """One look: what differs from the baseline, by how much, and what changed lately. Arrays of the plane's shape."""

    plane: Gray
    t_s: float
    dt_s: float
    noise: float
    difference: Floats  # from the baseline, signed, without what all pixels share
    size: Floats  # of it
    limit: Floats  # size from which a pixel counts
    foreground: Mask  # where it does
    heat: Floats


# Tuned on the sample videos and synthetic scenes, see docs/design/motion.md.
FLOOR_LEVELS = 6.0  # smallest difference that 'auto' takes for a change
LARGEST_NOISE = 6.0  # a flickering lamp is not noise: it must not raise the threshold out of reach
HEAT_S = 0.7
LOOK_BACK_S = 0.3
BASELINE_S = 5.0  # time constants of the baseline: quiet pixels,
MOVING_S = 60.0  # pixels on which something moves,
RESTING_S = 6.0  # pixels that differ but rest,
GHOST_S = 1.0  # the same in the first GHOST_PHASE_S after the baseline was made
GHOST_PHASE_S = 8.0
VARIANCE_S = 4.0
ONSET_S = 20.0
SWAY_HZ = 0.3
SWAY_PX = 5  # how far beside its place a thing that sways is looked for
DISPLACED = 0.3  # share of the difference that is left over when it was found there
ITSELF_S = 0.5  # not looked for so long after a baseline was made of one frame
STEADY_S, STEADY_EVERY_S = 20.0, 0.5  # time constant of the steady baseline; how often it is learned
PERIODS = 8  # looks whose distances are remembered
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.01, 2.2  # motion is told from 0.5 looks a second on
SURE_S = 1.0  # what has been on its way this long is no dash that every look is needed for
SPARSE_S = 1.0  # longest time between two looks that can count beginnings, unless looks are that rare;
SWAY_SHARE = 0.25  # then so many beginnings a look are swaying
JUMP_SHARE = (
    0.5  # share of pixels that change at once, in 3 of 4 cells, when a lamp is switched or a shot is cut
)
DROWNED_SHARE = 0.6
DROWNED_S = 2.0
STRUCTURE_KEPT = 0.7
SHAKE_SHARE = 0.08
SHAKE_PX = 16.0
MAX_BLOBS = 16
CROWD = 14  # patches of change; more than that are weather
STAYS = 0.6
STRONG = 1.6  # times the limit: a tenth of a patch must differ by this much
SEED_PX = 4  # a patch smaller than this is noise; one smaller than the smallest area grows,
WEAK = 0.6  # into what differs by so much of the limit close by,
BESIDE_LARGE = 8  # unless a patch of so many smallest areas is in the picture;
STRONG_WHERE_GROWN = 1.2  # STRONG in a look in which patches grew
SMOOTH = 0.15  # an object's edge stands out of the local average by 0.3 of its height or more
DOUBT_PHASE_S, DOUBT = 3.0, 2.0  # a bush grows out of its first place: ways count half at first
LIGHT_S = 0.3  # time constant of the baseline where only the light changed
CROWD_SIZES = 3.0  # what moves in a crowd must be this many times larger than four in five patches
DAMAGED_SHARE = 0.12  # more pixels of one level than before: a decoder that lost its stream paints gray
KNOWN_S = 60.0  # how long the baseline before a change is kept
ALIKE = 0.75  # share of pixels that must be as they were for it to be taken again
_NEAR = np.ones((3, 3), np.uint8)
_DISC = np.ones((9, 9), np.uint8)
_NEARBY = np.ones((7, 7), np.uint8)


def plane_size(frame_width: int, frame_height: int) -> tuple[int, int]:
    """Return width and height of the plane that the detector looks at."""
    width = min(PLANE_WIDTH_PX, frame_width)
    return width, max(1, round(frame_height * width / frame_width))


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
        flat_share=_flat_share(plane),
    )


def start_from(planes: Sequence[Gray], t_s: float, ksize: int) -> DetectorState | None:
    """Return a state whose baseline is the median of `planes`, the first seconds of a recording.

    So what moves in its very first frame is seen at once, and leaves no ghost where it stood. None when the planes
    are too few, or show more than one scene.
    """
    if len(planes) < 5 or any(plane.shape != planes[0].shape for plane in planes):
        return None
    blurred = [_gray(cv2.GaussianBlur(plane, (ksize, ksize), 0)) if ksize > 1 else plane for plane in planes]
    median = np.median(np.stack(blurred), axis=0).astype(np.float32)
    apart = [float((np.abs(plane - median) > 16.0).mean()) for plane in (blurred[0], blurred[-1])]
    if max(apart) > 0.35:
        return None
    state = start(blurred[0], t_s - 0.1)
    return replace(state, mean=median, steady=median, is_guess=False)


def after_hole(state: DetectorState) -> DetectorState:
    """Keep what is known of the scene, and forget what was on its way: a time passed of which there are no frames."""
    return replace(state, tracks=(), is_active=False, is_on_way=False)


def after_rest(state: DetectorState) -> DetectorState:
    """Count the last look as two: one was left out on purpose."""
    return replace(state, gaps_s=(*state.gaps_s[:-1], *(gap_s / 2 for gap_s in state.gaps_s[-1:])))


def after_peek(state: DetectorState, before: DetectorState | None) -> DetectorState:
    """Forget how long ago the last look was: a single key frame does not tell how often looks come."""
    return replace(state, gaps_s=() if before is None else before.gaps_s)


def step(
    state: DetectorState | None, luma: Gray, t_s: float, settings: DetectorSettings
) -> tuple[DetectorState, Motion]:
    """Look at `luma` (uint8[H, W], the plane of plane_size) taken at `t_s` and return the new state and the motion."""
    ksize = settings.gaussian_ksize
    plane = cv2.GaussianBlur(luma, (ksize, ksize), 0) if ksize > 1 else luma
    if state is None or state.mean.shape != plane.shape:
        return start(_gray(plane), t_s), Motion(0.0, is_active=False)
    dt_s = _elapsed(state, t_s)
    state = replace(state, gaps_s=(*state.gaps_s, t_s - state.t_s)[-PERIODS:])
    plane = _gray(plane)
    flat_share = _flat_share(luma)
    if flat_share > state.flat_share + DAMAGED_SHARE:
        # a decoder's gray: nothing of it is learned. Patience is limited, the scene may have become like that
        drowned_s = state.drowned_s + dt_s
        if drowned_s <= DROWNED_S:
            damaged = replace(state, t_s=t_s, drowned_s=drowned_s, is_on_way=False)
            return damaged, Motion(0.0, is_active=False, is_blind=True)
        return _relearn(state, plane, t_s, state.noise, flat_share), Motion(
            0.0, is_active=False, is_blind=True
        )
    before = state.mean
    state = _recalled(state, plane, t_s)
    is_recalled = state.mean is not before
    state = _follow_camera(state, plane)
    last = state.history[-1][1]
    change = _gray(cv2.absdiff(plane, last))
    noise = state.noise + (min(_noise_of(change), LARGEST_NOISE) - state.noise) * min(1.0, dt_s / 2.0)
    if _is_jump(change, max(10.0, 6.0 * noise)):
        if is_recalled:  # the light is as it was before: what stands there now is no part of the baseline
            still = np.zeros_like(state.heat)
            again = replace(state, t_s=t_s, history=((t_s, plane),), heat=still, is_on_way=False)
            return again, Motion(0.0, is_active=False, is_blind=True)
        return _relearn(state, plane, t_s, noise, flat_share), Motion(0.0, is_active=False, is_blind=True)

    look = _look(state, plane, t_s, noise, settings)
    share = cv2.countNonZero(look.foreground.view(np.uint8)) / plane.size
    drowned_s = state.drowned_s + dt_s if share > DROWNED_SHARE else 0.0
    if drowned_s > DROWNED_S:
        return _relearn(state, plane, t_s, noise, flat_share), Motion(0.0, is_active=False, is_blind=True)

    foreground = look.foreground
    if t_s - state.learned_s < GHOST_PHASE_S and state.is_guess:
        foreground = foreground & (cv2.dilate(look.heat, _DISC) > 0)
    blobs, strength, light = _blobs(state, look, foreground, settings)
    is_doubtful = state.is_guess and t_s - state.learned_s < DOUBT_PHASE_S
    # a baseline just made shows the thing itself, where it was some looks ago
    is_itself = state.is_guess and t_s - state.learned_s < ITSELF_S
    size_px = (plane.shape[1], plane.shape[0])
    bridged_s = bridged(t_s - state.t_s)
    tracks, owners = follow(
        state.tracks,
        blobs,
        t_s,
        size_px,
        DOUBT if is_doubtful else 1.0,
        lambda i: not is_itself and _is_displaced(state.mean, look, blobs[i]),
        bridged_s,
        state.period_s,
    )
    travelling = [track for track in owners if track.is_believed(t_s, state.period_s)]
    warm_s = state.started_s + settings.warm_up_s
    is_active = bool(travelling) and t_s >= warm_s
    is_on_way = is_active and any(
        t_s - track.travelled_s <= bridged_s and t_s - track.since_s >= SURE_S for track in travelling
    )
    motion = Motion(0.0, is_active=False, period_s=state.period_s)
    if is_active:
        scale = (settings.frame_width / plane.shape[1], settings.frame_height / plane.shape[0])
        motion = Motion(
            score=strength / (strength + 4.0),
            is_active=True,
            # once something is believed, everything that moves may be shown: under a camera that pans nothing travels
            boxes=tuple(_scaled(blob, *scale, settings) for blob in blobs),
            since_s=max(warm_s, min(track.since_s for track in travelling)),  # nor does an event begin before
            n_looks=max(len(track.spots) for track in travelling),
            period_s=state.period_s,
            is_sure=is_on_way and state.is_on_way,
        )
    return replace(
        _learn(state, look, light),
        drowned_s=drowned_s,
        is_active=is_active,
        is_on_way=is_on_way,
        tracks=tracks,
        flat_share=state.flat_share + (flat_share - state.flat_share) * min(1.0, dt_s / 2.0),
    ), motion


def _follow_camera(state: DetectorState, plane: Gray) -> DetectorState:
    """Move what is known of the scene along with a camera that pans or shakes.

    Asked only when much of the picture changed. Believed only when the shift explains the changes nearly everywhere: a
    large object that crosses explains its own place only.
    """
    past = next((p for t, p in reversed(state.history) if state.t_s - t >= LOOK_BACK_S), state.history[0][1])
    part = _above(cv2.absdiff(plane, past), 8)[::2, ::2]
    if np.count_nonzero(part) < SHAKE_SHARE * part.size:
        return state
    small = (plane.shape[1] // 2, plane.shape[0] // 2)
    if min(small) < 16:
        return state
    now = cv2.resize(plane, small, interpolation=cv2.INTER_AREA).astype(np.float32)
    before = cv2.resize(state.mean, small, interpolation=cv2.INTER_AREA)
    (half_x, half_y), response = cv2.phaseCorrelate(before, now, _window(small))
    x, y = 2 * half_x, 2 * half_y
    if response < 0.15 or not 0.2 <= math.hypot(x, y) <= SHAKE_PX:
        return state
    move = np.array([[1, 0, x], [0, 1, y]], np.float32)
    mean = _moved(state.mean, move)
    raw_cells = _cells(np.abs(plane - state.mean))
    left_cells = _cells(np.abs(plane - mean))
    asked = raw_cells > 2.0
    if asked.mean() < 0.3 or float((left_cells < 0.8 * raw_cells)[asked].mean()) < 0.7:
        return state
    is_new = _moved(np.ones_like(mean), move, cv2.BORDER_CONSTANT) < 0.999
    mean = np.where(is_new, plane, mean).astype(np.float32)
    return replace(
        state,
        mean=mean,
        steady=np.where(is_new, plane, _moved(state.steady, move)).astype(np.float32),
        variance=_moved(state.variance, move),
        onsets_hz=_moved(state.onsets_hz, move),
        heat=_moved(state.heat, move),
        foreground=_moved(state.foreground.astype(np.float32), move) > 0.5,
        history=tuple(
            (t, np.where(is_new, plane, _moved(p, move)).astype(np.uint8)) for t, p in state.history
        ),
    )


def _moved(
    array: Any, move: Floats, border: int = cv2.BORDER_REPLICATE
) -> Any:  # Any: keeps the array's type
    return cv2.warpAffine(
        array,
        move,
        (array.shape[1], array.shape[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=border,
        borderValue=0,
    )


def _cells(array: Floats) -> Floats:
    cells: Floats = cv2.resize(array, (8, 6), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cells


@lru_cache(maxsize=16)
def _window(size: tuple[int, int]) -> Floats:
    window: Floats = cv2.createHanningWindow(size, cv2.CV_32F).astype(np.float32)
    return window


def _look(state: DetectorState, plane: Gray, t_s: float, noise: float, settings: DetectorSettings) -> _Look:
    """Compare `plane` with the baseline and with what was LOOK_BACK_S ago."""
    difference = _floats(cv2.subtract(plane, state.mean, dtype=cv2.CV_32F))
    offset = _quantile(difference[::4, ::4].ravel(), 0.5)
    if abs(offset) > 0.5:  # exposure that breathes moves all pixels alike
        difference -= np.float32(min(max(offset, -25.0), 25.0))
    size = np.abs(difference)
    limit = _limit(state, noise, settings)
    foreground = size > limit
    ignored = mask_of(settings.masks, plane.shape)
    if ignored is not None:
        foreground &= ~ignored
    past = next((p for t, p in reversed(state.history) if t_s - t >= LOOK_BACK_S), state.history[0][1])
    changed = _above(cv2.absdiff(plane, past), max(6.0, 5.0 * noise))
    dt_s = _elapsed(state, t_s)
    heat = np.maximum(state.heat - np.float32(dt_s / HEAT_S), changed.astype(np.float32) / 255)
    return _Look(plane, t_s, dt_s, noise, difference, size, limit, foreground, heat)


def _elapsed(state: DetectorState, t_s: float) -> float:
    """Return for how long a look at `t_s` counts, seconds."""
    return min(max(t_s - state.t_s, 1e-3), max(1.0, state.period_s))


def _limit(state: DetectorState, noise: float, settings: DetectorSettings) -> Floats:
    """Return the difference from which a pixel counts as changed, grey levels."""
    if settings.threshold == "auto":
        limit = _floats(cv2.sqrt(state.variance))
        limit *= np.float32(4.5)
        limit += np.float32(2.0)
        np.maximum(limit, np.float32(max(FLOOR_LEVELS, 6.0 * noise)), out=limit)
    else:
        limit = np.full(state.mean.shape, settings.threshold, np.float32)
    sway_hz = min(SWAY_HZ, SWAY_SHARE / state.period_s) if state.period_s else SWAY_HZ
    swaying = np.flatnonzero(state.onsets_hz > sway_hz)
    if swaying.size:
        sway = np.minimum((state.onsets_hz.ravel()[swaying] - sway_hz) / sway_hz, 4.0)
        limit.ravel()[swaying] *= 1.0 + 2.0 * sway
    if state.is_active:
        limit *= np.float32(0.85)  # hysteresis: what moves is followed a little further
    return limit


def _blobs(
    state: DetectorState, look: _Look, foreground: Mask, settings: DetectorSettings
) -> tuple[tuple[Blob, ...], float, list[tuple[tuple[slice, slice], Mask]]]:
    """Return what moves, in px of the plane, largest first, the strength of the strongest, and where only the light
    changed (place and mask). `foreground`: the part of the look's that is asked about."""
    at = np.flatnonzero(foreground)
    if at.size < SEED_PX:
        return (), 0.0, []
    count, labels, stats, label_at, changed_px = _patches(foreground, at, settings)
    is_weak = (changed_px >= SEED_PX) & (changed_px < settings.min_area_px)
    strong = STRONG
    if is_weak.any() and count <= CROWD and changed_px.max() < BESIDE_LARGE * settings.min_area_px:
        strong = STRONG_WHERE_GROWN
        foreground = foreground | _around(look, foreground & is_weak[labels])
        at = np.flatnonzero(foreground)
        count, labels, stats, label_at, changed_px = _patches(foreground, at, settings)
    if at.size < 0.3 * settings.min_area_px:
        return (), 0.0, []
    movement = np.bincount(label_at, weights=look.heat.ravel()[at], minlength=count)
    ratios = np.minimum(look.size.ravel()[at] / look.limit.ravel()[at], 6.0)
    excess = np.bincount(label_at, weights=ratios, minlength=count)
    strong_px = np.bincount(label_at, weights=ratios > strong, minlength=count)
    least = 0.7 if state.is_active else 1.0
    candidates = np.flatnonzero(
        (stats[:, cv2.CC_STAT_AREA] >= least * settings.min_area_px)
        & (changed_px >= least * 0.4 * settings.min_area_px)
        & (movement >= 0.12 * np.maximum(changed_px, 1))
        & (strong_px >= 0.1 * np.maximum(changed_px, 1))
    )
    candidates = candidates[candidates != 0]
    if count > CROWD:  # rain and snow: many specks, each somewhere else in the next frame
        grown_before = cv2.dilate(state.foreground.view(np.uint8), _NEAR)
        stays = np.bincount(label_at, weights=grown_before.ravel()[at], minlength=count)
        usual_px = _quantile(changed_px[1:].astype(np.float32), 0.8)
        candidates = candidates[
            (stays[candidates] >= STAYS * changed_px[candidates])
            & (changed_px[candidates] >= CROWD_SIZES * usual_px)
        ]
    candidates = candidates[np.argsort(-excess[candidates], kind="stable")][: 2 * MAX_BLOBS]
    kept: list[Blob] = []
    light: list[tuple[tuple[slice, slice], Mask]] = []
    strength = 0.0
    for label in candidates:
        x, y, w, h = (int(stats[label, column]) for column in range(4))
        inside = labels[y : y + h, x : x + w] == label
        if _keeps_structure(look.plane, state.steady, inside, x, y, w, h) or _is_smooth(
            look, state.steady, inside, x, y
        ):
            light.append((np.s_[y : y + h, x : x + w], inside))
            continue
        blob = _trimmed(x, y, w, h, settings.dilate_iterations, foreground.shape, float(movement[label]))
        kept += (
            _parts(foreground, labels, int(label), blob, settings)
            if changed_px[label] < 0.5 * w * h
            else [blob]
        )
        strength = max(strength, float(excess[label]) / settings.min_area_px)
    return tuple(merge_fragments(kept)[:MAX_BLOBS]), strength, light


def _around(look: _Look, seeds: Mask) -> Mask:
    """Return what differs by WEAK of the limit near `seeds`: the rest of a thing that is small and pale."""
    return (cv2.dilate(seeds.view(np.uint8), _NEARBY) > 0) & (look.size > np.float32(WEAK) * look.limit)


def _patches(
    foreground: Mask, at: Places, settings: DetectorSettings
) -> tuple[int, Any, Any, Any, Places]:  # Any: OpenCV's stubs say MatLike
    """Return the connected patches of `foreground` once dilated: how many there are (the ground is the first), uint16
    or int32[H, W] of their numbers, their statistics, the patch of each pixel `at`, and how many of those each has."""
    grown = foreground.view(np.uint8)
    if settings.dilate_iterations:
        grown = _gray(cv2.dilate(grown, _NEAR, iterations=settings.dilate_iterations))
    kind = cv2.CV_16U if grown.size < 4 * 65535 else cv2.CV_32S  # a patch and its border are 4 px at least
    count, labels, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8, ltype=kind)
    label_at = labels.ravel()[at]
    return count, labels, stats, label_at, np.bincount(label_at, minlength=count)


def _parts(foreground: Mask, labels: Any, label: int, blob: Blob, settings: DetectorSettings) -> list[Blob]:
    """Return the objects that only dilation joined (people who pass each other), or the blob itself.

    `labels`: int32[H, W] of OpenCV, whose stubs say Mat.
    """
    place = np.s_[blob.y : blob.y + blob.h, blob.x : blob.x + blob.w]
    own = (foreground[place] & (labels[place] == label)).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
    if count <= 2:
        return [blob]
    total = max(1, int(own.sum()))
    pieces = [
        Blob(blob.x + int(x), blob.y + int(y), int(w), int(h), blob.weight * int(area) / total)
        for x, y, w, h, area in stats[1:]
        if area >= 0.1 * settings.min_area_px
    ]
    merged = merge_fragments(pieces)
    large = [part for part in merged if part.area >= 0.5 * settings.min_area_px]
    return large if len(large) > 1 else [blob]


def _keeps_structure(plane: Gray, mean: Floats, inside: Mask, x: int, y: int, w: int, h: int) -> bool:
    """Tell whether a blob only looks brighter or darker than the background behind it: light, not an object.

    Compared is the fine structure, what is left without the local average: the edge of a cone of light is smooth.
    """
    top, left = max(0, y - 6), max(0, x - 6)
    place = np.s_[top : y + h + 6, left : x + w + 6]
    within = np.s_[y - top : y - top + h, x - left : x - left + w]
    now, behind = plane[place].astype(np.float32), mean[place]
    now = _floats(cv2.subtract(now, cv2.blur(now, (9, 9))))[within][inside]
    behind = _floats(cv2.subtract(behind, cv2.blur(behind, (9, 9))))[within][inside]
    now_power, behind_power = float(now @ now), float(behind @ behind)
    if now_power < 1.5 * now.size or behind_power < 0.05 * now.size:
        return False  # too flat to tell
    return float(now @ behind) / math.sqrt(now_power * behind_power) > STRUCTURE_KEPT


def _is_smooth(look: _Look, steady: Floats, inside: Mask, x: int, y: int) -> bool:
    """Tell whether a blob brings no edge: a cone of light, the rim of a cloud's shadow, on flat ground.

    Edges that the ground has anyway are as much brighter or darker as what lies around them. Asked of the steady
    baseline: the other was put right in patches, whose borders are edges that nothing in the scene has.
    """
    h, w = inside.shape
    top, left = max(0, y - 4), max(0, x - 4)
    place = np.s_[top : y + h + 4, left : x + w + 4]
    now, behind = look.plane[place].astype(np.float32), steady[place]
    now_around, behind_around = _floats(cv2.blur(now, (9, 9))), _floats(cv2.blur(behind, (9, 9)))
    gain = now_around / np.maximum(behind_around, np.float32(1.0))
    fine = np.abs((now - now_around) - gain * (behind - behind_around))
    height = _quantile(look.size[y : y + h, x : x + w][inside], 0.9)
    return _quantile(fine.ravel(), 0.98) < SMOOTH * height


def _is_displaced(mean: Floats, look: _Look, blob: Blob) -> bool:
    """Tell whether a blob shows the baseline itself, a little beside its place: what sways, and stays rooted.

    An object that passes hides what is behind it, and no displacement of that looks like the object.
    """
    reach = SWAY_PX
    rows, columns = mean.shape
    top, left = max(0, blob.y - reach), max(0, blob.x - reach)
    bottom, right = min(rows, blob.y + blob.h + reach), min(columns, blob.x + blob.w + reach)
    place = np.s_[blob.y : blob.y + blob.h, blob.x : blob.x + blob.w]
    changed = look.foreground[place].astype(np.float32)
    shown = mean[place] + look.difference[place]  # so without what all pixels share
    left_over = cv2.matchTemplate(mean[top:bottom, left:right], shown, cv2.TM_SQDIFF, mask=changed)
    unmoved = float(left_over[blob.y - top, blob.x - left])
    return float(left_over.min()) < DISPLACED * unmoved


def _quantile(values: Floats, share: float) -> float:
    """Return the value below which `share` of float32[N] lies, N > 0; between two neighbours by weight."""
    place = share * (values.size - 1)
    low = int(place)
    high = min(low + 1, values.size - 1)
    parted = np.partition(values, (low, high))
    return float(parted[low]) + float(parted[high] - parted[low]) * (place - low)


def merge_fragments(blobs: list[Blob]) -> list[Blob]:
    """Join the pieces of one object (head and legs, front and back of a car); return the largest first.

    Two rectangles belong together when they overlap, or nearly touch and lie above each other, and their union is
    not mostly empty.
    """
    merged = list(blobs)
    i = 0
    while i < len(merged):
        for j in range(i + 1, len(merged)):
            union = _union(merged[i], merged[j])
            if union is not None:
                merged[i] = union
                del merged[j]
                i = -1
                break
        i += 1
    return sorted(merged, key=lambda blob: (-blob.weight, blob.x, blob.y))


def _union(a: Blob, b: Blob) -> Blob | None:
    left, top = min(a.x, b.x), min(a.y, b.y)
    right, bottom = max(a.x + a.w, b.x + b.w), max(a.y + a.h, b.y + b.h)
    gap_x = max(a.x, b.x) - min(a.x + a.w, b.x + b.w)
    gap_y = max(a.y, b.y) - min(a.y + a.h, b.y + b.h)
    small, large = sorted((a, b), key=lambda blob: blob.area)
    is_inside = gap_x < 0 and gap_y < 0 and (gap_x * gap_y) >= 0.5 * small.area
    is_above = gap_x < -0.4 * min(a.w, b.w) and gap_y <= max(4, 0.25 * max(a.h, b.h))
    is_beside = (
        gap_y < -0.5 * min(a.h, b.h) and gap_x <= max(2, 0.15 * large.w) and small.area < 0.35 * large.area
    )
    union = Blob(left, top, right - left, bottom - top, a.weight + b.weight)
    is_upright = union.h <= 4 * union.w
    if is_inside or (((is_above and is_upright) or is_beside) and union.area <= 1.5 * (a.area + b.area)):
        return union
    return None


def _trimmed(x: int, y: int, w: int, h: int, trim: int, shape: tuple[int, ...], weight: float) -> Blob:
    """Take back what dilation added to a rectangle, but not at the picture's edge, where it was clipped."""
    left = x + (trim if x > 0 else 0)
    top = y + (trim if y > 0 else 0)
    right = x + w - (trim if x + w < shape[1] else 0)
    bottom = y + h - (trim if y + h < shape[0] else 0)
    return Blob(left, top, max(1, right - left), max(1, bottom - top), weight)


def _scaled(blob: Blob, scale_x: float, scale_y: float, settings: DetectorSettings) -> Blob:
    x = min(int(blob.x * scale_x), settings.frame_width - 1)
    y = min(int(blob.y * scale_y), settings.frame_height - 1)
    w = max(1, min(round(blob.w * scale_x), settings.frame_width - x))
    h = max(1, min(round(blob.h * scale_y), settings.frame_height - y))
    return Blob(x, y, w, h, blob.weight, min(1.0, blob.weight / blob.area))


def _is_jump(change: Gray, limit: float) -> bool:
    """Tell whether the scene changed as a whole between two frames: a lamp, the IR switch, a cut."""
    changed = _above(change, limit)
    if cv2.countNonZero(changed) < JUMP_SHARE * change.size:
        return False
    cells = cv2.resize(changed.astype(np.float32) / 255, (4, 4), interpolation=cv2.INTER_AREA)
    return float((cells > 0.3).mean()) >= 0.75


def _flat_share(luma: Gray) -> float:
    """Return the share of the commonest level among the pixels, black and white apart (night, sky)."""
    counts = _histogram(luma)
    return float(counts[24:236].max()) / float(counts.sum())


def _histogram(plane: Gray) -> Floats:
    """Return float32[256]: how many of every second row's every second pixel have each level."""
    part = np.ascontiguousarray(plane[::2, ::2])
    return _floats(cv2.calcHist([part], [0], None, [256], [0, 256])).ravel()


def _above(plane: Any, limit: float) -> Gray:  # Any: OpenCV's stubs say MatLike
    """Return 255 where a uint8 array is larger than `limit`, else 0."""
    return _gray(cv2.threshold(plane, math.floor(limit), 255, cv2.THRESH_BINARY)[1])


def _recalled(state: DetectorState, plane: Gray, t_s: float) -> DetectorState:
    """Take the baseline from before the last change again when the picture looks like it: a lamp that went out,
    a stream that recovered. What moves differs from both."""
    if state.known is None:
        return state
    if t_s - state.known_s > KNOWN_S:
        return replace(state, known=None)
    part = np.s_[::4, ::4]
    far = max(10.0, 6.0 * state.noise)
    alike = float((np.abs(plane[part] - state.known[part]) < far).mean())
    now = float((np.abs(plane[part] - state.mean[part]) < far).mean())
    if alike < ALIKE or alike < now + 0.1:
        return state
    return replace(state, mean=state.known, steady=state.known, known=None, is_guess=False, learned_s=t_s)


def _relearn(state: DetectorState, plane: Gray, t_s: float, noise: float, flat_share: float) -> DetectorState:
    is_settled = t_s - state.learned_s > 2.0 or state.known is None
    return replace(
        start(plane, t_s),
        variance=state.variance,
        onsets_hz=state.onsets_hz,
        started_s=state.started_s,
        noise=min(noise, state.noise * 1.5),
        is_active=state.is_active,
        tracks=state.tracks,
        known=state.mean if is_settled else state.known,
        known_s=t_s if is_settled else state.known_s,
        flat_share=flat_share,
        gaps_s=state.gaps_s,
    )


def _learn(state: DetectorState, look: _Look, light: list[tuple[tuple[slice, slice], Mask]]) -> DetectorState:
    """Return what is known after a look. Most pixels are quiet: all are learned as if they were, then those that
    differ are put right."""
    t_s, dt_s = look.t_s, look.dt_s
    at = np.flatnonzero(look.foreground)
    begun = at[~state.foreground.ravel()[at]]
    window_s = min(max(t_s - state.started_s, 5.0), ONSET_S)
    onsets_hz = state.onsets_hz
    if t_s - state.t_s <= max(
        SPARSE_S, 1.2 * state.period_s
    ):  # single key frames do not tell how often something begins
        onsets_hz = onsets_hz * np.float32(1.0 - dt_s / window_s)
        onsets_hz.ravel()[begun] += np.float32(1.0 / window_s)
    is_due = t_s - state.steadied_s >= STEADY_EVERY_S
    kept = tuple((t, p) for t, p in state.history if t_s - t <= 2 * LOOK_BACK_S)[-24:]
    return replace(
        state,
        t_s=t_s,
        mean=_mean(state, look, at, light),
        steady=_steady(state, look) if is_due else state.steady,
        steadied_s=t_s if is_due else state.steadied_s,
        variance=_variance(state, look, at),
        onsets_hz=onsets_hz,
        foreground=look.foreground,
        heat=look.heat,
        history=(*kept, (t_s, look.plane)),
        noise=look.noise,
    )


def _mean(
    state: DetectorState, look: _Look, at: Places, light: list[tuple[tuple[slice, slice], Mask]]
) -> Floats:
    """Return the baseline after a look; `at`: its foreground."""
    dt_s = look.dt_s
    mean = state.mean.copy()
    cv2.accumulateWeighted(look.plane, mean, min(dt_s / BASELINE_S, 1.0))
    is_ghost_phase = state.is_guess and look.t_s - state.learned_s < GHOST_PHASE_S
    resting = min(dt_s / (GHOST_S if is_ghost_phase else RESTING_S), 1.0)
    rate = np.where(look.heat.ravel()[at] > 0, np.float32(dt_s / MOVING_S), np.float32(resting))
    known = state.mean.ravel()[at]
    mean.ravel()[at] = known + (look.plane.ravel()[at] - known) * rate
    for place, inside in light:
        known = state.mean[place][inside]
        mean[place][inside] = known + (look.plane[place][inside] - known) * np.float32(
            min(1.0, dt_s / LIGHT_S)
        )
    return mean


def _steady(state: DetectorState, look: _Look) -> Floats:
    """Return the steady baseline after a look: the average since the baseline was made, of STEADY_S at most."""
    elapsed_s = min(look.t_s - state.steadied_s, max(1.0, state.period_s))
    age_s = look.t_s - state.learned_s if state.is_guess else STEADY_S
    steady = state.steady.copy()
    cv2.accumulateWeighted(look.plane, steady, elapsed_s / min(age_s + elapsed_s, STEADY_S))
    return steady


def _variance(state: DetectorState, look: _Look, at: Places) -> Floats:
    """Return the variance of quiet pixels after a look; `at`: its foreground."""
    fine = _floats(cv2.subtract(look.difference, cv2.blur(look.difference, (15, 15))))
    fine *= fine  # of what stands out: a light that goes slowly is not variance
    squared = np.minimum(fine, np.float32(225.0), out=fine)
    known = state.variance.ravel()[at]
    put_right = known + (squared.ravel()[at] - known) * np.float32(min(look.dt_s / 60.0, 1.0))
    quick = min(look.dt_s / VARIANCE_S, 1.0)
    variance = _floats(cv2.addWeighted(state.variance, 1.0 - quick, squared, quick, 0.0))
    variance.ravel()[at] = put_right
    return variance


def _noise_of(change: Gray) -> float:
    """Return the noise of a pixel from the difference of two frames; median, so that moving things do not count."""
    histogram = _histogram(change).cumsum()
    half = float(histogram[-1]) / 2.0
    level = int(np.searchsorted(histogram, half))
    below = float(histogram[level - 1]) if level else 0.0
    inside = float(histogram[level]) - below
    return (level - 0.5 + (half - below) / max(inside, 1.0)) / 0.954 if level else 0.3


@lru_cache(maxsize=256)
def mask_of(masks: tuple[tuple[Point, ...], ...], shape: tuple[int, ...]) -> Mask | None:
    """Return bool[H, W], true where motion is ignored; None without masks."""
    if not masks:
        return None
    canvas = np.zeros(shape, np.uint8)
    for polygon in masks:
        corners = np.array([(x * shape[1], y * shape[0]) for x, y in polygon]).round().astype(np.int32)
        cv2.fillPoly(canvas, [corners], (1,))
    ignored: Mask = canvas.astype(np.bool_)
    return ignored


def _floats(array: Any) -> Floats:  # Any: OpenCV's stubs say MatLike
    result: Floats = array
    return result


def _gray(plane: Any) -> Gray:  # Any: OpenCV's stubs say MatLike
    result: Gray = plane
    return result
