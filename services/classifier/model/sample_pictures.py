"""Pictures that ship, on which int8 is compared with float32. Any runtime."""

from __future__ import annotations

from PIL import Image, ImageFilter

from services.classifier.weights.integrity import GOLDEN_PICTURE


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
