"""The life of a service process: every test starts one, and looks at its answers, its words and its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from shared.errors import ConfigError, Stopped
from shared.runtime import connect_redis
from shared.settings import ServiceSettings
from shared.urls import SecretUrl
from tests.servers import RedisServer, free_port, wait_until

SERVICE = Path(__file__).with_name("runtime_service.py")
Start = Callable[..., "Service"]


class Service:
    """A running service, what it prints, and its HTTP server."""

    def __init__(self, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVICE), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        self.errors: list[str] = []
        self.readers = [
            threading.Thread(target=self._read, args=args, daemon=True)
            for args in ((self.process.stdout, self._line), (self.process.stderr, self.errors.append))
        ]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _read(stream: Iterator[str], take: Callable[[str], None]) -> None:
        for line in stream:
            take(line.rstrip("\n"))

    def _line(self, line: str) -> None:
        self.said.append(line)

    def waits_for(self, word: str) -> None:
        wait_until(
            lambda: word in self.said or self.process.poll() is not None, 20, f"{word!r} among {self.said}"
        )
        assert word in self.said, self.errors

    @property
    def port(self) -> int:
        wait_until(lambda: bool(self.said) or self.process.poll() is not None, 60, "a first word")
        assert self.said, self.errors
        return int(self.said[0].split()[1])

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def code(self, within_s: float = 20) -> int:
        code = self.process.wait(within_s)
        for reader in self.readers:
            reader.join(5)
        return code

    def logged(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.errors if line.startswith("{")]

    def events(self) -> list[object]:
        return [line["event"] for line in self.logged()]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start services that end with the test; keyword arguments are their environment."""
    services: list[Service] = []

    def started(*arguments: str, **environment: str) -> Service:
        inherited = {
            name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH", "HOME")
        }
        root = str(Path(__file__).parents[2])
        service = Service({**inherited, "PYTHONPATH": root, "LOG_FORMAT": "json", **environment}, arguments)
        services.append(service)
        return service

    yield started
    for service in services:
        if service.process.poll() is None:
            service.process.kill()
        service.code()
        for pipe in (service.process.stdout, service.process.stderr):
            assert pipe
            pipe.close()


# -- exit codes


def test_finite_work_that_is_done_ends_with_0(start: Start) -> None:
    service = start(BEHAVIOUR="end")
    assert service.code() == 0
    assert service.events()[-1] == "stopped"
    assert len(service.logged()) == len(service.errors)
    assert {line["service"] for line in service.logged()} == {"testing"}


def test_a_signal_drains_and_ends_with_0(start: Start) -> None:
    service = start(BEHAVIOUR="drain")
    service.waits_for("ready")
    service.signal(signal.SIGTERM)
    assert service.code() == 0
    assert service.said[1:] == ["ready", "draining", "drained"]
    assert service.events()[-2:] == ["stopping: no new work is taken", "stopped"]


def test_a_failure_ends_with_1_and_its_log_is_redacted(start: Start) -> None:
    service = start(BEHAVIOUR="fail")
    assert service.code() == 1
    (line,) = [line for line in service.logged() if line["event"] == "failed"]
    assert "Transient: the database rtsp://***@host/x is away" in str(line["exception"])
    assert "secret" not in "\n".join(service.errors)


def test_faults_that_turn_up_at_the_start_end_with_2_one_line_each(start: Start) -> None:
    service = start(BEHAVIOUR="config")
    assert service.code() == 2
    assert service.errors[-4:] == [
        "testing: DATABASE_URL: is missing",
        "testing: MODEL: unknown",
        "testing: MODEL=x: no such file",  # what --check finds is told with it
        "testing: LABELS: none",
    ]
    assert "Traceback" not in "".join(service.errors)


def test_a_drain_that_runs_out_ends_with_3(start: Start) -> None:
    service = start(BEHAVIOUR="endless", DRAIN_S="0.3")
    service.waits_for("ready")
    service.signal(signal.SIGTERM)
    assert service.code() == 3
    assert "the drain ran out" in service.events()


def test_signals_that_come_together_are_one_and_a_later_one_ends_the_drain(start: Start) -> None:
    service = start(BEHAVIOUR="endless", DRAIN_S="300")
    service.waits_for("ready")
    service.signal(signal.SIGINT)
    service.signal(signal.SIGTERM)
    service.waits_for("draining")
    first = time.monotonic()

    wait_until(lambda: time.monotonic() - first > 1.1, 5)
    assert service.process.poll() is None
    service.signal(signal.SIGINT)
    assert service.code() == 3


