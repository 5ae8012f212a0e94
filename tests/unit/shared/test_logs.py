"""Logs: in a process of their own, since they are set up once a process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import logging, sys
from shared.logs import configure_logs, get_logger
configure_logs("motion", "INFO", sys.argv[1])
log = get_logger("a")
url = "rtsp://user:S3cr3t@h/s"
log.debug("not shown")
log.info("opened", camera="gate", url=url, nested={"urls": [url, (url,)]}, raw=url.encode(), n=3)
log.warning("lost", error=ValueError(f"cannot open {url}"))
try:
    raise OSError(f"Error opening input file {url}")
except OSError:
    log.exception("failed")
hostile = "gate\\x1b[2J\\r\\n2026-01-01 [info] all is well\\u202e"
log.info("seen", camera=hostile, cameras=[hostile, {hostile: hostile}])
logging.getLogger("a.library").warning("seen %s", hostile)
logging.getLogger("some.library").warning("cannot open %s", url)
logging.getLogger("httpx").info("not shown")
logging.getLogger("libav").error("Error opening %s", url)
"""
HOSTILE = "gate\x1b[2J\r\n2026-01-01 [info] all is well\u202e"


def output(style: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, style],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "")
    return done.stderr.splitlines()


def test_json_is_one_line_an_event_with_facts_in_fields() -> None:
    lines = [json.loads(line) for line in output("json")]
    assert [line["event"] for line in lines] == [
        "opened",
        "lost",
        "failed",
        "seen",
        f"seen {HOSTILE}",
        "cannot open rtsp://***@h/s",
        "Error opening rtsp://***@h/s",
    ]
    assert [line["level"] for line in lines] == [
        "info",
        "warning",
        "error",
        "info",
        "warning",
        "warning",
        "error",
    ]
    assert all(line["service"] == "motion" and line["timestamp"].endswith("Z") for line in lines)
    assert lines[0]["camera"] == "gate"
    assert lines[0]["n"] == 3
    assert lines[0]["nested"] == {"urls": ["rtsp://***@h/s", ["rtsp://***@h/s"]]}
    assert lines[1]["error"] == "ValueError: cannot open rtsp://***@h/s"
    assert "OSError: Error opening input file rtsp://***@h/s" in lines[2]["exception"]


@pytest.mark.parametrize("style", ["json", "text", "auto"])
def test_no_style_shows_a_password(style: str) -> None:
    lines = output(style)
    assert "S3cr3t" not in "\n".join(lines)
    assert sum("not shown" in line for line in lines) == 0
    assert any("***@h/s" in line for line in lines)


def test_no_text_begins_a_line_of_its_own_or_orders_the_terminal_about() -> None:
    for style in ("text", "json"):
        lines = output(style)
        assert not [line for line in lines if line.startswith("2026-01-01")]
        assert not set("".join(lines)) & {"\x1b", "\r", "\u202e"}
        assert len([line for line in lines if "all is well" in line]) == 2
