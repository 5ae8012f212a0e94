"""The ring and the clips, on videos made here."""

from __future__ import annotations

import io
import itertools
import random
from dataclasses import replace
from pathlib import Path

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.media.mp4 import index_in_front
from services.motion.media.packets import Packet, PacketRing, decode, make_clip
from shared.errors import Permanent
from tests.unit.motion.videos import packets_at, read_packets, scene, write_video

groups_s = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 400)), min_size=1, max_size=30)


def filled(groups: list[tuple[int, int]], keep_s: float, max_bytes: int) -> tuple[PacketRing, list[Packet]]:
    ring = PacketRing(keep_s, max_bytes)
    packets: list[Packet] = []
    for length, size in groups:
        for index in range(length):
            packets.append(Packet(bytes(size), len(packets) / 10, index == 0))
            ring.append(packets[-1])
    return ring, packets


@settings(deadline=None)
@given(groups_s, st.floats(0, 3), st.integers(100, 5000))
def test_the_ring_never_holds_more_bytes_than_it_may(
    groups: list[tuple[int, int]], keep_s: float, max_bytes: int
) -> None:
    ring, _ = filled(groups, keep_s, max_bytes)
    held = ring.between(float("-inf"), float("inf"))
    assert ring.n_bytes <= max_bytes
    assert ring.n_bytes == sum(len(packet.data) for packet in held)
    assert len(ring) == len(held)


@settings(deadline=None)
@given(groups_s, st.floats(0, 3))
def test_the_ring_holds_the_last_seconds_from_a_key_frame_on(
    groups: list[tuple[int, int]], keep_s: float
) -> None:
    ring, packets = filled(groups, keep_s, 10**9)
    held = ring.between(float("-inf"), float("inf"))
    assert held[0].is_key
    assert held == packets[len(packets) - len(held) :]
    oldest_s = max(packets[-1].t_s - keep_s, 0.0)
    assert held[0].t_s <= oldest_s
    later_keys = [packet for packet in held[1:] if packet.is_key]
    assert not later_keys or later_keys[0].t_s > oldest_s


@settings(deadline=None)
@given(groups_s, st.floats(0, 10), st.floats(0, 10))
def test_a_stretch_begins_with_the_key_frame_at_or_before_it(
    groups: list[tuple[int, int]], a: float, b: float
) -> None:
    ring, packets = filled(groups, 1000, 10**9)
    starts_s, ends_s = min(a, b), max(a, b)
    taken = ring.between(starts_s, ends_s)
    keys = [packet.t_s for packet in packets if packet.is_key and packet.t_s <= starts_s]
    assert taken[0].t_s == max(keys)
    wanted = [packet for packet in packets if starts_s <= packet.t_s <= ends_s]
    assert set(map(id, wanted)) <= set(map(id, taken))


def test_an_open_event_keeps_its_beginning() -> None:
    ring = PacketRing(1.0, 10**9)
    ring.need_from(0.5)
    for packet in packets_at([i / 10 for i in range(100)], [i % 5 == 0 for i in range(100)]):
        ring.append(packet)
    assert ring.between(0.5, 10)[0].t_s == 0.5
    ring.need_from(None)
    ring.append(Packet(b"", 10.0, True))
    assert ring.between(0.5, 10)[0].t_s >= 8.5


def test_packets_after_a_lost_key_frame_are_not_kept() -> None:
    ring = PacketRing(10, 25)
    assert ring.append(Packet(bytes(10), 0, True)) == 0
    assert ring.append(Packet(bytes(20), 0.1, False)) == 2
    assert ring.append(Packet(bytes(5), 0.2, False)) == 1
    assert ring.append(Packet(bytes(5), 0.3, True)) == 0


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


def test_decoded_frames_carry_the_times_of_their_packets(tmp_path: Path) -> None:
    path = write_video(tmp_path / "in.mp4", scene(25), options={"bf": "3"})
    facts, packets = read_packets(path)
    times = [t for t, _ in decode(facts, packets)]
    assert times == pytest.approx(sorted(packet.t_s for packet in packets), abs=1e-3)


def test_moving_the_index_of_a_broken_file_raises() -> None:
    with pytest.raises(ValueError, match="broken mp4 box"):
        index_in_front(b"\x00\x00\xff\xffmdat1234")


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