def test_a_thread_that_never_ends_does_not_keep_the_process(start: Start) -> None:
    service = start(BEHAVIOUR="stuck", DRAIN_S="0.2")
    service.waits_for("stuck")
    service.signal(signal.SIGTERM)
    started = time.monotonic()
    assert service.code() == 3
    assert time.monotonic() - started < 8
    assert service.events()[-1] == "threads still run, leaving without them"


def test_a_service_whose_launcher_is_gone_stops(start: Start) -> None:
    service = start("--orphan", BEHAVIOUR="wait", PARENT_PID=str(os.getpid()))
    assert service.code() == 0  # of the launcher; the service is another process by now
    for reader in service.readers:
        reader.join(10)  # ends when the service closed its output
    assert "draining" in service.said
    assert "the launcher is gone, stopping" in service.events()


# -- settings


def test_bad_settings_end_with_2_and_one_line_each(start: Start) -> None:
    service = start(BATCH="65", DRAIN_S="0", REDIS_URL="redis://:secret@nowhere:1/0")
    assert service.code() == 2
    assert service.errors == [
        "testing: environment: DRAIN_S=0: must be more than 0 and at most 600",
        "testing: environment: BATCH=65: must be 1..64",
    ]


def test_check_reads_the_settings_and_starts_nothing(start: Start) -> None:
    fine, bad = start("--check"), start("--check", BEHAVIOUR="config")
    assert fine.code() == 0
    assert fine.said == ["testing: settings are fine"]
    assert bad.code() == 2
    assert bad.errors == ["testing: MODEL=x: no such file", "testing: LABELS: none"]
    assert bad.said == []


def test_a_port_that_is_taken_ends_with_2_and_a_clear_line(start: Start) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        service = start(HTTP_PORT=str(port))
        assert service.code() == 2
    assert service.errors == [
        f"testing: HTTP_HOST=127.0.0.1 HTTP_PORT={port}: Address already in use; choose another, or 0 for any"
    ]


