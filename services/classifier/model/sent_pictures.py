"""Pictures that people send, JPEG, PNG or WebP, to the model's input. Knows Pillow for the latter two, no Redis.

As with a snippet's JPEGs (preprocess.py) the header alone says whether a picture is decoded at all.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.classifier.model.preprocess import PictureRefusal, PixelBudget, Resize, inspect, load_picture

_JPEG = b"\xff\xd8"
_PNG = b"\x89PNG\r\n\x1a\n"
# whatever Pillow raises for data that are no picture: its own list in Image.open, and what its decoders add
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def inspect_sent(pictures: Sequence[bytes], budget: PixelBudget) -> tuple[PictureRefusal | None, ...]:
    """Look at the headers of pictures that are sent together; return for each why it is refused, or None."""
    left, verdicts = budget.snippet_pixels, list[PictureRefusal | None]()
    for picture in pictures:
        if picture.startswith(_JPEG):
            verdicts.append(None)
            continue
        found = _size(picture)
        if found is None:
            what = f"{len(picture)} bytes that are no JPEG, PNG or WebP"
            verdicts.append(PictureRefusal("not_jpeg", what))
            continue
        width, height = found
        if width * height > min(left, budget.picture_pixels):
            what = f"{width}x{height} px, at most {budget.picture_pixels} pixels are decoded"
            verdicts.append(PictureRefusal("too_large", what))
        else:
            left -= width * height
            verdicts.append(None)
    of_jpegs = inspect(
        tuple(picture for picture in pictures if picture.startswith(_JPEG)),
        replace(budget, snippet_pixels=left),
    )
    rest = iter(of_jpegs)
    return tuple(
        next(rest) if picture.startswith(_JPEG) else verdict
        for picture, verdict in zip(pictures, verdicts, strict=True)
    )


def load_sent(picture: bytes, size: int, resize: Resize) -> NDArray[np.uint8] | PictureRefusal:
    """Decode one inspected picture and return uint8[size,size,3], RGB; PictureRefusal when its data are broken."""
    if picture.startswith(_JPEG):
        return load_picture(picture, size, resize)
    try:
        return resize(_decode(picture))
    except _BROKEN as exc:
        return PictureRefusal("broken", str(exc))


def _size(picture: bytes) -> tuple[int, int] | None:
    """Return width and height as a PNG or WebP states them in its first bytes (PNG §11.2.1, RFC 9649 §2.5 to 2.7)."""
    if picture.startswith(_PNG) and picture[12:16] == b"IHDR" and len(picture) >= 24:
        return int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")
    if picture[:4] != b"RIFF" or picture[8:12] != b"WEBP" or len(picture) < 30:
        return None
    match picture[12:16]:
        case b"VP8X":
            return (
                1 + int.from_bytes(picture[24:27], "little"),
                1 + int.from_bytes(picture[27:30], "little"),
            )
        case b"VP8L":
            bits = int.from_bytes(picture[21:25], "little")
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack("<HH", picture[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None


def _decode(picture: bytes) -> NDArray[np.uint8]:
    """Return uint8[H,W,3], RGB, on white where the picture is transparent; of an animation the first picture."""
    with Image.open(io.BytesIO(picture), formats=("PNG", "WEBP")) as image:
        if image.size != _size(picture):  # a second header, which says what the first did not
            raise ValueError(f"{image.size[0]}x{image.size[1]} px, its first header says otherwise")
        if image.mode.startswith("I;16"):
            gray = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(gray[:, :, np.newaxis], 3, axis=2)
        seen = image.convert("RGBA")
    ground = Image.new("RGBA", seen.size, "white")
    return np.asarray(Image.alpha_composite(ground, seen).convert("RGB"))
