"""The spool between a cut snippet and Redis: on disk before anything is promised, in order, bounded.

An entry is one file with the two messages of a snippet. It is written under a temporary name, fsynced, renamed, and
the folder is fsynced; it goes when Redis has answered. One script adds both messages, and leaves a mark for the
snippet, so that an entry whose answer was lost is not added twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import struct
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from services.motion.metrics import MotionMetrics
from shared.contract import MEDIA, SNIPPETS, Fields, MediaMessage, SnippetMessage
from shared.errors import Permanent, redact
from shared.logs import get_logger
from shared.streams import AWAY

log = get_logger(__name__)

_MAGIC = b"clipwatch outbox 1\n"
_SUFFIX = ".snippet"
MARK_S = 7 * 86400  # how long Redis remembers that a snippet was added

# KEYS: media stream, snippets stream, mark. ARGV: backlog_max, mark_s, number of media values, them, snippet values.
_ADD = """
if redis.call('EXISTS', KEYS[3]) == 1 then return 'known' end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[1]) then return 'busy' end
local count = tonumber(ARGV[3])
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4, 3 + count))
redis.call('XADD', KEYS[2], '*', 'media_id', id, unpack(ARGV, 4 + count))
redis.call('SET', KEYS[3], id, 'EX', ARGV[2])
return id
"""


class OutboxFull(Exception):
    """The bound is reached: wait, or count the snippet as dropped."""


class BrokenEntry(Permanent):
    """An entry that does not hold what was written: the disk lost something."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A snippet that waits on disk."""

    name: str
    n_bytes: int


