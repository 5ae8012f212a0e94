"""The server before every service: who says little is hung up on, who reads nothing too, and nobody takes all of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from shared.http_access import SECURITY_HEADERS
from shared.http_server import (
    HEAD_MAX_BYTES,
    HEAD_MAX_LINES,
    HttpServer,
    ServerLimits,
    ServerPlan,
    http_server,
)
from tests.certificates import make_certificate

SOON_S = 20.0  # a busy machine takes its time
QUICK = ServerLimits(head_s=0.4, body_s=0.4, reader_s=0.6)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Counted:
    """An app, and the refusals that its server counted."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.bodies: list[bytes] = []
        self.addresses: list[str] = []
        self.n_parts = 0
        self.app = FastAPI()
        self.app.add_api_route("/", self.page, methods=["GET", "POST"])
        self.app.add_api_route("/endless", self.endless)

    async def page(self, request: Request) -> Response:
        assert request.client is not None
        self.addresses.append(request.client.host)
        self.bodies.append(await request.body())
        return Response(b"page")

    async def endless(self) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            while True:
                self.n_parts += 1
                yield bytes(65536)
                await asyncio.sleep(0)

        return StreamingResponse(parts())


@contextlib.asynccontextmanager
async def served(
    limits: ServerLimits = QUICK, folder: Path | None = None, proxy: str | None = None
) -> AsyncIterator[tuple[HttpServer, Counted]]:
    counted = Counted()
    certificate = make_certificate(folder) if folder else None
    plan = ServerPlan(
        counted.app,
        "127.0.0.1",
        0,
        certificate.chain if certificate else None,
        certificate.key if certificate else None,
        limits,
        lambda address: address == proxy,
        counted.reasons.append,
    )
    async with http_server(plan) as server:
        yield server, counted


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def rest(self) -> bytes:
        """Return what comes until the server hangs up."""
        async with asyncio.timeout(SOON_S):
            with contextlib.suppress(ConnectionError):
                return await self.reader.read()
        return b""

    async def head(self) -> bytes:
        async with asyncio.timeout(SOON_S):
            return await self.reader.readuntil(b"\r\n\r\n")


