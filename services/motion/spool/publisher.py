"""Sends the outbox to Redis, oldest first.

One script adds both messages of a snippet and leaves a mark for it, so that a snippet is not added twice when the
answer to the first time was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from services.motion.metrics import MotionMetrics
from services.motion.spool.outbox import BrokenEntry, Outbox, OutboxEntry
from shared.contract import MEDIA, SNIPPETS
from shared.errors import redact
from shared.logs import get_logger
from shared.streams.connection import AWAY

log = get_logger(__name__)

MARK_S = 7 * 86400  # how long Redis remembers that a snippet was added
LONGEST_PAUSE_S = 2.0  # while Redis is away: a replica that took over is found within this
RECORDED = "recorded"  # the mark once its receipt came; before that: 'snippet <entry id>'

# KEYS: media stream, snippets stream, mark. ARGV: backlog_max, mark_s, number of media values, them, snippet values.
# Answers 'busy', the mark, or 'added'.
_ADD = """
local mark = redis.call('GET', KEYS[3])
if mark then return mark end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[1]) then return 'busy' end
local count = tonumber(ARGV[3])
local id = redis.call('XADD', KEYS[1], '*', unpack(ARGV, 4, 3 + count))
local snippet = redis.call('XADD', KEYS[2], '*', 'media_id', id, unpack(ARGV, 4 + count))
redis.call('SET', KEYS[3], 'snippet ' .. snippet, 'EX', ARGV[2])
return 'added'
"""


class Publisher:
    """Sends the outbox to Redis, oldest first, whenever Redis answers and has room."""

    def __init__(
        self, outbox: Outbox, redis: Redis, backlog_max: int, owner: str, metrics: MotionMetrics | None = None
    ) -> None:
        """`owner` keeps the marks of this data directory apart from others that analyse the same file."""
        self._outbox = outbox
        self._backlog_max = backlog_max
        self._owner = owner
        self._metrics = metrics
        self._add = redis.register_script(_ADD)
        self._wake = asyncio.Event()
        self._trouble = ""
        self._trouble_since = 0.0
        self._unreadable: set[str] = set()  # keys of entries that the disk did not give; logged

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
            if outcome in ("away", "unreadable"):
                backoff_s = min(backoff_s * 2, LONGEST_PAUSE_S)
            waiting = self._wake.wait() if outcome == "empty" else stop.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(waiting, wait_s)

    def nudge(self) -> None:
        """End a wait for the next entry."""
        self._wake.set()

    async def flush(self, within_s: float) -> bool:
        """Send what is left, for at most `within_s`; return whether all was sent."""
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
        """Send the oldest entry; return 'sent', 'empty', 'busy' (enough waits in Redis), 'unreadable' or 'away'."""
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
        except OSError as exc:
            self._cannot_read(entry, exc)
            return "unreadable"
        self._unreadable.discard(entry.key)
        snippet.pop(b"media_id", None)
        media_values = [part for pair in media.items() for part in pair]
        snippet_values = [part for pair in snippet.items() for part in pair]
        try:
            answer = await self._add(
                keys=[MEDIA, SNIPPETS, mark_of(self._owner, entry.key)],
                args=[self._backlog_max, MARK_S, len(media_values), *media_values, *snippet_values],
            )
        except (*AWAY, ResponseError, RedisError) as exc:
            self._redis_is_away(exc)
            return "away"
        self._redis_is_back()
        mark = cast("bytes", answer)
        if mark == b"busy":
            return "busy"
        if mark == RECORDED.encode():
            self._outbox.remove(entry)
        else:
            self._outbox.keep(entry)
        return "sent"

    def _cannot_read(self, entry: OutboxEntry, exc: OSError) -> None:
        """Log it once and send the others first; then it is tried again."""
        if entry.key not in self._unreadable:
            self._unreadable.add(entry.key)
            log.error("an outbox entry cannot be read, it is tried again", entry=entry.name, error=exc)
        self._outbox.postpone(entry)

    def _redis_is_away(self, exc: BaseException) -> None:
        if not self._trouble:
            self._trouble_since = time.monotonic()
            log.warning(
                "Redis does not take snippets, they wait on disk",
                error=redact(str(exc)),
                entries=self._outbox.n_entries,
            )
        self._trouble = str(exc)

    def _redis_is_back(self) -> None:
        if self._trouble:
            log.info(
                "Redis takes snippets again",
                away_s=round(time.monotonic() - self._trouble_since, 1),
                entries=self._outbox.n_entries,
            )
        self._trouble = ""


def owner_of(secret: bytes) -> str:
    """Return a short public name of a data directory, made from its secret."""
    return hashlib.sha256(b"owner" + secret).hexdigest()[:12]


def mark_of(owner: str, key: str) -> str:
    """Return the key of a snippet's mark in Redis, for the data directory `owner`."""
    return f"clipwatch:published:{owner}:{key}"


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(call)
