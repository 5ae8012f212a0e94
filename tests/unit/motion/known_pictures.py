"""Videos of a picture whose colours and shapes are known, and what others show of them, by arithmetic of its own.

The picture is one of coloured fields, 4 by 2. Levels are computed here (ITU-R BT.601, BT.709, BT.2020, BT.2100), so
that neither libswscale nor our own code judges itself.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from services.motion.media.rendering import plane_rows, plane_view

Pixels = npt.NDArray[np.uint8]
Reals = npt.NDArray[np.float64]
# red, green, blue of the fields, upright, row by row
FIELDS = np.array(
    [
        [(200, 40, 40), (40, 180, 60), (50, 60, 200), (12, 12, 12)],
        [(230, 230, 230), (120, 120, 120), (190, 180, 60), (60, 170, 170)],
    ],
    np.float64,
)
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


@dataclass(frozen=True)
class Case:
    """A video, and how it is to be shown. `turn`, `flip`: what players are told to do to its pictures."""

    name: str
    codec: str = "libx264"
    container: str = "mp4"
    pixels: str = "yuv420p"
    full: bool = False
    matrix: int = 6
    primaries: int = 2
    transfer: int = 2
    is_tagged: bool = True
    coded: tuple[int, int] = (320, 180)
    aspect: Fraction = Fraction(1)
    turn: int = 0
    flip: str = ""
    shown: tuple[int, int] = (320, 180)
    options: dict[str, str] = field(default_factory=dict)

    @property
    def tolerance(self) -> int:
        """Levels that coding, 8 bit and chroma at half size may take away."""
        return 8 if self.primaries == 9 else 5

    @property
    def depth(self) -> int:
        return 10 if "10" in self.pixels else 8


def coded_picture(case: Case) -> Reals:
    """Return float64[h, w, 3], RGB 0..255, as it lies in the file: squeezed, turned back and mirrored."""
    rows, columns = FIELDS.shape[:2]
    upright = np.kron(FIELDS, np.ones((8, 8, 1)))
    lying = np.rot90(upright, -case.turn // 90)
    # players turn first and mirror then (set_display_rotation): undone in the other order
    if case.flip:
        upright = upright[:, ::-1] if case.flip == "h" else upright[::-1]
        lying = np.rot90(upright, -case.turn // 90)
    width, height = case.coded
    assert rows * columns == 8
    return np.asarray(cv2.resize(lying, (width, height), interpolation=cv2.INTER_NEAREST), np.float64)


def signal(rgb: Reals, case: Case) -> Reals:
    """Return R'G'B' 0..1 in the case's transfer and primaries; SDR white is at 203 cd/m² (ITU-R BT.2408)."""
    if case.transfer not in (16, 18) and case.primaries != 9:
        return rgb / 255
    share = rgb / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ TO_BT2020.T
    if case.transfer == 16:
        part = (light * 203 / 10_000) ** (2610 / 16384)
        return np.asarray(((3424 / 4096 + 2413 / 128 * part) / (1 + 2392 / 128 * part)) ** (2523 / 32))
    if case.transfer == 18:
        scene = light * 203 / 1000
        luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
        scene = scene * np.maximum(luminance, 1e-9)[..., None] ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.asarray(np.where(scene <= 1 / 12, np.sqrt(3 * scene), high))
    return np.asarray(np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


def write_case(path: Path, case: Case, n_frames: int = 12) -> Path:
    """Write the case's video, every frame the same."""
    image = _image(case)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(case.codec, rate=10, options=case.options)
        stream.width, stream.height, stream.pix_fmt = image.width, image.height, case.pixels
        context = stream.codec_context
        context.gop_size = 10
        context.sample_aspect_ratio = case.aspect
        context.color_range = image.color_range
        if case.is_tagged:
            context.colorspace, context.color_primaries, context.color_trc = (
                case.matrix,
                case.primaries,
                case.transfer,
            )
        if case.turn or case.flip:
            stream.set_display_rotation(case.turn, case.flip == "h", case.flip == "v")
        for index in range(n_frames):
            image.pts, image.time_base = index, Fraction(1, 10)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return path


