"""No input of any admitted length holds a service: how much of its event loop one request takes, on every route.

Measured is the processor time of the loop's thread between two of its rounds, which other programs of a busy machine
do not prolong; and that the loop is not waiting for a thread which holds the interpreter, by the clock, generously.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.motion.app import add_routes as add_motion_routes
from services.motion.cameras.registry import CameraRegistry
from services.motion.http.cameras import CameraRoutes
from services.motion.http.live import LiveRoutes
from services.motion.live.latest import LiveViews
from services.motion.live.sender import IceServers, WhepSender
from services.recorder.access.authenticator import RecorderAuthenticator, SettingTokens
from services.recorder.access.links import EventLinks
from services.recorder.access.site import SiteAccess
from services.recorder.http.api import add_routes as add_recorder_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.media.files import MediaFolder
from services.recorder.media.folder_store import FolderStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.bootstrap import open_database
from shared.cameras.store import CameraFileStore
from shared.http_access import PATH_MAX, TARGET_MAX, AccessControl, HttpAccess, TokenAuthenticator
from shared.http_api import make_app
from shared.http_rules import JSON_TYPE, RouteRule
from shared.http_server import HEAD_MAX_BYTES
from shared.runtime import Health, Runtime, add_process_routes

TOKEN = "0123456789abcdef"
HELD_S = 0.05
CLOCK_S = (
    1.0  # the interpreter held by a thread: seconds, where that was the fault; other programs take their time
)
TRIES = 3
ANSWER_S = 60.0
UNITS = ("a", "@", "é", "a://", "-1", "..", "a=;", '"')
HEADERS = (
    *("cookie", "authorization", "if-match", "origin", "accept", "range", "x-forwarded-for", "host"),
    *("content-type", "sec-fetch-site", "x-clipwatch-caller", "user-agent"),
)


@dataclass(slots=True)
class Answered:
    """An answer, and how long its making held the loop, in seconds of its thread and of the clock."""

    status: int = 0
    body: bytes = b""
    held_s: float = 0.0
    waited_s: float = 0.0


@dataclass
class Service:
    """The app of a service behind its access check."""

    app: FastAPI
    access: AccessControl
    routes: list[tuple[str, str, RouteRule]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.guarded = HttpAccess(self.app, self.access)
        self.routes = [(method, path, rule) for (method, path), rule in self.access.rules.items()]

    def parameters(self, method: str, path: str) -> list[str]:
        operation = self.app.openapi()["paths"].get(path, {}).get(method.lower(), {})
        return [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]

    def settings(self, method: str, path: str) -> list[str]:
        """Return the names that a body may hold."""
        document = self.app.openapi()
        kinds = document["paths"][path][method.lower()].get("requestBody", {}).get("content", {})
        schema = kinds.get(JSON_TYPE, {}).get("schema", {})
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return sorted(schema.get("properties", ())) or ["lanes"]

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answered:
        """Return the answer that held the loop the least, of some tries while it is too long."""
        tried: list[Answered] = []
        for _ in range(TRIES):
            tried.append(await self._ask(method, target, dict(headers or {}), body))
            if tried[-1].held_s < HELD_S and tried[-1].waited_s < CLOCK_S:
                break
        best = min(tried, key=lambda one: (one.held_s, one.waited_s))
        said = f"{method} {target[:100]} {str(headers)[:100]} {body[:60]!r}: {best.held_s:.3f} s, {best.waited_s:.3f} s"
        assert best.held_s < HELD_S, said
        assert min(one.waited_s for one in tried) < CLOCK_S, said
        assert best.status != 500, f"{said} {best.body!r}"
        assert 200 <= best.status < 500 or best.status == 503, f"{best.status} {said}"
        return best

    async def _ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answered:
        path, _, query = target.partition("?")
        sent = {
            "host": "127.0.0.1",
            "authorization": f"Bearer {TOKEN}",
            "content-type": JSON_TYPE,
            "content-length": str(len(body)),
            **headers,
        }
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [
                (name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in sent.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        found, parts, gone = (
            Answered(),
            [{"type": "http.request", "body": body, "more_body": False}],
            asyncio.Event(),
        )

        async def receive() -> Any:  # Any: ASGI
            if parts:
                return parts.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:  # Any: ASGI
            if message["type"] == "http.response.start":
                found.status = message["status"]
            elif len(found.body) < 4096:
                found.body += message.get("body", b"")
            gone.set()  # a stream ends with its first part

        beating = asyncio.create_task(_beat(found))
        try:
            async with asyncio.timeout(ANSWER_S):
                await asyncio.sleep(0)
                await self.guarded(scope, receive, send)
        finally:
            await asyncio.sleep(0)
            beating.cancel()
        return found


async def _beat(found: Answered) -> None:
    held_s, waited_s = time.thread_time(), time.monotonic()
    while True:
        await asyncio.sleep(0)
        now_held_s, now_waited_s = time.thread_time(), time.monotonic()
        found.held_s = max(found.held_s, now_held_s - held_s)
        found.waited_s = max(found.waited_s, now_waited_s - waited_s)
        held_s, waited_s = now_held_s, now_waited_s


class _Workers:
    def change(self, cameras: object) -> None:
        """Motion's cameras are not started."""


