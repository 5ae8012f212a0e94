"""One machine's whole clipwatch: Redis, motion, classifier and recorder as processes under one launcher."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import secrets
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO, Any

import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.local.launcher.environment import server_environment, service_environment
from services.local.launcher.page_address import LOCAL_TOKEN_FILE, URL_FILE, PageAddress, own_certificate
from services.local.launcher.ports import PagePort, claimed_port, free_port, page_port
from services.local.launcher.private_folder import FILE_MODE, FOLDER_MODE, UMASK, make_private
from services.local.launcher.processes import Child, ChildGaveUp, ChildSpec, LineSink, stop_children
from services.local.launcher.redis_server import EmbeddedRedis, prepare_redis
from services.local.run_settings import ListenAddress
from services.recorder.record.database_url import sqlite_address
from shared.contract import LABELS, MEDIA, SNIPPETS
from shared.errors import ClipwatchError, ConfigError, redact
from shared.redis_client import make_redis
from shared.secrets import know_each
from shared.terminal_text import printable

SERVICES = ("motion", "classifier", "recorder")
# What the slowest needs under load: motion up to 5.5 s when Redis does not answer, the classifier 0.4 of it for the
# batch in hand (docs/design/deployment.md).
DRAIN_S = 6.0
SERVICES_STOP_S = DRAIN_S + 3.0  # 2 s for what the drain cut off, 1 s to leave; then they are killed
REDIS_STOP_S = 1.0


class ServiceFailed(ClipwatchError):
    """A service gave up; `lines` are its last messages, `exit_code` is 2 for bad input."""

    def __init__(self, lines: Sequence[str], exit_code: int) -> None:
        self.lines = tuple(lines)
        self.exit_code = exit_code
        super().__init__("\n".join(lines))


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What to start, and where. None for a URL: embedded."""

    data_dir: Path
    cameras_file: Path
    model: str
    models_dir: Path
    media_dir: Path
    listen: ListenAddress = field(default_factory=ListenAddress)
    site: Mapping[str, str] = field(default_factory=dict)  # the recorder's settings of its network
    weather: str = "open_meteo"
    redis_url: str | None = None
    database_url: str | None = None
    is_finite: bool = False  # the cameras end by themselves
    log_level: str = "INFO"
    extra_env: Mapping[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = SERVICES  # what is started beside Redis


@dataclass(slots=True)
class Stack:
    """A started stack. `failure` is set when a process gave up; the caller decides what to say."""

    plan: StackPlan
    redis_url: str
    database_url: str
    page: PageAddress
    taken_port: int | None  # that the page should have had
    ports: dict[str, int]
    children: dict[str, Child]
    redis: Redis
    embedded: EmbeddedRedis | None
    failure: asyncio.Future[ChildGaveUp]
    http: httpx.AsyncClient
    sink: LineSink
    motion_token: str  # of this start: the recorder and the launcher ask motion, nobody else

    async def unready(self) -> tuple[str, ...]:
        """Return the services that are not ready yet, in the order of the pipeline."""
        answers = await asyncio.gather(*(self._get(name, "/readyz") for name in self.ports))
        return tuple(
            name
            for name, answer in zip(self.ports, answers, strict=True)
            if answer is None and not self.children[name].is_finished
        )

    async def cameras(self) -> list[dict[str, Any]]:  # Any: motion's JSON
        """Return what motion says of each camera, or nothing while it cannot answer."""
        answer = await self._get("motion", "/api/cameras", self.motion_token)
        if answer is None:
            return []
        return list(answer.json()["cameras"])

    def last_cameras(self) -> list[dict[str, Any]]:  # Any: motion's JSON
        """Return what motion said of each camera when it ended by itself, or nothing."""
        try:
            document = json.loads((self.plan.data_dir / "motion" / "status.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return list(document["cameras"])

    async def backlog(self) -> int | None:
        """Return the entries that wait to be labelled or recorded; None while Redis does not answer."""
        try:
            return int(await self.redis.xlen(SNIPPETS)) + int(await self.redis.xlen(LABELS))
        except (RedisError, OSError):
            return None

    async def dead_letters(self) -> int:
        """Return the entries that could not be handled."""
        return sum([int(await self.redis.xlen(f"{stream}:dead")) for stream in (SNIPPETS, LABELS, MEDIA)])

    async def is_done(self) -> bool:
        """Whether a finite stack has read all of its cameras and recorded all of their snippets."""
        return self.children["motion"].is_finished and await self.backlog() == 0

    async def run_motion(self, cameras_file: Path) -> None:
        """Let a motion service of its own read the files of `cameras_file` to their ends; raise ChildGaveUp.

        For plans without motion: thousands of recordings are read a few at a time.
        """
        plan = replace(self.plan, cameras_file=cameras_file, is_finite=True)
        spec = _service(plan, "motion", free_port(), (self.redis_url, self.database_url))
        child = Child(spec, self.sink)
        try:
            await child.supervise()
        finally:
            await stop_children([child], SERVICES_STOP_S)

    async def _get(self, service: str, path: str, token: str | None = None) -> httpx.Response | None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        origin = self.page.origin if service == "recorder" else f"http://127.0.0.1:{self.ports[service]}"
        try:
            answer = await self.http.get(f"{origin}{path}", headers=headers)
        except httpx.HTTPError:
            return None
        return answer if answer.status_code == 200 else None


@contextlib.asynccontextmanager
async def running(plan: StackPlan, sink: LineSink | None = None) -> AsyncIterator[Stack]:
    """Start everything in `plan`; stop it, in order and within 12 s, when the block is left.

    Logs go to `sink`, or to <data_dir>/logs/<service>.log (two files of 5 MB each at most).
    Raises ConfigError when the data directory is in use or something needed is missing.
    """
    narrowed = make_private(plan.data_dir)
    make_private(plan.media_dir)
    with _locked(plan.data_dir), contextlib.ExitStack() as held:
        sink = sink or _file_sink(plan.data_dir / "logs", held)
        if narrowed:
            sink("launcher", narrowed)
        choose_port = partial(claimed_port, held=held)
        embedded = None if plan.redis_url else prepare_redis(plan.data_dir / "redis", held)
        redis_url = plan.redis_url or (embedded.url if embedded else "")
        database_url = plan.database_url or sqlite_address(plan.data_dir / "clipwatch.db")
        chosen = page_port(plan.listen, plan.data_dir, held) if "recorder" in plan.services else PagePort(0)
        page = PageAddress(plan.listen, chosen.port, plan.site)
        ports = {name: chosen.port if name == "recorder" else choose_port(0) for name in plan.services}
        motion_token = secrets.token_urlsafe(32)
        know_each(motion_token, redis_url, database_url)
        specs = [_server(embedded)] if embedded else []
        specs += _services(plan, ports, (redis_url, database_url), motion_token)
        children = {spec.name: Child(spec, sink) for spec in specs}
        failure: asyncio.Future[ChildGaveUp] = asyncio.get_running_loop().create_future()
        tasks = [
            asyncio.create_task(_watch(child, failure), name=child.spec.name) for child in children.values()
        ]
        redis = make_redis(redis_url, socket_timeout=3, socket_connect_timeout=1)
        with _private(plan.data_dir / URL_FILE, "w") as file:
            file.write(f"{page.url}\n")
        verify = own_certificate(page.certificate) if page.certificate else True
        async with httpx.AsyncClient(timeout=2, trust_env=False, verify=verify) as http:
            try:
                yield Stack(
                    plan,
                    redis_url,
                    database_url,
                    page,
                    chosen.taken,
                    ports,
                    children,
                    redis,
                    embedded,
                    failure,
                    http,
                    sink,
                    motion_token,
                )
            finally:
                services = [child for name, child in children.items() if name != "redis"]
                await stop_children(services, SERVICES_STOP_S)
                await redis.aclose()
                await stop_children(
                    [child for child in children.values() if child not in services], REDIS_STOP_S
                )
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def _watch(child: Child, failure: asyncio.Future[ChildGaveUp]) -> None:
    try:
        await child.supervise()
    except ChildGaveUp as exc:
        if not failure.done():
            failure.set_result(exc)
    except OSError as exc:
        if not failure.done():
            failure.set_result(ChildGaveUp(child.spec.name, 1, [f"cannot be started: {exc}"]))


def _server(embedded: EmbeddedRedis) -> ChildSpec:
    return ChildSpec("redis", embedded.argv, server_environment(os.environ), umask=UMASK)


def _services(
    plan: StackPlan, ports: Mapping[str, int], urls: tuple[str, str], motion_token: str
) -> Iterator[ChildSpec]:
    for name, port in ports.items():
        spec = _service(plan, name, port, urls)
        if name == "motion":
            spec = replace(spec, env={**spec.env, "API_TOKEN": motion_token})
        if name == "recorder" and "motion" in ports:
            address = f"http://127.0.0.1:{ports['motion']}"
            spec = replace(spec, env={**spec.env, "MOTION_URL": address, "MOTION_TOKEN": motion_token})
        yield spec


def _service(plan: StackPlan, name: str, port: int, urls: tuple[str, str]) -> ChildSpec:
    env = _service_env(plan, name, port, *urls)
    is_finite = plan.is_finite and name == "motion"
    umask = -1 if name == "classifier" else UMASK  # what it makes are models, which others may use too
    return ChildSpec(name, (sys.executable, "-m", f"services.{name}"), env, is_finite, umask)


def _service_env(plan: StackPlan, name: str, port: int, redis_url: str, database_url: str) -> dict[str, str]:
    own = {
        "REDIS_URL": redis_url,
        "CAMERAS_FILE": str(plan.cameras_file),
        "DATA_DIR": str(plan.data_dir / name),
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "PARENT_PID": str(os.getpid()),
        "INSTANCE": f"local-{name}",
        "DRAIN_S": str(DRAIN_S),
        "LOG_LEVEL": plan.log_level,
        "LOG_FORMAT": "text",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    if name == "motion":
        own |= {"EXIT_WHEN_DONE": str(plan.is_finite).lower()}
    if name == "classifier":
        own |= {"MODEL": plan.model, "MODELS_DIR": str(plan.models_dir)}
    if name == "recorder":
        own |= {
            "DATABASE_URL": database_url,
            "MEDIA_DIR": str(plan.media_dir),
            "MEDIA_URL": "",  # the command line reads its own folder
            "INDEX_DIR": str(plan.data_dir / "recorder" / "index"),
            "WEATHER_PROVIDER": plan.weather,
            "HTTP_HOST": plan.listen.host,
            "LOCAL_TOKEN_FILE": str(plan.data_dir / LOCAL_TOKEN_FILE),
            **plan.site,
        }
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    given = {**webrtc_environment(plan), **service_environment(name, os.environ, plan.cameras_file)}
    return {**given, "PYTHONPATH": path, **plan.extra_env, **own}


def webrtc_environment(plan: StackPlan) -> dict[str, str]:
    """Return where motion opens UDP ports, unless it is told: where the page listens, or everywhere behind a proxy."""
    is_for_others = plan.site.get("TRUSTED_PROXIES") or os.environ.get("WEBRTC_ADDRESSES")
    if is_for_others or plan.listen.is_everywhere:
        return {}
    return {"WEBRTC_BIND": plan.listen.host}


@contextlib.contextmanager
def _locked(data_dir: Path) -> Any:  # Any: contextmanager's generator type
    """Lock the data directory: two launchers on it would start two Redis on the same file."""
    with _private(data_dir / "lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            lock.seek(0)
            raise ConfigError(
                f"{data_dir}: in use by process {lock.read().strip() or 'unknown'}; "
                "stop it, or choose another data directory"
            ) from exc
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _private(path: Path, mode: str) -> IO[str]:
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, FILE_MODE)

    return open(path, mode, encoding="utf-8", opener=opener)  # noqa: PTH123 - Path's own takes no opener


class _PrivateLog(RotatingFileHandler):
    def _open(self) -> Any:  # Any: logging's stream type, which only its stubs have
        return _private(Path(self.baseFilename), self.mode)


def _file_sink(folder: Path, files: contextlib.ExitStack) -> LineSink:
    folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
    handlers: dict[str, RotatingFileHandler] = {}

    def sink(name: str, line: str) -> None:
        handler = handlers.get(name)
        if handler is None:
            handler = _PrivateLog(folder / f"{name}.log", maxBytes=5_000_000, backupCount=1)
            handlers[name] = files.enter_context(contextlib.closing(handler))
        handler.emit(
            logging.LogRecord(name, logging.INFO, "", 0, printable(redact(line.expandtabs())), (), None)
        )

    return sink


def terminal_sink(stream: IO[str] | None = None) -> LineSink:
    """Return a sink that writes every line to stderr, led by the service's name."""

    def sink(name: str, line: str) -> None:
        print(f"{name:<10} {printable(redact(line.expandtabs()))}", file=stream or sys.stderr, flush=True)

    return sink
