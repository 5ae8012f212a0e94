"""Tries motion settings beside those in force, each with a detector of its own on the same frames. Pure.

A preview begins with what the camera's own detector knows of the scene, so that it answers from the next frame on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from services.motion.detection import detector
from services.motion.detection.tuning import AREA_WIDTH_PX
from services.motion.detection.values import DetectorSettings, DetectorState, Gray, Motion
from services.motion.detection.zones import only_in
from shared.cameras import MotionSettings

PREVIEWS_MAX = 3
CONTOURS_MAX = 24
POINTS_MAX = 48


@dataclass(frozen=True, slots=True)
class PreviewPlane:
    """What all previews are given: uint8[H, W] luma of plane_size, when, and the size of the frame it is of."""

    luma: Gray
    t_s: float
    frame_width: int
    frame_height: int


@dataclass(frozen=True, slots=True)
class SettingsPreview:
    """Settings that are tried, and what their detector knows and said last."""

    settings: MotionSettings
    scene: DetectorState | None
    motion: Motion


def step(
    previews: Sequence[SettingsPreview], plane: PreviewPlane, own: SettingsPreview
) -> tuple[SettingsPreview, ...]:
    """Return the previews after `plane`.

    `own`: what the camera's own detector said of it. Previews with its settings repeat that, since it saw every frame,
    which a preview on a busy machine does not.
    """
    return tuple(own if one.settings == own.settings else _step(one, plane) for one in previews)


def _step(one: SettingsPreview, plane: PreviewPlane) -> SettingsPreview:
    settings = DetectorSettings.of(one.settings, plane.luma.shape[1], plane.frame_width, plane.frame_height)
    scene, motion = detector.step(one.scene, plane.luma, plane.t_s, settings)
    motion = only_in(motion, one.settings.zones, plane.frame_width, plane.frame_height)
    return replace(one, scene=scene, motion=motion)


def as_json(
    motion: Motion, scene: DetectorState | None, settings: MotionSettings, frame_width: int, frame_height: int
) -> dict[str, Any]:  # Any: JSON
    """Return what a page draws: boxes and contours as shares of width and height; areas as `min_contour_area` counts.

    `area` is that of the largest contour, the origin's measure of motion: from min_contour_area on it counts.
    """
    contours, area = _contours(scene, settings)
    return {
        "score": round(motion.score, 3),
        "active": motion.is_active,
        "blind": motion.is_blind,
        "area": round(area),
        "noise": None if scene is None else round(scene.noise, 2),
        "boxes": [
            [
                round(box.x / frame_width, 4),
                round(box.y / frame_height, 4),
                round(box.w / frame_width, 4),
                round(box.h / frame_height, 4),
            ]
            for box in motion.boxes
        ],
        "contours": contours,
    }


def _contours(scene: DetectorState | None, settings: MotionSettings) -> tuple[list[list[list[float]]], float]:
    if scene is None:
        return [], 0.0
    height, width = scene.foreground.shape
    changed = scene.foreground.astype(np.uint8)
    per_px = (AREA_WIDTH_PX / width) ** 2
    iterations = -(-settings.dilate_iterations * width // AREA_WIDTH_PX)
    if iterations:
        changed = np.asarray(cv2.dilate(changed, np.ones((3, 3), np.uint8), iterations=iterations), np.uint8)
    found, _ = cv2.findContours(changed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    sized = sorted(((cv2.contourArea(contour), index) for index, contour in enumerate(found)), reverse=True)
    drawn = []
    for _, index in sized[:CONTOURS_MAX]:
        line = cv2.approxPolyDP(found[index], 1.0, True).reshape(-1, 2)[:POINTS_MAX]
        drawn.append([[round(x / width, 4), round(y / height, 4)] for x, y in line.tolist()])
    return drawn, (sized[0][0] * per_px if sized else 0.0)
