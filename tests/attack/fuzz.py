"""Requests of HTTP/1.1 that nobody sends by accident, from a seed: the same number gives the same requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

READ_BYTES = 65536
ROUTES = (
    ("GET", "/"),
    ("GET", "/web/{text}"),
    ("GET", "/cameras/{text}"),
    ("GET", "/api/me"),
    ("POST", "/api/login"),
    ("POST", "/api/logout"),
    ("POST", "/api/setup"),
    ("GET", "/api/users"),
    ("POST", "/api/users"),
    ("PATCH", "/api/users/{text}"),
    ("DELETE", "/api/users/{text}"),
    ("GET", "/api/sessions"),
    ("DELETE", "/api/sessions/{text}"),
    ("GET", "/api/tokens"),
    ("POST", "/api/tokens"),
    ("DELETE", "/api/tokens/{text}"),
    ("GET", "/api/events"),
    ("GET", "/api/events/{event}"),
    ("PUT", "/api/events/{event}/protected"),
    ("GET", "/api/events/{event}/links"),
    ("POST", "/api/events/{event}/links"),
    ("GET", "/api/retention"),
    ("GET", "/api/stats"),
    ("GET", "/api/health"),
    ("GET", "/api/search"),
    ("GET", "/api/search/like"),
    ("POST", "/api/search/like"),
    ("GET", "/api/gaps"),
    ("GET", "/api/quality"),
    ("GET", "/api/quality/threshold"),
    ("GET", "/api/check"),
    ("GET", "/api/stream"),
    ("POST", "/api/hindsight"),
    ("GET", "/api/relabels"),
    ("POST", "/api/relabels/{event}/undo"),
    ("GET", "/media/{text}"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/api/cameras"),
    ("GET", "/api/cameras/{camera}"),
    ("PATCH", "/api/cameras/{camera}"),
    ("PUT", "/api/cameras/{camera}/labels"),
    ("POST", "/api/cameras/{camera}/trial"),
    ("GET", "/api/cameras/{camera}/picture.jpg"),
    ("GET", "/api/cameras/{camera}/looks"),
    ("POST", "/api/cameras/{camera}/whep"),
    ("GET", "/api/cameras/{camera}/whep/{text}"),
    ("DELETE", "/api/cameras/{camera}/whep/{text}"),
    ("OPTIONS", "/whip/{camera}"),
    ("POST", "/whip/{camera}"),
    ("DELETE", "/whip/{camera}/{text}"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "X" * 40)
HEADERS = (
    "Cookie",
    "Origin",
    "If-Match",
    "Range",
    "X-Forwarded-For",
    "Forwarded",
    "Sec-Fetch-Site",
    "Accept",
)
PARAMETERS = (
    "limit",
    "before",
    "after",
    "camera",
    "label",
    "q",
    "event",
    "snippet",
    "picture",
    "since",
    "until",
    "cursor",
    "by",
    "zone",
    "token",
    "x",
)
TYPES = (
    "application/json",
    "application/sdp",
    "image/jpeg",
    "text/plain",
    "multipart/form-data; boundary=x",
    "application/json" * 90,
)
SNIPPETS: Sequence[str] = (
    "",
    "a" * 1000,
    "a" * 60_000,
    "..%2f..%2fetc%2fpasswd",
    "../../etc/passwd",
    "%00",
    "%ff%fe",
    "%c0%ae%c0%ae/",
    "%0d%0aset-cookie:x=1",
    "//evil.example/",
    "http://evil.example/",
    "'; drop table events; --",
    "{{7*7}}${7*7}",
    "-1",
    "9" * 400,
    "1e999",
    "NaN",
    "2026-11-30T04:00:00Z",
    "9999-12-31T23:59:59%2B14:00",
    "0001-01-01T00:00:00-23:59",
    "user=admin_password=" * 200,
    "://" * 2000,
    "@" * 3000,
    "%F0%9F%A6%8A" * 300,
    "gate",
    "[]",
    "*",
    "0" * 32,
    "018f0000-0000-7000-8000-000000000000",
)
IDS = {
    "event": ("018f0000-0000-7000-8000-000000000000", "018f", "f" * 36),
    "camera": ("gate", "yard", "phone", "nobody"),
    "text": ("x", "app.js", "0" * 32, "a/b/c.mp4"),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: no status when the connection was closed without an answer."""

    status: int | None
    took_s: float


