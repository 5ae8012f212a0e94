"""Makes boxes of what differs from the baseline: which patches of change are objects, which are only light. Pure.

Two questions are asked of every patch. Has it moved lately? A ghost (where something stood when the baseline was made)
and a thing that came to rest have not. Does it keep the structure of the background? Light does, an object does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from services.motion.detection import tuning
from services.motion.detection.planes import quantile
from services.motion.detection.values import (
    Blob,
    Comparison,
    DetectorSettings,
    DetectorState,
    Floats,
    Gray,
    Indices,
    Mask,
    Patch,
    as_floats,
    as_gray,
)

_NEAR = np.ones((3, 3), np.uint8)
_NEARBY = np.ones((7, 7), np.uint8)


@dataclass(frozen=True, slots=True)
class MovingBlobs:
    """What moves, in px of the plane, largest first; the strength of the strongest; where only the light changed."""

    blobs: tuple[Blob, ...] = ()
    strength: float = 0.0
    light: tuple[Patch, ...] = ()


@dataclass(frozen=True, slots=True)
class _Patches:
    """The connected patches of a foreground once dilated; number 0 is the ground."""

    foreground: Mask
    pixels: Indices  # of the foreground
    count: int
    labels: Any  # uint16 or int32[H, W], the patch of each pixel; Any: OpenCV's stubs say MatLike
    stats: Any  # OpenCV's statistics of each patch; as above
    label_at: Any  # the patch of each of `pixels`
    changed_px: npt.NDArray[np.intp]  # how many of `pixels` each patch has


def find_blobs(
    state: DetectorState, seen: Comparison, foreground: Mask, settings: DetectorSettings
) -> MovingBlobs:
    """Return what moves within `foreground`, which is the part of the comparison's that is asked about."""
    pixels = np.flatnonzero(foreground)
    if pixels.size < tuning.SEED_PX:
        return MovingBlobs()
    patches = _patches(foreground, pixels, settings)
    strong = tuning.STRONG
    grown = _grown(patches, seen, settings)
    if grown is not None:
        patches, strong = grown, tuning.STRONG_WHERE_GROWN
    if patches.pixels.size < 0.3 * settings.min_area_px:
        return MovingBlobs()
    at, label_at, count = patches.pixels, patches.label_at, patches.count
    movement = np.bincount(label_at, weights=seen.heat.ravel()[at], minlength=count)
    ratios = np.minimum(seen.size.ravel()[at] / seen.limit.ravel()[at], 6.0)
    excess = np.bincount(label_at, weights=ratios, minlength=count)
    strong_px = np.bincount(label_at, weights=ratios > strong, minlength=count)
    candidates = _candidates(state, patches, movement, strong_px, settings)
    candidates = candidates[np.argsort(-excess[candidates], kind="stable")][: 2 * tuning.MAX_BLOBS]
    blobs: list[Blob] = []
    light: list[Patch] = []
    strength = 0.0
    for label in candidates:
        x, y, w, h = (int(patches.stats[label, column]) for column in range(4))
        area = np.s_[y : y + h, x : x + w]
        patch = Patch(area, patches.labels[area] == label)
        if _keeps_structure(seen.plane, state.steady, patch) or _is_smooth(seen, state.steady, patch):
            light.append(patch)
            continue
        blob = _trimmed(area, settings.dilate_iterations, foreground.shape, float(movement[label]))
        is_sparse = patches.changed_px[label] < 0.5 * w * h
        blobs += _parts(patches, int(label), blob, settings) if is_sparse else [blob]
        strength = max(strength, float(excess[label]) / settings.min_area_px)
    return MovingBlobs(tuple(merge_fragments(blobs)[: tuning.MAX_BLOBS]), strength, tuple(light))


