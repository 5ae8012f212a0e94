"""Cuts the picture of a moment out of a clip. Knows no recorder and no file."""

from __future__ import annotations

import io
from collections.abc import Sequence

import av
import numpy as np
from PIL import Image

from shared.errors import reason

SIDE_PX = 1024
FRAME_PX_MAX = 50_000_000  # of what is decoded at once; a camera has at most 33 million


class ClipPictureError(Exception):
    """A clip without the picture; the message says why."""


def picture_of(mp4: bytes, offset_s: float, box: Sequence[float] | None) -> bytes:
    """Return a JPEG of the frame nearest to a moment, or of a box in it: x, y, w, h in shares of the frame.

    Raises ClipPictureError.
    """
    try:
        with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > FRAME_PX_MAX:
                raise ClipPictureError("its clip is too large")
            best: av.VideoFrame | None = None
            for frame in container.decode(stream):
                if frame.time is None:
                    continue
                if best is None or abs(frame.time - offset_s) <= abs((best.time or 0.0) - offset_s):
                    best = frame
                if frame.time >= offset_s:
                    break
            if best is None:
                raise ClipPictureError("its clip has no picture")
            image = Image.fromarray(np.asarray(best.to_ndarray(format="rgb24")))
    except (av.FFmpegError, IndexError, ValueError, MemoryError) as exc:
        raise ClipPictureError(f"its clip cannot be read: {reason(exc)}") from exc
    if box is not None:
        image = image.crop(_edges(box, image.size))
    image.thumbnail((SIDE_PX, SIDE_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _edges(box: Sequence[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return a box in px, at least one of them, within the frame."""
    x, y, w, h = (min(max(float(value), 0.0), 1.0) for value in box)
    left, top = min(int(x * size[0]), size[0] - 1), min(int(y * size[1]), size[1] - 1)
    right, bottom = round((x + w) * size[0]), round((y + h) * size[1])
    return left, top, min(max(right, left + 1), size[0]), min(max(bottom, top + 1), size[1])
