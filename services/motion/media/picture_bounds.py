"""How large a picture from outside may be, told before it is decoded. Pure.

A few bytes can claim 16000x16000 px, for which a decoder takes 0.5 to 1.2 GB (measured with H.264, VP8 and JPEG). So
JPEG and VP8 are measured by their headers, and all decoders have `max_pixels` (libavcodec/options_table.h), which they
look at before they allocate a picture, whenever the size of a stream changes.
"""

from __future__ import annotations

MAX_SIDE_PX = 8192
MAX_PIXELS = 36_000_000  # cameras of 8K have 33 to 35.4 million
# Each scan of a progressive JPEG makes the decoder pass over the whole picture; encoders write about 10 (see
# services/classifier/model/preprocess.py)
MAX_SCANS = 32
MEASURED = ("mjpeg", "vp8")  # codecs whose pictures name their size at their beginning
DECODER_OPTIONS = {"max_pixels": str(MAX_PIXELS)}
# Decoders that probe a stream which begins late have no options (avformat_find_stream_info), but allocate no more than
# this at once: MAX_PIXELS of 4 bytes, and their margins
MAX_ALLOCATION_BYTES = 160_000_000

_SOS = b"\xff\xda"
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15: ITU-T T.81 table B.1
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length: TEM, RSTn, SOI


def size_fault(width: int, height: int) -> str | None:
    """Say why a picture of this size is not decoded; None when it is."""
    if max(width, height) <= MAX_SIDE_PX and width * height <= MAX_PIXELS:
        return None
    return (
        f"pictures of {width}x{height} px, wanted at most {MAX_SIDE_PX} px a side and {MAX_PIXELS} pixels; "
        "set a lower resolution in the camera"
    )


def coded_fault(codec: str, data: bytes) -> str | None:
    """Say why a coded picture is not decoded, as far as its header tells; None when it is, or tells nothing."""
    if codec == "vp8":
        return size_fault(*vp8_size(data))
    if codec != "mjpeg":
        return None
    if fault := size_fault(*jpeg_size(data)):
        return fault
    if (n_scans := data.count(_SOS)) > MAX_SCANS:
        return f"a JPEG of {n_scans} scans, wanted at most {MAX_SCANS}; set the camera to baseline JPEG"
    return None


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return the largest width and height that a JPEG's frame headers name; (0, 0) when it has none.

    All headers up to the first scan are read: a decoder takes the last of them.
    """
    found = (0, 0)
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = data[at + 1]
        if marker == 0xDA:
            break
        if marker in (0xFF, 0x00) or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _SIZES and at + 9 <= len(data):
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            found = max(found[0], width), max(found[1], height)
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
    return found


def vp8_size(data: bytes) -> tuple[int, int]:
    """Return width and height that a key frame of VP8 names (RFC 6386 §9.1); (0, 0) of any other frame."""
    if len(data) < 10 or data[0] & 1:
        return 0, 0
    return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
