"""Leaves of a motion what touches a zone. Pure.

A box touches a zone when they share a pixel of a raster CELLS wide: a person whose feet enter the drive counts, long
before most of him is in it. What is outside makes no event, opens none early and gives no picture to the classifier.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from services.motion.detection.detector import Blob, Motion
from shared.cameras import Point

CELLS = 320
Polygons = tuple[tuple[Point, ...], ...]
Raster = npt.NDArray[np.bool_]


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
    return replace(motion, boxes=boxes, since_s=float("inf"), n_looks=0, is_sure=False)


@lru_cache(maxsize=256)
def raster_of(polygons: Polygons, width: int, height: int) -> Raster:
    """Return bool[height, width], true inside and on the edge of the polygons (shares of width and height)."""
    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = np.array([(x * (width - 1), y * (height - 1)) for x, y in polygon]).round().astype(np.int32)
        cv2.fillPoly(canvas, [corners], (1,))
    raster: Raster = canvas.astype(np.bool_)
    return raster


def _touches(box: Blob, raster: Raster, frame_width: int, frame_height: int) -> bool:
    height, width = raster.shape
    left, top = box.x * width // frame_width, box.y * height // frame_height
    right = -(-(box.x + box.w) * width // frame_width)
    bottom = -(-(box.y + box.h) * height // frame_height)
    return bool(raster[top : max(bottom, top + 1), left : max(right, left + 1)].any())
