"""Coded pictures that came out of their transport: decoded, dated, and what is broken is passed over."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from services.motion.media.clips import make_clip
from services.motion.sources.coded_pictures import CodedPicture, CodedPictureStream
from services.motion.sources.stream import ReadResult, SourceAway
from tests.unit.motion.videos import read_packets, scene, write_video

NOW = 1_800_000_000.0


def pictures_of(path: Path, codec: str, first: int = 0) -> list[CodedPicture]:
    """Return the pictures of a video, taken ten a second, as they would arrive."""
    _, packets = read_packets(path)
    return [
        CodedPicture(codec, packet.data, (first + index) * 9000, NOW + (first + index) / 10)
        for index, packet in enumerate(packets)
    ]


@pytest.fixture
def h264(tmp_path: Path) -> list[CodedPicture]:
    path = write_video(tmp_path / "a.ts", scene(20), options={"bf": "0", "tune": "zerolatency"})
    return pictures_of(path, "h264")


def played(
    pictures: list[CodedPicture],
) -> tuple[CodedPictureStream, list[ReadResult], Counter[str], list[bool]]:
    drops: Counter[str] = Counter()
    broken: list[bool] = []
    stream = CodedPictureStream(
        iter(pictures), lambda reason: drops.update([reason]), lambda: None, lambda: broken.append(True)
    )
    return stream, list(stream.read()), drops, broken


def test_h264_is_decoded_and_copied(h264: list[CodedPicture]) -> None:
    stream, reads, drops, _ = played(h264)
    assert (stream.facts.codec, stream.facts.width, stream.facts.pixel_format) == ("h264", 160, "yuv420p")
    assert [frame.t_s - NOW for read in reads for frame in read.frames] == pytest.approx(
        [n / 10 for n in range(20)], abs=1e-3
    )
    assert not drops
    packets = [read.packet for read in reads if read.packet is not None]
    assert stream.facts.can_be_copied
    mp4 = make_clip(stream.facts, packets).mp4
    assert all(picture.data.rpartition(b"\x00\x00\x01")[2] in mp4 for picture in h264)
    assert [packet.is_key for packet in packets] == [index % 10 == 0 for index in range(20)]


def test_what_comes_before_the_first_key_frame_is_dropped_and_one_is_asked_for(
    h264: list[CodedPicture],
) -> None:
    _, reads, drops, broken = played(h264[3:])
    assert drops == Counter(before_key_frame=7)
    assert len(broken) == 7
    assert sum(len(read.frames) for read in reads) == 10


def test_a_broken_picture_is_counted_and_the_rest_is_decoded(h264: list[CodedPicture]) -> None:
    h264[4] = CodedPicture(
        "h264", b"\x00\x00\x00\x01\x41" + bytes(range(200)), h264[4].ticks, h264[4].arrived_s
    )
    _, reads, drops, broken = played(h264)
    assert drops["broken_packet"] == len(broken)
    assert sum(len(read.frames) for read in reads) >= 18


def test_a_stream_may_change_its_size(h264: list[CodedPicture], tmp_path: Path) -> None:
    larger = write_video(tmp_path / "b.ts", scene(10, 320, 240), options={"bf": "0", "tune": "zerolatency"})
    _, reads, drops, _ = played([*h264, *pictures_of(larger, "h264", 20)])
    sizes = [frame.image.width for read in reads for frame in read.frames]
    assert sizes == [160] * 20 + [320] * 10
    assert not drops


def test_a_stream_that_changes_its_codec_ends(h264: list[CodedPicture], tmp_path: Path) -> None:
    vp8 = pictures_of(write_video(tmp_path / "c.mkv", scene(10), "libvpx"), "vp8", 20)
    stream, reads, _, _ = played(vp8)
    assert (stream.facts.codec, sum(len(read.frames) for read in reads)) == ("vp8", 10)
    with pytest.raises(SourceAway, match="the sender changed from h264 to vp8"):
        played([*h264, *vp8])


def test_only_key_frames_are_decoded_when_no_more_is_wanted(h264: list[CodedPicture]) -> None:
    drops: Counter[str] = Counter()
    stream = CodedPictureStream(iter(h264), lambda reason: drops.update([reason]), lambda: None)
    stream.only_keys = True
    reads = list(stream.read())
    assert len([read for read in reads if read.packet is not None]) == 20
    assert sum(len(read.frames) for read in reads) == 2
