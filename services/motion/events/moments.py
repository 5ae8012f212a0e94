"""Chooses what the classifier shall look at, and makes JPEGs of it; only chosen frames are converted.

A snippet's length is not known while its frames pass. So moments are kept in stretches of time, one best frame each;
when there are too many, neighbouring stretches become one and the better frame stays.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import cv2
import numpy as np
from av.video.frame import VideoFrame

from services.motion.detection.values import Blob
from services.motion.media.frame import Frame
from services.motion.media.rendering import Bgr, Renderer, oriented, plane_rows
from shared.errors import Permanent

Shown = TypeVar("Shown")
_PLANAR = re.compile("yuvj?(420|422|444)p(10le|12le)?")

LARGEST_PX = 384
THUMBNAIL_PX = 640
QUALITY = 88
PADDING = 0.2
LEAST_CROP_PX = 64  # a model's 224 px blow up a smaller one more than 3.5 times
MOMENTS_MAX_BYTES = 96 * 1024 * 1024  # of frames that wait to be converted
SECOND_OBJECT = 0.15  # a second crop is worth it from this share of the first one's changed area
STAY = 3  # moments that a second object is followed before another has its turn


@dataclass(frozen=True, slots=True)
class Tracked:
    """A moving object that was given a number, so that it is known again in the next frame."""

    track: int
    blob: Blob


@dataclass(frozen=True, slots=True)
class Moment(Generic[Shown]):
    """A frame that may be chosen. `quality`: the higher, the better it shows its main object."""

    t_s: float
    quality: float
    objects: tuple[Tracked, ...]
    frame: Shown


@dataclass(frozen=True, slots=True)
class Choice(Generic[Shown]):
    """The best moments so far, oldest first; each stands for the stretch [n * stretch_s, (n + 1) * stretch_s)."""

    limit: int
    stretch_s: float
    origin_s: float | None = None
    moments: tuple[tuple[int, Moment[Shown]], ...] = ()


def choose(choice: Choice[Shown], moment: Moment[Shown]) -> Choice[Shown]:
    """Return the choice after `moment` (times ascend)."""
    origin_s = moment.t_s if choice.origin_s is None else choice.origin_s
    choice = replace(choice, origin_s=origin_s)
    number = int((moment.t_s - origin_s) / choice.stretch_s)
    kept = choice.moments
    if kept and kept[-1][0] == number:
        if moment.quality > kept[-1][1].quality:
            kept = (*kept[:-1], (number, moment))
    else:
        kept = (*kept, (number, moment))
    stretch_s = choice.stretch_s
    while len(kept) > choice.limit:
        kept = _halved(kept)
        stretch_s *= 2
    return replace(choice, moments=kept, stretch_s=stretch_s)


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


# -- tracks


@dataclass(frozen=True, slots=True)
class Tracks:
    """Objects seen lately: number -> (rectangle, time, how often it was seen)."""

    seen: tuple[tuple[int, Blob, float, int], ...] = ()
    next_number: int = 0


def follow(
    tracks: Tracks, blobs: Sequence[Blob], t_s: float, period_s: float = 0.0
) -> tuple[Tracks, tuple[Tracked, ...]]:
    """Give each blob the number of the object that it continues (best overlap of grown rectangles), or a new one.

    `period_s`: the usual time between two looks.
    """
    free = [entry for entry in tracks.seen if t_s - entry[2] <= max(1.0, 2.5 * period_s)]
    stale: list[tuple[int, Blob, float, int]] = []
    found: list[Tracked] = []
    seen: list[tuple[int, Blob, float, int]] = []
    number = tracks.next_number
    for blob in blobs:
        nearest = max(free, key=lambda entry: _nearness(entry[1], blob), default=None)
        if nearest is not None and _nearness(nearest[1], blob) > 0:
            free.remove(nearest)
            track, count = nearest[0], nearest[3] + 1
        else:
            track, count, number = number, 1, number + 1
        found.append(Tracked(track, blob))
        seen.append((track, blob, t_s, count))
    stale = free[:32]
    return Tracks((*seen, *stale), number), tuple(found)


def _nearness(a: Blob, b: Blob) -> float:
    """Return how much two rectangles, grown by a third, overlap: 0 none, 1 the same place and size."""
    grow_x, grow_y = max(a.w, b.w) // 3, max(a.h, b.h) // 3
    w = min(a.x + a.w, b.x + b.w) - max(a.x, b.x) + grow_x
    h = min(a.y + a.h, b.y + b.h) - max(a.y, b.y) + grow_y
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / max((a.w + grow_x) * (a.h + grow_y), (b.w + grow_x) * (b.h + grow_y))


# -- which objects to cut out


def select_crops(moments: Sequence[Sequence[Tracked]], crops_per_moment: int = 2) -> list[tuple[Blob, ...]]:
    """Return the rectangles to cut out of each moment: its main object, and in turn one of the others.

    The others take turns over the moments, a few moments each, so that contiguous moments show the same one. Who
    moved most over all moments is the first: the rectangle of one look flickers, and in it half a thing weighs less.
    """
    shown: dict[int, int] = {}
    weights: defaultdict[int, float] = defaultdict(float)  # of each object over all moments
    for tracked in itertools.chain.from_iterable(moments):
        weights[tracked.track] += tracked.blob.weight
    chosen: list[tuple[Blob, ...]] = []
    for objects in moments:
        if not objects:
            chosen.append(())
            continue
        main = objects[0]
        picked = [main.blob]
        shown[main.track] = shown.get(main.track, 0) + 1
        others = [
            other
            for other in objects[1:]
            if other.blob.weight >= SECOND_OBJECT * main.blob.weight and _are_apart(main.blob, other.blob)
        ]
        if others and crops_per_moment > 1:
            second = min(
                others,
                key=lambda other: (shown.get(other.track, 0) // STAY, -weights[other.track], other.track),
            )
            shown[second.track] = shown.get(second.track, 0) + 1
            picked.append(second.blob)
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


# -- pixels


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A coded picture and its size in px."""

    data: bytes
    width: int
    height: int


