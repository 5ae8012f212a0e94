"""Watches a scene for a while and proposes motion settings for it. Pure: planes in, a Proposal out.

It keeps one number of each frame, the reach: the highest threshold at which as many pixels differ from the background
as min_contour_area asks for. Frames in which something travelled are kept apart, so that a threshold can be put between
noise and motion. Where pixels change nearly all the time and nothing ever travels, something never stops: a flag,
water, a clock in the picture. That becomes a mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from services.motion.detection import detector
from services.motion.detection.tuning import AREA_WIDTH_PX, FLOOR_LEVELS
from services.motion.detection.values import DetectorSettings, DetectorState, Floats, Gray
from services.motion.detection.zones import mask_of
from shared.cameras import MotionSettings, Point

PARTS = 12  # the time is divided into so many parts
RESTLESS_PARTS = 0.75  # share of the parts in which a pixel must have changed to count as restless
RESTLESS_FRAMES = 0.05  # share of a part's frames in which it must have
TRAVELLED = 0.25  # a pixel that changed more often than that because something travelled is no nuisance
SMALLEST_MASK = 0.0008  # share of the picture: smaller is left to the detector, which learns it
LARGEST_MASKS = 0.4  # if more than that is restless, the camera moves, and masks are no cure
MASKS_MAX = 8
WARM_UP_S = 3.0
STILL_S = 2.0


@dataclass(frozen=True, slots=True)
class ReachSample:
    """How far one frame reaches in grey levels, whether something travelled in it, and the areas of that (640 px)."""

    t_s: float
    levels: float
    is_moving: bool
    areas: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen so far. Maps have the plane's shape and count frames."""

    settings: MotionSettings
    began_s: float
    length_s: float
    scene: DetectorState | None = None
    changed: tuple[Floats, ...] = ()  # of each part of the time
    travelled: Floats | None = None
    n_frames: tuple[int, ...] = (0,) * PARTS
    reaches: tuple[ReachSample, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Proposal:
    """Proposed settings, and a line for each that says why."""

    threshold: int | Literal["auto"]
    min_contour_area: int
    masks: tuple[tuple[Point, ...], ...]  # those to add to the camera's own
    reasons: tuple[str, ...]
    noise: float
    auto_levels: float  # where 'auto' lies on a quiet pixel


def observe(survey: Survey, luma: Gray, t_s: float, frame_size: tuple[int, int]) -> Survey:
    """Take a plane of plane_size into account, taken at `t_s`."""
    settings = DetectorSettings.of(survey.settings, luma.shape[1], *frame_size)
    scene, motion = detector.step(survey.scene, luma, t_s, settings)
    if t_s - survey.began_s < WARM_UP_S or motion.is_blind or survey.scene is None:
        return replace(survey, scene=scene)
    part = min(PARTS - 1, int((t_s - survey.began_s) / survey.length_s * PARTS))
    zeros = np.zeros(luma.shape, np.float32)
    changed = survey.changed or (zeros,) * PARTS
    moving = scene.heat >= 1.0  # changed within this frame
    travelled = zeros if survey.travelled is None else survey.travelled
    ways = zeros.copy()
    scale = luma.shape[1] / frame_size[0]
    if motion.is_active:
        for box in motion.boxes:
            left, top = int(box.x * scale), int(box.y * scale)
            ways[top : int((box.y + box.h) * scale) + 1, left : int((box.x + box.w) * scale) + 1] = 1
    per_px = (AREA_WIDTH_PX / luma.shape[1]) ** 2
    reach = ReachSample(
        t_s,
        _reach(scene, settings),
        motion.is_active,
        tuple(box.weight * per_px for box in motion.boxes) if motion.is_active else (),
    )
    return replace(
        survey,
        scene=scene,
        changed=(*changed[:part], changed[part] + moving, *changed[part + 1 :]),
        travelled=travelled + ways * moving,
        n_frames=(*survey.n_frames[:part], survey.n_frames[part] + 1, *survey.n_frames[part + 1 :]),
        reaches=(*survey.reaches, reach),
    )


def _reach(scene: DetectorState, settings: DetectorSettings) -> float:
    size = np.abs(scene.history[-1][1].astype(np.float32) - scene.mean)
    size[scene.foreground & (scene.heat <= 0)] = 0.0  # what rests there, or left a ghost
    ignored = mask_of(settings.masks, size.shape)
    if ignored is not None:
        size[ignored] = 0.0
    k = min(size.size - 1, max(1, round(settings.min_area_px)))
    return float(np.partition(size.ravel(), -k)[-k])


def still_levels(survey: Survey) -> list[float]:
    """Return the reach of the frames that are STILL_S away from any in which something travelled."""
    at = np.array([reach.t_s for reach in survey.reaches if reach.is_moving])
    return [
        reach.levels
        for reach in survey.reaches
        if not at.size or float(np.abs(at - reach.t_s).min()) >= STILL_S
    ]


def restless(survey: Survey) -> npt.NDArray[np.bool_] | None:
    """Return where something never stops moving, bool[H, W]; None when nothing was seen."""
    if survey.travelled is None:
        return None
    parts = [
        changed >= max(1.0, RESTLESS_FRAMES * n)
        for changed, n in zip(survey.changed, survey.n_frames, strict=True)
        if n
    ]
    often = np.mean(parts, axis=0) >= RESTLESS_PARTS
    total = np.sum(survey.changed, axis=0)
    found: npt.NDArray[np.bool_] = often & (survey.travelled <= TRAVELLED * np.maximum(total, 1.0))
    return found


def propose(survey: Survey) -> Proposal:
    """Return settings that suit the scene; without a single frame, those that the camera has."""
    own = survey.settings
    noise = survey.scene.noise if survey.scene is not None else 0.0
    auto_levels = max(FLOOR_LEVELS, 6.0 * noise)
    masks, why_masks = _masks(survey)
    threshold, why_threshold = _threshold(survey, auto_levels, bool(masks))
    area, why_area = _area(survey)
    if not survey.reaches:
        return Proposal(own.threshold, round(own.min_contour_area), (), ("nothing could be seen",), 0.0, 0.0)
    return Proposal(threshold, area, masks, (why_threshold, why_area, *why_masks), noise, auto_levels)


def _threshold(survey: Survey, auto_levels: float, has_masks: bool) -> tuple[int | Literal["auto"], str]:
    still = still_levels(survey)
    moving = [reach.levels for reach in survey.reaches if reach.is_moving]
    noise = f"noise of a still pixel {survey.scene.noise:.1f} levels" if survey.scene is not None else ""
    if len(still) < 20:
        return "auto", f"threshold auto: {noise}; it never stood still, so no number can be told from it"
    quiet = float(np.percentile(still, 99))
    if quiet <= 2 * auto_levels or has_masks:
        return "auto", (
            f"threshold auto: {noise}, so it lies at {auto_levels:.0f}; "
            f"99 of 100 still frames reach no further than {quiet:.0f}"
        )
    number = min(255, round(1.2 * quiet))
    if moving and float(np.median(moving)) <= number:
        return "auto", (
            f"threshold auto: still frames reach {quiet:.0f}, what moved {np.median(moving):.0f}: "
            "no number lies between them"
        )
    return number, (
        f"threshold {number}: still frames reach {quiet:.0f} (99 of 100), far above the {auto_levels:.0f} of auto"
    )


def _area(survey: Survey) -> tuple[int, str]:
    areas = [area for reach in survey.reaches for area in reach.areas]
    own = round(survey.settings.min_contour_area)
    if len(areas) < 10:
        return own, f"min_contour_area {own}: as it is, too little moved to tell"
    small = float(np.percentile(areas, 10))
    area = int(max(50, min(2000, round(0.5 * small, -1))))
    return area, (
        f"min_contour_area {area}: half of {small:.0f} px, the area of the smallest tenth of what moved "
        f"(median {np.median(areas):.0f})"
    )


def _masks(survey: Survey) -> tuple[tuple[tuple[Point, ...], ...], tuple[str, ...]]:
    found = restless(survey)
    if found is None:
        return (), ()
    own = mask_of(survey.settings.masks, found.shape)
    if own is not None:
        found = found & ~own
    joined = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    grown = cv2.dilate(joined, np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(grown, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    height, width = found.shape
    sized = sorted(
        (
            (float(cv2.contourArea(cv2.convexHull(line))) / (height * width), n)
            for n, line in enumerate(outlines)
        ),
        reverse=True,
    )
    large = [(share, n) for share, n in sized if share >= SMALLEST_MASK][:MASKS_MAX]
    if not large:
        return (), ("masks: none, nothing moves all the time",)
    total = sum(share for share, _ in large)
    if total > LARGEST_MASKS:
        return (), (f"masks: none, {total:.0%} of the picture moves all the time: does the camera shake?",)
    masks, reasons = [], []
    for share, n in large:
        hull = cv2.convexHull(outlines[n])
        corners = cv2.approxPolyDP(hull, 0.02 * cv2.arcLength(hull, True), True).reshape(-1, 2)
        if len(corners) < 3:
            continue
        masks.append(tuple((_share(x, width), _share(y, height)) for x, y in corners.tolist()))
        middle = corners.mean(axis=0) / (width, height)
        reasons.append(
            f"mask at {middle[0]:.0%} across, {middle[1]:.0%} down ({share:.1%} of the picture): "
            f"it changed in at least {RESTLESS_PARTS:.0%} of the time's {PARTS} parts, and nothing travelled"
        )
    return tuple(masks), tuple(reasons)


def _share(px: float, size: int) -> float:
    return round(min(1.0, max(0.0, px / max(1, size - 1))), 3)
