"""Devices at this machine, as far as they can be had without one: recordings of what such cameras send."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from services.motion.media.clips import make_clip
from services.motion.sources.device import open_device
from services.motion.sources.stream import SourceAway
from tests.unit.motion.videos import scene, write_video


def ignore(_reason: str) -> None: ...


@pytest.mark.parametrize(
    ("encoder", "pixels", "codec"), [("rawvideo", "yuyv422", "rawvideo"), ("mjpeg", "yuvj422p", "mjpeg")]
)
def test_what_usb_cameras_send_becomes_frames_and_a_clip(
    tmp_path: Path, encoder: str, pixels: str, codec: str
) -> None:
    recorded = write_video(tmp_path / "camera.nut", scene(20), encoder, pixels=pixels)
    video = open_device(str(recorded), 5, 5, ignore, format_name="nut")
    reads = [read for read in video.read() if read.packet is not None]
    assert (video.facts.codec, video.facts.width, video.facts.height) == (codec, 160, 120)
    assert sum(len(read.frames) for read in reads) == 20
    packets = [read.packet for read in reads if read.packet is not None]
    assert all(packet.is_key for packet in packets)
    clip = make_clip(video.facts, packets)
    video.close()
    with av.open(io.BytesIO(clip.mp4), "r") as played:
        assert played.streams.video[0].codec_context.name == "h264"
        assert len(list(played.decode(video=0))) == 20


def test_a_device_that_is_not_there_is_away() -> None:
    with pytest.raises(SourceAway, match=r"^/dev/video97: No such file or directory$"):
        open_device("/dev/video97", 5, 5, ignore)


def test_what_is_no_device_is_away(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no camera")
    with pytest.raises(SourceAway):
        open_device(str(tmp_path / "notes"), 5, 5, ignore)


def test_a_machine_without_devices_of_that_kind_says_so() -> None:
    with pytest.raises(SourceAway, match="devices can be read on Linux only"):
        open_device("/dev/video0", 5, 5, ignore, format_name="no_such_format")