@contextlib.asynccontextmanager
async def connected(
    server: HttpServer, said: bytes, context: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
    try:
        writer.write(said)
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


async def answer_to(server: HttpServer, said: bytes) -> bytes:
    async with connected(server, said) as client:
        return await client.rest()


def fault_of(answer: bytes) -> tuple[int, dict[str, str], dict[str, str]]:
    """Return status, headers and first fault."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *rest = head.decode().split("\r\n")
    headers = dict(one.split(": ", 1) for one in rest)
    return int(line.split()[1]), headers, json.loads(body)["error"]


@pytest.mark.parametrize(
    ("said", "status", "found"),
    [
        (b"GET / HT", 408, "a slow head of a request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", 408, "a slow head of a request"),
        (
            b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
            408,
            "a slow body of a request",
        ),
    ],
)
async def test_what_is_half_said_is_answered_and_hung_up_on(said: bytes, status: int, found: str) -> None:
    async with served() as (server, counted):
        answered, headers, fault = fault_of(await answer_to(server, said))
        assert (answered, fault["found"]) == (status, found)
        assert SECURITY_HEADERS.items() <= headers.items()
        assert set(counted.reasons) == {"slow"}
        assert counted.bodies == []


async def test_who_says_nothing_is_hung_up_on() -> None:
    async with served() as (server, counted):
        assert await answer_to(server, b"") == b""
        assert counted.reasons == ["slow"]


async def test_a_head_that_drips_in_after_a_first_request_has_the_same_time() -> None:
    async with served() as (server, counted), connected(server, GET) as client:
        await client.head()

        async def drip() -> None:
            client.writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            while True:
                client.writer.write(b"X: y\r\n")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        await client.rest()
        assert counted.reasons == ["slow"]
        dripping.cancel()
        await asyncio.wait({dripping})


async def test_a_connection_between_requests_stays_for_the_next() -> None:
    async with served() as (server, counted), connected(server, GET) as client:
        for _ in range(3):
            assert b"200 OK" in await client.head()
            await client.reader.readexactly(4)
            await asyncio.sleep(2 * QUICK.head_s)
            client.writer.write(GET)
        assert b"200 OK" in await client.head()
        assert counted.reasons == []


async def test_who_reads_nothing_is_hung_up_on_and_costs_little() -> None:
    async with (
        served() as (server, counted),
        connected(server, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n") as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's own has it
        async with asyncio.timeout(SOON_S):
            while server.n_connections or not counted.n_parts:
                await asyncio.sleep(0.01)
        assert counted.reasons == ["slow"]
        assert counted.n_parts * 65536 < 32 * 2**20  # what the kernel's buffers hold


async def test_half_open_tls_is_hung_up_on(tmp_path: Path) -> None:
    async with served(folder=tmp_path) as (server, _), contextlib.AsyncExitStack() as clients:
        made = [await clients.enter_async_context(connected(server, b"")) for _ in range(20)]
        assert [await one.rest() for one in made] == [b""] * 20
        async with asyncio.timeout(SOON_S):
            while server.n_connections:
                await asyncio.sleep(0.01)


async def test_over_tls_a_page_is_answered_and_a_slow_one_refused(tmp_path: Path) -> None:
    async with served(folder=tmp_path) as (server, _):
        context = ssl.create_default_context(cafile=tmp_path / "chain.pem")
        async with connected(server, GET, context) as client:
            assert b"200 OK" in await client.head()
        async with connected(server, b"GET / HT", context) as client:
            assert b" 408 " in await client.head()


async def test_half_open_connections_keep_nobody_out() -> None:
    patient = ServerLimits(connections=40, connections_of_address=20, head_s=600, body_s=600)
    async with served(patient) as (server, counted), contextlib.AsyncExitStack() as clients:
        for number in range(100):
            said = (b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")[number % 3]
            await clients.enter_async_context(connected(server, said))
        async with connected(server, GET) as client:
            assert b"200 OK" in await client.head()
        assert server.n_connections <= 20
        assert counted.reasons.count("connections") >= 80


async def test_an_address_has_so_many_streams_and_others_are_refused() -> None:
    few = ServerLimits(connections=40, connections_of_address=3)
    async with served(few) as (server, counted), contextlib.AsyncExitStack() as clients:
        for _ in range(3):
            one = await clients.enter_async_context(
                connected(server, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            )
            await one.head()
        assert await answer_to(server, GET) == b""
        assert counted.reasons == ["connections"]


async def test_a_proxy_that_the_settings_name_has_as_many_as_there_are() -> None:
    few = ServerLimits(connections=8, connections_of_address=3)
    async with served(few, proxy="127.0.0.1") as (server, counted), contextlib.AsyncExitStack() as clients:
        for _ in range(7):
            one = await clients.enter_async_context(
                connected(server, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            )
            await one.head()
        assert b"200 OK" in (
            await answer_to(server, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        )
        assert counted.reasons == []


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * HEAD_MAX_LINES + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * HEAD_MAX_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 2000 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9, 411),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n", 400),
    ],
)
async def test_what_is_no_fit_request_is_refused_in_our_shape(said: bytes, status: int) -> None:
    async with served() as (server, counted):
        answered, headers, fault = fault_of(await answer_to(server, said))
        assert answered == status
        assert SECURITY_HEADERS.items() <= headers.items()
        assert set(fault) == {"found", "wanted", "do"}
        assert counted.reasons == ["malformed"]
        assert counted.bodies == []


async def test_a_long_head_behind_another_request_is_refused_too() -> None:
    async with served() as (server, counted):
        long = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 2000 + b"\r\n"
        refused = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" + long
        for first in (GET, refused):
            answer = await answer_to(server, first + long)
            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert b"HTTP/1.1 431 " in answer
        assert counted.reasons == ["malformed"] * 2


async def test_a_head_of_any_length_is_hung_up_on() -> None:
    async with served() as (server, counted):
        await answer_to(server, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100_000)
        assert counted.reasons == ["malformed"]


async def test_a_header_of_a_proxy_says_nothing_about_who_asks() -> None:
    async with served() as (server, counted):
        said = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.9\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in await answer_to(server, said)
        assert counted.addresses == ["127.0.0.1"]


async def test_an_upgrade_to_another_protocol_is_not_made() -> None:
    async with served() as (server, _):
        said = GET.replace(
            b"\r\n\r\n",
            b"\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\n\r\n",
        )
        assert (await answer_to(server, said)).startswith(b"HTTP/1.1 200 OK")
