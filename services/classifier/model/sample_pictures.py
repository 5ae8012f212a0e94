"""Pictures that ship, on which int8 is made, and compared with float32. Any runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from services.classifier.weights.integrity import GOLDEN_PICTURE
from services.classifier.weights.preprocessing import Preprocessing

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def sample_pictures() -> list[Image.Image]:
    """Return the golden picture, its parts plain, blurred, dark and tiny, and plain gray."""
    with Image.open(GOLDEN_PICTURE) as opened:
        whole = opened.convert("RGB")
    width, side = whole.size
    squares = [whole.crop((x, 0, x + side, side)) for x in range(0, width - side + 1, (width - side) // 3)]
    small = [whole.crop((x, side // 3, x + side // 3, 2 * side // 3)) for x in range(0, width, width // 5)]
    blurred = [square.filter(ImageFilter.GaussianBlur(4)) for square in squares]
    dark = [square.point(lambda level: level // 5) for square in squares]
    tiny = [square.resize((20, 20)) for square in squares]
    return [whole, *squares, *small, *blurred, *dark, *tiny, Image.new("RGB", (side, side), (127, 127, 127))]


def calibration_pictures() -> list[Image.Image]:
    """Return every second sample picture and the quarters of each, on which int8's ranges are measured.

    On these pictures alone, numbers of the others lay out of range: 0.9982 instead of 0.9995 (quantization.py).
    """
    every_second = sample_pictures()[::2]
    return [*every_second, *(quarter for picture in every_second for quarter in _quarters(picture))]


def normalised(
    pictures: Sequence[Image.Image], size: int, preprocessing: Preprocessing
) -> NDArray[np.float32]:
    """Return float32[N,3,size,size], squashed and normalised by Pillow and numpy as the models' transforms do it."""
    resample = _FILTERS[preprocessing.interpolation]
    squashed = [np.asarray(picture.convert("RGB").resize((size, size), resample)) for picture in pictures]
    pixels = np.stack(squashed).transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (
        np.array(part, np.float32).reshape(3, 1, 1)
        for part in (preprocessing.pixels.mean, preprocessing.pixels.std)
    )
    found: NDArray[np.float32] = np.ascontiguousarray((pixels - mean) / std)
    return found


def _quarters(picture: Image.Image) -> list[Image.Image]:
    width, height = picture.size
    half = (width // 2, height // 2)
    return [picture.crop((x, y, x + half[0], y + half[1])) for x in (0, half[0]) for y in (0, half[1])]
