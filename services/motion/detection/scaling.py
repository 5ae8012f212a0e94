"""Makes the detector's planes of decoded frames. Pure."""

from __future__ import annotations

import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from services.motion.detection.planes import plane_size
from services.motion.detection.values import Gray
from services.motion.media.frame import Frame
from services.motion.media.rendering import oriented, plane_view

_LUMA_FIRST = ("yuv4", "yuvj4", "nv12", "nv21", "gray")


class PlaneScaler:
    """Makes the detector's planes of a stream's frames. Not for several threads at once."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # keeps what it worked out for one size

    def luma_plane(self, frame: Frame) -> Gray:
        """Return the shown picture's brightness as uint8[H, W], of the detector's size; no colour is converted.

        FFmpeg averages a 1080p plane in a third of the time that OpenCV takes, within one level of it.
        """
        image, shown = frame.image, frame.format
        width, height = shown.turned_back(*plane_size(*shown.size))
        is_plane = image.format.name.startswith(_LUMA_FIRST) and image.format.components[0].bits == 8
        if is_plane and (image.width, image.height) == (width, height):
            return np.ascontiguousarray(oriented(plane_view(image.planes[0]), shown.orientation))
        # one range for both: the levels are wanted as they are coded
        ranges = (ColorRange.JPEG, ColorRange.JPEG) if is_plane else (None, None)
        with frame.lock:
            gray = self._reformatter.reformat(
                image,
                width=width,
                height=height,
                format="gray",
                interpolation="AREA",
                src_color_range=ranges[0],
                dst_color_range=ranges[1],
                threads=1,
            )
        return np.ascontiguousarray(oriented(plane_view(gray.planes[0]), shown.orientation))


def luma_plane(frame: Frame) -> Gray:
    """Return the plane of a single frame; see PlaneScaler."""
    return PlaneScaler().luma_plane(frame)
