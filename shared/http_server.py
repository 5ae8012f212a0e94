"""The HTTP server of a service: uvicorn's protocol behind bounds on connections, heads, bodies and slow readers.

Whoever says nothing, or says it slowly, is hung up on: a head, a body, a TLS handshake have deadlines, and so has an
answer that nobody reads. When an address has as many connections as it may, or all together have, the oldest one that
still waits for a request gives way to the new one: half-open connections cannot keep out who asks something. Where
none waits, the new one is closed. Proxies that the settings name may have all: their callers are many.

uvicorn's own `limit_concurrency` is not used: it answers everybody 503 once that many are connected, idle or not.
Knows no service.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import re
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from shared.errors import ConfigError
from shared.http_access import SECURITY_HEADERS
from shared.http_api import FaultText, fault_response
from shared.logs import get_logger
from shared.rate_limit import RefusalLog, address_key

log = get_logger(__name__)

HEAD_MAX_BYTES = 16 * 1024  # of a request's line and headers; cookies and addresses may have 8 KiB each
HEAD_MAX_LINES = 100
BACKLOG = 128
_ACCEPT_AGAIN_S = 0.5  # when no file descriptor is left
_STOP_S = 2.0
_HEAD_END = re.compile(rb"\n\r?\n")
_TCP_USER_TIMEOUT = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux

Wait = Literal["nothing", "head", "body", "reader"]
CountRefused = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """How many may connect, and how long (seconds) each part of a request may take.

    `reader_s`: without anything of an answer being taken, as nginx' send_timeout; a film that is paused is such a
    reader, and its browser asks for the rest of it when it goes on.
    """

    connections: int = 512
    connections_of_address: int = 64
    head_s: float = 10.0
    body_s: float = 15.0
    reader_s: float = 60.0
    idle_s: int = 15  # between two requests

    @property
    def seconds(self) -> dict[Wait, float]:
        return {"head": self.head_s, "body": self.body_s, "reader": self.reader_s}

    @property
    def sweep_s(self) -> float:
        """How often deadlines are looked at."""
        return min(1.0, min(self.seconds.values()) / 4)


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """What to serve, and where. `is_proxy`: whether an address is that of a proxy which the settings name."""

    app: ASGIApp
    host: str
    port: int
    cert_file: Path | None = None
    key_file: Path | None = None
    limits: ServerLimits = field(default_factory=ServerLimits)
    is_proxy: Callable[[str | None], bool] = lambda _address: False
    count_refused: CountRefused = lambda _reason: None


class RequestParser(h11.Connection):
    """h11's parser, which also bounds heads that arrive at once, and takes no body without a length.

    No browser, proxy or program of ours sends a request in chunks; a chunk of one byte costs a thousand times that.
    `refusal`: status and text of what was wrong.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEAD_MAX_BYTES)
        self.refusal = 400, FaultText(found="no HTTP request", wanted="HTTP/1.1", do="send one")

    def next_event(self) -> Any:  # Any: h11's events and its two markers
        if self.their_state is h11.IDLE:
            self._check_head()
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as exc:
            if exc.error_status_hint == 431:
                raise self._long_head() from exc
            raise
        if isinstance(event, h11.Request) and any(name == b"transfer-encoding" for name, _ in event.headers):
            text = FaultText(
                found="a body in chunks", wanted="a body with Content-Length", do="send its length"
            )
            raise self._refused(411, text)
        return event

    def _check_head(self) -> None:
        waiting, _ = self.trailing_data
        head = waiting[:HEAD_MAX_BYTES]
        end = _HEAD_END.search(head)
        if (end is None and len(waiting) > HEAD_MAX_BYTES) or head.count(
            b"\n", 0, end.start() if end else None
        ) > HEAD_MAX_LINES:
            raise self._long_head()

    def _long_head(self) -> h11.RemoteProtocolError:
        wanted = f"at most {HEAD_MAX_LINES} headers, {HEAD_MAX_BYTES} bytes together"
        text = FaultText(found="headers that are too many or too long", wanted=wanted, do="send less of them")
        return self._refused(431, text)

    def _refused(self, status: int, text: FaultText) -> h11.RemoteProtocolError:
        self.refusal = status, text
        return h11.RemoteProtocolError(text.found, error_status_hint=status)


