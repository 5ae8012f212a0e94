"""Changes of events, as they happen, to the pages that follow them. Knows no HTTP.

One loop reads what changed since it last looked: at once when this process recorded something, and every second in
any case, since other recorders write to the same database. It reads only while somebody follows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from services.recorder.database import Database
from services.recorder.metrics import RecorderMetrics
from services.recorder.queries import changed_events
from services.recorder.records import Event
from shared.clock import now_utc
from shared.errors import Transient
from shared.logs import get_logger

log = get_logger(__name__)

POLL_S = 1.0
OVERLAP = timedelta(seconds=10)  # how late another recorder's commit may show up, clocks that differ included
BATCH = 200
PAGES = 50  # of BATCH: changes read in one go at most
QUEUE = 200  # changes that a page may lag behind before it is cut off; it then reads the list anew


class FeedFull(Exception):
    """As many pages follow as are allowed."""


class Feed:
    """Hands every change of an event to every follower; a follower that does not keep up is cut off."""

    def __init__(self, database: Database, metrics: RecorderMetrics, followers_max: int) -> None:
        self._database = database
        self._metrics = metrics
        self._followers_max = followers_max
        self._followers: set[asyncio.Queue[Event | None]] = set()
        self._kick = asyncio.Event()
        self._told: dict[str, datetime] = {}  # event -> change that was told; bounded by OVERLAP
        self._since = now_utc()

    def kick(self) -> None:
        """Say that something changed."""
        self._kick.set()

    @contextlib.contextmanager
    def follow(self) -> Iterator[asyncio.Queue[Event | None]]:
        """Yield a queue of changed events from now on; None ends it. Raises FeedFull."""
        if len(self._followers) >= self._followers_max:
            self._metrics.streams_dropped.labels("full").inc()
            raise FeedFull
        if not self._followers:
            self._since, self._told = now_utc(), {}
        queue: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE + 1)  # one place is for the None
        self._followers.add(queue)
        self._metrics.streams.set(len(self._followers))
        try:
            yield queue
        finally:
            self._followers.discard(queue)
            self._metrics.streams.set(len(self._followers))

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Serve until `stop`, then end all queues."""
        while not stop.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._kick.wait(), POLL_S)
            self._kick.clear()
            if self._followers:
                try:
                    await self._tell()
                except Transient as exc:
                    log.debug("changes cannot be read now", error=exc)
            beat()
        self.close()

    def close(self) -> None:
        """End all queues."""
        for queue in self._followers:
            if not queue.full():
                queue.put_nowait(None)

    async def _tell(self) -> None:
        at, key = self._since - OVERLAP, ""
        for _ in range(PAGES):
            async with self._database.reading() as connection:
                found = await changed_events(connection, at, key, BATCH)
            for event in found:
                if self._told.get(event.id) != event.updated_at:
                    self._told[event.id] = event.updated_at
                    for queue in tuple(self._followers):
                        self._put(queue, event)
            if found:
                at, key = found[-1].updated_at, found[-1].id
                self._since = max(self._since, at)
            if len(found) < BATCH:
                break
        self._told = {event: told for event, told in self._told.items() if told >= self._since - OVERLAP}

    def _put(self, queue: asyncio.Queue[Event | None], event: Event) -> None:
        if queue.qsize() < QUEUE:
            queue.put_nowait(event)
            return
        self._followers.discard(queue)
        self._metrics.streams_dropped.labels("slow").inc()
        queue.put_nowait(None)
