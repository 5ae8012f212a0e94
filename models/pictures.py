"""Things and places that training pictures are made of, and how they are read: trimmed, cropped, shrunk, unpacked."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Thing:
    """Pictures of one object. `pictures` are uint8[H,W,4] RGBA cut-outs, or uint8[H,W,3] photographs of it alone."""

    identity: str  # one object, however many pictures
    concept: str  # of words.CONCEPTS
    names: tuple[str, ...]  # further captions, more exact than the concept
    pictures: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A photograph with nothing of interest in it: uint8[H,W,3] RGB, and the kind of words.PLACES where it is known."""

    identity: str
    kind: str | None
    picture: Array


def trim(picture: Array) -> Array:
    """Cut the transparent border off and bring the long side to 320 px."""
    rows, columns = np.where(picture[..., 3] > 40)
    cut = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = 320 / max(cut.shape[:2])
    size = (max(1, int(cut.shape[1] * scale)), max(1, int(cut.shape[0] * scale)))
    return np.asarray(Image.fromarray(cut).resize(size, Image.Resampling.LANCZOS))


def shrink(path: Path) -> Array:
    """Read a picture at no more than 1024 px."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((1024, 1024))
    return np.asarray(picture)


def square_crop(picture: Array, box: tuple[int, int, int, int], pad: float) -> Array:
    """Cut a padded square around a box, as motion does; what lies outside repeats the edge."""
    left, top, right, bottom = box
    side = int(max(right - left, bottom - top) * (1 + 2 * pad))
    x, y = (left + right - side) // 2, (top + bottom - side) // 2
    height, width = picture.shape[:2]
    x, y = max(0, min(x, width - side)), max(0, min(y, height - side))
    return picture[y : y + side, x : x + side]


def compiled_pictures(cache: Path, activity: str) -> Iterator[tuple[str, Array]]:
    """Read the pictures of one of GCompris' Qt resource files (format: Qt's rcc, versions 1 to 3)."""
    data = (cache / f"gcompris-qt-data/usr/share/gcompris-qt/rcc/{activity}.rcc").read_bytes()
    version, tree, payload, names = struct.unpack(">4I", data[4:20])
    step = 14 if version < 2 else 22
    waiting = [(0, "")]
    while waiting:
        index, path = waiting.pop()
        name_at, flags, first, second = struct.unpack(
            ">IHII", data[tree + index * step : tree + index * step + 14]
        )
        length = struct.unpack(">H", data[names + name_at : names + name_at + 2])[0]
        name = (
            data[names + name_at + 6 : names + name_at + 6 + 2 * length].decode("utf-16-be") if index else ""
        )
        if flags & 2:  # a folder: `first` children from node `second` on
            waiting += [(second + k, f"{path}/{name}") for k in range(first)]
        elif name.endswith((".webp", ".jpg", ".png")) and not flags & 4:
            start = payload + second
            size = struct.unpack(">I", data[start : start + 4])[0]
            blob = data[start + 4 : start + 4 + size]
            blob = zlib.decompress(blob[4:]) if flags & 1 else blob
            decoded = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_COLOR)
            if decoded is not None:
                yield f"{path}/{name}", np.asarray(decoded[..., ::-1])
