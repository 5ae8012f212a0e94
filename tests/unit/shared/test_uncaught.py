"""What nobody caught, what Python warns of and what asyncio says holds no secret: with logs, and before there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MARK = "p%21@:/#\"'S3cr3t"
START = f"""
import asyncio, logging, sys, threading, warnings
from shared.logs import configure_logs
from shared.secrets import know
from shared.uncaught import redact_uncaught
know({MARK!r})
MARK = {MARK!r}
redact_uncaught()
"""
WAYS = {
    "exception": "raise ValueError(f'rtsp://u:{MARK}@h\\x1b[2J')",
    "group": "raise ExceptionGroup('all', [ValueError(MARK), KeyError(MARK)])",
    "cause": "try:\n    raise OSError(MARK)\nexcept OSError as exc:\n    raise ValueError('x') from exc",
    "thread": "def work(): raise ValueError(MARK)\n"
    "thread = threading.Thread(target=work); thread.start(); thread.join()",
    "warning": "warnings.warn(f'deprecated: {MARK}\\x1b[2J')",
    "task": "async def main():\n    async def work(): raise ValueError(MARK)\n    task = asyncio.create_task(work())\n"
    "    await asyncio.sleep(0)\n    del task\n    import gc; gc.collect()\nasyncio.run(main())",
    "unraisable": "class A:\n    def __del__(self): raise ValueError(MARK)\nA()",
    "library": "logging.getLogger('library').error('cannot reach %s\\x1b[2J', MARK)",
    "library's exception": "try:\n    raise ValueError(MARK)\nexcept ValueError:\n"
    "    logging.getLogger('l').exception('x')",
}


@pytest.mark.parametrize(
    "logs", ["", "configure_logs('x', 'DEBUG', 'text')\n", "configure_logs('x', 'DEBUG', 'json')\n"]
)
@pytest.mark.parametrize("way", WAYS)
def test_what_nobody_caught_shows_no_secret(way: str, logs: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", START + logs + WAYS[way]], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert "***" in said, said
    assert "S3cr3t" not in said.replace(START, "")
    assert "\x1b" not in said
    assert (done.returncode == 1) == (way in ("exception", "group", "cause")), said