def _patches(foreground: Mask, pixels: Indices, settings: DetectorSettings) -> _Patches:
    grown = foreground.view(np.uint8)
    if settings.dilate_iterations:
        grown = as_gray(cv2.dilate(grown, _NEAR, iterations=settings.dilate_iterations))
    kind = cv2.CV_16U if grown.size < 4 * 65535 else cv2.CV_32S  # a patch and its border are 4 px at least
    count, labels, stats, _ = cv2.connectedComponentsWithStats(grown, connectivity=8, ltype=kind)
    label_at = labels.ravel()[pixels]
    changed_px = np.bincount(label_at, minlength=count)
    return _Patches(foreground, pixels, count, labels, stats, label_at, changed_px)


def _grown(patches: _Patches, seen: Comparison, settings: DetectorSettings) -> _Patches | None:
    """Let small and pale patches grow into what differs by WEAK of the limit around them; None where none may."""
    changed_px = patches.changed_px
    is_weak = (changed_px >= tuning.SEED_PX) & (changed_px < settings.min_area_px)
    if (
        not is_weak.any()
        or patches.count > tuning.CROWD
        or changed_px.max() >= tuning.BESIDE_LARGE * settings.min_area_px
    ):
        return None
    seeds = patches.foreground & is_weak[patches.labels]
    around = (cv2.dilate(seeds.view(np.uint8), _NEARBY) > 0) & (
        seen.size > np.float32(tuning.WEAK) * seen.limit
    )
    foreground = patches.foreground | around
    return _patches(foreground, np.flatnonzero(foreground), settings)


def _candidates(
    state: DetectorState, patches: _Patches, movement: Any, strong_px: Any, settings: DetectorSettings
) -> Indices:  # Any: float64[count] as np.bincount gives them
    """Return the numbers of the patches that are large, strong and moving enough to be objects."""
    changed_px = patches.changed_px
    least = 0.7 if state.is_active else 1.0
    candidates: Indices = np.flatnonzero(
        (patches.stats[:, cv2.CC_STAT_AREA] >= least * settings.min_area_px)
        & (changed_px >= least * 0.4 * settings.min_area_px)
        & (movement >= 0.12 * np.maximum(changed_px, 1))
        & (strong_px >= 0.1 * np.maximum(changed_px, 1))
    )
    candidates = candidates[candidates != 0]
    if patches.count <= tuning.CROWD:
        return candidates
    # rain and snow: many specks, each somewhere else in the next frame
    grown_before = cv2.dilate(state.foreground.view(np.uint8), _NEAR)
    stays = np.bincount(
        patches.label_at, weights=grown_before.ravel()[patches.pixels], minlength=patches.count
    )
    usual_px = quantile(changed_px[1:].astype(np.float32), 0.8)
    is_object = (stays[candidates] >= tuning.STAYS * changed_px[candidates]) & (
        changed_px[candidates] >= tuning.CROWD_SIZES * usual_px
    )
    return candidates[is_object]


def _parts(patches: _Patches, label: int, blob: Blob, settings: DetectorSettings) -> list[Blob]:
    """Return the objects that only dilation joined (people who pass each other), or the blob itself."""
    area = np.s_[blob.y : blob.y + blob.h, blob.x : blob.x + blob.w]
    own = (patches.foreground[area] & (patches.labels[area] == label)).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
    if count <= 2:
        return [blob]
    total = max(1, int(own.sum()))
    pieces = [
        Blob(blob.x + int(x), blob.y + int(y), int(w), int(h), blob.weight * int(px) / total)
        for x, y, w, h, px in stats[1:]
        if px >= 0.1 * settings.min_area_px
    ]
    large = [part for part in merge_fragments(pieces) if part.area >= 0.5 * settings.min_area_px]
    return large if len(large) > 1 else [blob]


