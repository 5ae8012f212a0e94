"""Makes pictures of decoded frames as people are to see them: upright, square pixels, 8 bit, sRGB. Pure.

What is bright beyond a screen (PQ, HLG: ITU-R BT.2100-2) is mapped to it: light up to KNEE of reference white (203
cd/m², ITU-R BT.2408-7 §2.2) stays as it is, what is above is pressed into the rest. Wide colours (BT.2020, P3) that
BT.709 does not have are cut off. PyAV's FFmpeg has no zscale, and libswscale's own mapping takes seconds to set up and
cuts off all above reference white (PyAV 18, FFmpeg 8.1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter

from services.motion.media.frame import Frame
from services.motion.media.picture_format import (
    BT601_525,
    BT601_625,
    BT709,
    HLG,
    LIMITED,
    PQ,
    WIDE_PRIMARIES,
    Colour,
    Orientation,
    PictureFormat,
)

Bgr = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

WHITE_NITS = 203.0
KNEE = 0.8
HLG_PEAK_NITS = 1000.0
_STEPS = 4096  # of light between black and white, on the way to sRGB
_SWS = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}  # matrices by libswscale's numbers
# x, y of red, green, blue (ITU-T H.273 table 2); white is D65 but for DCI-P3, whose white becomes ours
_PRIMARIES = {
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_D65 = (0.3127, 0.3290)


class Renderer:
    """Converts frames, and keeps what FFmpeg worked out for one size. Not for several threads at once."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def bgr(self, frame: Frame, size: tuple[int, int] | None = None) -> Bgr:
        """Return uint8[h, w, 3], BGR, all of the shown picture; `size`: width and height, else its own."""
        width, height = frame.format.turned_back(*(size or frame.format.size))
        with frame.lock:
            picture = self.part(frame.image, frame.format, width, height)
        return _bgr(oriented(picture, frame.format.orientation))

    def part(self, image: VideoFrame, shown: PictureFormat, width: int, height: int) -> Bgr:
        """Return the same of `image`, a part of a frame or all of it, not yet upright, made `width` by `height`."""
        image = _with_chroma(image, shown.colour)
        colour, pixels = shown.colour, image.format.name
        target = "rgb48le" if colour.is_mapped else "bgr24"
        small = self._reformatter.reformat(
            image,
            width=width,
            height=height,
            format=target,
            interpolation="AREA",
            threads=1,
            **_source(colour, shown.coded_height, pixels),
        )
        made: Any = small.to_ndarray()  # Any: a union of all types of levels
        return mapped(made, colour) if colour.is_mapped else _bgr(made)

    def clip_frame(self, frame: Frame, width: int, height: int, matrix: int) -> VideoFrame:
        """Return the shown picture as yuv420p, limited range, by `matrix` (that of clip_colour)."""
        image, shown = frame.image, frame.format
        turned_width, turned_height = shown.turned_back(width, height)
        to = {"dst_colorspace": _SWS[matrix], "dst_color_range": ColorRange.MPEG}
        if shown.colour.is_mapped:
            picture = self.bgr(frame, (width, height))
            made = VideoFrame.from_ndarray(picture, format="bgr24")
            return self._reformatter.reformat(made, format="yuv420p", threads=1, **to)
        with frame.lock:
            image = _with_chroma(image, shown.colour)
            planes = self._reformatter.reformat(
                image,
                width=turned_width,
                height=turned_height,
                format="yuv420p",
                interpolation="AREA",
                **_source(shown.colour, shown.coded_height, image.format.name),
                **to,
            )
        return planes if shown.orientation.is_upright else _upright(planes, shown.orientation)


def clip_colour(shown: PictureFormat, pixel_format: str) -> Colour:
    """Return the colour of a clip that is encoded of frames like `shown`: limited range, and the matrix they have,
    which costs least; what is mapped becomes BT.709. Everything is said, since players guess by the size else.

    The primaries of standard TV are taken for a screen's, here as in every picture.
    """
    matrix = shown.colour.matrix_of(shown.coded_height, pixel_format)
    is_kept = matrix in (BT601_625, BT601_525) and not shown.colour.is_mapped
    return Colour(LIMITED, BT601_525 if is_kept else BT709, BT709, BT709)


def oriented(picture: Any, orientation: Orientation) -> Any:  # Any: OpenCV's stubs say MatLike
    """Return `picture` upright."""
    if orientation.is_transposed:
        picture = cv2.transpose(picture)
    if orientation.is_flipped_x or orientation.is_flipped_y:
        way = -1 if orientation.is_flipped_x and orientation.is_flipped_y else int(orientation.is_flipped_x)
        picture = cv2.flip(picture, way)
    return picture


def plane_rows(plane: Any) -> Plane:  # Any: PyAV's planes are buffers without a Python type for it
    """Return uint8[height, line_size], the bytes of a plane, without copying it."""
    rows = np.frombuffer(plane, np.uint8)
    return rows[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)


def plane_view(plane: Any) -> Plane:  # Any: as above
    """Return uint8[height, width] of an 8-bit plane without copying it."""
    return plane_rows(plane)[:, : plane.width]