class Fuzzer:
    """Makes requests. A third of them is well-formed but for one thing."""

    def __init__(self, seed: int, token: str) -> None:
        self._random = random.Random(seed)
        self._token = token

    def requests(self, count: int) -> Iterator[bytes]:
        """Yield requests as bytes."""
        for _ in range(count):
            yield self._request()

    def _request(self) -> bytes:
        some = self._random
        method, path = some.choice(ROUTES)
        if some.random() < 0.1:
            method = some.choice(METHODS)
        body = self.body() if method not in ("GET", "HEAD") or some.random() < 0.05 else b""
        lines = [f"{method} {self._target(path)} HTTP/1.1".encode("utf-8", "surrogateescape")]
        lines += [
            f"{name}: {value}".encode("utf-8", "surrogateescape") for name, value in self._headers(len(body))
        ]
        return b"\r\n".join(lines) + b"\r\n\r\n" + body

    def _target(self, path: str) -> str:
        some = self._random
        for name, known in IDS.items():
            given = some.choice(known) if some.random() < 0.5 else some.choice(SNIPPETS)
            path = path.replace("{" + name + "}", given)
        if some.random() < 0.5:
            pairs = (
                f"{some.choice(PARAMETERS)}={some.choice(SNIPPETS)}" for _ in range(some.randrange(1, 5))
            )
            path += "?" + "&".join(pairs)
        return path.replace(" ", "%20") or "/"

    def _headers(self, n_bytes: int) -> Iterator[tuple[str, str]]:
        some = self._random
        yield "Host", "127.0.0.1" if some.random() < 0.9 else some.choice(SNIPPETS)
        if some.random() < 0.85:
            yield "Authorization", f"Bearer {self._token}"
        if some.random() < 0.9:
            yield "Content-Type", some.choice(TYPES[:3]) if some.random() < 0.8 else some.choice(TYPES)
        if n_bytes or some.random() < 0.1:
            odd = some.choice(("-1", "99999999999", "1, 2", "0x10", "", "1_0"))
            yield "Content-Length", str(n_bytes) if some.random() < 0.95 else odd
        for name in (
            "Cookie",
            "Origin",
            "If-Match",
            "Range",
            "X-Forwarded-For",
            "Forwarded",
            "Sec-Fetch-Site",
            "Accept",
        ):
            if some.random() < 0.08:
                yield name, some.choice(SNIPPETS)
        if some.random() < 0.02:
            for number in range(some.randrange(200)):
                yield f"X-{number}", "y" * some.randrange(200)

    def body(self) -> bytes:
        """Return a body: JSON of odd values, JSON that is none, or noise."""
        some = self._random
        kind = some.randrange(6)
        if kind == 0:
            return some.randbytes(some.randrange(5000))
        if kind == 1:
            depth = some.choice((10, 1000, 30_000))
            return b"[" * depth + b"]" * some.choice((0, depth))
        if kind == 2:
            return b'{"labels":' * some.choice((5, 3000)) + b"1"
        if kind == 3:
            return b"v=0\r\n" + b"".join(some.choice(_SDP_LINES) for _ in range(some.randrange(400)))
        text = json.dumps(self._value(4))
        return text.encode() if kind == 4 else text.encode()[: some.randrange(1, 200)]

    def value(self) -> object:
        """Return a value of JSON that is none of those that are wanted."""
        return self._value(3)

    def _value(self, depth: int) -> object:
        some = self._random
        kind = some.randrange(8 if depth else 6)
        if kind < 3:
            return some.choice((None, True, 0, -1, 10**30, 1e308, float("nan"), float("inf"), 0.1, 2**63))
        if kind < 6:
            return some.choice(SNIPPETS)[: some.choice((5, 200, 70_000))]
        if kind == 6:
            return [self._value(depth - 1) for _ in range(some.randrange(6))]
        names = (*_FIELDS, *(SNIPPETS[:3]))
        return {some.choice(names): self._value(depth - 1) for _ in range(some.randrange(6))}


_FIELDS = (
    "labels",
    "name",
    "password",
    "role",
    "cameras",
    "motion",
    "masks",
    "zones",
    "threshold",
    "enabled",
    "protected",
    "label_sets",
    "since",
    "until",
    "apply",
    "trials",
)
_SDP_LINES = (
    b"m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n",
    b"a=rtpmap:96 VP8/90000\r\n",
    b"a=rtpmap:96 " + b"\xff" * 300 + b"\r\n",
    b"a=candidate:1 1 udp 1 127.0.0.1 53 typ host\r\n",
    b"a=candidate:" + b"x " * 300 + b"\r\n",
    b"a=ice-ufrag:\r\n",
    b"a=fingerprint:sha-256 zz\r\n",
    b"a=setup:actpass\r\n",
    b"a=mid:0\r\n",
    b"a=group:BUNDLE 0 1 2\r\n",
    b"m=application -1 x y\r\n",
    b"\x00\r\n",
)


async def ask(port: int, request: bytes, limit_s: float) -> Reply:
    """Send one request on a connection of its own; return what was answered within `limit_s`."""
    began_s = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    status = None
    try:
        async with asyncio.timeout(limit_s):
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                writer.write(request)
                await writer.drain()
                line = await reader.readline()
                if line.startswith(b"HTTP/1.1 "):
                    status = int(line.split()[1])
    finally:
        writer.transport.abort()
    return Reply(status, time.monotonic() - began_s)