@dataclass(slots=True)
class FramePictures:
    """The pictures of one frame as it is shown; converts no more than is asked for."""

    frame: Frame
    _renderer: Renderer = field(default_factory=Renderer)

    def whole(self, largest_px: int) -> Jpeg:
        """Return all of the frame, its longer side at most `largest_px`."""
        return _jpeg(self._renderer.bgr(self.frame, _fitted(*self.frame.format.size, largest_px)))

    def crop(self, box: Blob, largest_px: int) -> Jpeg:
        """Return the part of the shown frame in `box`, never enlarged.

        Of planar frames only that part is converted, and made smaller on the way: FFmpeg takes 0.6 to 1 ms for what
        takes OpenCV 2.5 to 5 (400 to 1000 px to 384).
        """
        shown = self.frame.format
        x, y, w, h = shown.coded_box(box.x, box.y, box.w, box.h)
        part = _cut(self.frame.image, x, y, w, h)
        if part is None:
            return self._crop_of_whole(box, largest_px)
        size = _fitted(*replace(shown, coded_width=part.width, coded_height=part.height).size, largest_px)
        made = self._renderer.part(part, shown, *shown.turned_back(*size))
        return _jpeg(oriented(made, shown.orientation))

    def _crop_of_whole(self, box: Blob, largest_px: int) -> Jpeg:
        picture = self._renderer.bgr(self.frame)
        own = np.ascontiguousarray(picture[box.y : box.y + box.h, box.x : box.x + box.w])
        size = _fitted(own.shape[1], own.shape[0], largest_px)
        if size != (own.shape[1], own.shape[0]):
            own = np.asarray(cv2.resize(own, size, interpolation=cv2.INTER_AREA), np.uint8)
        return _jpeg(own)


def _cut(image: VideoFrame, x: int, y: int, w: int, h: int) -> VideoFrame | None:
    """Return the rectangle of a planar frame, grown to whole chroma samples; None of a frame of another layout."""
    layout = _PLANAR.fullmatch(image.format.name)
    if layout is None:
        return None
    across, down = {"420": (1, 1), "422": (1, 0), "444": (0, 0)}[layout[1]]
    n_bytes = 2 if layout[2] else 1
    left, top = x >> across << across, y >> down << down
    w = min(x + w - left + across >> across << across, image.width - left >> across << across)
    h = min(y + h - top + down >> down << down, image.height - top >> down << down)
    if w < 2 or h < 2:
        raise Permanent(f"a crop of {w}x{h} px is too small")
    part = VideoFrame(w, h, image.format.name)
    for index, (source, target) in enumerate(zip(image.planes, part.planes, strict=True)):
        dx, dy = (across, down) if index else (0, 0)
        columns = slice((left >> dx) * n_bytes, (left + w >> dx) * n_bytes)
        plane_rows(target)[:, : (w >> dx) * n_bytes] = plane_rows(source)[top >> dy : top + h >> dy, columns]
    return part


def moments_that_fit(wanted: int, frame: VideoFrame) -> int:
    """Return how many frames of this size may wait: a 4K frame is 12 MB."""
    return max(2, min(wanted, MOMENTS_MAX_BYTES // max(1, frame.width * frame.height * 3 // 2)))


def _fitted(width: int, height: int, largest_px: int) -> tuple[int, int]:
    scale = min(1.0, largest_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _jpeg(picture: Bgr) -> Jpeg:
    is_coded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not is_coded:
        raise Permanent("JPEG: the encoder refused the picture")
    return Jpeg(data.tobytes(), picture.shape[1], picture.shape[0])
