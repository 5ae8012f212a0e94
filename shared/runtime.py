"""The life of a service process: settings, logs, signals, health, metrics, drain, exit codes. Knows no service.

0 stopped (or its finite work is done)   1 failed   2 bad settings   3 the drain ran out

SIGTERM or SIGINT stops intake and starts the drain; another one, a second or more later, ends the drain at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError

from shared.clock import WallClock
from shared.errors import ConfigError, Stopped, reason
from shared.http_access import AccessControl, HttpAccess, access_control
from shared.http_api import make_app
from shared.http_server import ServerLimits, ServerPlan, http_server
from shared.logs import configure_logs, get_logger
from shared.metrics import ClockMetrics, HttpMetrics
from shared.redis_client import make_redis, redis_faults, shown_redis_url
from shared.redis_reach import warn_of_open_redis
from shared.secret_files import open_to_all
from shared.settings import ServiceSettings, read_settings, secret_names
from shared.streams.connection import is_away
from shared.terminal_text import say
from shared.tls import tls_faults
from shared.uncaught import redact_uncaught
from shared.waits import pause, unless_stopped

log = get_logger(__name__)
EXIT_STOPPED, EXIT_FAILED, EXIT_CONFIG, EXIT_DRAIN = 0, 1, 2, 3
_CANCEL_S = 2.0  # for work that the drain left over to clean up
_CLOCK_EVERY_S = 1.0
_LEAVE_S = 0.5  # for threads that still run when all is said and done: what they write is whole, or not there
_SECOND_SIGNAL_S = 1.0  # a terminal's Ctrl-C and its launcher's SIGTERM come together: they are one


@dataclass(slots=True, eq=False)
class _HealthPart:
    """A part of a service: how long it may stand still, and when it last moved (monotonic)."""

    within_s: float
    moved_s: float

    def beat(self) -> None:
        self.moved_s = time.monotonic()


@dataclass(slots=True)
class Health:
    """Progress, not existence: each part says when it last moved, and how long it may stand still (seconds)."""

    is_ready: bool = False
    _parts: dict[str, _HealthPart] = field(default_factory=dict)

    def expect(self, part: str, within_s: float) -> Callable[[], None]:
        """Watch `part`; return the function that it calls whenever it moves. A part of the same name is replaced:
        what the old one still says of itself counts no longer.
        """
        watched = _HealthPart(within_s, time.monotonic())
        self._parts[part] = watched
        return watched.beat

    def forget(self, part: str, beat: Callable[[], None] | None = None) -> None:
        """Stop watching `part`: its work is done. With `beat` only if that is still the one that `part` has."""
        watched = self._parts.get(part)
        if watched is not None and beat in (None, watched.beat):
            del self._parts[part]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of all parts that are watched."""
        return tuple(self._parts)

    def stalled(self) -> dict[str, float]:
        """Return the parts that stand still for too long, with the seconds since they moved."""
        now = time.monotonic()
        return {
            name: round(now - part.moved_s, 1)
            for name, part in list(self._parts.items())
            if now - part.moved_s > part.within_s
        }


@dataclass(slots=True)
class Runtime:
    """What a running service is given: `stop` is set when intake has to end; `app` takes further HTTP routes, and
    `access` their rules.
    """

    service: str
    stop: asyncio.Event
    health: Health
    app: FastAPI
    access: AccessControl = field(default_factory=AccessControl)
    http_port: int = 0


_Settings = TypeVar("_Settings", bound=ServiceSettings)
_Answer = TypeVar("_Answer")
Main = Callable[[_Settings, Runtime], Awaitable[None]]
Check = Callable[[_Settings], Awaitable[Sequence[str]]]


def run(
    service: str, settings_kind: type[_Settings], main: Main[_Settings], check: Check[_Settings] | None = None
) -> None:
    """Run `main(settings, runtime)` until it returns or a signal stops it, then exit the process.

    `main` returns by itself when its work is finite; once `runtime.stop` is set it has `drain_s` to finish what it
    took. With `--check` only the settings are read, `check` lists further faults, and nothing is started.
    """
    code = _run(service, settings_kind, main, check)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads any more
            stream.flush()
    # Everything of ours is closed. Taking the interpreter down with torch in it took up to 20 s on a busy disk, long
    # enough to be killed by whoever stopped us; leaving at once took 0.2 s (measured 2026-11-23, in a container).
    os._exit(code)


