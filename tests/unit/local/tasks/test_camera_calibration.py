"""`clipwatch calibrate` on small recordings: what it proposes, what it writes, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from services.local.cli import app
from services.local.tasks.camera_calibration import (
    DEFAULT_CONFIG,
    CalibrateOptions,
    CalibrationFailed,
    CameraCalibration,
    calibrate_camera,
    lines_of,
)
from services.motion.detection.calibration import Proposal
from shared.cameras import load_cameras
from shared.errors import ConfigError
from tests.unit.motion.videos import scene, write_video

FILE = """\
cameras:
  - id: yard   # behind the house
    url: yard.mp4
    labels: [a square]
    motion: {threshold: 30, quiet_s: 2}  # by hand
  - {id: phone, url: "whip:?token=0123456789abcdef", labels: [a dog]}
  - {id: gate, url: "rtsp://${NOBODY_SET_THIS}@127.0.0.1:9/x", labels: [a dog]}
"""
SECONDS = 12


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recording in which a corner flickers all the time."""
    folder = tmp_path_factory.mktemp("calibrate")
    random = np.random.default_rng(2)

    def frames() -> list[np.ndarray]:
        found = []
        for plane in scene(SECONDS * 10 + 5, 320, 240, moves=range(0)):
            plane[20:60, 240:300] = random.integers(0, 255, (5, 60)).repeat(8, axis=0)
            found.append(plane)
        return found

    write_video(folder / "yard.mp4", frames())
    return folder


@pytest.fixture
def options(made: Path, tmp_path: Path) -> Callable[..., CalibrateOptions]:
    config = made / "clipwatch.yml"
    config.write_text(FILE)

    def make(camera: str = "yard", name: str = "why.png", is_written: bool = False) -> CalibrateOptions:
        return CalibrateOptions(camera, SECONDS, tmp_path / name, config, is_written)

    return make


def run(options: CalibrateOptions) -> list[str]:
    found = calibrate_camera(options, asyncio.Event(), lambda _stage, _share: None)
    return lines_of(found, options.camera, options.config)


def test_what_never_stops_is_masked_and_written_with_the_comments_kept(
    options: Callable[..., CalibrateOptions],
) -> None:
    asked = options(is_written=True)
    lines = run(asked)
    text = asked.config.read_text()
    assert "# behind the house" in text
    assert "# by hand" in text
    motion = load_cameras(asked.config, {"NOBODY_SET_THIS": "u"}).cameras[0].motion
    (mask,) = motion.masks
    assert min(x for x, _ in mask) == pytest.approx(240 / 320, abs=0.05)
    assert max(y for _, y in mask) == pytest.approx(60 / 240, abs=0.05)
    assert (motion.threshold, motion.quiet_s) == ("auto", 2)
    assert "written to" in lines[-1]


def test_a_picture_shows_why_and_nothing_is_written_unasked(options: Callable[..., CalibrateOptions]) -> None:
    asked = options(name="why.jpg")
    lines = run(asked)
    assert asked.config.read_text() == FILE
    assert any("nothing travelled" in line for line in lines)
    picture = Image.open(asked.picture)
    assert picture.width > 1000
    red = np.asarray(picture.convert("RGB"), np.int16)[:, : picture.width // 2]
    assert int(((red[..., 0] - red[..., 1]) > 60).sum()) > 1000  # the mask, hatched over the picture


@pytest.mark.parametrize(
    ("camera", "name", "fault"),
    [
        ("nobody", "why.png", "wanted one of yard, phone, gate"),
        ("phone", "why.png", "comes to the running service only"),
        ("yard", "why.gif", "wanted a name that ends in .png or .jpg"),
        ("ftp://10.0.0.1/x", "why.png", "is no camera"),
    ],
)
def test_wrong_input_is_told_in_one_line(
    options: Callable[..., CalibrateOptions], camera: str, name: str, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault.replace(".", r"\.")):
        run(options(camera, name))


def test_a_camera_that_is_away_is_a_failure_and_not_wrong_input(
    options: Callable[..., CalibrateOptions],
) -> None:
    with pytest.raises(CalibrationFailed, match="camera 'gate'"):
        run(options("gate"))


def test_a_file_of_its_own_needs_no_configuration_but_cannot_be_written(made: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    picture = tmp_path / "own.png"
    done = runner.invoke(app, ["calibrate", str(made / "yard.mp4"), "--seconds", "6", "--out", str(picture)])
    assert done.exit_code == 0, done.output
    assert "threshold: auto" in done.output
    assert picture.exists()
    refused = runner.invoke(app, ["calibrate", str(made / "yard.mp4"), "--write"])
    assert isinstance(refused.exception, ConfigError)  # main() prints it and ends with 2


def test_the_last_line_is_a_command_only_where_it_works(tmp_path: Path) -> None:
    proposal = Proposal(40, 300, (), (), 2.0, 20.0)
    found = CameraCalibration(proposal, 60, 600, Path("why.png"), is_written=False)
    *_, of_url = lines_of(found, "rtsp://viewer:hunter2@10.0.0.7/s", DEFAULT_CONFIG)
    assert of_url == "to keep it: copy the line with motion: into this camera's entry of the configuration"
    *_, usual = lines_of(found, "gate", DEFAULT_CONFIG)
    assert usual == "to keep it: clipwatch calibrate gate --write, or copy the line above"
    *_, other = lines_of(found, "gate", Path("my cameras.yml"))
    assert "clipwatch calibrate gate --config 'my cameras.yml' --write" in other
