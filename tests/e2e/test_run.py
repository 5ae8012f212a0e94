"""`clipwatch run` as a user runs it: own servers in place of the embedded ones, and a camera that is not there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pymysql  # type: ignore[import-untyped]  # ships no types
import pytest

from tests.e2e.conftest import ROOT, SAMPLES, processes_with
from tests.servers import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.redis, pytest.mark.mariadb, pytest.mark.timeout(240)]

CONFIG = """
settings: {{model: mini, data_dir: kept, page_port: 0, weather: none}}
defaults: {{labels: [a pedestrian], background: [an empty street]}}
cameras:
  - {{id: gone, url: "rtsp://viewer:hunter2@127.0.0.1:{port}/cam"}}
  - {{id: people, url: "{sample}"}}
"""


@pytest.fixture
def started(
    tmp_path: Path, redis_url: str, mariadb_url: str
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A run against a real Redis and a real MariaDB, its log in a file."""
    (tmp_path / "clipwatch.yml").write_text(
        CONFIG.format(port=free_port(), sample=SAMPLES / "people-walking.mp4")
    )
    log = tmp_path / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.local.cli", "run"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": redis_url, "DATABASE_URL": mariadb_url},
            stderr=sink,
        )
    yield process, log
    if process.poll() is None:
        process.kill()
    for pid in processes_with(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)


def test_a_missing_camera_is_told_once_and_the_rest_goes_on(
    started: tuple[subprocess.Popen[bytes], Path], mariadb_url: str
) -> None:
    process, log = started
    _until(process, log, lambda: bool(_accepted(log)))
    said = _stopped(process, log, signal.SIGTERM)
    warnings = [line for line in said.splitlines() if "gone" in line and "warning" in line]
    by_motion = [
        line for line in warnings if line.startswith("motion")
    ]  # the recorder tells of a gap after 15 s
    assert len(by_motion) == 1, "\n".join(warnings)
    assert "hunter2" not in said
    assert "Traceback" not in said
    rows = _rows(mariadb_url, "SELECT DISTINCT camera, label FROM events WHERE label IS NOT NULL")
    assert rows == [("people", "a pedestrian")]
    assert not list((log.parent / "kept").rglob("clipwatch.db"))  # nothing went to SQLite
    assert not (log.parent / "kept" / "redis").exists()


@pytest.mark.slow  # shorter: test_motion_service.py edits the file
def test_words_changed_in_the_file_act_with_no_restart(
    started: tuple[subprocess.Popen[bytes], Path], mariadb_url: str
) -> None:
    process, log = started
    file = log.parent / "clipwatch.yml"
    _until(process, log, lambda: "a pedestrian" in _accepted(log))
    assert "a person" not in _accepted(log)
    changed = log.parent / "changed.yml"
    changed.write_text(file.read_text().replace("labels: [a pedestrian]", "labels: [a person]"))
    changed.replace(file)
    _until(process, log, lambda: "a person" in _accepted(log))
    said = _stopped(process, log, signal.SIGINT)
    assert said.count("model is loaded") == 1  # the classifier was not started again
    asked = _rows(
        mariadb_url, "SELECT DISTINCT label FROM frame_probabilities WHERE kind != 'other' ORDER BY label"
    )
    assert asked == [("a pedestrian",), ("a person",), ("an empty street",)]


@pytest.mark.slow  # shorter: test_motion_service.py reads one and stays
def test_recordings_that_are_read_once_leave_the_record_and_its_page_up(
    tmp_path: Path, redis_url: str
) -> None:
    (tmp_path / "clipwatch.yml").write_text(
        "settings: {model: mini, data_dir: kept, page_port: 0, weather: none}\n"
        "cameras: [{id: people, labels: [a pedestrian], loop: false, pace: fast, "
        f'url: "{SAMPLES / "people-walking.mp4"}"}}]\n'
    )
    log = tmp_path / "log"
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.local.cli", "run"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": redis_url},
            stderr=sink,
        )
    try:
        _until(process, log, lambda: "the service stays up" in log.read_text())
        _until(process, log, lambda: bool(_accepted(log)))
        _stopped(process, log, signal.SIGTERM)
    finally:
        process.kill()
        for pid in processes_with(str(tmp_path)):
            os.kill(pid, signal.SIGKILL)
    assert "starting it again" not in log.read_text()
    assert log.read_text().count("file read to its end") == 1


def _until(process: subprocess.Popen[bytes], log: Path, is_so: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 150
    while not is_so():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends_at, log.read_text()
        time.sleep(0.2)


def _stopped(process: subprocess.Popen[bytes], log: Path, number: signal.Signals) -> str:
    """Stop a run that has work in hand; return its log, which tells of no service that did not stop in order."""
    process.send_signal(number)
    assert process.wait(10) == 0, log.read_text()
    said = log.read_text()
    assert "the drain ran out" not in said
    assert "stopped with exit code" not in said
    assert "and was killed" not in said
    return said


def _accepted(log: Path) -> set[str]:
    found = re.search(r"page +(http://\S+/)", log.read_text())
    if not found:
        return set()
    try:
        answer = httpx.get(f"{found.group(1)}api/events", trust_env=False)
    except httpx.HTTPError:
        return set()
    events = answer.json()["events"] if answer.status_code == 200 else []
    return {found["label"] for event in events for found in event["detections"]}


def _rows(url: str, query: str) -> list[tuple[object, ...]]:
    found = re.fullmatch(r"\w+\+?\w*://([^:]*):?([^@]*)@([^:]+):(\d+)/(\w+).*", url)
    assert found is not None, url
    user, password, host, port, database = found.groups()
    with (
        pymysql.connect(
            host=host, port=int(port), user=user, password=password, database=database
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        return [tuple(row) for row in cursor.fetchall()]
