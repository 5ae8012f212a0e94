"""Rewrites the index of an MP4 whose packets were copied: in front, and with how the picture is to be shown. Pure.

PyAV's muxer has no place for it where there is no encoder.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from services.motion.media.picture_format import BT709, UNSPECIFIED, PictureFormat

_TO_SAMPLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_HEADERS = {b"stsd": 16, b"avc1": 86}  # bytes before the first box within; 8 in all others


def shown_as(mp4: bytes, shown: PictureFormat, pixel_format: str) -> bytes:
    """Return `mp4`, whose index is at its end, with orientation, shape of a pixel and colour written into it.

    Players take the container's word before the stream's, and some know no other.
    """
    boxes = list(_boxes(mp4, 0, len(mp4)))
    if not boxes or boxes[-1][0] != b"moov":
        raise ValueError("wanted an MP4 that ends with its moov box")
    data = bytearray(mp4)
    for kind, at, _ in _boxes(mp4, 0, len(mp4), into=(b"moov", b"trak")):
        if kind == b"tkhd":
            _write_track_header(data, at, shown)
    path: list[tuple[bytes, int, int]] = []
    for kind, at, end in _boxes(mp4, boxes[-1][1], len(mp4), into=_TO_SAMPLES):
        path = [box for box in path if box[1] <= at and end <= box[2]]
        path.append((kind, at, end))
        if kind == b"avc1":
            break
    else:
        raise ValueError("wanted an MP4 with H.264 in it")
    added = _pixel_aspect_box(shown) + _colour_box(shown, pixel_format)
    for _, at, end in path:
        struct.pack_into(">I", data, at, end - at + len(added))
    end = path[-1][2]
    return bytes(data[:end]) + added + bytes(data[end:])


def _write_track_header(data: bytearray, at: int, shown: PictureFormat) -> None:
    """Write matrix and size (ISO/IEC 14496-12 §8.3.2); the size is that before the matrix, in square pixels."""
    a, b, c, d = shown.orientation.matrix
    width, height = shown.turned_back(*shown.size)
    x = width * (a < 0) + height * (c < 0)
    y = width * (b < 0) + height * (d < 0)
    place = at + (48 if data[at + 8] == 0 else 60)
    matrix = (a << 16, b << 16, 0, c << 16, d << 16, 0, x << 16, y << 16, 1 << 30)
    struct.pack_into(">9i2I", data, place, *matrix, width << 16, height << 16)


def _pixel_aspect_box(shown: PictureFormat) -> bytes:
    """Return pasp (ISO/IEC 14496-12 §12.1.4.2), nothing for square pixels."""
    width, height = shown.turned_back(*shown.size)
    if (width, height) == (shown.coded_width, shown.coded_height):
        return b""
    aspect = shown.pixel_aspect_ratio
    return struct.pack(">I4sII", 16, b"pasp", aspect.numerator, aspect.denominator)


def _colour_box(shown: PictureFormat, pixel_format: str) -> bytes:
    """Return colr (ISO/IEC 14496-12 §12.1.5), nothing for limited range without further words.

    Chromium believes that a stream has full range only where all of its colour is said.
    """
    colour = shown.colour
    is_full = colour.is_full(pixel_format)
    said: tuple[int, ...] = (colour.primaries, colour.transfer, colour.matrix)
    if is_full:
        usual = (BT709, BT709, colour.matrix_of(shown.coded_height, pixel_format))
        said = tuple(own if word == UNSPECIFIED else word for word, own in zip(said, usual, strict=True))
    elif said == (UNSPECIFIED,) * 3:
        return b""
    return struct.pack(">I4s4s3HB", 19, b"colr", b"nclx", *said, is_full << 7)


def index_in_front(mp4: bytes) -> bytes:
    """Return `mp4` with its moov box moved before the mdat box, so that players start before all has arrived.

    Chunk offsets (stco, co64; ISO/IEC 14496-12 §8.7.5) grow by the size of what was moved in front of them.
    """
    boxes = list(_boxes(mp4, 0, len(mp4)))
    order = [kind for kind, _, _ in boxes]
    if b"moov" not in order or b"mdat" not in order or order.index(b"moov") < order.index(b"mdat"):
        return mp4
    _, moov_at, moov_end = boxes[order.index(b"moov")]
    _, mdat_at, _ = boxes[order.index(b"mdat")]
    moov = bytearray(mp4[moov_at:moov_end])
    shift = len(moov)
    for kind, at, end in _boxes(bytes(moov), 8, len(moov), into=(b"trak", b"mdia", b"minf", b"stbl")):
        width, form = (4, ">I") if kind == b"stco" else (8, ">Q")
        if kind not in (b"stco", b"co64"):
            continue
        (count,) = struct.unpack_from(">I", moov, at + 12)
        for place in range(at + 16, min(at + 16 + count * width, end), width):
            (offset,) = struct.unpack_from(form, moov, place)
            struct.pack_into(form, moov, place, offset + shift)
    return mp4[:mdat_at] + bytes(moov) + mp4[mdat_at:moov_at] + mp4[moov_end:]


def _boxes(data: bytes, at: int, end: int, into: tuple[bytes, ...] = ()) -> Iterator[tuple[bytes, int, int]]:
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        header = _HEADERS.get(kind, 8)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        elif size == 0:
            size = end - at
        if size < header or at + size > end:
            raise ValueError(f"broken mp4 box at {at}")
        yield kind, at, at + size
        if kind in into:
            yield from _boxes(data, at + header, at + size, into)
        at += size