@contextlib.asynccontextmanager
async def recorder(folder: Path) -> AsyncIterator[Service]:
    database = await open_database(
        f"sqlite:///{folder}/record.db", asyncio.Event(), connect_s=10, transaction_s=20
    )
    access = SiteAccess(RecorderAuthenticator(SettingTokens(TOKEN)), RecorderMetrics(CollectorRegistry()))
    access.open(database)
    media = MediaFolder(folder / "media")
    api = ApiState(
        lambda: True, database=database, media=FolderStore(media), access=access, links=EventLinks(database)
    )
    runtime = Runtime("recorder", asyncio.Event(), Health(), make_app("recorder"))
    add_process_routes(runtime)
    add_recorder_routes(runtime.app, api)
    control = AccessControl(authenticator=access.authenticator)
    control.rules.update(RULES)
    control.patterns.update(PATTERNS)
    yield Service(runtime.app, control)
    await api.motion.close()
    await database.close()


@contextlib.asynccontextmanager
async def motion(folder: Path) -> AsyncIterator[Service]:
    file = folder / "cameras.yml"
    file.write_text("cameras: [{id: gate, url: rtsp://10.0.0.7/s, labels: [a dog]}]\n", encoding="utf-8")
    store = CameraFileStore(file, {})
    registry = CameraRegistry(store, _Workers(), store.read())
    registry.begin()
    views = LiveViews(1)
    live = LiveRoutes(registry, views, WhepSender(IceServers(), views.of))
    control = AccessControl(authenticator=TokenAuthenticator(TOKEN))
    runtime = Runtime("motion", asyncio.Event(), Health(), make_app("motion"), control)
    add_process_routes(runtime)
    add_motion_routes(runtime, CameraRoutes(registry, lambda: {"cameras": []}), live, lambda _camera: None)
    yield Service(runtime.app, control)
    live.sender.close()


@contextlib.asynccontextmanager
async def classifier(folder: Path) -> AsyncIterator[Service]:  # noqa: ARG001  # as the others
    """It has no routes but those of every service."""
    control = AccessControl(authenticator=TokenAuthenticator(TOKEN))
    runtime = Runtime("classifier", asyncio.Event(), Health(), make_app("classifier"), control)
    add_process_routes(runtime)
    yield Service(runtime.app, control)


SERVICES = {"recorder": recorder, "motion": motion, "classifier": classifier}


@pytest.fixture(params=sorted(SERVICES))
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    async with SERVICES[request.param](tmp_path) as made:
        yield made


def filled(path: str, text: str = "gate") -> str:
    """Return a route's path with a text in the place of each parameter."""
    return re.sub(r"\{[^}]*\}", quote(text, safe="/:@"), path)


