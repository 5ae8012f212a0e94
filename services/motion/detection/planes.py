"""Measures single luma planes: size, histogram, quantile, threshold. Pure; knows no state."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np

from services.motion.detection.tuning import PLANE_WIDTH_PX
from services.motion.detection.values import Floats, Gray, as_floats, as_gray


def plane_size(frame_width: int, frame_height: int) -> tuple[int, int]:
    """Return width and height of the plane that the detector works on."""
    width = min(PLANE_WIDTH_PX, frame_width)
    return width, max(1, round(frame_height * width / frame_width))


def blurred(plane: Gray, ksize: int) -> Gray:
    return as_gray(cv2.GaussianBlur(plane, (ksize, ksize), 0)) if ksize > 1 else plane


def above(plane: Any, limit: float) -> Gray:  # Any: OpenCV's stubs say MatLike
    """Return 255 where a uint8 array is larger than `limit`, else 0."""
    return as_gray(cv2.threshold(plane, math.floor(limit), 255, cv2.THRESH_BINARY)[1])


def histogram(plane: Gray) -> Floats:
    """Return float32[256]: how many of every second row's every second pixel have each level."""
    part = np.ascontiguousarray(plane[::2, ::2])
    return as_floats(cv2.calcHist([part], [0], None, [256], [0, 256])).ravel()


def flat_share(luma: Gray) -> float:
    """Return the share of the commonest level among the pixels, black and white apart (night, sky)."""
    counts = histogram(luma)
    return float(counts[24:236].max()) / float(counts.sum())


def noise_of(change: Gray) -> float:
    """Return the noise of a pixel from the difference of two frames; the median, so that moving things do not count."""
    cumulated = histogram(change).cumsum()
    half = float(cumulated[-1]) / 2.0
    level = int(np.searchsorted(cumulated, half))
    below = float(cumulated[level - 1]) if level else 0.0
    inside = float(cumulated[level]) - below
    return (level - 0.5 + (half - below) / max(inside, 1.0)) / 0.954 if level else 0.3


def quantile(values: Floats, share: float) -> float:
    """Return the value below which `share` of float32[N] lies, N > 0; between two neighbours by weight."""
    place = share * (values.size - 1)
    low = int(place)
    high = min(low + 1, values.size - 1)
    parted = np.partition(values, (low, high))
    return float(parted[low]) + float(parted[high] - parted[low]) * (place - low)
