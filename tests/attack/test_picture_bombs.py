"""Pictures that claim 16000x16000 px take no memory, whoever sends them and in whatever they lie."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from services.motion.media.frame import FormatReader
from services.motion.media.picture_bounds import MAX_PIXELS, MAX_SIDE_PX, coded_fault, jpeg_size, size_fault
from tests.attack import bombs

SIDE_PX = 16_000
MOST_GROWN_MIB = 128  # before there was a bound: 480 (VP8) to 1180 (H.264); 81 of them are H.264's own tables
BOMBS = {"mjpeg": bombs.jpeg, "h264": bombs.h264, "hevc": bombs.hevc, "vp8": bombs.vp8}


def read(kind: str, path: Path) -> dict[str, Any]:
    """Read `path` in a process of its own."""
    command = [sys.executable, "-m", "tests.attack.picture_reader", kind, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer


@pytest.mark.parametrize("codec", ["mjpeg", "h264", "vp8"])
def test_a_publishers_bomb_is_refused_before_it_takes_memory(codec: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(BOMBS[codec](SIDE_PX, SIDE_PX))
    answer = read(codec, path)
    assert answer["n_frames"] == 0
    assert f"{SIDE_PX}x{SIDE_PX} px, wanted at most {MAX_SIDE_PX}" in answer["fault"]
    assert "lower resolution" in answer["fault"]
    assert answer["grown_mib"] < MOST_GROWN_MIB


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("ts", "h264"),
        ("ts", "hevc"),
        ("mp4", "h264"),
        ("mp4", "hevc"),
        ("avi", "mjpeg"),
        ("flv", "h264"),  # its streams begin late: the decoders that probe them have no options
        ("raw", "hevc"),
        ("raw", "mjpeg"),
    ],
)
def test_a_recordings_bomb_is_refused_before_it_takes_memory(
    container: str, codec: str, tmp_path: Path
) -> None:
    answer = read("file", recording(tmp_path, container, codec, BOMBS[codec](SIDE_PX, SIDE_PX)))
    assert answer["n_frames"] == 0
    assert answer["fault"]
    assert answer["grown_mib"] < MOST_GROWN_MIB


def test_a_stream_that_grows_to_a_bomb_ends(tmp_path: Path) -> None:
    small, large = bombs.h264(640, 480), bombs.h264(SIDE_PX, SIDE_PX)
    answer = read("file", recording(tmp_path, "raw", "h264", small * 30 + large + small))
    assert answer["n_frames"] >= 25
    assert answer["grown_mib"] < MOST_GROWN_MIB


def test_an_honest_picture_of_8k_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(bombs.whole_jpeg(7680, 4320))
    answer = read("mjpeg", path)
    assert (answer["n_frames"], answer["fault"]) == (3, "")


def test_an_honest_jpeg_of_many_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(bombs.whole_jpeg(8192, 8192))
    answer = read("mjpeg", path)
    assert "8192x8192 px" in answer["fault"]
    assert answer["grown_mib"] < MOST_GROWN_MIB


def test_a_progressive_jpeg_of_many_scans_is_refused() -> None:
    fault = coded_fault("mjpeg", bombs.many_scans(64, 64, 300))
    assert fault is not None
    assert "scans, wanted at most 32" in fault
    assert coded_fault("mjpeg", bombs.many_scans(64, 64, 1)) is None


def test_a_second_frame_header_does_not_hide_behind_the_first() -> None:
    small, large = bombs.jpeg(64, 64), bombs.jpeg(SIDE_PX, SIDE_PX)
    at = small.index(b"\xff\xda")
    header = large[large.index(b"\xff\xc0") :]
    twice = small[:at] + header[: 2 + int.from_bytes(header[2:4])] + small[at:]
    assert jpeg_size(twice) == (SIDE_PX, SIDE_PX)


def test_what_is_no_jpeg_has_no_size() -> None:
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00", b"\xff\xd8" + b"\xff" * 9999, bytes(9999)):
        assert jpeg_size(data) == (0, 0)


def test_bounds_are_on_sides_and_on_pixels() -> None:
    assert size_fault(7680, 4320) is None
    assert size_fault(MAX_SIDE_PX, MAX_PIXELS // MAX_SIDE_PX) is None
    assert size_fault(MAX_SIDE_PX + 1, 16) is not None
    assert size_fault(16, MAX_SIDE_PX + 1) is not None
    assert size_fault(6001, 6000) is not None


def test_long_pixels_make_no_picture_larger_than_may_be() -> None:
    image = av.VideoFrame(4096, 2160, "yuv420p")
    assert FormatReader().of(image, Fraction(8, 1)).size == (4096, 2160)
    assert FormatReader().of(image, Fraction(4, 3)).size == (5461, 2160)


def recording(folder: Path, container: str, codec: str, data: bytes) -> Path:
    """Write pictures into a container as they are."""
    if container == "raw":
        path = folder / f"a.{codec}"
        path.write_bytes(data * 3)
        return path
    path = folder / f"a.{container}"
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(
            {"h264": "libx264", "hevc": "libx265"}.get(codec, codec), rate=10
        )  # Any: by name
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for n in range(3):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, n, n, Fraction(1, 10)
            packet.is_keyframe = True
            out.mux(packet)
    return path
