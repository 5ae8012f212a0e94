"""A decoded picture, when it was taken and how it is to be shown."""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from av.packet import Packet
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame

from services.motion.media.picture_bounds import size_fault
from services.motion.media.picture_format import (
    UPRIGHT,
    Colour,
    Orientation,
    PictureFormat,
    exif_orientation,
    pixel_aspect_of,
)

_NOT_READ = PictureFormat(0, 0)
# image.side_data is kept by the frame that it refers to: its megabytes would wait for the garbage collector, which runs
# after many small objects, not after few large ones. Any: PyAV's types leave out what it is made of
_side_data_of: Any = SideDataContainer


@dataclass(frozen=True, slots=True)
class Frame:
    """A decoded frame; `t_s`: when it was taken, seconds of the recording or of the steady clock. `width` and
    `height` are those of the shown picture.

    PyAV writes to a frame while it converts it (its colour fields, and puts them back), and several threads look at
    one frame: whoever converts it holds `lock`, and asks `format` for its colour, not the image.
    """

    t_s: float
    image: VideoFrame
    format: PictureFormat = _NOT_READ
    lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.format is _NOT_READ:
            object.__setattr__(self, "format", format_of(self.image))

    @property
    def width(self) -> int:
        return self.format.width

    @property
    def height(self) -> int:
        return self.format.height


def format_of(
    image: VideoFrame, pixel_aspect: float = 1.0, orientation: Orientation = UPRIGHT
) -> PictureFormat:
    """Return how `image` is to be shown, its colour as it says itself."""
    colour = Colour(image.color_range, image.colorspace, image.color_primaries, image.color_trc)
    return PictureFormat(image.width, image.height, pixel_aspect, orientation, colour)


@dataclass(slots=True)
class FormatReader:
    """Tells how the frames of one stream are to be shown. While nothing changes all of them share one value."""

    pixel_aspect: Fraction | None = None  # the container's word, which goes before the codec's
    _key: tuple[object, ...] = ()
    _format: PictureFormat = _NOT_READ
    _orientation: Orientation = UPRIGHT

    def of(
        self, image: VideoFrame, pixel_aspect: Fraction | None, jpeg: bytes | Packet[Any] | None = None
    ) -> PictureFormat:
        """Return that of `image`. `pixel_aspect`: the codec's word; `jpeg`: what it was decoded from, if a JPEG."""
        if image.key_frame or not self._key:  # streams say it with their key frames (ITU-T H.264 §D.2.27)
            self._orientation = orientation_of(image, jpeg)
        key = (
            image.width,
            image.height,
            image.color_range,
            image.colorspace,
            image.color_primaries,
            image.color_trc,
            pixel_aspect,
            self._orientation,
        )
        if key != self._key:
            aspect = pixel_aspect_of(float(self.pixel_aspect or pixel_aspect or 1))
            shown = format_of(image, aspect, self._orientation)
            if size_fault(*shown.size):  # a small picture of pixels eight times as wide as high
                shown = format_of(image, 1.0, self._orientation)
            self._key, self._format = key, shown
        return self._format


def orientation_of(image: VideoFrame, jpeg: bytes | Packet[Any] | None = None) -> Orientation:
    """Return what turns `image` upright: its display matrix, of the container, of the stream (SEI) or of EXIF."""
    try:
        matrix = _side_data_of(image)[Type.DISPLAYMATRIX]
    except KeyError:
        return UPRIGHT
    except ValueError:  # PyAV 18 knows no EXIF, and tells nothing of a frame that has some
        if jpeg is not None:
            return Orientation.of_exif(exif_orientation(bytes(jpeg)))
        return Orientation.of_turn(round(image.rotation / 90) * 90)
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    return Orientation.of_matrix(a, b, c, d)
