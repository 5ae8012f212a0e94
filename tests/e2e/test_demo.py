"""The demo's own path: one command, real samples, a live record; Ctrl-C leaves nothing behind."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bench import growing
from tests.e2e.conftest import Answer, clipwatch, decoded_frames, processes_with

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
STOP_LIMIT_S = 5.0  # what the user is promised


@dataclass(slots=True)
class RunningDemo:
    """A demo that was started and said that it is ready."""

    process: subprocess.Popen[str]
    page: str
    data_dir: Path

    def stop(self, number: int = signal.SIGINT) -> float:
        """Stop it with a signal; return how long that took, in seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(30)
        return time.monotonic() - began


def start_demo(data_dir: Path) -> RunningDemo:
    process, page = growing.start_demo(data_dir)
    return RunningDemo(process, page, data_dir)


def wait_for(condition: object, limit_s: float, what: str) -> None:
    ends_at = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]  # a callable of the test
        assert time.monotonic() < ends_at, f"{what}: not within {limit_s} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Answer, Path]:
    folder = tmp_path_factory.mktemp("once")
    return clipwatch("demo", "--once", "--data-dir", "kept", cwd=folder, limit_s=200), folder / "kept"


@pytest.mark.slow  # shorter: test_analyze.py, and the demo that is stopped
def test_once_records_named_events_and_ends_well(once: tuple[Answer, Path]) -> None:
    answer, data_dir = once
    assert answer.code == 0, answer.out + answer.err
    with sqlite3.connect(data_dir / "clipwatch.db") as db:
        by_camera = db.execute(
            "SELECT e.camera, d.label FROM detections d JOIN events e ON e.id = d.event_id"
        ).fetchall()
        n_open = db.execute("SELECT count(*) FROM events WHERE is_open").fetchone()[0]
    assert ("people-walking", "a pedestrian") in by_camera
    assert {("street", "a bicycle"), ("street", "a car")} <= set(by_camera)
    assert ("people-walking", "a dog") not in by_camera
    assert n_open == 0
    assert re.search(r"\d+ events? recorded", answer.out)


@pytest.mark.slow  # shorter: test_analyze.py, and the demo that is stopped
def test_every_clip_is_a_file_that_decodes(once: tuple[Answer, Path]) -> None:
    _, data_dir = once
    with sqlite3.connect(data_dir / "clipwatch.db") as db:
        names = [name for row in db.execute("SELECT clip_name, thumbnail_name FROM snippets") for name in row]
    on_disk = {
        str(path.relative_to(data_dir / "media"))
        for path in (data_dir / "media").rglob("*")
        if path.is_file()
    }
    assert on_disk == set(names)
    for name in names:
        if name.endswith(".mp4"):
            assert decoded_frames(data_dir / "media" / name) > 0


@pytest.mark.slow  # shorter: test_run.py stops the same services
def test_it_stops_at_once_leaves_nothing_and_remembers(data_dir: Path) -> None:
    demo = start_demo(data_dir)
    events = f"{demo.page}api/events?accepted_only=false"
    wait_for(lambda: httpx.get(events, trust_env=False).json()["events"], 60, "a first event")
    assert "<html" in httpx.get(demo.page, trust_env=False).text
    assert demo.stop() <= STOP_LIMIT_S
    assert demo.process.returncode == 0
    assert processes_with(str(data_dir)) == []
    with sqlite3.connect(data_dir / "clipwatch.db") as db:
        before = {row[0] for row in db.execute("SELECT id FROM events")}
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [path for path in (data_dir / "media").rglob("*") if path.suffix not in ("", ".mp4", ".jpg")] == []

    again = start_demo(data_dir)
    shown = {
        e["id"]
        for e in httpx.get(f"{again.page}api/events?accepted_only=false", trust_env=False).json()["events"]
    }
    assert before <= shown
    assert again.stop(signal.SIGTERM) <= STOP_LIMIT_S
    assert processes_with(str(data_dir)) == []


@pytest.mark.slow  # shorter: test_ports.py
def test_two_demos_pick_different_ports_but_not_one_folder(data_dir: Path) -> None:
    first = start_demo(data_dir)
    try:
        second = clipwatch("demo", "--data-dir", data_dir, cwd=data_dir.parent, limit_s=30)
        assert second.code == 2
        assert "in use by process" in second.err
        other = start_demo(data_dir.parent / "other")
        assert other.page != first.page
        other.stop()
    finally:
        first.stop()
