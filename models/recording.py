"""People and empty ground from OpenCV's recording vtest.avi: the first 400 frames train, the rest is test.

What moves is found against the median of the frames; no label was drawn by hand.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from pictures import square_crop

Array = np.ndarray[Any, np.dtype[Any]]
N_TRAINING_FRAMES = 400
BORDER_PX = 4
PARKED = (640, 0, 768, 120)  # vans that stand there all the time: neither people nor empty


@dataclass(frozen=True, slots=True)
class Half:
    """One half of the recording: crops RGB uint8[S,S,3] of various sizes, cut-outs RGBA, the ground without anyone."""

    people: list[Array]
    cutouts: list[Array]
    empty: list[Array]
    ground: Array


def halves(cache: Path) -> tuple[Half, Half]:
    """Read the training half and the test half."""
    path = cache / "opencv-doc/usr/share/doc/opencv-doc/examples/data/vtest.avi"
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return half(frames[:N_TRAINING_FRAMES], 1), half(frames[N_TRAINING_FRAMES:], 2)


def half(frames: list[Array], seed: int) -> Half:
    """Cut one half up: every fourth frame."""
    rng = np.random.default_rng(seed)
    ground = np.median(np.stack(frames[::10]), axis=0).astype(np.uint8)
    people, cutouts, empty = [], [], []
    for frame in frames[::4]:
        mask = moving(frame, ground)
        for box in boxes(mask):
            left, top, right, bottom = box
            people.append(square_crop(frame, box, float(rng.uniform(0.1, 0.35))))
            inside = mask[top:bottom, left:right]
            cutouts.append(np.dstack([frame[top:bottom, left:right], inside]))
        for _ in range(6):
            side = int(rng.integers(36, 180))
            x, y = int(rng.integers(0, 768 - side)), int(rng.integers(0, 576 - side))
            parked = x + side > PARKED[0] and y < PARKED[3]
            if not parked and mask[y : y + side, x : x + side].mean() < 0.5:
                empty.append(frame[y : y + side, x : x + side].copy())
    return Half(people, cutouts, empty, ground)


def moving(frame: Array, ground: Array) -> Array:
    """Mark what differs from the ground: uint8[H,W], 0 or 255."""
    difference = cv2.absdiff(frame, ground).max(axis=2)
    mask = (difference > 38).astype(np.uint8) * 255
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    return np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 5), np.uint8)))


def boxes(mask: Array) -> list[tuple[int, int, int, int]]:
    """Give the boxes that have a standing person's size and shape, whole and inside the frame."""
    found = []
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for contour in contours:
        x, y, width, height = cv2.boundingRect(contour)
        inside = (
            x > BORDER_PX and y > BORDER_PX and x + width < 768 - BORDER_PX and y + height < 576 - BORDER_PX
        )
        parked = x + width > PARKED[0] and y < PARKED[3]
        if (
            inside
            and not parked
            and 28 <= height <= 170
            and 1.2 <= height / width <= 4
            and cv2.contourArea(contour) > 200
        ):
            found.append((x, y, x + width, y + height))
    return found
