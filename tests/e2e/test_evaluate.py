"""`clipwatch evaluate` as a user runs it: labelled clips, real model, real services, figures and a page."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import av
import pytest

from services.classifier.model.model_settings import settings_file
from services.local.config import models_dir
from tests.e2e.conftest import SAMPLES, clipwatch

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
WORDS = (
    "--label",
    "a pedestrian",
    "--label",
    "a bicycle",
    "--label",
    "a dog",
    "--background",
    "an empty street",
)

CAMERAS = """
settings: {model: mini}
cameras:
  - {id: trail, url: "rtsp://127.0.0.1:9/cam", threshold: 0.55, background: [an empty street],
     labels: [a pedestrian, a bicycle, a dog]}
"""


def cut(source: Path, target: Path, span_s: tuple[float, float]) -> None:
    """Write a part of a video, encoded anew so that it begins where it is told to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        video = reader.streams.video[0]
        out = writer.add_stream("libx264", rate=video.average_rate, options={"preset": "veryfast"})
        out.width, out.height, out.pix_fmt = video.width, video.height, "yuv420p"
        rate = video.average_rate
        assert rate is not None
        if span_s[0] > 0:
            reader.seek(int(span_s[0] * av.time_base))  # to the key frame before
        shown = itertools.takewhile(lambda frame: (frame.time or 0) < span_s[1], reader.decode(video=0))
        for number, frame in enumerate(frame for frame in shown if (frame.time or 0) >= span_s[0]):
            picture = frame.reformat(format="yuv420p")
            picture.pts, picture.time_base = number, 1 / rate
            writer.mux(out.encode(picture))
        writer.mux(out.encode())


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, start in enumerate((0, 30, 60)):
        cut(SAMPLES / "people-walking.mp4", folder / "a pedestrian" / f"{number}.mp4", (start, start + 6))
    (folder / "a bicycle").mkdir()
    (folder / "a bicycle" / "street.mp4").symlink_to(SAMPLES / "street.mp4")
    return folder


@pytest.mark.slow  # shorter: test_evaluation.py; naming itself is in test_analyze.py
def test_clips_are_named_measured_and_shown(clips: Path, tmp_path: Path) -> None:
    answer = clipwatch("evaluate", clips, *WORDS, "--json", "--out", "out", cwd=tmp_path)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["clips"] == 4
    assert found["labels"]["a pedestrian"]["hits"] == 3
    assert found["labels"]["a dog"] | {"true": 0, "false_alarms": 0} == found["labels"]["a dog"]
    assert found["confusion"]["a bicycle"]["a bicycle"] == 1
    assert 0 < found["calibration_error"] < 0.5
    assert any("few clips" in warning for warning in found["warnings"])
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "a bicycle/street.mp4" in page
    pictures = sorted((tmp_path / "out" / "pictures").iterdir())
    assert len(pictures) == 4
    assert {path.read_bytes()[:2] for path in pictures} == {b"\xff\xd8"}
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(".")] == []


def test_too_few_clips_to_calibrate_on_are_told_before_anything_starts(clips: Path, tmp_path: Path) -> None:
    answer = clipwatch("evaluate", clips, *WORDS, "--calibrate", "--json", "--out", "out", cwd=tmp_path)
    assert answer.code == 2
    assert "4 clips with one truth, of 2 kinds; wanted at least 10 clips" in answer.err
    assert answer.out == ""
    assert not (tmp_path / "out").exists()
    assert not settings_file(models_dir(), "mini").exists()


@pytest.mark.slow  # shorter: the unit tests of evaluation and temperature
@pytest.mark.timeout(480)
def test_enough_clips_calibrate_the_model_for_every_later_start(tmp_path: Path) -> None:
    """The words are the camera's: `--camera` takes them from the configuration."""
    folder, models = tmp_path / "clips", tmp_path / "models"
    for number in range(9):
        span_s = (7.0 * number, 7.0 * number + 3)
        cut(SAMPLES / "people-walking.mp4", folder / "a pedestrian" / f"{number}.mp4", span_s)
    (folder / "a bicycle").mkdir()
    (folder / "a bicycle" / "street.mp4").symlink_to(SAMPLES / "street.mp4")
    models.mkdir()
    (models / "mini").symlink_to(models_dir() / "mini")
    (tmp_path / "clipwatch.yml").write_text(CAMERAS, encoding="utf-8")
    own = {"MODELS_DIR": str(models)}
    words = ("--camera", "trail", "--json", "--out", "out")
    answer = clipwatch("evaluate", folder, *words, "--calibrate", cwd=tmp_path, environment=own, limit_s=300)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert (found["model"], found["threshold"], found["background"]) == ("mini", 0.55, ["an empty street"])
    assert set(found["labels"]) == {"a pedestrian", "a bicycle", "a dog"}
    kept = json.loads(settings_file(models, "mini").read_text(encoding="utf-8"))
    assert kept["temperature"] == pytest.approx(found["temperature"], rel=1e-3)
    assert kept["temperature"] != pytest.approx(found["calibration"]["temperature_before"], rel=1e-3)
    assert found["calibration"]["loss"] < found["calibration"]["loss_before"]
    for path in list((folder / "a pedestrian").iterdir())[1:]:
        path.unlink()
    again = clipwatch("evaluate", folder, *words, cwd=tmp_path, environment=own)
    assert json.loads(again.out)["temperature"] == pytest.approx(kept["temperature"], rel=1e-3)
    unknown = clipwatch("evaluate", folder, "--camera", "gate", cwd=tmp_path, environment=own)
    assert (unknown.code, unknown.out) == (2, "")
    assert "wanted one of: trail" in unknown.err


def test_bad_input_is_told_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "1.mp4").write_bytes(b"no video")
    answer = clipwatch("evaluate", tmp_path / "clips", cwd=tmp_path)
    assert answer.code == 2
    assert "1.mp4: what is true of it?" in answer.err
    assert not (tmp_path / "clipwatch-evaluation").exists()
    assert clipwatch("evaluate", tmp_path / "gone", cwd=tmp_path).code == 2