def _image(case: Case) -> av.VideoFrame:
    rgb = signal(coded_picture(case), case)
    kr, kb = LUMA[case.matrix]
    y = kr * rgb[..., 0] + (1 - kr - kb) * rgb[..., 1] + kb * rgb[..., 2]
    chroma = [(rgb[..., 2] - y) / (2 * (1 - kb)), (rgb[..., 0] - y) / (2 * (1 - kr))]
    unit = 1 << (case.depth - 8)
    top = (1 << case.depth) - 1
    planes = [y * top if case.full else (16 + 219 * y) * unit]
    planes += [part * (top if case.full else 224 * unit) + 128 * unit for part in chroma]
    image = av.VideoFrame(*case.coded, case.pixels)
    for index, (plane, levels) in enumerate(zip(image.planes, planes, strict=False)):
        across, down = (_shifts(case.pixels)) if index else (0, 0)
        part = levels[:: 1 << down, :: 1 << across]
        kind = np.uint8 if case.depth == 8 else np.uint16
        rows = plane_rows(plane).view(kind)
        rows[:, : plane.width] = np.clip(np.round(part), 0, top).astype(kind)
    image.color_range = 2 if case.full else 1
    return image


def _shifts(pixels: str) -> tuple[int, int]:
    return (0, 0) if "444" in pixels else (1, 0) if "422" in pixels else (1, 1)


def fields_of(picture: npt.NDArray[Any]) -> Reals:
    """Return float64[2, 4, 3], the mean of the middle of each field of an upright picture."""
    rows, columns = FIELDS.shape[:2]
    height, width = picture.shape[0] / rows, picture.shape[1] / columns
    means = [
        [
            picture[
                round((row + 0.3) * height) : round((row + 0.7) * height),
                round((column + 0.3) * width) : round((column + 0.7) * width),
            ]
            .reshape(-1, 3)
            .mean(0)
            for column in range(columns)
        ]
        for row in range(rows)
    ]
    return np.asarray(means, np.float64)


def jpeg_pixels(data: bytes) -> Pixels:
    """Return uint8[h, w, 3], RGB, of a JPEG."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture[..., ::-1], np.uint8)


def played(clip: bytes) -> Pixels:
    """Return uint8[h, w, 3], RGB, of a clip's fourth frame as a player that knows every flag shows it."""
    with av.open(io.BytesIO(clip), "r") as container:
        stream = container.streams.video[0]
        image = list(container.decode(video=0))[3]
        rgb = image_pixels(image)
        aspect = float(stream.sample_aspect_ratio or 1)
    size = round(image.width * max(1.0, aspect)), round(image.height / min(1.0, aspect))
    rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    found: Any = [data for data in image.side_data if "DISPLAYMATRIX" in str(data)]
    if found:
        a, b, _, c, d = np.frombuffer(bytes(found[0]), np.int32)[:5]
        if a == d == 0:
            rgb, a, d = rgb.transpose(1, 0, 2), c, b
        rgb = rgb[:, ::-1] if a < 0 else rgb
        rgb = rgb[::-1] if d < 0 else rgb
    return rgb


def image_pixels(image: av.VideoFrame) -> Pixels:
    """Return uint8[h, w, 3], RGB, of a yuv420p or yuvj420p frame by what it says of its colour."""
    assert image.format.name in ("yuv420p", "yuvj420p")
    planes = []
    for plane in image.planes:
        rows = plane_view(plane).astype(np.float64)
        planes.append(cv2.resize(rows, (image.width, image.height), interpolation=cv2.INTER_NEAREST))
    is_full = image.color_range == 2
    kr, kb = LUMA[image.colorspace if image.colorspace in LUMA else (1 if image.height >= 720 else 6)]
    y = planes[0] / 255 if is_full else (planes[0] - 16) / 219
    cb, cr = ((plane - 128) / (255 if is_full else 224) for plane in planes[1:])
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.round(255 * np.stack([red, green, blue], -1)), 0, 255).astype(np.uint8)
