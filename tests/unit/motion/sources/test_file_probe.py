"""What is said of a file before anything starts: facts, or one line."""

from __future__ import annotations

import wave
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.motion.media.mp4 import index_in_front
from services.motion.sources.probe import probe, probe_source, videos_in
from shared.errors import ConfigError
from tests.unit.motion.videos import scene, write_video


def fault_of(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        probe(path)
    (fault,) = caught.value.faults
    assert "\n" not in fault
    assert fault.startswith(str(path))
    return fault


def test_a_good_file_tells_its_facts(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "a.mp4", scene(30), metadata={"creation_time": "2024-05-06T07:08:09.000000Z"}
    )
    facts = probe(path)
    assert (facts.width, facts.height, facts.codec, facts.is_truncated) == (160, 120, "h264", False)
    assert facts.duration_s == pytest.approx(3.0, abs=0.11)
    assert facts.fps == pytest.approx(10)
    assert facts.created_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("mpeg4", "avi"), ("mjpeg", "avi"), ("libx264", "mkv"), ("libx264", "ts")]
)
def test_other_containers_are_read(tmp_path: Path, codec: str, suffix: str) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    facts = probe(write_video(tmp_path / f"a.{suffix}", scene(30), codec, pixels=pixels))
    assert facts.created_at is None
    assert not facts.is_truncated
    assert facts.duration_s == pytest.approx(3.0, abs=0.2)


def test_no_such_file_a_folder_and_an_empty_file(tmp_path: Path) -> None:
    assert "no such file" in fault_of(tmp_path / "missing.mp4")
    assert "directory" in fault_of(tmp_path)
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "empty" in fault_of(tmp_path / "empty.mp4")


def test_a_text_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("this is a text, not a video\n" * 100)
    assert "not a video" in fault_of(path)


def test_an_mp4_without_its_index_says_so(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", scene(60)).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: whole.index(b"moov") - 4 - 100])
    assert "moov atom missing" in fault_of(path)
    assert "copy it again" in fault_of(path)


def test_an_mp4_that_lost_its_end_can_be_analysed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", scene(60), options={"bf": "0"})
    whole = index_in_front(path.read_bytes())
    path.write_bytes(whole[: len(whole) // 2])
    assert probe(path).is_truncated


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    assert "no video stream (only audio found)" in fault_of(path)


def test_a_video_of_rubbish_has_no_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", scene(20), "mpeg4")
    content = bytearray(path.read_bytes())
    at = content.index(b"movi") + 12
    end = content.rindex(b"idx1")
    content[at:end] = bytes((i * 37 + 11) % 251 for i in range(end - at))
    path.write_bytes(bytes(content))
    assert "no frame" in fault_of(path)


def test_a_folder_is_a_source_when_it_holds_videos(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no video")
    with pytest.raises(ConfigError, match="the folder holds no video file"):
        probe_source(tmp_path)
    for name in ("b.MP4", "a.mkv", ".hidden.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deeper.mp4").mkdir()
    probe_source(tmp_path)
    assert [path.name for path in videos_in(tmp_path)] == ["a.mkv", "b.MP4"]