def mapped(rgb: npt.NDArray[np.uint16], colour: Colour) -> Bgr:
    """Return uint8 BGR, sRGB, of uint16 RGB in `colour`: HDR and wide colours brought to what a screen shows."""
    light: Any = _light_of(colour.transfer)[rgb]  # Any: OpenCV's stubs say MatLike
    if colour.transfer == HLG:
        light *= _hlg_gain(light, colour.gamut)
    if colour.gamut in WIDE_PRIMARIES:
        light = cv2.transform(light, _to_bt709(colour.gamut))
    if colour.is_hdr:
        light = _pressed(light)
    levels = _srgb()[np.clip(light * (_STEPS - 1) + 0.5, 0, _STEPS - 1).astype(np.uint16)]
    return _bgr(np.ascontiguousarray(levels[..., ::-1]))


def _pressed(light: Any) -> Any:  # Any: OpenCV's stubs say MatLike
    """Return light with all that is above KNEE of white brought below white, by its brightest channel: hues stay."""
    peak = light.max(axis=2)
    over = peak > KNEE
    if not over.any():
        return light
    high = peak[over]
    goal = KNEE + (1 - KNEE) * (1 - np.exp(-(high - KNEE) / (1 - KNEE)))
    light[over] *= (goal / high)[:, None]
    return light


def _source(colour: Colour, height: int, pixels: str) -> dict[str, Any]:  # Any: PyAV's keywords
    """Return what PyAV is to be told of a picture of `height` px."""
    if pixels.startswith(("rgb", "bgr", "gbr", "pal")):
        return {}
    is_full = colour.is_full(pixels)
    return {
        "src_colorspace": _SWS[colour.matrix_of(height, pixels)],
        "src_color_range": ColorRange.JPEG if is_full else ColorRange.MPEG,
    }


def _with_chroma(image: VideoFrame, colour: Colour) -> VideoFrame:
    """Return a picture of limited range without colour as yuv420p: libswscale takes every gray one for full range."""
    if not image.format.name.startswith("gray") or colour.is_full(image.format.name):
        return image
    gray = image if image.format.name == "gray" else VideoReformatter().reformat(image, format="gray")
    made = VideoFrame(gray.width, gray.height, "yuv420p")
    plane_view(made.planes[0])[:] = plane_view(gray.planes[0])
    for plane in made.planes[1:]:
        plane_view(plane)[:] = 128
    made.color_range = LIMITED
    return made


def _upright(planes: VideoFrame, orientation: Orientation) -> VideoFrame:
    width, height = planes.width, planes.height
    if orientation.is_transposed:
        width, height = height, width
    made = VideoFrame(width, height, "yuv420p")
    for source, target in zip(planes.planes, made.planes, strict=True):
        plane_view(target)[:] = oriented(np.ascontiguousarray(plane_view(source)), orientation)
    made.colorspace, made.color_range = planes.colorspace, planes.color_range
    return made


@lru_cache(maxsize=4)
def _light_of(transfer: int) -> Floats:
    """Return light of every uint16 level, 1 for white (HDR: reference white; HLG: before its system gamma)."""
    signal = np.arange(65536, dtype=np.float64) / 65535
    if transfer == PQ:  # ITU-R BT.2100-2 table 4
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        light = 10_000 / WHITE_NITS * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    elif transfer == HLG:  # ITU-R BT.2100-2 table 5
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def _hlg_gain(light: Floats, primaries: int) -> Floats:
    """Return by what light of a scene is multiplied to be that of a screen of 1000 cd/m² (BT.2100-2: gamma 1.2)."""
    luminance = light @ (_to_xyz(primaries if primaries in _PRIMARIES else 9)[1].astype(np.float32))
    gain = HLG_PEAK_NITS / WHITE_NITS * np.maximum(luminance, 1e-6) ** 0.2
    return np.asarray(gain[..., None], np.float32)


@lru_cache(maxsize=1)
def _srgb() -> npt.NDArray[np.uint8]:
    """Return the levels of _STEPS steps of light (IEC 61966-2-1)."""
    light = np.arange(_STEPS) / (_STEPS - 1)
    signal = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * signal), np.uint8)


@lru_cache(maxsize=8)
def _to_bt709(primaries: int) -> Floats:
    return np.asarray(np.linalg.inv(_to_xyz(1)) @ _to_xyz(primaries), np.float32)


@lru_cache(maxsize=8)
def _to_xyz(primaries: int) -> npt.NDArray[np.float64]:
    """Return float64[3, 3], linear RGB to XYZ (SMPTE RP 177 §3.3)."""
    xy = np.array(_PRIMARIES[primaries]).reshape(3, 2)
    columns = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in xy]).T
    white = np.array((_D65[0] / _D65[1], 1.0, (1 - sum(_D65)) / _D65[1]))
    return np.asarray(columns * np.linalg.solve(columns, white), np.float64)


def _bgr(picture: Any) -> Bgr:  # Any: OpenCV and PyAV type their arrays as unions
    result: Bgr = picture
    return result
