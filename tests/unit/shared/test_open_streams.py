"""A stream that is open ends soon after its caller may not have it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from shared.access import Refusal
from shared.http_access import CALLER_HEADER, AccessControl, HttpAccess, TokenAuthenticator
from shared.http_rules import RouteRule
from shared.open_streams import STREAMS_OF_CALLER, OpenStreams, StreamKind, TooManyStreams
from shared.permissions import Identity, Permission
from tests.http_apps import KnownIdentity

LOOKING = frozenset({Permission.LOOK})
ANNA = Identity("anna", LOOKING)


class Stream:
    """An app with a stream that never ends by itself, asked by one caller."""

    def __init__(self, identity: Identity) -> None:
        self.known = KnownIdentity(identity)
        self.ended = False
        self.sent: list[Any] = []  # Any: ASGI
        self.started: list[Any] = []  # Any: ASGI
        self.app = FastAPI()
        self.app.add_api_route("/stream", self.stream)

    async def stream(self) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"part"
                    await asyncio.sleep(0)
            finally:
                self.ended = True

        return StreamingResponse(parts())

    async def ask(self, access: AccessControl | None = None, peer: str = "127.0.0.1", **headers: str) -> None:
        access = access or AccessControl(authenticator=self.known)
        access.rules["GET", "/stream"] = RouteRule(Permission.LOOK, stream=StreamKind.EVENTS)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "GET",
            "path": "/stream",
            "query_string": b"",
            "headers": [
                (b"host", b"127.0.0.1"),
                *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()),
            ],
            "client": (peer, 1),
        }
        never = asyncio.Event()

        async def receive() -> Any:  # Any: ASGI
            await never.wait()

        async def send(message: Any) -> None:  # Any: ASGI
            self.sent = [*self.sent[-2:], message]
            if message["type"] == "http.response.start":
                self.started.append(message)

        await HttpAccess(self.app, access, recheck_s=0.01)(scope, receive, send)


@pytest.mark.parametrize(
    "later",
    [
        Refusal(401, "log in", "a session that has ended", "a login"),
        Identity("anna", frozenset()),
        Identity("anna", LOOKING, frozenset({"gate"})),
    ],
)
async def test_a_stream_ends_when_its_caller_is_another(later: Identity | Refusal) -> None:
    stream = Stream(ANNA)
    asking = asyncio.create_task(stream.ask())
    async with asyncio.timeout(60):
        while stream.known.n_looks < 3:
            await asyncio.sleep(0)
        assert not asking.done()
        stream.known.identity = later
        await asking
    assert stream.ended
    assert stream.sent[-1] == {
        "type": "http.response.body",
        "body": b"",
    }  # a whole answer: no error of the server


async def test_a_stream_stays_while_its_caller_does() -> None:
    stream = Stream(ANNA)
    asking = asyncio.create_task(stream.ask())
    async with asyncio.timeout(60):
        while stream.known.n_looks < 5:
            await asyncio.sleep(0)
    assert not asking.done()
    assert not stream.ended
    asking.cancel()
    await asyncio.wait({asking})
    assert stream.ended


class Asked:
    """Streams that are asked for one after the other, by callers of one service."""

    def __init__(self, access: AccessControl, identity: Identity = ANNA) -> None:
        self.stream, self.access = Stream(identity), access
        self.tasks: list[asyncio.Task[None]] = []

    async def status(self, peer: str = "192.0.2.7", **headers: str) -> int:
        """Return the status of one more, which stays open if it is 200."""
        statuses: list[int] = []
        task = asyncio.create_task(self.stream.ask(self.access, peer, **headers))
        async with asyncio.timeout(60):
            while not statuses:
                await asyncio.sleep(0)
                statuses += [one["status"] for one in self.stream.started]
        self.stream.started.clear()
        self.tasks.append(task)
        return statuses[0]

    async def end(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture
async def asked() -> AsyncIterator[Callable[..., Asked]]:
    made: list[Asked] = []

    def make(access: AccessControl, identity: Identity = ANNA) -> Asked:
        made.append(Asked(access, identity))
        return made[-1]

    yield make
    for one in made:
        for task in one.tasks:
            await one.end(task)


async def test_a_caller_has_so_many_streams_and_others_have_theirs(asked: Callable[..., Asked]) -> None:
    reasons: list[str] = []
    access = AccessControl(authenticator=KnownIdentity(ANNA), count_refused=reasons.append)
    one = asked(access)
    assert [await one.status() for _ in range(STREAMS_OF_CALLER + 2)] == [200] * STREAMS_OF_CALLER + [429] * 2
    assert reasons == ["streams"] * 2
    assert await one.status("192.0.2.8") == 200
    await one.end(one.tasks[0])
    assert await one.status() == 200


async def test_a_user_counts_as_one_from_every_address(asked: Callable[..., Asked]) -> None:
    ada = Identity("ada", LOOKING, key="user 1")
    access = AccessControl(authenticator=KnownIdentity(ada))
    one = asked(access, ada)
    statuses = [await one.status(f"192.0.2.{number}") for number in range(STREAMS_OF_CALLER + 1)]
    assert statuses == [200] * STREAMS_OF_CALLER + [429]


async def test_the_recorder_says_whose_streams_it_passes_on(asked: Callable[..., Asked]) -> None:
    access = AccessControl(authenticator=TokenAuthenticator("0123456789abcdef"))
    one = asked(access)
    told = {"authorization": "Bearer 0123456789abcdef"}
    for caller in ("user 1", "user 2"):
        statuses = [await one.status(**told, **{CALLER_HEADER: caller}) for _ in range(STREAMS_OF_CALLER + 1)]
        assert statuses == [200] * STREAMS_OF_CALLER + [429]


async def test_nobody_else_says_whose_streams_they_are(asked: Callable[..., Asked]) -> None:
    access = AccessControl(authenticator=KnownIdentity(ANNA))
    one = asked(access)
    statuses = [
        await one.status(**{CALLER_HEADER: f"user {number}"}) for number in range(STREAMS_OF_CALLER + 1)
    ]
    assert statuses[-1] == 429


def test_each_kind_of_stream_is_counted_by_itself() -> None:
    streams = OpenStreams(1)
    with (
        streams.opened(StreamKind.EVENTS, "ada"),
        streams.opened(StreamKind.PICTURES, "ada"),
        pytest.raises(TooManyStreams, match="1 streams of events"),
        streams.opened(StreamKind.EVENTS, "ada"),
    ):
        raise AssertionError
    with streams.opened(StreamKind.EVENTS, "ada"):
        pass
    assert not streams._n
