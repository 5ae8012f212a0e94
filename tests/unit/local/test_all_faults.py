"""All faults of a command line, its files and its environment are told at once, and the exit code is 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.local import cli

CONFIG = """
settings: {model: no-such-model, weather: openweather, data_dir: clipwatch.yml, page_port: 8080}
cameras:
  - {id: gate, url: missing.mp4, labels: [a dog], threshold: 5}
  - {id: yard, url: "rtsp://u:${NOT_SET}@yard/1", labels: []}
"""
NOTIFY = """
give_up_h: 0
targets:
  - {name: hook, webhook: {url: "https://h/x", secret: short}, mqtt: {host: broker}, zone: Nowhere}
  - {name: hook, webhook: {url: "${HOOK}", secret: 0123456789abcdef}}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("REDIS_URL", "DATABASE_URL", "OPENWEATHER_KEY", "NOTIFY_FILE", "CLIPWATCH_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    """Run the command line; return its lines on stderr, given that it ended with 2."""
    monkeypatch.setattr("sys.argv", ["clipwatch", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2, lines
    return lines


def assert_all(lines: list[str], *wanted: str) -> None:
    for text in wanted:
        assert [line for line in lines if text in line], (text, lines)
    extra = [line for line in lines if not any(text in line for text in wanted)]
    assert (extra, len(lines)) == ([], len(wanted))


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_configuration_is_checked_with_all_that_would_end_a_run(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (here / "clipwatch.yml").write_text(CONFIG)
    (here / "notify.yml").write_text(NOTIFY)
    monkeypatch.setenv("NOTIFY_FILE", "notify.yml")
    monkeypatch.setenv("REDIS_URL", "amqp://queue")
    monkeypatch.setenv("RETENTION_DAYS", "-1")
    monkeypatch.setenv("RETENTION_RULES", "no json")
    monkeypatch.setenv("OPEN_S", "soon")
    assert_all(
        told(capsys, monkeypatch, command),
        "settings.data_dir: ",
        "settings.model=no-such-model",
        "camera 'gate': threshold=5",
        "camera 'gate': url: ",
        "camera 'yard': ${NOT_SET} is not set",
        "camera 'yard': labels: is empty",
        "REDIS_URL=amqp://queue",
        "OPEN_S=soon",
        "RETENTION_DAYS=-1",
        "RETENTION_RULES: is not JSON",
        "OPENWEATHER_KEY: not set",
        "notify.yml: give_up_h=0",
        "target 'hook': webhook.secret",
        "target 'hook': zone='Nowhere'",
        "target 'hook': wanted one of 'mqtt:' and 'webhook:'",
        "target 'hook': ${HOOK} is not set",
        "target 'hook': name: is used twice",
    )


def test_analyze_tells_of_files_words_and_folders_at_once(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "text.mp4").write_text("no video")
    lines = told(
        capsys, monkeypatch, "analyze", "text.mp4", "nope.mp4", "--threshold", "5", "--label", "a dog",
        "--background", "a dog", "--out", "text.mp4", "--model", "none",
    )  # fmt: skip
    assert_all(
        lines, "text.mp4: is not", "nope.mp4: no such", "--threshold=5", "named twice", "--out", "--model"
    )


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            "search dogs --since yesterday --until later --limit 500 --url nothing",
            ["--since", "--until", "--limit 500", "--url nothing"],
        ),
        (
            "relabel --since yesterday --until later --threshold 5 --url http://h:x",
            ["--label", "--since", "--until", "--threshold 5", "--url http://***"],
        ),
        (
            "relabel --add --instead --apply --threshold 5",
            ["--label", "--threshold 5", "--add and --instead", "--apply without a terminal", "add --yes"],
        ),
        ("relabel --list --label a --undo last", ["--list and --undo stand alone"]),
        ("relabel --undo last --apply --yes --url nothing", ["stand alone", "--url nothing"]),
        ("calibrate nope.mp4 --seconds 1 --out a.gif", ["clipwatch.yml", "--seconds 1", "--out a.gif"]),
        (
            "evaluate nope --camera gate --threshold 5 --precision 2 --model none --out text.mp4",
            [
                "clipwatch.yml",
                "--threshold 5",
                "--precision 2",
                "nope: no such",
                "--model none",
                "--out text.mp4",
            ],
        ),
        ("run --log-level loud", ["--log-level loud", "clipwatch.yml: no such file"]),
        ("demo --data-dir text.mp4/x --label a --label a", ["--data-dir", "named twice"]),
        ("labels gate --threshold 5 --config nope.yml", ["nope.yml: no such file"]),
    ],
)
def test_every_command_tells_all_at_once(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    wanted: list[str],
) -> None:
    (here / "text.mp4").write_text("no video")
    lines = told(capsys, monkeypatch, *arguments.split())
    for text in wanted:
        assert [line for line in lines if text in line], (text, lines)
