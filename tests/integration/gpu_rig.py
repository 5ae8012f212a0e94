"""Replicas of the classifier as processes, for tests with simulated GPUs and with real ones."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from redis import Redis

from shared.contract import SNIPPETS
from tests.servers import free_port, spawn, wait_until
from tests.unit.classifier.makers import RED, jpeg, message

LIMIT_S = 60.0
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Replica:
    process: subprocess.Popen[bytes]
    output: Path
    port: int

    def lines(self) -> list[dict[str, Any]]:  # Any: a log line's fields
        return [json.loads(line) for line in self.output.read_text().splitlines() if line.startswith("{")]

    def line(self, event: str) -> dict[str, Any]:
        wait_until(lambda: any(one["event"] == event for one in self._alive().lines()), LIMIT_S, event)
        return next(one for one in self.lines() if one["event"] == event)

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(r"^(clipwatch_classifier_(?:device|gpu)_.*) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in found}

    def _alive(self) -> Replica:
        assert self.process.poll() is None, self.output.read_text()
        return self


class StartReplica(Protocol):
    """Starts one more replica, with these variables in its environment."""

    def __call__(self, **environment: str) -> Replica: ...


@contextmanager
def replicas(module: str, folder: Path, common: Mapping[str, str]) -> Iterator[StartReplica]:
    """Give a function that starts `python -m module`, and kill at the end what still runs."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> Replica:
        port = free_port()
        ours = {"LOG_FORMAT": "json", "HTTP_PORT": str(port), "PYTHONPATH": str(ROOT), **common}
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        output = folder / f"log {len(started)}"
        started.append(spawn([sys.executable, "-m", module], output, inherited | ours | environment))
        return Replica(started[-1], output, port)

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()


def send(redis: Redis, n_snippets: int) -> None:
    for number in range(n_snippets):
        sent = message([[("crop", jpeg(RED))]] * 4, key=str(number))
        redis.xadd(SNIPPETS, cast("dict[Any, Any]", sent.encode()))  # Any: redis-py's field type is invariant
