"""`clipwatch run` as a user runs it: own servers in place of the embedded ones, and a camera that is not there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
    ends_at = time.monotonic() + 150
    while not _accepted(log):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < ends_at, log.read_text()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0, log.read_text()
    said = log.read_text()
    about_it = [line for line in said.splitlines() if "gone" in line and "warning" in line]
    assert len(about_it) == 1, "\n".join(about_it)
    assert "hunter2" not in said
    assert "Traceback" not in said
    rows = _rows(mariadb_url, "SELECT DISTINCT camera, label FROM events WHERE label IS NOT NULL")
    assert rows == [("people", "a pedestrian")]
    assert not list((log.parent / "kept").rglob("clipwatch.db"))  # nothing went to SQLite
    assert not (log.parent / "kept" / "redis").exists()


def _accepted(log: Path) -> bool:
    found = re.search(r"page +(http://\S+/)", log.read_text())
    if not found:
        return False
    try:
        answer = httpx.get(f"{found.group(1)}api/events", trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and bool(answer.json()["events"])


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
