"""Fetches a WebRTC stream from a server (WebRTC-HTTP egress, draft-ietf-wish-whep): MediaMTX, go2rtc.

`whep://host:8889/cam/whep` is asked by HTTP, `wheps://` by HTTPS. `user:password@` is sent as Basic, a lone `token@`
as Bearer.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from services.motion.sources.coded_pictures import CodedPictureStream
from services.motion.sources.redirects import MOST_REDIRECTS, STATUSES, redirected
from services.motion.sources.stream import SourceAway
from services.motion.sources.webrtc.peer import CLOSE_S, EventLoopThread, Peer, stream_of
from services.motion.sources.webrtc.session_description import MAX_SDP_BYTES, BadSessionDescription
from shared.errors import redact
from shared.urls import HOW_TO_QUOTE, shown_url


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the server said: its session description, and where the session is ended ('' if it did not say)."""

    sdp: str
    session: str


def open_whep(url: str, open_s: float, read_s: float, on_drop: Callable[[str], None]) -> CodedPictureStream:
    """Ask the server at `url` for its stream; raise SourceAway, without credentials, when it gives none in time."""
    loop = EventLoopThread("whep")
    session = ""
    peer: Peer | None = None

    def close() -> None:
        if peer is not None:
            with contextlib.suppress(TimeoutError):
                loop.call(peer.close(), CLOSE_S)
        loop.close()
        if session:
            with contextlib.suppress(SourceAway, OSError, http.client.HTTPException):
                _ask("DELETE", session, url, "", CLOSE_S)

    async def make() -> Peer:
        return Peer(on_drop)

    try:
        peer = loop.call(make(), open_s)
        answer = _post(url, loop.call(peer.offer(), open_s), open_s)
        session = answer.session
        loop.call(peer.accept(answer.sdp), open_s)
    except SourceAway:
        close()
        raise
    except (OSError, ValueError, http.client.HTTPException, BadSessionDescription) as exc:
        close()
        if isinstance(exc, ValueError | http.client.InvalidURL) and not isinstance(
            exc, BadSessionDescription
        ):
            # without its text, which may quote a piece of the password
            raise SourceAway(f"{shown_url(url)}: this address cannot be asked; {HOW_TO_QUOTE}") from None
        words = "no answer in time" if isinstance(exc, TimeoutError) else str(exc) or type(exc).__name__
        raise SourceAway(f"{redact(url)}: {redact(words)}") from exc
    return stream_of(peer, read_s, on_drop, close)


def _post(url: str, sdp: str, within_s: float) -> _Answer:
    """Send the offer, following redirects on the same host."""
    target = url
    for _ in range(1 + MOST_REDIRECTS):
        status, headers, body = _ask("POST", target, url, sdp, within_s)
        location = headers.get("Location", "")
        if status in STATUSES and location:
            target = redirected(_web(target), location, redact(url))
            continue
        if status in (401, 403):
            raise SourceAway(f"{redact(url)}: user name, password or token is wrong ({status})")
        if status not in (200, 201):
            raise SourceAway(f"{redact(url)}: answers {status}, wanted 201 with a session description")
        if len(body) > MAX_SDP_BYTES:
            raise SourceAway(f"{redact(url)}: answers more than {MAX_SDP_BYTES} bytes")
        session = redirected(_web(target), location, redact(url)) if location else ""
        return _Answer(body.decode(errors="replace"), session)
    raise SourceAway(f"{redact(url)}: redirects more than {MOST_REDIRECTS} times")


def _ask(
    method: str, target: str, url: str, body: str, within_s: float
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Ask once; the login of `url` is sent to its own host only."""
    parts, home = urlsplit(_web(target)), urlsplit(_web(url))
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    if not parts.hostname:
        raise SourceAway(f"{redact(target)}: names no host")
    connection = kind(parts.hostname, parts.port, timeout=within_s)
    headers = {"Content-Type": "application/sdp", "Accept": "application/sdp"}
    if parts.hostname == home.hostname and (login := _login(home)):
        headers["Authorization"] = login
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, body.encode(), headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read(MAX_SDP_BYTES + 1)
    finally:
        connection.close()


def _login(home: SplitResult) -> str:
    if not home.username:
        return ""
    if home.password is None:
        return f"Bearer {unquote(home.username)}"
    pair = f"{unquote(home.username)}:{unquote(home.password)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _web(url: str) -> str:
    """Return `url` as HTTP knows it."""
    return "http" + url[4:] if url.startswith("whep") else url
