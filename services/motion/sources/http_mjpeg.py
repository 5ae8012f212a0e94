"""A camera that sends JPEG after JPEG in one endless HTTP answer (multipart/x-mixed-replace, RFC 2046 §5.1).

The parser is pure and bounded: cameras leave lengths out, get them wrong, and name another boundary than they send.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit

from services.motion.sources.coded_pictures import CodedPicture, CodedPictureStream
from services.motion.sources.redirects import MOST_REDIRECTS, STATUSES, redirected
from services.motion.sources.stream import SourceAway
from shared.clock import steady_s
from shared.errors import redact
from shared.urls import HOW_TO_QUOTE, shown_url

MAX_PART_BYTES = 16 * 1024 * 1024  # a JPEG of 8K at best quality is smaller
MAX_HEADER_BYTES = 8 * 1024
READ_BYTES = 64 * 1024
_JPEG = b"\xff\xd8"


@dataclass(slots=True)
class MultipartParser:
    """Finds the JPEGs in the bytes of an answer; calls `on_drop` for parts that are none."""

    on_drop: Callable[[str], None]
    _buffer: bytearray = field(default_factory=bytearray)
    _boundary: bytes | None = None  # with its dashes; the one that is sent, whatever the answer's header says
    _scanned: int = 0  # of the buffer, without finding a boundary
    _in_part: bool = False
    _length: int | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the pictures that `data` completes."""
        self._buffer += data
        parts: list[bytes] = []
        while self._step(parts):
            pass
        return parts

    def _step(self, parts: list[bytes]) -> bool:
        """Go on by one boundary, header or body; False: more bytes are needed."""
        return self._body(parts) if self._in_part else self._head()

    def _head(self) -> bool:
        if not self._find_boundary():
            return False
        assert self._boundary is not None
        start = len(self._boundary)
        ends = [
            (at, len(mark)) for mark in (b"\r\n\r\n", b"\n\n") if (at := self._buffer.find(mark, start)) >= 0
        ]
        if not ends:
            if len(self._buffer) > MAX_HEADER_BYTES:
                self._give_up("broken_part", start)
                return True
            return False
        at, width = min(ends)
        self._length = _length_in(bytes(self._buffer[start:at]))
        del self._buffer[: at + width]
        self._in_part, self._scanned = True, 0
        if self._length is not None and self._length > MAX_PART_BYTES:
            self._give_up("huge_part", 0)
        return True

    def _find_boundary(self) -> bool:
        """Move the next boundary to the front of the buffer; what lies before it is no picture."""
        if self._boundary is None:
            self._boundary = _first_boundary(self._buffer)
        at = -1 if self._boundary is None else self._buffer.find(self._boundary)
        if at < 0:
            kept = MAX_HEADER_BYTES if self._boundary is None else len(self._boundary)
            del self._buffer[: max(0, len(self._buffer) - kept)]
            return False
        del self._buffer[:at]
        return True

    def _body(self, parts: list[bytes]) -> bool:
        assert self._boundary is not None
        if self._length is not None and len(self._buffer) < self._length:
            return False
        mark = self._boundary if self._length is None else b"\n" + self._boundary
        at = self._buffer.find(mark, self._scanned)
        if self._length is not None:
            end = (
                self._length if at < 0 or at >= self._length else at
            )  # a length that reaches into the next part
        elif at < 0:
            self._scanned = max(0, len(self._buffer) - len(self._boundary))
            if len(self._buffer) > MAX_PART_BYTES:
                self._give_up("huge_part", len(self._buffer) - len(self._boundary))
                return True
            return False
        else:
            end = at
        part = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._in_part, self._scanned = False, 0
        if part.startswith(_JPEG):
            parts.append(part)
        else:
            self.on_drop("broken_part")
        return True

    def _give_up(self, reason: str, upto: int) -> None:
        self.on_drop(reason)
        del self._buffer[:upto]
        self._in_part, self._scanned = False, 0