def contain(what: str, work: Callable[[], object], **facts: object) -> bool:
    """Run `work`; return whether it went well. What it raises is a bug: it is logged, and ends no thread."""
    try:
        work()
    except Exception as exc:
        log.error(f"{what}: this is a bug", exc_info=exc, **facts)
        return False
    return True


def _run(
    service: str, settings_kind: type[_Settings], main: Main[_Settings], check: Check[_Settings] | None
) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold bytes that are no UTF-8
            stream.reconfigure(errors="backslashreplace")
    redact_uncaught()
    try:
        settings, faults = read_settings(settings_kind, os.environ)
        if settings is None:
            return _refused(service, faults)
        configure_logs(service, settings.log_level, settings.log_format)
        for file in open_to_all(secret_names(settings_kind), os.environ):
            log.warning("every user of this machine can read a secret", file=file, do="chmod 600")
        if faults or "--check" in sys.argv[1:]:
            faults += asyncio.run(_checked(settings, check))
            if faults:
                return _refused(service, faults)
            say(f"{service}: settings are fine")
            return EXIT_STOPPED
        try:
            return asyncio.run(_serve(service, settings, main))
        except ConfigError as exc:  # the first that was met; what else is wrong is shown with it
            return _refused(service, [*exc.faults, *asyncio.run(_checked(settings, check))])
    except KeyboardInterrupt:  # before the handlers were there, or in a check
        return EXIT_STOPPED


def _refused(service: str, faults: Sequence[str]) -> int:
    for fault in dict.fromkeys(" ".join(fault.split()) for fault in faults):
        say(f"{service}: {fault}", is_error=True)
    return EXIT_CONFIG


async def _checked(settings: _Settings, check: Check[_Settings] | None) -> Sequence[str]:
    faults = [*redis_faults(settings.redis_address), *(await check(settings) if check else ())]
    return [*faults, *_listening_faults(settings)]


def _listening_faults(settings: ServiceSettings) -> list[str]:
    fault = None if settings.has_users else settings.listening_fault()
    return [*([fault] if fault else ()), *tls_faults(settings.tls_cert_file, settings.tls_key_file)]


async def _serve(service: str, settings: _Settings, main: Main[_Settings]) -> int:
    app = make_app(f"clipwatch {service}")
    runtime = Runtime(service, asyncio.Event(), Health(), app, access_control(settings))
    runtime.access.count_refused = HttpMetrics().count_refused
    hurry = asyncio.Event()
    _stop_on_signals(runtime.stop, hurry)
    add_process_routes(runtime)
    async with (
        _listening(runtime, settings),
        _parent_watch(settings.parent_pid, runtime.stop),
        _clock_watch(ClockMetrics()),
    ):
        work = asyncio.create_task(_as_coroutine(main, settings, runtime), name=f"{service}.main")
        await _first(work, runtime.stop)
        if not work.done():
            log.info("stopping: no new work is taken", drain_s=settings.drain_s)
            await _first(work, hurry, settings.drain_s)
        is_drained = work.done()
        if not is_drained:
            work.cancel()
            await asyncio.wait({work}, timeout=_CANCEL_S)
            log.error("the drain ran out", drain_s=settings.drain_s, hurried=hurry.is_set())
    code = _exit_code(work) if is_drained else EXIT_DRAIN
    _leave_within(_LEAVE_S, code)
    return code


