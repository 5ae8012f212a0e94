"""How the coded pictures of a stream are to be shown: shape of a pixel, orientation, colour. Pure: numbers only.

Behind the sources everything counts in shown pixels: upright, square, as people see them. Boxes, masks, zones, crops
and the detector's plane are of the shown picture; only who reads a coded plane asks for the coded rectangle.

Numbers of colour are those of ITU-T H.273 (FFmpeg's are the same); 2 means that the stream does not say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

UNSPECIFIED = 2
LIMITED, FULL = 1, 2  # FFmpeg's AVCOL_RANGE_*; 0: the stream does not say
BT709, BT601_625, BT601_525, BT2020 = 1, 5, 6, 9
PQ, HLG = 16, 18
BT2020_MATRICES = (9, 10)
MATRICES = frozenset({1, 4, 5, 6, 7, 9, 10})
WIDE_PRIMARIES = frozenset({9, 11, 12})  # BT.2020, DCI-P3, Display P3
HD_HEIGHT_PX = 720  # a stream that does not say is BT.709 from here on, BT.601 below
LARGEST_ASPECT = 8.0  # of a pixel; what claims more is broken


@dataclass(frozen=True, slots=True)
class Orientation:
    """What makes a coded picture upright: swap rows and columns first, then mirror."""

    is_transposed: bool = False
    is_flipped_x: bool = False  # left and right, after the swap
    is_flipped_y: bool = False

    @classmethod
    def of_matrix(cls, a: float, b: float, c: float, d: float) -> Orientation:
        """Return that of a display matrix (ISO/IEC 14496-12 §8.3.2): x' = a x + c y, y' = b x + d y; to 90 degrees."""
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @classmethod
    def of_turn(cls, rotation: int, is_mirrored: bool = False) -> Orientation:
        """Return that of a mirrored picture (left and right) that is then turned, degrees counterclockwise."""
        transposed, x, y = {
            90: (True, False, True),
            180: (False, True, True),
            -180: (False, True, True),
            -90: (True, True, False),
            270: (True, True, False),
        }.get(rotation, (False, False, False))
        if is_mirrored and transposed:
            y = not y
        elif is_mirrored:
            x = not x
        return cls(transposed, x, y)

    @classmethod
    def of_exif(cls, number: int) -> Orientation:
        """Return that of EXIF's tag 0x0112 (JEITA CP-3451 §4.6.4), 1 to 8; upright for anything else."""
        return {
            2: cls(False, True, False),
            3: cls(False, True, True),
            4: cls(False, False, True),
            5: cls(True, False, False),
            6: cls(True, True, False),
            7: cls(True, True, True),
            8: cls(True, False, True),
        }.get(number, cls())

    @property
    def is_upright(self) -> bool:
        return not (self.is_transposed or self.is_flipped_x or self.is_flipped_y)

    @property
    def matrix(self) -> tuple[int, int, int, int]:
        """Return a, b, c, d of the display matrix."""
        x, y = (-1 if self.is_flipped_x else 1), (-1 if self.is_flipped_y else 1)
        return (0, y, x, 0) if self.is_transposed else (x, 0, 0, y)

    @property
    def turn(self) -> tuple[int, bool]:
        """Return degrees counterclockwise, and whether the picture is mirrored before; see of_turn."""
        for rotation in (0, 90, 180, -90):
            for is_mirrored in (False, True):
                if Orientation.of_turn(rotation, is_mirrored) == self:
                    return rotation, is_mirrored
        raise AssertionError("there are eight orientations")


UPRIGHT = Orientation()


@dataclass(frozen=True, slots=True)
class Colour:
    """What a stream says of its colour."""

    color_range: int = 0
    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)

    @property
    def is_mapped(self) -> bool:
        """Whether its colours lie outside of what pictures for the web can show, so that they must be mapped."""
        return self.is_hdr or self.gamut in WIDE_PRIMARIES

    @property
    def gamut(self) -> int:
        """Return the primaries; those of BT.2020 where only its matrix or an HDR transfer is said, else BT.709's."""
        if self.primaries != UNSPECIFIED:
            return self.primaries
        return BT2020 if self.is_hdr or self.matrix in BT2020_MATRICES else BT709

    def is_full(self, pixel_format: str) -> bool:
        """Whether black is 0 and white 255; where the stream does not say, the layout of its pixels does."""
        if pixel_format.startswith("yuvj"):
            return True
        if pixel_format.startswith("gray"):
            return self.color_range != LIMITED
        return self.color_range == FULL

    def matrix_of(self, height: int, pixel_format: str) -> int:
        """Return the matrix by which to make RGB of a picture of this height.

        Where the stream does not say, Chromium's rules: full range is taken for JPEG's BT.601.
        """
        if self.matrix in MATRICES:
            return self.matrix
        if self.primaries in (BT709, BT601_625, BT601_525) or self.gamut == BT2020:
            return self.gamut
        is_hd = height >= HD_HEIGHT_PX and not self.is_full(pixel_format)
        return BT709 if is_hd else BT601_525


