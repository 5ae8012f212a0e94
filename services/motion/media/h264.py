"""Walks the NAL units of H.264 (ITU-T H.264 §7.3.1, Annex B; ISO/IEC 14496-15 §5.3.3.1, avcC). Pure.

Units are told apart by start codes, or by lengths of `length_size` bytes before them; 0 stands for start codes.
PyAV's h264_mp4toannexb filter was tried: it takes its extradata from an open input stream only, and remembered
packets have none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

SLICE, IDR, SPS = 1, 5, 7  # ITU-T H.264 table 7-1: coded slices are 1 to 5
START_CODE = b"\x00\x00\x00\x01"


def nal_units(data: bytes, length_size: int = 0) -> Iterator[tuple[int, int]]:
    """Yield where each unit begins and ends; the end of a broken one may lie beyond `data`."""
    if length_size:
        at = length_size
        while at < len(data):
            end = at + int.from_bytes(data[at - length_size : at])
            if end > at:
                yield at, end
            at = end + length_size
        return
    at = data.find(START_CODE[1:])
    while 0 <= at < len(data) - 3:
        following = data.find(START_CODE[1:], at + 3)
        yield at + 3, len(data) if following < 0 else following
        at = following


def nal_type(data: bytes, at: int) -> int:
    return data[at] & 0x1F


def is_disposable(data: bytes, at: int) -> bool:
    """Whether no other picture is decoded from the slice that begins at `at` (nal_ref_idc is 0)."""
    return data[at] & 0x60 == 0


def is_key(data: bytes) -> bool:
    """Whether a picture with start codes is an IDR picture."""
    kinds = (nal_type(data, at) for at, _ in nal_units(data))
    # all slices of a picture are of an IDR, or none is
    return next((kind == IDR for kind in kinds if SLICE <= kind <= IDR), False)


def has_sps(data: bytes) -> bool:
    """Whether data with start codes brings its sequence parameters along."""
    return any(nal_type(data, at) == SPS for at, _ in nal_units(data))


def length_size(extradata: bytes) -> int:
    """Return the size of the lengths in the packets of a stream; 0: they have start codes."""
    return (extradata[4] & 3) + 1 if len(extradata) > 4 and extradata[0] == 1 else 0


def parameter_sets(extradata: bytes) -> bytes:
    """Return SPS and PPS with start codes. Raises IndexError or struct.error when the extradata are cut off."""
    if not length_size(extradata):
        return extradata
    sets = b""
    at = 5
    for mask in (0x1F, 0xFF):
        count = extradata[at] & mask
        at += 1
        for _ in range(count):
            (size,) = struct.unpack_from(">H", extradata, at)
            sets += START_CODE + extradata[at + 2 : at + 2 + size]
            at += 2 + size
    return sets


def to_annexb(data: bytes, length_size: int) -> bytes:
    """Return a packet with start codes. Raises ValueError when a unit is longer than its packet."""
    if length_size == 0:
        return data
    parts = []
    for at, end in nal_units(data, length_size):
        if end > len(data):
            raise ValueError("NAL unit longer than its packet")
        parts += [START_CODE, data[at:end]]
    return b"".join(parts)
