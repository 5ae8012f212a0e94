"""Recordings as people have them: with pauses, with clocks that jump, with rare key frames."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.motion.cameras.file_worker import FileWorker
from services.motion.metrics import MotionMetrics
from services.motion.status import CameraStatus
from shared.cameras import Camera
from tests.integration.recording_rig import Played, clips_in, context_in, play, write_at
from tests.servers import wait_until
from tests.unit.motion.videos import Plane, scene

PIECE_S = 6  # a piece of a recording: a square crosses from 2 to 5 s


def piece(starts_s: float) -> list[tuple[float, Plane]]:
    planes = scene(PIECE_S * 10, 320, 180, moves=range(20, 50))
    return [(starts_s + i / 10, plane) for i, plane in enumerate(planes)]


def pieces_at(path: Path, *starts_s: float, gop: int = 10) -> Path:
    frames = [frame for start_s in starts_s for frame in piece(start_s)]
    return write_at(path, frames, gop=gop)


def no_clip_spans_a_hole(played: Played) -> bool:
    return all(
        clip.plays_s <= PIECE_S and clip.clip_s[1] - clip.clip_s[0] <= PIECE_S + 0.2 for clip in played.clips
    )


@pytest.mark.parametrize("hole_s", [60, 7200])
def test_neither_events_nor_clips_span_a_pause_and_times_behind_it_are_kept(
    tmp_path: Path, hole_s: int
) -> None:
    played = play(
        tmp_path, pieces_at(tmp_path / "a.mp4", 0, hole_s), motion={"quiet_s": 100, "pre_roll_s": 5}
    )
    starts_s, ends_s = zip(*played.events_s(), strict=True)
    assert starts_s == pytest.approx((2.0, hole_s + 2.0), abs=0.3)
    assert ends_s == pytest.approx((4.9, hole_s + 4.9), abs=0.2)
    assert no_clip_spans_a_hole(played)
    assert played.status.message == ""


def test_a_pause_within_a_group_of_pictures_is_not_in_a_clip(tmp_path: Path) -> None:
    played = play(tmp_path, pieces_at(tmp_path / "a.mp4", 0, 7200, gop=1000))
    assert len(played.events_s()) == 2
    assert no_clip_spans_a_hole(played)


@pytest.mark.parametrize("name", ["a.ts", "a.mkv"])
def test_a_clock_that_jumps_by_most_of_a_day_is_closed_up(tmp_path: Path, name: str) -> None:
    played = play(tmp_path, pieces_at(tmp_path / name, 100, 72_000))
    assert [round(start_s) for start_s, _ in played.events_s()] == [2, 8]
    assert no_clip_spans_a_hole(played)
    assert played.status.state == "ended"
    assert not played.status.is_truncated


def test_a_clock_that_falls_back_and_jumps_is_closed_up(tmp_path: Path) -> None:
    parts = [pieces_at(tmp_path / f"{i}.ts", start_s) for i, start_s in enumerate((50_000, 10, 80_000))]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    played = play(tmp_path, joined)
    assert [round(start_s) for start_s, _ in played.events_s()] == [2, 8, 14]
    assert no_clip_spans_a_hole(played)


def test_a_looped_recording_goes_on_at_once_behind_a_pause(tmp_path: Path) -> None:
    path = pieces_at(tmp_path / "a.ts", 100, 4000, 72_000)
    context = context_in(tmp_path)
    camera = Camera.model_validate({"id": "cam", "labels": ["x"], "url": str(path)})
    status = CameraStatus("cam", camera.url, MotionMetrics(CollectorRegistry()))
    worker = FileWorker(camera, context, status, None)
    began_s = time.time()
    worker.start()
    try:
        wait_until(lambda: status.n_events >= 3, 60, "an event of each piece")
    finally:
        worker.stop()
        assert worker.join(20)
    played = Played(status, clips_in(tmp_path, began_s))
    assert len(played.events_s()) >= 3
    assert all(ended_s <= time.time() - began_s + 5.0 for _, ended_s in played.events_s())
    assert no_clip_spans_a_hole(played)


def test_a_recording_with_too_few_pictures_to_tell_motion_says_so(tmp_path: Path) -> None:
    frames = [(5.0 * i, plane) for i, plane in enumerate(scene(12, 320, 180))]
    played = play(tmp_path, write_at(tmp_path / "a.mp4", frames))
    assert played.status.message == (
        "0.2 pictures a second come, wanted 0.5 at least to tell motion surely: raise the frame rate of the source"
    )


def test_a_walk_at_one_picture_a_second_is_an_event_with_clips_of_whole_seconds(tmp_path: Path) -> None:
    frames = [(float(i), plane) for i, plane in enumerate(scene(40, 320, 180, 30, moves=range(15, 27)))]
    played = play(tmp_path, write_at(tmp_path / "a.mp4", frames))
    (event_s,) = played.events_s()
    assert event_s == pytest.approx((15.0, 26.0), abs=1.5)
    assert played.status.message == ""


def test_consecutive_clips_repeat_nothing_where_key_frames_are_rare(tmp_path: Path) -> None:
    frames = [(i / 10, plane) for i, plane in enumerate(scene(300, 320, 180, moves=range(100, 260)))]
    played = play(tmp_path, write_at(tmp_path / "a.mp4", frames, gop=1000))
    assert [clip.snippet for clip in played.clips] == [0, 1, 2]
    assert played.clips[0].clip_s[0] == pytest.approx(played.events_s()[0][0] - 3.0, abs=0.11)  # the pre-roll
    for before, after in itertools.pairwise(played.clips):
        assert before.clip_s[1] - after.clip_s[0] <= 0.2
    for clip in played.clips:
        assert clip.plays_s == pytest.approx(clip.clip_s[1] - clip.clip_s[0], abs=0.15)