def _first_boundary(buffer: bytearray) -> bytes | None:
    """Return the first whole line that begins with two dashes."""
    start = 0 if buffer.startswith(b"--") else buffer.find(b"\n--") + 1
    if start == 0 and not buffer.startswith(b"--"):
        return None
    end = buffer.find(b"\n", start)
    line = bytes(buffer[start:end]).strip() if end >= 0 else b""
    return line if 2 < len(line) <= 256 else None


def _length_in(header: bytes) -> int | None:
    for line in header.split(b"\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return int(value.strip()[:18]) or None
    return None


def open_mjpeg(url: str, open_s: float, read_s: float, on_drop: Callable[[str], None]) -> CodedPictureStream:
    """Open `url`; raise SourceAway, without credentials, when it does not send JPEGs in parts.

    The deadlines hold for each wait on the socket and for each picture. A server that trickles its header is left
    behind by the caller.
    """
    answer = _ask(url, max(open_s, read_s))
    kind = answer.headers.get_content_type()
    if not kind.startswith("multipart/"):
        answer.close()
        raise SourceAway(f"{redact(url)}: sends {kind}, wanted multipart/x-mixed-replace with JPEGs in it")
    return CodedPictureStream(_pictures(answer, read_s, on_drop), on_drop, answer.close)


def _ask(url: str, within_s: float) -> http.client.HTTPResponse:
    """Return the camera's answer, redirects followed as far as they may be."""
    try:
        target = _without_login(url)
        for _ in range(1 + MOST_REDIRECTS):
            try:
                answer: http.client.HTTPResponse = _opener(url, target).open(target, timeout=within_s)
                return answer
            except urllib.error.HTTPError as exc:
                exc.close()
                location = exc.headers.get("Location", "")
                if exc.code not in STATUSES or not location:
                    raise SourceAway(f"{redact(url)}: {_refused(exc)}") from exc
                target = _without_login(redirected(target, location, redact(url)))
        raise SourceAway(f"{redact(url)}: redirects more than {MOST_REDIRECTS} times")
    except (ValueError, http.client.InvalidURL):  # without the text, which may quote a piece of the password
        raise SourceAway(f"{shown_url(url)}: this address cannot be asked; {HOW_TO_QUOTE}") from None
    except (OSError, http.client.HTTPException) as exc:
        raise SourceAway(f"{shown_url(url)}: {_say(exc)}") from exc


def _refused(exc: urllib.error.HTTPError) -> str:
    return "user name or password is wrong" if exc.code in (401, 403) else f"answers {exc.code} {exc.reason}"


def _pictures(
    answer: http.client.HTTPResponse, read_s: float, on_drop: Callable[[str], None]
) -> Iterator[CodedPicture]:
    parser = MultipartParser(on_drop)
    due_s = time.monotonic() + read_s
    while True:
        try:
            data = answer.read1(READ_BYTES)
        except (OSError, ValueError, http.client.HTTPException) as exc:
            raise SourceAway(_say(exc)) from exc
        if not data:
            return
        arrived_s = steady_s()
        parts = parser.feed(data)
        if parts:
            due_s = time.monotonic() + read_s
        elif time.monotonic() > due_s:  # it trickles: no wait on the socket is ever too long
            raise SourceAway("no picture in time")
        for part in parts:
            yield CodedPicture("mjpeg", part, None, arrived_s)


def _opener(url: str, target: str) -> urllib.request.OpenerDirector:
    logins = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    parts = urlsplit(url)
    if parts.username:
        logins.add_password(None, target, unquote(parts.username), unquote(parts.password or ""))
    # without the library's redirects, which go anywhere, and read all of an answer before; nor file: and ftp:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPBasicAuthHandler(logins),
        urllib.request.HTTPDigestAuthHandler(logins),
    ):
        opener.add_handler(handler)
    return opener


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _say(exc: BaseException) -> str:
    reason = getattr(exc, "reason", None) or exc
    if isinstance(reason, TimeoutError):
        return "no answer in time"
    return redact(str(getattr(reason, "strerror", None) or reason or type(exc).__name__))
