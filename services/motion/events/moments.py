"""Chooses the frames and rectangles that the classifier is to see. Pure: no pixel is touched.

A snippet's length is not known while its frames pass. So moments are kept in stretches of time, one best frame each;
when there are too many, neighbouring stretches become one and the better frame stays.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from av.video.frame import VideoFrame

from services.motion.detection.values import Blob

Shown = TypeVar("Shown")

LARGEST_PX = 384
THUMBNAIL_PX = 640
PADDING = 0.2
LEAST_CROP_PX = 64  # a model's 224 px blow up a smaller one more than 3.5 times
MOMENTS_MAX_BYTES = 96 * 1024 * 1024  # of frames that wait to be converted
SECOND_OBJECT = 0.15  # a second crop is worth it from this share of the first one's changed area
STAY = 3  # moments that a second object is followed before another has its turn


@dataclass(frozen=True, slots=True)
class Moment(Generic[Shown]):
    """A frame that may be chosen. `quality`: the higher, the better it shows its main object."""

    t_s: float
    quality: float
    blobs: tuple[Blob, ...]  # largest first
    frame: Shown


@dataclass(frozen=True, slots=True)
class MomentSelection(Generic[Shown]):
    """The best moments so far, oldest first; each stands for the stretch [n * stretch_s, (n + 1) * stretch_s)."""

    limit: int
    stretch_s: float
    origin_s: float | None = None
    moments: tuple[tuple[int, Moment[Shown]], ...] = ()


def choose(selection: MomentSelection[Shown], moment: Moment[Shown]) -> MomentSelection[Shown]:
    """Return the selection after `moment` (times ascend)."""
    origin_s = moment.t_s if selection.origin_s is None else selection.origin_s
    selection = replace(selection, origin_s=origin_s)
    number = int((moment.t_s - origin_s) / selection.stretch_s)
    kept = selection.moments
    if kept and kept[-1][0] == number:
        if moment.quality > kept[-1][1].quality:
            kept = (*kept[:-1], (number, moment))
    else:
        kept = (*kept, (number, moment))
    stretch_s = selection.stretch_s
    while len(kept) > selection.limit:
        kept = _halved(kept)
        stretch_s *= 2
    return replace(selection, moments=kept, stretch_s=stretch_s)


def _halved(kept: tuple[tuple[int, Moment[Shown]], ...]) -> tuple[tuple[int, Moment[Shown]], ...]:
    best: dict[int, Moment[Shown]] = {}
    for number, moment in kept:
        other = best.get(number // 2)
        if other is None or moment.quality > other.quality:
            best[number // 2] = moment
    return tuple(sorted(best.items(), key=lambda item: item[0]))


def quality_of(blobs: Sequence[Blob], frame_width: int, frame_height: int) -> float:
    """Return how well a frame shows its main object: large, whole, and filling its rectangle.

    Two people walking apart in one rectangle fill little of it.
    """
    if not blobs:
        return 0.0
    main = blobs[0]
    cut = (
        main.x <= 1
        or main.y <= 1
        or main.x + main.w >= frame_width - 1
        or main.y + main.h >= frame_height - 1
    )
    share = min(main.area / (frame_width * frame_height), 0.4)
    return float(share**0.5) * (0.6 if cut else 1.0) * min(1.0, 0.2 + main.fill)


def select_crops(moments: Sequence[Sequence[Blob]], crops_per_moment: int = 2) -> list[tuple[Blob, ...]]:
    """Return the rectangles to cut out of each moment: its main object, and in turn one of the others.

    The others take turns over the moments, a few moments each, so that contiguous moments show the same one. Who
    moved most over all moments is the first: the rectangle of one frame flickers, and in it half a thing weighs less.
    """
    shown: defaultdict[int, int] = defaultdict(int)
    weights: defaultdict[int, float] = defaultdict(float)  # of each object over all moments
    for blob in itertools.chain.from_iterable(moments):
        weights[blob.track] += blob.weight
    chosen: list[tuple[Blob, ...]] = []
    for blobs in moments:
        picked = list(blobs[:1])
        others = [
            other
            for other in blobs[1:]
            if other.weight >= SECOND_OBJECT * blobs[0].weight and _are_apart(blobs[0], other)
        ]
        if others and crops_per_moment > 1:
            picked.append(
                min(
                    others, key=lambda other: (shown[other.track] // STAY, -weights[other.track], other.track)
                )
            )
        for blob in picked:
            shown[blob.track] += 1
        chosen.append(tuple(picked))
    return chosen


def _are_apart(a: Blob, b: Blob) -> bool:
    return min(a.x + a.w, b.x + b.w) <= max(a.x, b.x) or min(a.y + a.h, b.y + b.h) <= max(a.y, b.y)


def square_around(blob: Blob, frame_width: int, frame_height: int) -> Blob:
    """Return the padded square around `blob`, moved inside the frame; not larger than the frame's short side allows.

    A thing longer than the frame's short side gets a rectangle: all of it is worth more than squareness.
    """
    side = round(max(blob.w, blob.h) * (1 + 2 * PADDING))
    w, h = min(max(side, LEAST_CROP_PX), frame_width), min(max(side, LEAST_CROP_PX), frame_height)
    x = min(max(blob.x + blob.w // 2 - w // 2, 0), frame_width - w)
    y = min(max(blob.y + blob.h // 2 - h // 2, 0), frame_height - h)
    return Blob(x, y, w, h, blob.weight)


def moments_that_fit(wanted: int, frame: VideoFrame) -> int:
    """Return how many frames of this size may wait: a 4K frame is 12 MB."""
    return max(2, min(wanted, MOMENTS_MAX_BYTES // max(1, frame.width * frame.height * 3 // 2)))