@pytest.mark.parametrize("arguments", [(), ("--check",)])
@pytest.mark.parametrize("token", [{}, {"API_TOKEN": "x"}])
def test_a_network_without_a_token_ends_with_2_and_what_to_do(
    start: Start, arguments: tuple[str, ...], token: dict[str, str]
) -> None:
    service = start(*arguments, HTTP_HOST="0.0.0.0", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", **token)
    assert service.code() == 2
    said = [line for line in service.errors if "HTTP_HOST=0.0.0.0" in line]
    assert said
    assert "API_TOKEN" in said[0]
    assert "16 characters" in said[0]
    assert not any(line.startswith("port") for line in service.said)


# -- Redis at the start


def test_redis_that_does_not_come_ends_with_2_and_one_line(start: Start) -> None:
    service = start(
        BEHAVIOUR="redis", REDIS_URL=f"redis://:se%40cret@127.0.0.1:{free_port()}/0", CONNECT_S="0.5"
    )
    assert service.code() == 2
    (line,) = [line for line in service.errors if not line.startswith("{")]
    assert line.startswith("testing: REDIS_URL=redis://***@127.0.0.1:")
    assert "no answer within 0.5 s" in line
    assert "cret" not in "".join(service.errors)


def test_stop_while_redis_is_awaited_ends_with_0_at_once(start: Start) -> None:
    service = start(BEHAVIOUR="redis", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", CONNECT_S="600")
    wait_until(lambda: "waiting at the start" in service.events(), 20)
    started = time.monotonic()
    service.signal(signal.SIGTERM)
    assert service.code() == 0
    assert time.monotonic() - started < 2


# -- Redis at the start, within this process


def of(url: str, connect_s: float) -> ServiceSettings:
    return ServiceSettings(redis_url=SecretUrl(url), connect_s=connect_s)


async def fault(url: str, connect_s: float) -> str:
    with pytest.raises(ConfigError) as caught:
        await connect_redis(of(url, connect_s), asyncio.Event())
    (told,) = caught.value.faults
    return told


@pytest.mark.redis
async def test_redis_that_comes_late_is_waited_for(own_redis: RedisServer) -> None:
    own_redis.kill()
    waiting = asyncio.create_task(connect_redis(of(own_redis.url, 30), asyncio.Event()))
    await asyncio.sleep(0)
    await asyncio.to_thread(own_redis.start)
    client = await waiting
    assert await client.ping()
    assert client.get_connection_kwargs()["socket_timeout"] == 10  # type: ignore[no-untyped-call]  # redis-py's gap
    await client.aclose()


@pytest.mark.redis
async def test_a_frozen_redis_counts_as_one_that_does_not_come(own_redis: RedisServer) -> None:
    own_redis.freeze()
    assert "no answer within 0.3 s: still waiting" in await fault(own_redis.url, 0.3)
    own_redis.thaw()


@pytest.mark.redis
async def test_a_wrong_password_is_told_at_once(own_redis: RedisServer) -> None:
    with contextlib.closing(own_redis.client()) as client:
        client.config_set("requirepass", "right")
    url = own_redis.url.replace("redis://", "redis://:wr%40ng@")
    started = time.monotonic()
    told = await fault(url, 60)
    assert time.monotonic() - started < 5
    assert told.startswith("REDIS_URL=redis://***@127.0.0.1:")
    assert ": refused: " in told
    assert "ng" not in told.replace("wrong", "")


@pytest.mark.redis
async def test_a_database_that_redis_does_not_have_is_told_at_once(own_redis: RedisServer) -> None:
    assert ": refused: DB index is out of range" in await fault(own_redis.url.replace("/0", "/999"), 60)


@pytest.mark.parametrize(
    "url",
    [
        "http://:S3cr3t@h/0",
        "redis://:S3/cr3t@host:6379/0",
        "redis://:S3cr3t@h:port/0",
        "redis://:S3cr3t@[::1/0",
        "S3",
    ],
)
async def test_what_is_no_redis_url_is_told_without_its_password(url: str) -> None:
    told = await fault(url, 0.1)
    assert told.startswith("REDIS_URL=")
    assert "S3cr" not in told
    assert "S3/" not in told


async def test_stop_ends_the_wait_at_once() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(connect_redis(of(f"redis://127.0.0.1:{free_port()}/0", 600), stop))
    await asyncio.sleep(0)
    stop.set()
    with pytest.raises(Stopped):
        await asyncio.wait_for(waiting, 2)


# -- HTTP


def test_a_part_that_stands_still_makes_the_service_ill(start: Start) -> None:
    service = start(BEHAVIOUR="stall")
    service.waits_for("ready")
    wait_until(lambda: service.get("/healthz").status_code == 503, 5)
    said = service.get("/healthz")
    assert said.json()["stalled_s"] >= 0.2
    assert "gate" not in said.text, "everybody may ask, and a part is called as its camera is"
    service.get("/healthz")
    wait_until(lambda: "parts stand still" in service.events(), 5)
    [told] = [line["stalled_s"] for line in service.logged() if line["event"] == "parts stand still"]
    assert isinstance(told, dict)
    assert [*told] == ["camera gate"], "told once"
    assert service.get("/readyz").status_code == 200


def test_health_readiness_and_metrics_are_served_and_a_draining_service_is_not_ready(start: Start) -> None:
    service = start(BEHAVIOUR="endless")
    service.waits_for("ready")
    assert (service.get("/healthz").status_code, service.get("/healthz").json()) == (200, {"stalled_s": 0.0})
    assert (service.get("/readyz").status_code, service.get("/readyz").json()) == (200, {"ready": True})
    assert "python_info" in service.get("/metrics").text
    assert "server" not in service.get("/healthz").headers
    service.signal(signal.SIGTERM)
    service.waits_for("draining")
    assert (service.get("/readyz").status_code, service.get("/readyz").json()) == (503, {"ready": False})
    assert service.get("/healthz").status_code == 200


def test_open_event_streams_do_not_hold_up_the_end(start: Start) -> None:
    service = start(BEHAVIOUR="sse")
    service.waits_for("ready")
    with httpx.stream("GET", f"http://127.0.0.1:{service.port}/events", timeout=5) as response:
        lines = response.iter_lines()
        assert next(lines) == "data: tick"
        started = time.monotonic()
        service.signal(signal.SIGTERM)
        assert service.code() == 0
        assert time.monotonic() - started < 2
    assert [line["event"] for line in service.logged() if line["level"] in ("warning", "error")] == []
