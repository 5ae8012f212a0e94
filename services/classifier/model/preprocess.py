"""JPEG bytes to the model's input. Knows pictures and budgets; the model only as a `resize` function, no Redis.

A JPEG is looked at before it is decoded: kind, size and number of scans from its header cost microseconds, so a
picture bomb (huge dimensions in a small file, hundreds of progressive scans) is refused within its budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

Resize = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
# A progressive JPEG of an encoder has about 10 scans; each further one makes the decoder pass over the whole picture
# again, which a bomb uses (libjpeg-turbo's "progressive bomb", security advice of 2016). Marker FFDA cannot occur
# inside entropy-coded data (FF is followed by 00 there), so counting it is exact up to embedded thumbnails.
MAX_SCANS = 32
# Passes that a picture's pixels pay for; more are charged to the snippet's budget (4 Mpx: 0.1 s with 10 scans, 0.56 s
# with 32, so that 16 such pictures would have held a core for 9 s).
SCANS_OF_AN_ENCODER = 10
_SOS = b"\xff\xda"
REASONS = ("not_jpeg", "too_large", "too_many_scans", "broken", "snippet_budget")


@dataclass(frozen=True, slots=True)
class PictureRefusal:
    """A picture that is left out; `reason` is one of REASONS, `detail` says it in words."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """Bounds on what is decoded, in pixels."""

    picture_pixels: int
    snippet_pixels: int


def inspect(jpegs: tuple[bytes, ...], budget: PixelBudget) -> tuple[PictureRefusal | None, ...]:
    """Look at the headers of a snippet's JPEGs; return for each why it is refused, or None.

    A picture is charged its pixels, once for every SCANS_OF_AN_ENCODER passes over them.
    """
    left = budget.snippet_pixels
    verdicts: list[PictureRefusal | None] = []
    for jpeg in jpegs:
        found = _header(jpeg, budget.picture_pixels)
        if isinstance(found, PictureRefusal):
            verdicts.append(found)
        elif found > left:
            verdicts.append(
                PictureRefusal("snippet_budget", f"over {budget.snippet_pixels} pixels in one snippet")
            )
        else:
            left -= found
            verdicts.append(None)
    return tuple(verdicts)


def _header(jpeg: bytes, max_pixels: int) -> int | PictureRefusal:
    if not jpeg.startswith(b"\xff\xd8"):
        return PictureRefusal("not_jpeg", f"{len(jpeg)} bytes that are no JPEG")
    try:
        height, width = (int(side) for side in simplejpeg.decode_jpeg_header(jpeg)[:2])
    except ValueError as exc:
        return PictureRefusal("broken", str(exc))
    if height * width > max_pixels:
        return PictureRefusal("too_large", f"{width}x{height} px, at most {max_pixels} pixels are decoded")
    if (scans := jpeg.count(_SOS)) > MAX_SCANS:
        return PictureRefusal("too_many_scans", f"{scans} scans, at most {MAX_SCANS} are decoded")
    return height * width * max(1, -(-scans // SCANS_OF_AN_ENCODER))


def load_picture(jpeg: bytes, size: int, resize: Resize) -> NDArray[np.uint8] | PictureRefusal:
    """Decode one inspected JPEG and return uint8[size,size,3], RGB; PictureRefusal when its data are broken."""
    try:
        return resize(decode(jpeg, size))
    except ValueError as exc:
        return PictureRefusal("broken", str(exc))


def decode(jpeg: bytes, size: int) -> NDArray[np.uint8]:
    """Return uint8[H,W,3], RGB; a JPEG of twice `size` or more is decoded at a half, quarter or eighth.

    Reduced decoding drops the high frequencies that the resize would average away. Only powers of two: libjpeg-turbo
    has SIMD for those, and 5/8 took longer than the whole picture (0.79 against 0.53 ms for 384 px).
    Exact transform and upsampling: libjpeg-turbo's quick ones save nothing (0.245 against 0.274 ms a picture, 74 crops
    of the samples) and moved mini's embeddings to a cosine of 0.973 at worst; exact ones give Pillow's pixels.

    Raises ValueError when the data are broken, truncated included.
    """
    colorspace = str(simplejpeg.decode_jpeg_header(jpeg)[2]).upper()
    if colorspace in ("CMYK", "YCCK"):
        return _from_cmyk(simplejpeg.decode_jpeg(jpeg, "CMYK", min_height=size, min_width=size, min_factor=2))
    picture: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        jpeg, "RGB", fastdct=False, fastupsample=False, min_height=size, min_width=size, min_factor=2
    )
    return picture


def _from_cmyk(inks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB for a JPEG file's CMYK, which is inverted, as Adobe writes it."""
    black = inks[..., 3].astype(np.uint16)
    rgb = np.empty((*inks.shape[:2], 3), dtype=np.uint8)
    for channel in range(3):  # one by one: all at once took 22 bytes a pixel on top, this takes 7
        rgb[..., channel] = inks[..., channel] * black // 255
    return rgb


def stack(pictures: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return uint8[N,3,S,S] of N pictures uint8[S,S,3]; its memory stays in the order N,S,S,3 (channels last)."""
    return np.stack(pictures).transpose(0, 3, 1, 2)
