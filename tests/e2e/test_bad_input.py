"""Bad input: one clear line a fault on stderr, exit code 2, never a traceback, nothing on stdout.

All but one of the commands are called in this process: each ends before it starts another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from services.local.cli import main
from tests.e2e.conftest import SAMPLES, Answer, clipwatch

pytestmark = pytest.mark.e2e
DOG = ("--label", "a dog")
Call = Callable[..., Answer]


@pytest.fixture
def call(
    inputs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Run the command line in this process and in the folder of the inputs."""

    def run(*arguments: str) -> Answer:
        monkeypatch.chdir(inputs)
        monkeypatch.setattr(sys, "argv", ["clipwatch", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, out, err)

    return run


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder of things that are no good."""
    sample = (SAMPLES / "street.mp4").read_bytes()
    (tmp_path / "text.mp4").write_text("this is not a video\n" * 100)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "good.mp4").write_bytes(sample)
    moov = sample.find(b"moov")
    (tmp_path / "headless.mp4").write_bytes(sample[:moov].replace(b"moov", b"free") + b"\0" * 1000)
    (tmp_path / "header-only.mp4").write_bytes(sample[: sample.find(b"mdat") + 4])
    (tmp_path / "bad.yml").write_text("cameras: [{id: 'a b', url: rtsp://192.0.2.1/x, labels: [a dog]}]\n")
    (tmp_path / "noyaml.yml").write_text("cameras: [\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("analyze", "missing.mp4", *DOG), ["missing.mp4", "no such file"]),
        (("analyze", "text.mp4", *DOG), ["text.mp4"]),
        (("analyze", "empty.mp4", *DOG), ["empty.mp4"]),
        (("analyze", "folder.mp4", *DOG), ["folder.mp4"]),
        (("analyze", "headless.mp4", *DOG), ["headless.mp4"]),
        (("analyze", "header-only.mp4", *DOG), ["header-only.mp4"]),
        (("analyze", "good.mp4"), ["no labels", "--label"]),
        (("analyze", "good.mp4", "--label", "  "), ["label"]),
        (("analyze", *DOG), ["no recordings"]),
        (("analyze", "good.mp4", *DOG, "--model", "no-such-model"), ["--model", "no-such-model"]),
        (("analyze", "good.mp4", *DOG, "--threshold", "1.5"), ["threshold", "1.5"]),
        (("analyze", "good.mp4", *DOG, "--background", "a dog"), ["a dog", "twice"]),
        (("analyze", "good.mp4", *DOG, "--out", "text.mp4"), ["--out", "folder"]),
        (("run", "--config", "none.yml"), ["none.yml", "no such file"]),
        (("run", "--config", "noyaml.yml"), ["noyaml.yml", "not YAML", "line 2"]),
        (("check", "--config", "bad.yml"), ["bad.yml", "camera 'a b'", "id"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
def test_one_clear_line_and_exit_code_2(call: Call, arguments: tuple[str, ...], words: list[str]) -> None:
    answer = call(*arguments)
    assert answer.code == 2, answer.err
    assert answer.out == ""
    lines = [line for line in answer.err.splitlines() if line.strip()]
    assert len(lines) == 1, answer.err
    assert all(word in lines[0] for word in words), lines[0]


def test_all_faults_come_at_once_from_a_process(inputs: Path) -> None:
    answer = clipwatch(
        "analyze", "missing.mp4", "text.mp4", "--model", "no-such-model", cwd=inputs, limit_s=60
    )
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 4, answer.err


@pytest.mark.slow  # shorter: test_recordings.py
def test_a_recording_that_is_cut_off_is_analysed_as_far_as_it_goes(inputs: Path) -> None:
    whole = (SAMPLES / "people-walking.mp4").read_bytes()
    (inputs / "cut.mp4").write_bytes(whole[: len(whole) // 5])
    answer = clipwatch(
        "analyze",
        "cut.mp4",
        "--label",
        "a pedestrian",
        "--background",
        "an empty street",
        "--json",
        cwd=inputs,
    )
    assert answer.code == 2, answer.err
    assert [event["label"] for event in answer.events] == ["a pedestrian"] * len(answer.events)
    assert answer.events
    assert "cut" in answer.err
    assert "Traceback" not in answer.err


def test_every_command_has_help_with_an_example(call: Call) -> None:
    for command in (["demo"], ["run"], ["check"], ["analyze"], ["models", "list"], ["models", "fetch"]):
        answer = call(*command, "--help")
        assert answer.code == 0
        assert "Example:" in answer.out