class HttpConnection(H11Protocol):
    """uvicorn's protocol of one connection, which knows what it waits for, and refuses in the shape of our faults."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, count: CountRefused, ended: Callable[[], None]
    ) -> None:
        super().__init__(config, state, {})
        self.conn: RequestParser = RequestParser()
        self._count, self._ended = count, ended
        self._n_requests = 0
        self._seen: tuple[Wait, int] = "nothing", 0
        self._seen_s = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._n_requests += 1
        super().on_response_complete()

    @property
    def is_waiting(self) -> bool:
        """Whether the next thing has to come from the client, or nothing comes any more."""
        return self.transport.is_closing() or self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def hang_up_late(self, limits: ServerLimits, now_s: float) -> None:
        """End the connection when what it waits for has not moved for as long as it may."""
        wait = self._wait()
        if wait != self._seen:
            self._seen, self._seen_s = wait, now_s
            return
        kind = wait[0]
        if kind == "nothing" or now_s - self._seen_s < limits.seconds[kind]:
            return
        self._count("slow")
        if kind == "reader" or (kind == "head" and not self.conn.trailing_data[0]):
            self.transport.abort()
        else:
            text = FaultText(
                found=f"a slow {kind} of a request", wanted="all of it in time", do="send it at once"
            )
            self.refuse(408, text)

    def _wait(self) -> tuple[Wait, int]:
        """Return what the client has to do next, and a number that changes when it does some of it."""
        n_bytes = self.transport.get_write_buffer_size()
        if n_bytes > 0 or self.transport.is_closing():
            return "reader", n_bytes
        if self.conn.their_state is h11.SEND_BODY:
            return "body", self._n_requests
        is_idle = self._n_requests > 0 and not self.conn.trailing_data[0]  # uvicorn closes it after `idle_s`
        if self.conn.their_state is h11.IDLE and not is_idle:
            return "head", self._n_requests
        return "nothing", 0

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text is the same for all
        self._count("malformed")
        self.refuse(*self.conn.refusal)

    def refuse(self, status: int, text: FaultText) -> None:
        """Answer with a fault, if no answer has begun, and hang up."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = fault_response(status, [text], {"cache-control": "no-store", **SECURITY_HEADERS})
            headers = [*self.server_state.default_headers, *answer.raw_headers, (b"connection", b"close")]
            events = (
                h11.Response(status_code=status, headers=headers),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            )
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()


@dataclass(slots=True, eq=False)
class _Peer:
    """One connection of an address, from its being accepted on."""

    address: str
    task: asyncio.Task[None] | None = None  # makes the connection; of TLS that takes a while
    protocol: HttpConnection | None = None

    @property
    def is_waiting(self) -> bool:
        return self.protocol is None or self.protocol.transport is None or self.protocol.is_waiting

    def end(self) -> None:
        if self.task is not None and not self.task.done():
            self.task.cancel()
        elif self.protocol is not None:
            self.protocol.transport.abort()