def long(unit: str, n_bytes: int) -> str:
    """Return a unit again and again, of so many bytes as it stands in an address."""
    return unit * (n_bytes // len(quote(unit)))


async def test_no_path_holds_a_service(service: Service) -> None:
    for method, path, _ in service.routes:
        for unit in UNITS:
            await service.ask(method, filled(path, long(unit, PATH_MAX - len(path))))
            if "{" in path:
                await service.ask(method, filled(path, long(unit, 8 * TARGET_MAX)))  # refused by its length


async def test_no_query_holds_a_service(service: Service) -> None:
    for method, path, _ in service.routes:
        for name in ("unknown", *service.parameters(method, path)):
            for unit in UNITS[:: 2 if method == "GET" else 8]:
                await service.ask(method, f"{filled(path)}?{name}={quote(long(unit, TARGET_MAX - 200))}")
        many = "&".join(f"p{number}={number}" for number in range(TARGET_MAX // 12))
        await service.ask(method, f"{filled(path)}?{many}"[:TARGET_MAX])


async def test_no_header_holds_a_service(service: Service) -> None:
    for method, path, _ in service.routes[:: 1 if len(service.routes) < 9 else 12]:
        for name in HEADERS:
            for unit in UNITS[::2]:
                text = unit * (HEAD_MAX_BYTES // len(unit.encode()))
                before = {"authorization": "Bearer ", "cookie": "clipwatch-session="}.get(name, "")
                await service.ask(method, filled(path), {name: before + text})


def hostile_documents(most_bytes: int) -> Iterator[bytes]:
    """Yield what is no JSON that anybody sends, of at most so many bytes, and as many where that is worse."""
    yield from (b"[" * most_bytes, b'{"a":' * (most_bytes // 5), b'{"lanes":' * (most_bytes // 9))
    yield b"[" * 900 + b"]" * 900
    yield b'{"labels":' * 90 + b"1" + b"}" * 90
    yield b"[" + b"1," * ((most_bytes - 3) // 2) + b"1]"
    yield b"[" + b"[]," * ((most_bytes - 4) // 3) + b"[]]"
    yield b"[" + b"{}," * ((most_bytes - 4) // 3) + b"{}]"
    yield from (
        b"9" * most_bytes,
        b'{"threshold":' + b"9" * 400 + b"}",
        b'{"threshold":1' + b"0" * 400 + b".5}",
    )
    yield from (b'{"threshold":NaN}', b'{"threshold":-Infinity}', b'{"threshold":1e999}', b"NaN", b"Infinity")
    yield from (b'{"labels":["a"],"labels":["b"]}', b'{"motion":{"threshold":1,"threshold":2}}')
    yield from (
        b'{"name":"\xff"}',
        b"\xff\xfe{\x00}\x00",
        "{}".encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'{"name":"\\ud800"}',
    )
    yield from (
        b'"' + b"a" * (most_bytes - 2) + b'"',
        b'"' + b"\\u0000" * ((most_bytes - 2) // 6) + b'"',
        b"\x00",
    )
    yield from (b"nul", b"{", b'{"a":1}}', b" " * most_bytes)


def hostile_values(most_bytes: int) -> Iterator[object]:
    """Yield values that are JSON, and none that a setting, a name or a list is."""
    n = most_bytes - 100
    yield from ("@ 0x" * (n // 4), "\x00" * (n // 6), "${A" * (n // 3))
    yield from ([1] * min(n // 3, 500), ["a" * 190] * min(n // 204, 500), [[]] * min(n // 4, 500))
    yield {str(number): number for number in range(min(n // 16, 500))}
    yield [[[[[[[[[[["deep"]]]]]]]]]]]
    areas = {"masks": [[["x", "y"]] * 400] * 9}
    yield from (areas, [areas], [{str(number): number for number in range(400)}] * 3)


async def test_a_document_that_is_none_is_refused_everywhere_and_holds_nothing(service: Service) -> None:
    for method, path, rule in service.routes:
        if rule.content_type == JSON_TYPE:
            for body in hostile_documents(rule.body_max_bytes):
                answer = await service.ask(method, filled(path), body=body)
                assert 400 <= answer.status < 500, (method, path, body[:60], answer)


async def test_no_value_of_a_document_holds_a_service(service: Service) -> None:
    for method, path, rule in service.routes:
        if rule.content_type == JSON_TYPE:
            for value in hostile_values(rule.body_max_bytes):
                for name in service.settings(method, path):
                    body = json.dumps({name: value}, ensure_ascii=False).encode()
                    await service.ask(method, filled(path), body=body)
            n = rule.body_max_bytes
            await service.ask(method, filled(path), body=b'{"' + b"k" * (n - 10) + b'":1}')
            many = b",".join(b'"%d":1' % number for number in range(n // 12))
            await service.ask(method, filled(path), body=b"{" + many + b"}")
