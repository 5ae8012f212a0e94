"""A stream that is open ends soon after its caller may not have it any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from shared.access import Refusal
from shared.http_access import AccessControl, HttpAccess
from shared.http_rules import RouteRule
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

    async def ask(self) -> None:
        access = AccessControl(authenticator=self.known)
        access.rules["GET", "/stream"] = RouteRule(Permission.LOOK, is_stream=True)
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "GET",
            "path": "/stream",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
            "client": ("127.0.0.1", 1),
        }
        never = asyncio.Event()

        async def receive() -> Any:  # Any: ASGI
            await never.wait()

        async def send(message: Any) -> None:  # Any: ASGI
            self.sent = [*self.sent[-2:], message]

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
    async with asyncio.timeout(10):
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
    async with asyncio.timeout(10):
        while stream.known.n_looks < 5:
            await asyncio.sleep(0)
    assert not asking.done()
    assert not stream.ended
    asking.cancel()
    await asyncio.wait({asking})
    assert stream.ended
