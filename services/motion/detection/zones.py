"""Keeps only the boxes that touch a zone, and rasters the polygons of zones and masks. Pure.

A box touches a zone when they share a pixel of a raster CELLS wide: a person whose feet enter the drive counts, long
before most of him is in it. What is outside makes no event, opens none early and gives no picture to the classifier.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np

from services.motion.detection.values import Blob, Mask, Motion
from shared.cameras import Point

CELLS = 320
Polygons = tuple[tuple[Point, ...], ...]


def only_in(motion: Motion, zones: Polygons, frame_width: int, frame_height: int) -> Motion:
    """Return `motion` with the boxes that touch one of `zones`; without any it is not active. No zones: as it is.

    How long a thing was followed is forgotten: outside it may have been for long, and the event begins at the zone.
    """
    if not zones or not motion.is_active:
        return motion
    raster = raster_of(zones, CELLS, max(1, round(CELLS * frame_height / frame_width)))
    boxes = tuple(box for box in motion.boxes if _touches(box, raster, frame_width, frame_height))
    if not boxes:
        return Motion(0.0, is_active=False, is_blind=motion.is_blind)
    return replace(motion, boxes=boxes, since_s=float("inf"), n_frames=0, is_sure=False)


@lru_cache(maxsize=256)
def raster_of(polygons: Polygons, width: int, height: int) -> Mask:
    """Return bool[height, width], true inside and on the edge of the polygons (shares of width and height)."""
    return _filled(polygons, (width - 1, height - 1), (height, width))


@lru_cache(maxsize=256)
def mask_of(masks: Polygons, shape: tuple[int, ...]) -> Mask | None:
    """Return bool[H, W], true where motion is ignored; None without masks."""
    return _filled(masks, (shape[1], shape[0]), shape) if masks else None


def _filled(polygons: Polygons, unit: tuple[int, int], shape: tuple[int, ...]) -> Mask:
    canvas = np.zeros(shape, np.uint8)
    for polygon in polygons:
        corners = np.array([(x * unit[0], y * unit[1]) for x, y in polygon]).round().astype(np.int32)
        cv2.fillPoly(canvas, [corners], (1,))
    filled: Mask = canvas.astype(np.bool_)
    return filled


def _touches(box: Blob, raster: Mask, frame_width: int, frame_height: int) -> bool:
    height, width = raster.shape
    left, top = box.x * width // frame_width, box.y * height // frame_height
    right = -(-(box.x + box.w) * width // frame_width)
    bottom = -(-(box.y + box.h) * height // frame_height)
    return bool(raster[top : max(bottom, top + 1), left : max(right, left + 1)].any())