async def _first(work: asyncio.Task[None], event: asyncio.Event, timeout_s: float | None = None) -> None:
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({work, waiting}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()


def _exit_code(work: asyncio.Task[None]) -> int:
    if work.cancelled():
        log.error("failed: its main task was cancelled from within")
        return EXIT_FAILED
    error = work.exception()
    if error is None or isinstance(error, Stopped):
        log.info("stopped")
        return EXIT_STOPPED
    if isinstance(error, ConfigError):
        raise error
    log.error("failed", exc_info=error)
    return EXIT_FAILED


def _leave_within(seconds: float, code: int) -> None:
    """End the process even if a thread or a task never ends: asyncio.run waits for both without a limit."""

    def leave() -> None:
        log.error("threads still run, leaving without them", waited_s=seconds)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


async def _as_coroutine(main: Main[_Settings], settings: _Settings, runtime: Runtime) -> None:
    await main(settings, runtime)


def _stop_on_signals(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    first_at: list[float] = []

    def told() -> None:
        stop.set()
        first_at.append(loop.time())
        if first_at[-1] - first_at[0] >= _SECOND_SIGNAL_S:
            hurry.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)


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


@contextlib.asynccontextmanager
async def _clock_watch(metrics: ClockMetrics) -> AsyncIterator[None]:
    """Tell and count, once for each step, that the wall clock was set."""
    clock = WallClock()
    clock.step_s()

    async def watch() -> None:
        while True:
            await asyncio.sleep(_CLOCK_EVERY_S)
            tell_step(clock, metrics)

    task = asyncio.create_task(watch(), name="wall clock")
    try:
        yield
    finally:
        task.cancel()


def tell_step(clock: WallClock, metrics: ClockMetrics) -> None:
    """Log and count a step of the wall clock, if there was one."""
    step_s = clock.step_s()
    if step_s:
        metrics.steps.labels("forward" if step_s > 0 else "back").inc()
        log.warning(
            "the wall clock was set: what is recorded from now on has the new time, nothing waits for it",
            by_s=round(step_s, 1),
        )


def add_process_routes(runtime: Runtime) -> None:
    """Add what every service answers: whether it lives, whether it is ready, and its numbers."""
    told: set[str] = set()  # the parts that stood still when somebody asked last

    @runtime.app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        """Say whether all moves, to anybody; which part does not is in the log, since its name may be a camera's."""
        stalled = runtime.health.stalled()
        if stalled.keys() - told:
            log.warning("parts stand still", stalled_s=stalled)
        elif told and not stalled:
            log.info("all parts move again")
        told.clear()
        told.update(stalled)
        longest_s = max(stalled.values(), default=0.0)
        return JSONResponse({"stalled_s": longest_s}, status_code=503 if stalled else 200)

    @runtime.app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        is_ready = runtime.health.is_ready and not runtime.stop.is_set()
        return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)

    @runtime.app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


@contextlib.asynccontextmanager
async def _listening(runtime: Runtime, settings: ServiceSettings) -> AsyncIterator[None]:
    if faults := _listening_faults(settings):
        raise ConfigError(faults)
    access = runtime.access
    plan = ServerPlan(
        HttpAccess(runtime.app, access),
        settings.http_host,
        settings.http_port,
        settings.tls_cert_file,
        settings.tls_key_file,
        ServerLimits(settings.http_connections_max, settings.http_address_connections_max),
        access.network.is_proxy,
        access.count_refused,
    )
    async with http_server(plan) as server:
        runtime.http_port = server.port
        yield


async def wait_for_service(
    name: str,
    attempt: Callable[[], Awaitable[_Answer]],
    is_away: Callable[[Exception], bool],
    settings: ServiceSettings,
    stop: asyncio.Event,
) -> _Answer:
    """Return what `attempt` answers, tried again while it raises what `is_away` says to be absence.

    Raises ConfigError, which starts with `name`, after `connect_s`; Stopped as soon as `stop` is set.
    """
    ends_at = time.monotonic() + settings.connect_s
    pause_s = 0.1
    has_waited = False
    while True:
        try:
            answer = await unless_stopped(attempt(), stop, max(0.0, ends_at - time.monotonic()))
        except Exception as exc:
            if not (isinstance(exc, TimeoutError) or is_away(exc)):
                raise
            if time.monotonic() + pause_s > ends_at:
                raise ConfigError(
                    f"{name}: no answer within {settings.connect_s:g} s: {reason(exc)}"
                ) from exc
            if not has_waited:
                log.warning("waiting at the start", of=name, error=reason(exc))
                has_waited = True
            await pause(pause_s, stop)
            pause_s = min(2 * pause_s, 2.0)
        else:
            return answer


async def connect_redis(settings: ServiceSettings, stop: asyncio.Event) -> Redis:
    """Return a client that answered a PING within `connect_s`; raise ConfigError when none did, Stopped on `stop`.

    Bytes in, bytes out. Sockets have deadlines, longer than any BLOCK (10 s against 1 s). The client does not try
    again by itself: the loops that use it do, and say so.
    """
    url = settings.redis_address
    if faults := redis_faults(url):
        raise ConfigError(faults)
    name = f"REDIS_URL={shown_redis_url(url)}"
    client = make_redis(
        url, socket_timeout=10, socket_connect_timeout=3, socket_keepalive=True, health_check_interval=15
    )
    try:
        await wait_for_service(name, client.ping, _is_redis_away, settings, stop)
    except RedisError as exc:
        await client.aclose()
        raise ConfigError(f"{name}: refused: {reason(exc)}") from exc
    except BaseException:
        await client.aclose()
        raise
    await warn_of_open_redis(client)
    return client


def _is_redis_away(exc: Exception) -> bool:
    return is_away(exc) and not isinstance(exc, AuthenticationError)