@dataclass(frozen=True)
class PictureFormat:
    """The size of a coded picture, px, and what it takes to show it."""

    coded_width: int
    coded_height: int
    pixel_aspect: float = 1.0  # width of a pixel through its height
    orientation: Orientation = UPRIGHT
    colour: Colour = field(default_factory=Colour)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Return the size that is shown: upright, square pixels, none of the coded ones left out."""
        width, height = self._square
        return (height, width) if self.orientation.is_transposed else (width, height)

    @property
    def width(self) -> int:
        return self.size[0]

    @property
    def height(self) -> int:
        return self.size[1]

    @cached_property
    def _square(self) -> tuple[int, int]:
        if self.pixel_aspect >= 1:
            return max(1, round(self.coded_width * self.pixel_aspect)), self.coded_height
        return self.coded_width, max(1, round(self.coded_height / self.pixel_aspect))

    @cached_property
    def is_plain(self) -> bool:
        """Whether shown and coded pixels are the same."""
        return self.orientation.is_upright and self._square == (self.coded_width, self.coded_height)

    @property
    def pixel_aspect_ratio(self) -> Fraction:
        return Fraction(self.pixel_aspect).limit_denominator(1000)

    def turned_back(self, width: int, height: int) -> tuple[int, int]:
        """Return the size that becomes width and height when it is made upright."""
        return (height, width) if self.orientation.is_transposed else (width, height)

    def coded_box(self, x: int, y: int, w: int, h: int) -> tuple[int, int, int, int]:
        """Return the coded rectangle, px, of one of the shown picture: all pixels that it touches."""
        if self.is_plain:
            return x, y, w, h
        left, top, right, bottom = self._coded_shares(x, y, x + w, y + h)
        x0, y0 = int(left * self.coded_width + 1e-6), int(top * self.coded_height + 1e-6)
        x1 = min(self.coded_width, -int(-(right * self.coded_width - 1e-6) // 1))
        y1 = min(self.coded_height, -int(-(bottom * self.coded_height - 1e-6) // 1))
        return x0, y0, max(1, x1 - x0), max(1, y1 - y0)

    def _coded_shares(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        left, right, top, bottom = x0 / self.width, x1 / self.width, y0 / self.height, y1 / self.height
        if self.orientation.is_flipped_x:
            left, right = 1 - right, 1 - left
        if self.orientation.is_flipped_y:
            top, bottom = 1 - bottom, 1 - top
        if self.orientation.is_transposed:
            left, top, right, bottom = top, left, bottom, right
        return left, top, right, bottom


def pixel_aspect_of(ratio: float | None) -> float:
    """Return a sample aspect ratio that can be used: 1 where none, or nonsense, is said."""
    if not ratio or not 1 / LARGEST_ASPECT <= ratio <= LARGEST_ASPECT:
        return 1.0
    return float(ratio)


def exif_orientation(jpeg: bytes) -> int:
    """Return EXIF's tag 0x0112 of a JPEG, 1 (upright) when it has none that can be read.

    Markers: ITU-T T.81 §B.1.1; APP1 with a TIFF header and its first directory: JEITA CP-3451 §4.5.
    """
    at = 2
    while jpeg[at : at + 1] == b"\xff" and jpeg[at + 1 : at + 2] not in (b"\xda", b""):
        size = int.from_bytes(jpeg[at + 2 : at + 4])
        if jpeg[at + 1] == 0xE1 and jpeg[at + 4 : at + 10] == b"Exif\0\0":
            return _tag_of(jpeg[at + 10 : at + 2 + size], 0x0112)
        at += 2 + max(2, size)
    return 1


def _tag_of(tiff: bytes, tag: int) -> int:
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return 1
    start = int.from_bytes(tiff[4:8], order)  # type: ignore[arg-type]  # mypy sees str, both are literals
    count = int.from_bytes(tiff[start : start + 2], order)  # type: ignore[arg-type]
    for number in range(min(count, 256)):
        entry = tiff[start + 2 + 12 * number :][:12]
        if int.from_bytes(entry[:2], order) == tag and len(entry) == 12:  # type: ignore[arg-type]
            return int.from_bytes(entry[8:10], order)  # type: ignore[arg-type]
    return 1
