"""Services that are told to stop at a bad moment end in order, with exit code 0, and what they held is given back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from shared.contract import CLASSIFIERS, LABELS, SNIPPETS, LabelsMessage
from tests.servers import spawn, wait_until
from tests.unit.classifier.makers import BLUE, RED, jpeg, message

ROOT = Path(__file__).resolve().parents[2]
MINI = Path(sys.prefix) / "share" / "clipwatch" / "models" / "mini"
START_LIMIT_S = 120.0  # on a busy machine
DRAIN_S = "6"  # what the launcher gives
N_SNIPPETS, N_MOMENTS = 16, 6
Service = Callable[..., "subprocess.Popen[bytes]"]

pytestmark = [
    pytest.mark.redis,
    pytest.mark.e2e,
    pytest.mark.skipif(
        not Path("/proc/self/status").exists(), reason="looks into /proc, which only Linux has"
    ),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def start(redis_url: str, tmp_path: Path, log: Path) -> Iterator[Service]:
    """Start a service as a process; it is gone after the test."""
    started: list[subprocess.Popen[bytes]] = []
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}

    def begin(service: str, **environment: str) -> subprocess.Popen[bytes]:
        ours = {
            "PYTHONPATH": str(ROOT),
            "REDIS_URL": redis_url,
            "MODEL": str(MINI),
            "MODELS_DIR": str(tmp_path),  # nothing is kept there of an earlier trial
            "DATA_DIR": str(tmp_path),
            "MEDIA_DIR": str(tmp_path / "media"),
            "INDEX_DIR": str(tmp_path / "index"),
            "LOG_FORMAT": "json",
            "INSTANCE": "one",
            "DRAIN_S": DRAIN_S,
        }
        command = [sys.executable, "-m", f"services.{service}"]
        started.append(spawn(command, log, {**inherited, **ours, **environment}))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    client.close()


def catches_sigterm(process: subprocess.Popen[bytes]) -> bool:
    caught = next(line for line in _status(process) if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def _status(process: subprocess.Popen[bytes]) -> list[str]:
    assert process.poll() is None, "the service ended"
    return Path(f"/proc/{process.pid}/status").read_text().splitlines()


def has_openvino(process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the service ended"
    return "libopenvino" in Path(f"/proc/{process.pid}/maps").read_text()


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stop(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(30)


def send(redis: Redis, n_snippets: int) -> list[str]:
    """Publish snippets; return their event ids, sorted."""
    sent = [
        message([[("frame", jpeg(BLUE)), ("crop", jpeg(RED))]] * N_MOMENTS, key=f"event {number}")
        for number in range(n_snippets)
    ]
    for one in sent:
        redis.xadd(SNIPPETS, cast("dict[Any, Any]", one.encode()))  # Any: redis-py's field type is invariant
    return sorted(one.header.event_id for one in sent)


def labelled(redis: Redis) -> list[str]:
    entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", redis.xrange(LABELS))
    return sorted(LabelsMessage.decode(fields).header.snippet.event_id for _, fields in entries)


def pending(redis: Redis) -> list[dict[str, Any]]:  # Any: redis-py's values
    if not redis.exists(SNIPPETS) or not redis.xinfo_groups(SNIPPETS):
        return []
    found = redis.xpending_range(SNIPPETS, CLASSIFIERS, "-", "+", N_SNIPPETS)
    return cast("list[dict[str, Any]]", found)


@pytest.mark.parametrize("service", ["motion", "classifier", "recorder"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_python_imports_ends_with_0(
    start: Service, log: Path, service: str, number: signal.Signals
) -> None:
    process = start(service)
    wait_until(lambda: catches_sigterm(process), START_LIMIT_S, "a handler")
    assert stop(process, number) == 0
    assert log.read_text() == "", "it was stopped too late to show anything"


@pytest.mark.parametrize(
    "further_cpu_s", [pytest.param(0, marks=pytest.mark.slow), 0.5, pytest.param(1.5, marks=pytest.mark.slow)]
)
def test_a_stop_while_the_model_loads_ends_with_0(
    redis: Redis, start: Service, log: Path, further_cpu_s: float
) -> None:
    send(redis, 4)
    process = start("classifier")
    wait_until(lambda: has_openvino(process), START_LIMIT_S, "that OpenVINO is imported")
    from_s = cpu_s(process)
    wait_until(lambda: cpu_s(process) >= from_s + further_cpu_s, START_LIMIT_S, "that it gets on")
    assert stop(process) == 0, log.read_text()
    assert "the drain ran out" not in log.read_text()
    assert redis.xlen(SNIPPETS) + redis.xlen(LABELS) == 4


def test_a_stop_in_the_middle_of_a_batch_gives_it_back_and_charges_nothing(
    redis: Redis, start: Service, log: Path
) -> None:
    ids = send(redis, N_SNIPPETS)
    first = start("classifier", BATCH_SNIPPETS=str(N_SNIPPETS), DRAIN_S="2.5")
    wait_until(lambda: len(pending(redis)) == N_SNIPPETS, START_LIMIT_S, "a batch in hand")
    assert stop(first) == 0, log.read_text()
    assert [entry["times_delivered"] for entry in pending(redis)] == [0] * len(pending(redis))
    assert len(pending(redis)) + redis.xlen(LABELS) == N_SNIPPETS
    second = start("classifier")
    wait_until(lambda: redis.xlen(SNIPPETS) == 0, START_LIMIT_S, "an empty stream")
    assert stop(second) == 0, log.read_text()
    assert labelled(redis) == ids
    assert redis.xlen(f"{SNIPPETS}:dead") == 0