def _around(patch: Patch, px: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return a patch's area grown by `px`, and where the patch lies in that."""
    rows, columns = patch.area
    top, left = max(0, rows.start - px), max(0, columns.start - px)
    within = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return np.s_[top : rows.stop + px, left : columns.stop + px], within


def _keeps_structure(plane: Gray, steady: Floats, patch: Patch) -> bool:
    """Tell whether a patch only looks brighter or darker than the background behind it: light, not an object.

    Compared is the fine structure, what is left without the local average: the edge of a cone of light is smooth.
    """
    area, within = _around(patch, 6)
    now, behind = plane[area].astype(np.float32), steady[area]
    now = as_floats(cv2.subtract(now, cv2.blur(now, (9, 9))))[within][patch.inside]
    behind = as_floats(cv2.subtract(behind, cv2.blur(behind, (9, 9))))[within][patch.inside]
    now_power, behind_power = float(now @ now), float(behind @ behind)
    if now_power < 1.5 * now.size or behind_power < 0.05 * now.size:
        return False  # too flat to tell
    return float(now @ behind) / math.sqrt(now_power * behind_power) > tuning.STRUCTURE_KEPT


def _is_smooth(seen: Comparison, steady: Floats, patch: Patch) -> bool:
    """Tell whether a patch brings no edge: a cone of light, the rim of a cloud's shadow, on flat ground.

    Edges that the ground has anyway are as much brighter or darker as what lies around them. Asked of the steady
    baseline: the other was put right in patches, whose borders are edges that nothing in the scene has.
    """
    area, _ = _around(patch, 4)
    now, behind = seen.plane[area].astype(np.float32), steady[area]
    now_around, behind_around = as_floats(cv2.blur(now, (9, 9))), as_floats(cv2.blur(behind, (9, 9)))
    gain = now_around / np.maximum(behind_around, np.float32(1.0))
    fine = np.abs((now - now_around) - gain * (behind - behind_around))
    height = quantile(seen.size[patch.area][patch.inside], 0.9)
    return quantile(fine.ravel(), 0.98) < tuning.SMOOTH * height


def is_displaced(mean: Floats, seen: Comparison, blob: Blob) -> bool:
    """Tell whether a blob shows the baseline itself, a little beside its place: what sways, and stays rooted.

    An object that passes hides what is behind it, and no displacement of that looks like the object.
    """
    reach = tuning.SWAY_PX
    rows, columns = mean.shape
    top, left = max(0, blob.y - reach), max(0, blob.x - reach)
    bottom, right = min(rows, blob.y + blob.h + reach), min(columns, blob.x + blob.w + reach)
    area = np.s_[blob.y : blob.y + blob.h, blob.x : blob.x + blob.w]
    changed = seen.foreground[area].astype(np.float32)
    shown = mean[area] + seen.difference[area]  # so without what all pixels share
    left_over = cv2.matchTemplate(mean[top:bottom, left:right], shown, cv2.TM_SQDIFF, mask=changed)
    unmoved = float(left_over[blob.y - top, blob.x - left])
    return float(left_over.min()) < tuning.DISPLACED * unmoved


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


def _trimmed(area: tuple[slice, slice], trim: int, shape: tuple[int, ...], weight: float) -> Blob:
    """Take back what dilation added to a rectangle, but not at the picture's edge, where it was clipped."""
    rows, columns = area
    left = columns.start + (trim if columns.start > 0 else 0)
    top = rows.start + (trim if rows.start > 0 else 0)
    right = columns.stop - (trim if columns.stop < shape[1] else 0)
    bottom = rows.stop - (trim if rows.stop < shape[0] else 0)
    return Blob(left, top, max(1, right - left), max(1, bottom - top), weight)


def scaled(blob: Blob, plane_shape: tuple[int, ...], settings: DetectorSettings) -> Blob:
    """Return a blob of the plane in px of the frame."""
    scale_x, scale_y = settings.frame_width / plane_shape[1], settings.frame_height / plane_shape[0]
    x = min(int(blob.x * scale_x), settings.frame_width - 1)
    y = min(int(blob.y * scale_y), settings.frame_height - 1)
    w = max(1, min(round(blob.w * scale_x), settings.frame_width - x))
    h = max(1, min(round(blob.h * scale_y), settings.frame_height - y))
    return Blob(x, y, w, h, blob.weight, min(1.0, blob.weight / blob.area), blob.track)
