"""Pictures whose few bytes claim thousands of pixels a side, in each codec that cameras and publishers send."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from PIL import Image

START_CODE = b"\x00\x00\x00\x01"


def jpeg(width: int, height: int) -> bytes:
    """Return a JPEG of 64x64 px that claims another size (SOF0: ITU-T T.81 §B.2.2)."""
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (90, 120, 60)).save(out, "JPEG")
    data = bytearray(out.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = height.to_bytes(2) + width.to_bytes(2)
    return bytes(data)


def whole_jpeg(width: int, height: int) -> bytes:
    """Return a JPEG that is as large as it says; of one colour it takes few bytes."""
    out = io.BytesIO()
    Image.new("L", (width, height), 90).save(out, "JPEG")
    return out.getvalue()


def many_scans(width: int, height: int, n_scans: int) -> bytes:
    """Return a progressive JPEG whose last scan comes again and again."""
    out = io.BytesIO()
    noise = np.random.default_rng(5).integers(0, 255, (height, width), np.uint8)
    Image.fromarray(noise).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * n_scans + b"\xff\xd9"


def h264(width: int, height: int) -> bytes:
    """Return an IDR picture with parameter sets of that size, written by hand (ITU-T H.264 §7.3.2, §7.3.3)."""
    size = _ue(width // 16 - 1) + _ue(height // 16 - 1)
    sps = b"\x67" + _packed(
        f"{66:08b}{0xC0:08b}{52:08b}" + _ue(0) * 2 + _ue(2) + _ue(1) + "0" + size + "1100"
    )
    pps = b"\x68" + _packed(_ue(0) * 2 + "00" + _ue(0) * 3 + "000" + _ue(0) * 3 + "000")
    idr = b"\x65" + _packed(_ue(0) + _ue(7) + _ue(0) + "0000" + _ue(0) + "00" + _ue(0) + _ue(25))
    return b"".join(START_CODE + unit for unit in (sps, pps, idr + bytes(range(1, 200))))


def hevc(width: int, height: int) -> bytes:
    """Return a picture of x265's whose SPS claims another size (ITU-T H.265 §7.3.2.2)."""
    coded = _encoded("libx265", {"x265-params": "log-level=none:pools=1"})
    units = [unit for unit in coded.split(START_CODE[1:]) if unit]
    return b"".join(
        START_CODE + (_resized(unit, width, height) if unit[0] >> 1 == 33 else unit) for unit in units
    )


def vp8(width: int, height: int) -> bytes:
    """Return a key frame of VP8 that claims another size (RFC 6386 §9.1)."""
    data = bytearray(_encoded("libvpx", {}))
    data[6:10] = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return bytes(data)


def _encoded(codec: str, options: dict[str, str]) -> bytes:
    context: Any = CodecContext.create(codec, "w")  # Any: PyAV types no encoder that is named at run time
    assert isinstance(context, VideoCodecContext)
    context.width = context.height = 64
    context.pix_fmt, context.time_base, context.options = "yuv420p", Fraction(1, 25), options
    frame = av.VideoFrame.from_ndarray(np.full((64, 64), 90, np.uint8), format="gray").reformat(
        format="yuv420p"
    )
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return b"".join(bytes(packet) for packet in (*context.encode(frame), *context.encode(None)))


def _resized(sps: bytes, width: int, height: int) -> bytes:
    bits = "".join(f"{byte:08b}" for byte in sps[2:].replace(b"\x00\x00\x03", b"\x00\x00"))
    bits = bits[: bits.rindex("1")]
    at = 8 + 96  # ids and profile, tier and level of one layer
    for _ in range(2):  # sps_seq_parameter_set_id, chroma_format_idc
        at = _after(bits, at)
    rest = _after(bits, _after(bits, at))
    return sps[:2] + _packed(bits[:at] + _ue(width) + _ue(height) + bits[rest:])


def _after(bits: str, at: int) -> int:
    """Return where the Exp-Golomb number that begins at `at` ends."""
    n_zeros = bits.index("1", at) - at
    return at + 2 * n_zeros + 1


def _ue(value: int) -> str:
    digits = f"{value + 1:b}"
    return "0" * (len(digits) - 1) + digits


def _packed(bits: str) -> bytes:
    """Return bits with their stop bit, and what keeps start codes out of them."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return bytes(_escaped(int(bits, 2).to_bytes(len(bits) // 8)))


def _escaped(data: bytes) -> Iterator[int]:
    n_zeros = 0
    for byte in data:
        if n_zeros >= 2 and byte <= 3:
            yield 3
            n_zeros = 0
        yield byte
        n_zeros = n_zeros + 1 if byte == 0 else 0
