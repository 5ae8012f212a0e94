"""Clips of packets, on videos made here."""

from __future__ import annotations

import io
import itertools
import random
from dataclasses import replace
from pathlib import Path

import av
import pytest

from services.motion.media.clips import make_clip
from shared.errors import Permanent
from tests.unit.motion.videos import read_packets, scene, write_video

CODECS = [
    ("libx264", "mp4", "yuv420p", {"bf": "0"}),
    ("libx264", "mp4", "yuv420p", {"bf": "3"}),
    ("libx264", "ts", "yuv420p", {"bf": "2"}),
    ("libx264", "mp4", "yuv444p", {}),
    ("libx265", "mp4", "yuv420p", {"x265-params": "log-level=none"}),
    ("mpeg4", "avi", "yuv420p", {}),
    ("mjpeg", "avi", "yuvj420p", {}),
]


@pytest.mark.parametrize(("codec", "container", "pixels", "options"), CODECS)
def test_clips_play_from_their_first_frame_with_the_right_length(
    tmp_path: Path, codec: str, container: str, pixels: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / f"in.{container}", scene(30), codec, pixels=pixels, options=options)
    facts, packets = read_packets(path)
    clip = make_clip(facts, packets)
    with av.open(io.BytesIO(clip.mp4), "r") as made:
        stream = made.streams.video[0]
        frames = list(made.decode(video=0))
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert made.duration == pytest.approx(3_000_000, abs=110_000)
    assert len(frames) == 30
    assert frames[0].key_frame
    assert frames[0].time == pytest.approx(0.0, abs=0.001)
    steps = [b.time - a.time for a, b in itertools.pairwise(frames)]
    assert steps == pytest.approx([0.1] * 29, abs=0.002)
    assert clip.ends_s - clip.starts_s == pytest.approx(3.0, abs=0.11)
    assert clip.mp4.index(b"moov") < clip.mp4.index(b"mdat")


def test_h264_is_copied_bit_by_bit(tmp_path: Path) -> None:
    path = write_video(tmp_path / "in.mp4", scene(20))
    facts, packets = read_packets(path)
    clip = make_clip(facts, packets)
    with av.open(str(path), "r") as a, av.open(io.BytesIO(clip.mp4), "r") as b:
        for before, after in zip(a.decode(video=0), b.decode(video=0), strict=True):
            assert (before.to_ndarray() == after.to_ndarray()).all()


def test_a_clip_may_begin_at_any_key_frame(tmp_path: Path) -> None:
    facts, packets = read_packets(write_video(tmp_path / "in.mp4", scene(40), gop=10))
    first = [i for i, packet in enumerate(packets) if packet.is_key][2]
    clip = make_clip(facts, packets[first:])
    with av.open(io.BytesIO(clip.mp4), "r") as made:
        assert len(list(made.decode(video=0))) == len(packets) - first
    assert clip.starts_s == pytest.approx(packets[first].t_s, abs=1e-3)


def test_a_clip_of_an_open_group_begins_with_its_key_frame(tmp_path: Path) -> None:
    options = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:scenecut=0"}
    facts, packets = read_packets(write_video(tmp_path / "v.mp4", scene(60), gop=20, options=options))
    later = packets[next(i for i, packet in enumerate(packets) if i and packet.is_key) :]
    n_before = sum(packet.t_s < later[0].t_s for packet in later)
    assert n_before > 0
    clip = make_clip(facts, later)
    assert clip.starts_s == pytest.approx(later[0].t_s)
    with av.open(io.BytesIO(clip.mp4), "r") as container:
        frames = list(container.decode(video=0))
    assert len(frames) == len(later) - n_before
    assert not any(frame.is_corrupt for frame in frames)


def test_what_is_encoded_begins_at_the_wanted_time(tmp_path: Path) -> None:
    facts, packets = read_packets(write_video(tmp_path / "in.avi", scene(40), "mpeg4", gop=40))
    clip = make_clip(facts, packets, starts_s=1002.0)
    assert clip.starts_s == pytest.approx(1002.0, abs=0.11)
    with av.open(io.BytesIO(clip.mp4), "r") as made:
        assert len(list(made.decode(video=0))) in (19, 20, 21)


