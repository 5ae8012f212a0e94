"""`clipwatch analyze`: what is asked, and what one line of JSON says."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.local.records import EventRow, SnippetRow
from services.local.tasks.analysis import AnalyzeOptions, RecordingFile, check_options, event_json
from services.motion.sources.probe import probe
from shared.errors import ConfigError

SAMPLE = Path(__file__).resolve().parents[4] / "samples" / "street.mp4"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(autouse=True)
def a_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "mini"
    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text("{}")
    (folder / "open_clip_model.safetensors").write_bytes(b"")
    monkeypatch.setenv("MODELS_DIR", str(tmp_path / "models"))


def options(*files: Path, **changes: object) -> AnalyzeOptions:
    fields = {
        "labels": ("a dog",),
        "background": (),
        "threshold": 0.5,
        "model": "mini",
        "out": Path("out"),
        **changes,
    }
    return AnalyzeOptions(files=files, **fields)  # type: ignore[arg-type]  # the fields of the dataclass


def test_a_recording_is_named_after_its_file_and_ids_are_unique(tmp_path: Path) -> None:
    names = ["a/my dog (2).mp4", "b/my dog (2).mp4", "b/日本.mp4"]
    files = []
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(SAMPLE.read_bytes())
        files.append(path)
    recordings = check_options(options(*files))
    assert [r.camera for r in recordings] == ["my-dog-2-", "my-dog-2--2", "recording"]
    assert [r.name for r in recordings] == ["my dog (2)", "my-dog-2--2", "日本"]


def test_the_time_of_a_recording_without_one_follows_from_its_last_change(tmp_path: Path) -> None:
    path = tmp_path / "street.mp4"
    path.write_bytes(SAMPLE.read_bytes())
    os.utime(path, (AT.timestamp(), AT.timestamp()))
    facts = probe(path)
    (recording,) = check_options(options(path))
    assert facts.created_at is None
    assert facts.duration_s is not None
    assert abs(recording.starts_at + timedelta(seconds=facts.duration_s) - AT) < timedelta(seconds=0.01)


def test_every_fault_of_the_options_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ConfigError) as caught:
        check_options(options(tmp_path / "none.mp4", tmp_path / "text.mp4", labels=(), model="no-such-model"))
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"background": ("A DOG",)}, "twice"),
        ({"labels": ("x" * 201,)}, "labels"),
    ],
)
def test_values_out_of_bounds_are_faults(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_options(options(SAMPLE, **changes))


def test_one_line_of_json_has_the_documented_fields() -> None:
    snippet = SnippetRow(0, AT, AT + timedelta(seconds=4), Path("/out/x.mp4"), None, "mini")
    event = EventRow(
        id="e", camera="street", started_at=AT + timedelta(seconds=1.2345), ended_at=AT + timedelta(seconds=3),
        is_open=False, label="a dog", probability=0.123456, accepted=("a dog",),
        peaks={"a dog": 0.123456, "a lawn": 0.8}, weather=None, snippets=(snippet,),
    )  # fmt: skip
    recording = RecordingFile("street", "my street", SAMPLE, AT, probe(SAMPLE))
    assert event_json(event, recording) == {
        "event_id": "e",
        "camera": "my street",
        "started_at": "2026-01-02T03:04:06.234Z",
        "ended_at": "2026-01-02T03:04:08.000Z",
        "start_s": 1.234,
        "end_s": 3.0,
        "label": "a dog",
        "probability": 0.1235,
        "labels": {"a dog": 0.1235, "a lawn": 0.8},
        "accepted": ["a dog"],
        "snippets": [{"path": "/out/x.mp4", "start_s": 0.0, "end_s": 4.0, "thumbnail": None}],
        "model": "mini",
    }
