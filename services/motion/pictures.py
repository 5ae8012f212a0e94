"""Chooses what the classifier shall look at, and makes JPEGs of it; only chosen frames are converted.

A snippet's length is not known while its frames pass. So moments are kept in stretches of time, one best frame each;
when there are too many, neighbouring stretches become one and the better frame stays.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from services.motion.detector import Blob
from shared.errors import Permanent

Bgr = npt.NDArray[np.uint8]
Frame = TypeVar("Frame")

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
class Moment(Generic[Frame]):
    """A frame that may be chosen. `quality`: the higher, the better it shows its main object."""

    t_s: float
    quality: float
    objects: tuple[Tracked, ...]
    frame: Frame


@dataclass(frozen=True, slots=True)
class Choice(Generic[Frame]):
    """The best moments so far, oldest first; each stands for the stretch [n * stretch_s, (n + 1) * stretch_s)."""

    limit: int
    stretch_s: float
    origin_s: float | None = None
    moments: tuple[tuple[int, Moment[Frame]], ...] = ()


def choose(choice: Choice[Frame], moment: Moment[Frame]) -> Choice[Frame]:
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


def _halved(kept: tuple[tuple[int, Moment[Frame]], ...]) -> tuple[tuple[int, Moment[Frame]], ...]:
    best: dict[int, Moment[Frame]] = {}
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
    """The pictures of one frame, upright; converts no more than is asked for.

    The frame may be shown and looked at elsewhere meanwhile. Hence a reformatter of its own: VideoFrame.reformat keeps
    one with the frame, and two threads that use it at once end the process (seen: PyAV 18, a fault in libswscale).
    """

    frame: VideoFrame
    rotation: int = 0
    _reformatter: VideoReformatter = field(default_factory=VideoReformatter)

    def whole(self, largest_px: int) -> Jpeg:
        """Return all of the frame, its longer side at most `largest_px`."""
        width, height = _fitted(self.frame.width, self.frame.height, largest_px)
        small = self._reformatter.reformat(
            self.frame, width=width, height=height, format="bgr24", interpolation="AREA", threads=1
        )
        return _jpeg(_turned(_bgr(small.to_ndarray()), self.rotation))

    def crop(self, box: Blob, largest_px: int) -> Jpeg:
        """Return the part of the frame in `box` (px of the frame as it is coded), never enlarged."""
        return _jpeg(_turned(self._region(box, largest_px), self.rotation))

    def _region(self, box: Blob, largest_px: int) -> Bgr:
        """Return uint8[h, w, 3], BGR, of a part of the frame, its longer side at most `largest_px`.

        Of 4:2:0 frames only that part is converted, and made smaller on the way: FFmpeg takes 0.6 to 1 ms for what
        takes OpenCV 2.5 to 5 (400 to 1000 px to 384).
        """
        frame = self.frame
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            whole = self._reformatter.reformat(frame, format="bgr24", threads=1).to_ndarray()
            own = _bgr(np.ascontiguousarray(whole[box.y : box.y + box.h, box.x : box.x + box.w]))
            size = _fitted(own.shape[1], own.shape[0], largest_px)
            is_whole = size == (own.shape[1], own.shape[0])
            return own if is_whole else _bgr(cv2.resize(own, size, interpolation=cv2.INTER_AREA))
        x, y = box.x & ~1, box.y & ~1
        w = min(box.x + box.w - x + 1 & ~1, frame.width - x & ~1)
        h = min(box.y + box.h - y + 1 & ~1, frame.height - y & ~1)
        if w < 2 or h < 2:
            raise Permanent(f"a crop of {box.w}x{box.h} px is too small")
        part = VideoFrame(w, h, frame.format.name)
        for index, (plane, target) in enumerate(zip(frame.planes, part.planes, strict=True)):
            shift = 1 if index else 0
            source = plane_view(plane)
            cut = source[y >> shift : (y + h) >> shift, x >> shift : (x + w) >> shift]
            plane_view(target)[:] = cut
        part.colorspace = frame.colorspace
        part.color_range = frame.color_range
        width, height = _fitted(w, h, largest_px)
        if (width, height) == (w, h):
            return _bgr(part.to_ndarray(format="bgr24"))
        small = part.reformat(width=width, height=height, format="bgr24", interpolation="AREA", threads=1)
        return _bgr(small.to_ndarray())


def turned_box(
    box: Blob, frame_width: int, frame_height: int, rotation: int
) -> tuple[float, float, float, float]:
    """Return `box` as shares (left, top, width, height) of the upright frame."""
    x, y = box.x / frame_width, box.y / frame_height
    w, h = box.w / frame_width, box.h / frame_height
    if rotation == 90:
        return y, 1 - x - w, h, w
    if rotation == 180:
        return 1 - x - w, 1 - y - h, w, h
    if rotation == -90:
        return 1 - y - h, x, h, w
    return x, y, w, h


def moments_that_fit(wanted: int, frame: VideoFrame) -> int:
    """Return how many frames of this size may wait: a 4K frame is 12 MB."""
    return max(2, min(wanted, MOMENTS_MAX_BYTES // max(1, frame.width * frame.height * 3 // 2)))


def plane_view(
    plane: Any,
) -> npt.NDArray[np.uint8]:  # Any: PyAV's planes are buffers without a Python type for it
    """Return uint8[height, width] of an 8-bit plane without copying it; rows lie line_size apart."""
    rows = np.frombuffer(plane, np.uint8)
    rows = rows[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _fitted(width: int, height: int, largest_px: int) -> tuple[int, int]:
    scale = min(1.0, largest_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _turned(picture: Bgr, rotation: int) -> Bgr:
    turns = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, -90: cv2.ROTATE_90_CLOCKWISE}
    return _bgr(cv2.rotate(picture, turns[rotation])) if rotation in turns else picture


def _jpeg(picture: Bgr) -> Jpeg:
    is_coded, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not is_coded:
        raise Permanent("JPEG: the encoder refused the picture")
    return Jpeg(data.tobytes(), picture.shape[1], picture.shape[0])


def _bgr(picture: Any) -> Bgr:  # Any: OpenCV and PyAV type their arrays as unions
    result: Bgr = picture
    return result
