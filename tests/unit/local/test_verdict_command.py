"""`clipwatch verdict`: exactly one thing is said of an event, and all faults are told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.local.cli import app
from shared.errors import ConfigError

EVENT = "018f0000-0000-7000-8000-000000000000"
URL = ("--url", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ((EVENT,), ["0 verdicts: wanted one of"]),
        ((EVENT, "--right", "--nothing"), ["2 verdicts"]),
        (("7", "--right"), ["EVENT '7': wanted the id of an event"]),
        (("7", "--is", "a fox", "--missed", "a dog"), ["EVENT '7': wanted the id", "2 verdicts"]),
        ((EVENT, "--right"), ["no terminal to ask at: look with --preview first, then add --yes"]),
        ((EVENT, "--right", "--yes", "--days", "0"), ["--days 0: wanted 1..3650"]),
        ((EVENT, "--undo", "--past"), ["--past and --preview: leave them out"]),
        ((EVENT, "--is", "a fox", "--label", "a dog"), ["--label a dog with --is"]),
    ],
)
def test_faults_are_told_together(tmp_path: Path, arguments: tuple[str, ...], faults: list[str]) -> None:
    done = CliRunner().invoke(app, ["verdict", *arguments, *URL, "--config", str(tmp_path / "none.yml")])
    assert isinstance(done.exception, ConfigError)
    for fault in faults:
        assert any(fault in line for line in done.exception.faults), done.exception.faults


def test_nobody_answers(tmp_path: Path) -> None:
    arguments = ["verdict", EVENT, "--is", "a fox", *URL, "--config", str(tmp_path / "none.yml")]
    for how in ("--yes", "--preview", "--only-count"):
        assert CliRunner().invoke(app, [*arguments, how]).exit_code == 1