class HttpServer:
    """Accepts connections and serves them until `close`."""

    def __init__(self, plan: ServerPlan) -> None:
        self._plan, self._limits = plan, plan.limits
        self._listener = _listen(plan.host, plan.port)
        self.port: int = self._listener.getsockname()[1]
        self._config = uvicorn.Config(
            plan.app,
            http=HttpConnection,
            ws="none",
            proxy_headers=False,  # shared/access.py reads them, of proxies that the settings name only
            log_config=None,
            access_log=False,
            timeout_keep_alive=plan.limits.idle_s,
            timeout_graceful_shutdown=1,
            lifespan="off",
            server_header=False,
            ssl_certfile=plan.cert_file,
            ssl_keyfile=plan.key_file,
        )
        self._config.load()
        self._uvicorn = uvicorn.Server(
            self._config
        )  # its clock for Date headers, and its end; it accepts nothing
        self._uvicorn.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # signals are ours
        self._of_address: dict[str, dict[_Peer, None]] = {}  # in the order of their coming
        self._peers: dict[_Peer, None] = {}
        self._refusals = RefusalLog(log)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def n_connections(self) -> int:
        return len(self._peers)

    def start(self) -> None:
        """Begin to accept, in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._uvicorn.serve(sockets=[]), name="http"),
            asyncio.create_task(self._accept(), name="http connections"),
            asyncio.create_task(self._sweep(), name="http deadlines"),
        ]

    async def close(self) -> None:
        """Accept no more, let answers end that are about to, and hang up on all others."""
        serving, *others = self._tasks
        self._uvicorn.should_exit = True
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        self._listener.close()
        await asyncio.wait({serving}, timeout=0.5)
        for peer in list(self._peers):  # what streams without end (SSE) is hung up on
            if peer.protocol is not None and peer.protocol.transport is not None:
                peer.protocol.transport.close()
            else:
                peer.end()
        await asyncio.wait({serving}, timeout=_STOP_S)
        serving.cancel()
        await asyncio.wait({serving})

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(self._listener)
            except OSError as exc:
                if exc.errno != errno.ECONNABORTED:
                    self._refusals.warn("connections cannot be accepted", "all", error=exc)
                    await asyncio.sleep(_ACCEPT_AGAIN_S)
                continue
            host = str(address[0])
            if self._has_room(host):
                self._admit(connection, address_key(host))
            else:
                self._refused(address_key(host))
                connection.close()
            await asyncio.sleep(0)  # however many wait to be accepted, those that are go on

    def _has_room(self, host: str) -> bool:
        """Whether one more may come, for which one that waits may have had to go."""
        own = self._of_address.get(address_key(host), {})
        if len(own) >= self._limits.connections_of_address and not self._plan.is_proxy(host):
            return self._end_waiting(own)
        if len(self._peers) < self._limits.connections:
            return True
        most = max(self._of_address.values(), key=len)
        return self._end_waiting(most) or self._end_waiting(self._peers)

    def _end_waiting(self, peers: Iterable[_Peer]) -> bool:
        peer = next((one for one in peers if one.is_waiting), None)
        if peer is None:
            return False
        self._refused(peer.address)
        peer.end()
        self._forget(peer)
        return True

    def _admit(self, connection: socket.socket, address: str) -> None:
        peer = _Peer(address)
        self._peers[peer] = None
        self._of_address.setdefault(address, {})[peer] = None
        peer.task = asyncio.create_task(self._connect(connection, peer), name="http connection")

    async def _connect(self, connection: socket.socket, peer: _Peer) -> None:
        """Hand an accepted connection to its protocol, which lives on until it is lost."""

        def protocol() -> HttpConnection:
            state, count = self._uvicorn.server_state, self._plan.count_refused
            peer.protocol = HttpConnection(self._config, state, count, lambda: self._forget(peer))
            return peer.protocol

        tls = self._config.ssl
        if _TCP_USER_TIMEOUT is not None:  # of a peer that has gone without a word
            milliseconds = int(self._limits.reader_s * 1000)
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, milliseconds)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                protocol, connection, ssl=tls, ssl_handshake_timeout=self._limits.head_s if tls else None
            )
        except (
            OSError,
            asyncio.CancelledError,
        ):  # no handshake, or too late; asyncio closes what it has begun
            self._forget(peer)

    def _forget(self, peer: _Peer) -> None:
        self._peers.pop(peer, None)
        own = self._of_address.get(peer.address, {})
        own.pop(peer, None)
        if not own:
            self._of_address.pop(peer.address, None)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._limits.sweep_s)
            now_s = time.monotonic()
            for peer in list(self._peers):
                if peer.protocol is not None and peer.protocol.transport is not None:
                    peer.protocol.hang_up_late(self._limits, now_s)

    def _refused(self, address: str) -> None:
        self._plan.count_refused("connections")
        self._refusals.warn("too many connections: some were closed", address, connections=len(self._peers))


@contextlib.asynccontextmanager
async def http_server(plan: ServerPlan) -> AsyncIterator[HttpServer]:
    """Serve while the block runs; raise ConfigError when the port cannot be had."""
    server = HttpServer(plan)
    server.start()
    log.info("listening", host=plan.host, port=server.port)
    try:
        yield server
    finally:
        await server.close()


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
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