class Outbox:
    """Entries in the order in which they came, of this process and of the ones before. Safe between threads."""

    def __init__(self, folder: Path, max_bytes: int, metrics: MotionMetrics | None = None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._changed = threading.Condition()
        self._entries: OrderedDict[str, int] = OrderedDict()
        self._keys: set[str] = set()
        self._on_put: Callable[[], None] = lambda: None
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.tmp"):
            left.unlink()
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            self._entries[path.name] = path.stat().st_size
            self._keys.add(_key_of(path.name))
        last = next(reversed(self._entries), None)
        self._next = int(last.split(".", 1)[0]) + 1 if last else 0
        self._measure()

    @property
    def n_entries(self) -> int:
        return len(self._entries)

    @property
    def n_bytes(self) -> int:
        return sum(self._entries.values())

    def on_put(self, call: Callable[[], None]) -> None:
        """Call `call` (from any thread) whenever an entry was put."""
        self._on_put = call

    def put(self, media: MediaMessage, snippet: SnippetMessage) -> bool:
        """Write both messages to disk; return False when this snippet is waiting there already.

        Raises OutboxFull when the bound is reached, OSError when the disk refuses.
        """
        header = snippet.header
        key = f"{header.event_id}.{header.snippet}"
        content = _pack(media.encode(), snippet.encode())
        with self._changed:
            if key in self._keys:
                return False
            if self._entries and sum(self._entries.values()) + len(content) > self._max_bytes:
                raise OutboxFull
            name = f"{self._next:016d}.{key}{_SUFFIX}"
            write_durably(self._folder / name, content)
            self._next += 1
            self._entries[name] = len(content)
            self._keys.add(key)
            self._measure()
        self._on_put()
        return True

    def wait_until_fewer(self, n_entries: int, timeout_s: float) -> bool:
        """Wait until fewer than `n_entries` are left; tell whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._entries) < n_entries, timeout_s)

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until an entry went, or the time is over."""
        with self._changed:
            self._changed.wait(timeout_s)

    def first(self) -> Entry | None:
        """Return the entry that has waited longest."""
        with self._changed:
            name = next(iter(self._entries), None)
            return None if name is None else Entry(name, self._entries[name])

    def read(self, entry: Entry) -> tuple[Fields, Fields]:
        """Return the fields of the media and of the snippet message; raise BrokenEntry or OSError."""
        return _unpack((self._folder / entry.name).read_bytes())

    def remove(self, entry: Entry) -> None:
        """Forget `entry`: Redis has it."""
        with self._changed:
            (self._folder / entry.name).unlink(missing_ok=True)
            self._forget(entry)

    def set_aside(self, entry: Entry) -> None:
        """Keep a broken entry for a look at it, out of the way."""
        with self._changed:
            aside = self._folder / "broken"
            aside.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                (self._folder / entry.name).rename(aside / entry.name)
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        self._entries.pop(entry.name, None)
        self._keys.discard(_key_of(entry.name))
        self._measure()
        self._changed.notify_all()

    def _measure(self) -> None:
        if self._metrics:
            self._metrics.outbox_entries.set(len(self._entries))
            self._metrics.outbox_bytes.set(sum(self._entries.values()))


class Publisher:
    """Sends the outbox to Redis, oldest first, whenever Redis answers and has room."""

    def __init__(
        self, outbox: Outbox, redis: Redis, backlog_max: int, owner: str, metrics: MotionMetrics | None = None
    ) -> None:
        """`owner` tells the marks of this data directory from others that analyse the same file."""
        self._outbox = outbox
        self._backlog_max = backlog_max
        self._owner = owner
        self._metrics = metrics
        self._add = redis.register_script(_ADD)
        self._wake = asyncio.Event()
        self._trouble = ""
        self._trouble_since = 0.0

    async def run(self, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> None:
        """Send until `stop`."""
        loop = asyncio.get_running_loop()
        self._outbox.on_put(lambda: _call_soon(loop, self._wake.set))
        backoff_s = 0.1
        while not stop.is_set():
            beat()
            self._wake.clear()
            outcome = await self.send_one()
            if outcome == "sent":
                backoff_s = 0.1
                continue
            wait_s = {"empty": 1.0, "busy": 0.2}.get(outcome, backoff_s)
            if outcome == "away":
                backoff_s = min(backoff_s * 2, 5.0)
            waiting = self._wake.wait() if outcome == "empty" else stop.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiting, wait_s)

    def nudge(self) -> None:
        """End a wait for the next entry."""
        self._wake.set()

    async def flush(self, within_s: float) -> bool:
        """Send what is left, for at most `within_s`; tell whether all went."""
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            try:
                outcome = await asyncio.wait_for(self.send_one(), max(0.05, ends - time.monotonic()))
            except TimeoutError:
                return False
            if outcome == "empty":
                return True
            if outcome != "sent":
                await asyncio.sleep(0.1)
        return self._outbox.n_entries == 0

    async def send_one(self) -> str:
        """Send the oldest entry; return 'sent', 'empty', 'busy' (enough waits in Redis) or 'away'."""
        entry = self._outbox.first()
        if entry is None:
            return "empty"
        try:
            media, snippet = await asyncio.to_thread(self._outbox.read, entry)
        except (BrokenEntry, FileNotFoundError) as exc:
            log.error("an outbox entry is broken, it is set aside", entry=entry.name, error=str(exc))
            if self._metrics:
                self._metrics.outbox_broken.inc()
            self._outbox.set_aside(entry)
            return "sent"
        snippet.pop(b"media_id", None)
        media_values = [part for pair in media.items() for part in pair]
        snippet_values = [part for pair in snippet.items() for part in pair]
        try:
            answer = await self._add(
                keys=[MEDIA, SNIPPETS, f"clipwatch:published:{self._owner}:{_key_of(entry.name)}"],
                args=[self._backlog_max, MARK_S, len(media_values), *media_values, *snippet_values],
            )
        except (*AWAY, ResponseError, RedisError) as exc:
            self._went(exc)
            return "away"
        self._returned()
        if cast("bytes", answer) == b"busy":
            return "busy"
        self._outbox.remove(entry)
        return "sent"

    def _went(self, exc: BaseException) -> None:
        if not self._trouble:
            self._trouble_since = time.monotonic()
            log.warning(
                "Redis does not take snippets, they wait on disk",
                error=redact(str(exc)),
                entries=self._outbox.n_entries,
            )
        self._trouble = str(exc)

    def _returned(self) -> None:
        if self._trouble:
            log.info(
                "Redis takes snippets again",
                away_s=round(time.monotonic() - self._trouble_since, 1),
                entries=self._outbox.n_entries,
            )
        self._trouble = ""


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that is there completely or not at all, whatever happens meanwhile."""
    temporary = path.with_name(path.name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def owner_of(secret: bytes) -> str:
    """Return a short public name of a data directory, made of its secret."""
    return hashlib.sha256(b"owner" + secret).hexdigest()[:12]


def _key_of(name: str) -> str:
    return name.split(".", 1)[1].removesuffix(_SUFFIX)


def _pack(*messages: Fields) -> bytes:
    parts = [_MAGIC]
    for fields in messages:
        parts.append(struct.pack(">I", len(fields)))
        for name, value in fields.items():
            parts += [struct.pack(">II", len(name), len(value)), name, value]
    body = b"".join(parts)
    return body + struct.pack(">I", zlib.crc32(body))


def _unpack(content: bytes) -> tuple[Fields, Fields]:
    if not content.startswith(_MAGIC) or len(content) < len(_MAGIC) + 4:
        raise BrokenEntry("not an outbox entry")
    body, (checksum,) = content[:-4], struct.unpack(">I", content[-4:])
    if zlib.crc32(body) != checksum:
        raise BrokenEntry("the checksum does not match")
    at = len(_MAGIC)
    messages: list[Fields] = []
    for _ in range(2):
        (count,) = struct.unpack_from(">I", body, at)
        at += 4
        fields: Fields = {}
        for _ in range(count):
            name_size, value_size = struct.unpack_from(">II", body, at)
            at += 8
            fields[body[at : at + name_size]] = body[at + name_size : at + name_size + value_size]
            at += name_size + value_size
        messages.append(fields)
    return messages[0], messages[1]


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(call)