def test_odd_sizes_are_made_even(tmp_path: Path) -> None:
    facts, packets = read_packets(
        write_video(tmp_path / "in.avi", scene(12, 163, 121), "mjpeg", pixels="yuvj420p")
    )
    clip = make_clip(facts, packets)
    assert (clip.width % 2, clip.height % 2) == (0, 0)
    with av.open(io.BytesIO(clip.mp4), "r") as made:
        assert len(list(made.decode(video=0))) == 12


def test_two_packets_with_one_timestamp_still_make_a_clip(tmp_path: Path) -> None:
    facts, packets = read_packets(write_video(tmp_path / "in.mp4", scene(20)))
    same = [replace(packet, t_s=1000.0 + (i // 4) / 10) for i, packet in enumerate(packets)]
    with av.open(io.BytesIO(make_clip(facts, same).mp4), "r") as made:
        assert len(list(made.decode(video=0))) == 20


def test_rotation_is_written_into_the_clip(tmp_path: Path) -> None:
    facts, packets = read_packets(write_video(tmp_path / "in.mp4", scene(12)))
    for rotation in (90, 180, -90):
        clip = make_clip(replace(facts, rotation=rotation), packets)
        with av.open(io.BytesIO(clip.mp4), "r") as made:
            frame = next(made.decode(video=0))
            assert abs(frame.rotation) == abs(rotation)
            assert rotation == 180 or frame.rotation == rotation
        assert (clip.width, clip.height) == ((120, 160) if rotation != 180 else (160, 120))


def test_no_packets_and_garbage_raise_permanent(tmp_path: Path) -> None:
    facts, packets = read_packets(write_video(tmp_path / "in.mp4", scene(10)))
    with pytest.raises(Permanent):
        make_clip(facts, [])
    noise = random.Random(3)
    with pytest.raises(Permanent):
        make_clip(facts, [replace(p, data=noise.randbytes(200)) for p in packets])


def clip_times(mp4: bytes) -> list[float]:
    """Return when a player shows each frame of a clip, seconds from its beginning."""
    with av.open(io.BytesIO(mp4), "r") as container:
        return [frame.time or 0.0 for frame in container.decode(video=0)]


@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_copy_shows_nothing_of_a_long_group_before_the_wanted_time(tmp_path: Path, b_frames: int) -> None:
    path = write_video(tmp_path / "a.mp4", scene(200), gop=400, options={"bf": str(b_frames)})
    facts, packets = read_packets(path)
    clip = make_clip(facts, packets, 1012.0)
    assert clip.starts_s == pytest.approx(1012.0, abs=1e-3)
    assert clip.ends_s == pytest.approx(1020.0, abs=0.01)
    times = clip_times(clip.mp4)
    assert len(times) == 80
    assert (times[0], times[-1]) == pytest.approx((0.0, 7.9), abs=1e-3)
    with av.open(io.BytesIO(clip.mp4), "r") as container:
        assert (container.duration or 0) / 1e6 == pytest.approx(8.0, abs=0.05)


def test_a_copy_shows_a_short_group_from_its_key_frame_on(tmp_path: Path) -> None:
    facts, packets = read_packets(write_video(tmp_path / "a.mp4", scene(60), gop=20))
    clip = make_clip(facts, packets[20:], 1003.9)
    assert clip.starts_s == pytest.approx(1002.0)
    assert len(clip_times(clip.mp4)) == 40


def test_a_clip_carries_no_more_than_its_bound_of_what_it_does_not_show(tmp_path: Path) -> None:
    facts, packets = read_packets(write_video(tmp_path / "a.mp4", scene(400), gop=1000))
    carried = make_clip(facts, packets, 1029.0)
    encoded = make_clip(facts, packets, 1031.0)
    with av.open(io.BytesIO(carried.mp4), "r") as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 400
    with av.open(io.BytesIO(encoded.mp4), "r") as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 90
    assert encoded.starts_s == pytest.approx(1031.0, abs=1e-3)
