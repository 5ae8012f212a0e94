"""The demo's RTSP cameras: the RTP arithmetic, and a real client that plays from a real server on the loopback."""

from __future__ import annotations

import asyncio
import importlib.util
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "deploy" / "camera" / "rtsp_camera.py"
STREET = ROOT / "samples" / "street.mp4"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


camera = load(SCRIPT)


@given(st.binary(min_size=1, max_size=6000))
def test_fragments_put_together_are_the_nal_unit(nal: bytes) -> None:
    parts = list(camera.payloads(nal))
    assert all(len(part) <= camera.MAX_PAYLOAD_BYTES for part in parts)
    if len(parts) == 1:
        assert parts[0] == nal
        return
    assert [part[1] >> 6 for part in parts] == [0b10, *[0] * (len(parts) - 2), 0b01]
    assert all(part[0] & camera.NAL_TYPE_MASK == camera.FU_A for part in parts)
    header = (parts[0][0] & 0xE0) | (parts[0][1] & 0x1F)
    assert bytes([header]) + b"".join(part[2:] for part in parts) == nal


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.sampled_from([1, 2, 4]))
def test_an_mp4_sample_splits_into_its_nal_units(nals: list[bytes], length_bytes: int) -> None:
    nals = [nal[:200] for nal in nals]
    sample = b"".join(len(nal).to_bytes(length_bytes) + nal for nal in nals)
    assert list(camera.split(sample, length_bytes)) == nals


@pytest.mark.parametrize("sample", sorted((ROOT / "samples").glob("*.mp4")), ids=lambda path: path.stem)
def test_every_sample_can_be_played(sample: Path) -> None:
    video = camera.read_video(sample)
    with av.open(str(sample)) as container:
        stream = container.streams.video[0]
        assert len(video.units) == stream.frames
        assert stream.duration is not None
        assert stream.time_base is not None
        assert video.duration_s == pytest.approx(float(stream.duration * stream.time_base), abs=0.05)
    assert [nal[0] & 31 for nal in video.parameter_sets] == [camera.SPS, camera.PPS]


def test_time_goes_on_when_the_file_begins_again() -> None:
    video = camera.Video("v", (b"\x67abc", b"\x68d"), tuple(unit(at) for at in (0.0, 0.1, 0.2)), 0.3)
    endless = camera.endless(video)
    seen = [next(endless) for _ in range(7)]
    assert [round(show_s, 3) for _, show_s, _ in seen] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert [len(nals) for *_, nals in seen] == [3, 1, 1, 3, 1, 1, 3], (
        "SPS and PPS come with each first picture"
    )


def unit(at: float) -> object:
    return camera.AccessUnit(at, at, (b"\x65picture",))


def test_packets_are_numbered_over_the_edge_and_marked_at_the_pictures_end() -> None:
    rtp = camera.RtpStream(channel=0, source=7, sequence=0xFFFF, timestamp=0xFFFFFFFF)
    framed = rtp.packets(1.0, (b"\x67abc", b"\x65" * 2000))
    seen, at = [], 0
    while at < len(framed):
        magic, channel, size = struct.unpack("!cBH", framed[at : at + 4])
        _, marker, sequence, timestamp, source = struct.unpack("!BBHII", framed[at + 4 : at + 16])
        seen.append((magic, channel, marker >> 7, sequence, timestamp, source))
        at += 4 + size
    assert [(marker, sequence) for _, _, marker, sequence, _, _ in seen] == [(0, 0xFFFF), (0, 0), (1, 1)]
    assert {(magic, channel, timestamp, source) for magic, channel, _, _, timestamp, source in seen} == {
        (b"$", 0, 89_999, 7)
    }


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"not a video", "cannot be read"), (None, "cannot be read")],
    ids=["text", "missing"],
)
def test_a_file_that_cannot_be_played_is_said_in_one_line(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "broken.mp4"
    if content is not None:
        path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, SCRIPT, path, "--port", "0"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("camera: broken.mp4: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- a real client ----------------------------------------------------------------------------------------------------


async def with_server(act: Callable[[int], object]) -> object:
    """Return what `act(port)` gives, run in a thread while the street is played."""
    async with camera.serving([camera.read_video(STREET)], "127.0.0.1", 0) as port:
        async with asyncio.timeout(60):
            return await asyncio.to_thread(act, port)


def watch(port: int, name: str = "street", transport: str = "tcp", n_frames: int = 12) -> list[float]:
    url = f"rtsp://127.0.0.1:{port}/{name}"
    with av.open(url, options={"rtsp_transport": transport}, timeout=10) as container:
        times = []
        for frame in container.decode(video=0):
            assert (frame.width, frame.height) == (640, 272)
            times.append(frame.time)
            if len(times) == n_frames:
                break
        return [time for time in times if time is not None]


async def test_a_client_sees_the_pictures_at_their_own_pace() -> None:
    begin = asyncio.get_running_loop().time()
    times = await with_server(watch)
    took_s = asyncio.get_running_loop().time() - begin
    assert isinstance(times, list)
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx((len(times) - 1) / 25, abs=0.05)
    assert took_s > 0.3, "real time, not as fast as the machine can"


async def test_an_unknown_camera_is_not_found() -> None:
    with pytest.raises(av.HTTPNotFoundError):
        await with_server(lambda port: watch(port, name="nobody"))


async def test_udp_is_refused() -> None:
    with pytest.raises(av.FFmpegError):
        await with_server(lambda port: watch(port, transport="udp"))


async def test_the_probe_tells_a_server_from_none() -> None:
    assert await with_server(camera.probe) is True
    assert camera.probe(1) is False


async def test_a_client_that_speaks_something_else_is_dropped_and_others_are_served() -> None:
    async with camera.serving([camera.read_video(STREET)], "127.0.0.1", 0) as port:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"x" * 100_000)
            with_end = await asyncio.gather(reader.read(), return_exceptions=True)
            writer.close()
            assert with_end[0] == b"" or isinstance(with_end[0], OSError)
            assert await asyncio.to_thread(camera.probe, port)
