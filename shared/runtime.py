"""The life of a service process: settings, logs, signals, health, metrics, drain, exit codes. Knows no service.

0 stopped (or its finite work is done)   1 failed   2 bad settings   3 the drain ran out
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import stamina
import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError

from shared.errors import ConfigError, redact
from shared.logs import configure_logs, get_logger
from shared.settings import ServiceSettings, load_settings
from shared.streams import AWAY

log = get_logger(__name__)
EXIT_STOPPED, EXIT_FAILED, EXIT_CONFIG, EXIT_DRAIN = 0, 1, 2, 3


@dataclass(slots=True)
class Health:
    """Progress, not existence: each part says when it last moved, and how long it may stand still (seconds)."""

    is_ready: bool = False
    _limits_s: dict[str, float] = field(default_factory=dict)
    _beats: dict[str, float] = field(default_factory=dict)

    def expect(self, part: str, within_s: float) -> Callable[[], None]:
        """Watch `part`; return the function that it calls whenever it moves."""
        self._limits_s[part] = within_s
        self._beats[part] = time.monotonic()

        def beat() -> None:
            self._beats[part] = time.monotonic()

        return beat

    def forget(self, part: str) -> None:
        """Stop watching `part`: its work is done."""
        self._limits_s.pop(part, None)
        self._beats.pop(part, None)

    def stalled(self) -> dict[str, float]:
        """Return the parts that stand still for too long, with the seconds since they moved."""
        now = time.monotonic()
        return {
            part: round(now - self._beats[part], 1)
            for part, limit_s in self._limits_s.items()
            if now - self._beats[part] > limit_s
        }


@dataclass(slots=True)
class Runtime:
    """What a running service is given: `stop` is set when intake has to end; `app` takes further HTTP routes."""

    service: str
    stop: asyncio.Event
    health: Health
    app: FastAPI
    http_port: int = 0


_Settings = TypeVar("_Settings", bound=ServiceSettings)
Main = Callable[[_Settings, Runtime], Awaitable[None]]
Check = Callable[[_Settings], Awaitable[Sequence[str]]]


def run(
    service: str, settings_kind: type[_Settings], main: Main[_Settings], check: Check[_Settings] | None = None
) -> None:
    """Run `main(settings, runtime)` until it returns or a signal stops it, then exit the process.

    `main` returns by itself when its work is finite; once `runtime.stop` is set it has `drain_s` to finish what it
    took. With `--check` only the settings are read, `check` lists further faults, and nothing is started.
    """
    sys.exit(_run(service, settings_kind, main, check))


def _run(
    service: str, settings_kind: type[_Settings], main: Main[_Settings], check: Check[_Settings] | None
) -> int:
    try:
        settings = load_settings(settings_kind)
        configure_logs(service, settings.log_level, settings.log_format)
        if "--check" in sys.argv[1:]:
            faults = asyncio.run(_checked(settings, check))
            if faults:
                raise ConfigError(faults)
            print(f"{service}: settings are fine")
            return EXIT_STOPPED
        return asyncio.run(_serve(service, settings, main))
    except ConfigError as exc:
        for fault in exc.faults:
            print(f"{service}: {redact(fault)}", file=sys.stderr)
        return EXIT_CONFIG


async def _checked(settings: _Settings, check: Check[_Settings] | None) -> Sequence[str]:
    return await check(settings) if check else ()


async def _serve(service: str, settings: _Settings, main: Main[_Settings]) -> int:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    runtime = Runtime(
        service, stop, Health(), FastAPI(title=f"clipwatch {service}", docs_url=None, redoc_url=None)
    )
    _add_routes(runtime)
    async with _http_server(runtime, settings), _parent_watch(settings.parent_pid, stop):
        work = asyncio.create_task(_as_coroutine(main, settings, runtime), name=f"{service}.main")
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            log.info("stopping: no new work is taken", drain_s=settings.drain_s)
            await asyncio.wait({work}, timeout=settings.drain_s)
        stopped.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=2)
            log.error("the drain ran out", drain_s=settings.drain_s)
            return EXIT_DRAIN
        return _exit_code(work)


def _exit_code(work: asyncio.Task[None]) -> int:
    if work.cancelled():
        return EXIT_FAILED
    error = work.exception()
    if error is None:
        log.info("stopped")
        return EXIT_STOPPED
    if isinstance(error, ConfigError):
        raise error
    log.error("failed", exc_info=error)
    return EXIT_FAILED


async def _as_coroutine(main: Main[_Settings], settings: _Settings, runtime: Runtime) -> None:
    await main(settings, runtime)


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


@contextlib.asynccontextmanager
async def _parent_watch(parent_pid: int, stop: asyncio.Event) -> AsyncIterator[None]:
    """Stop when the launcher died without a word: an orphan must not go on recording."""

    async def watch() -> None:
        while os.getppid() == parent_pid:
            await asyncio.sleep(0.5)
        log.warning("the launcher is gone, stopping")
        stop.set()

    task = asyncio.create_task(watch()) if parent_pid else None
    try:
        yield
    finally:
        if task:
            task.cancel()


def _add_routes(runtime: Runtime) -> None:
    @runtime.app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        stalled = runtime.health.stalled()
        return JSONResponse({"stalled_s": stalled}, status_code=503 if stalled else 200)

    @runtime.app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        is_ready = runtime.health.is_ready and not runtime.stop.is_set()
        return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)

    @runtime.app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@contextlib.asynccontextmanager
async def _http_server(runtime: Runtime, settings: ServiceSettings) -> AsyncIterator[None]:
    listener = _listen(settings.http_host, settings.http_port)
    runtime.http_port = listener.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(
            runtime.app,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=2,
            lifespan="off",
            server_header=False,
        )
    )
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # signals are ours
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    log.info("listening", host=settings.http_host, port=runtime.http_port)
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait({task}, timeout=4)
        task.cancel()
        listener.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as exc:
        listener.close()
        raise ConfigError(
            f"HTTP_HOST={host} HTTP_PORT={port}: {exc.strerror}; choose another, or 0 for any"
        ) from exc
    listener.listen(128)
    listener.setblocking(False)
    return listener


async def connect_redis(settings: ServiceSettings, stop: asyncio.Event) -> Redis:
    """Return a client that answered a PING within `connect_s`; raise ConfigError when none did.

    Bytes in, bytes out. Sockets have deadlines, longer than any BLOCK (10 s against 1 s).
    """
    url = settings.redis_url.get_secret_value()
    try:
        client: Redis = Redis.from_url(
            url, socket_timeout=10, socket_connect_timeout=3, socket_keepalive=True, health_check_interval=15
        )
    except ValueError as exc:
        raise ConfigError(f"REDIS_URL: {redact(str(exc))}; wanted redis://, rediss:// or unix://") from exc
    try:
        async for attempt in stamina.retry_context(
            on=AWAY, timeout=settings.connect_s, attempts=None, wait_initial=0.1, wait_max=2
        ):
            with attempt:
                if stop.is_set():
                    raise ConfigError("stopped before Redis answered")
                await client.ping()
    except AWAY as exc:
        await client.aclose()
        raise ConfigError(
            f"REDIS_URL={redact(url)}: no answer within {settings.connect_s:g} s: {redact(str(exc))}"
        ) from exc
    except (AuthenticationError, ResponseError) as exc:
        await client.aclose()
        raise ConfigError(f"REDIS_URL={redact(url)}: refused: {redact(str(exc))}") from exc
    return client
