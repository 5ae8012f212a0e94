"""`clipwatch labels` shows and changes the user's own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local.tasks.camera_labels import LabelOptions, set_or_show
from shared.errors import ConfigError

FILE = """\
settings: {model: mini}   # small
defaults: {background: [a wall]}
cameras:
  - id: gate
    url: rtsp://u:${GATE_PASSWORD}@10.0.0.7/s
    labels: [a dog]   # seen
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "clipwatch.yml"
    path.write_text(FILE)
    return path


def test_labels_are_shown_without_the_passwords_in_the_environment(config: Path) -> None:
    assert set_or_show(LabelOptions("gate"), config, {}) == [
        "label       a dog",
        "background  a wall",
        "threshold   0.5",
    ]
    assert config.read_text() == FILE


def test_labels_change_in_the_file_and_the_rest_stays(config: Path) -> None:
    lines = set_or_show(LabelOptions("gate", ("a fox", "a dog"), (), 0.6), config, {})
    assert lines[0] == "label       a fox"
    assert config.read_text() == FILE.replace("[a dog]", "[a fox, a dog]") + "    threshold: 0.6\n"


def test_faults_are_told_and_nothing_is_written(config: Path) -> None:
    with pytest.raises(ConfigError, match="threshold=7"):
        set_or_show(LabelOptions("gate", threshold=7), config, {})
    with pytest.raises(ConfigError, match="'yard'"):
        set_or_show(LabelOptions("yard"), config, {})
    assert config.read_text() == FILE
