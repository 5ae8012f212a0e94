"""Changes of events, as they happen, to the pages that follow them. Knows no HTTP.

One loop reads what changed since it last looked: at once when this process recorded something, and every second in
any case, since other recorders write to the same database. It reads only while somebody follows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from services.recorder.metrics import RecorderMetrics
from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.database import Database
from services.recorder.record.queries import changed_events
from services.recorder.record.values import Event
from shared.clock import now_utc
from shared.errors import Transient
from shared.logs import get_logger
from shared.waits import pause

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

    def __init__(
        self,
        database: Database,
        metrics: RecorderMetrics,
        followers_max: int,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._followers_max = followers_max
        self._followers: dict[asyncio.Queue[Event | None], CameraIds] = {}
        self._kick = asyncio.Event()
        self._sent: dict[str, datetime] = {}  # event -> change that was sent; bounded by OVERLAP and PAGES
        self._clock = clock
        self._since = clock()
        self._has_begun = False  # since somebody follows

    def kick(self) -> None:
        """Say that something changed."""
        self._kick.set()

    @contextlib.contextmanager
    def follow(self, cameras: CameraIds = None) -> Iterator[asyncio.Queue[Event | None]]:
        """Yield a queue of changed events of these cameras from now on; None ends it. Raises FeedFull."""
        if len(self._followers) >= self._followers_max:
            self._metrics.streams_dropped.labels("full").inc()
            raise FeedFull
        if not self._followers:
            self._since, self._sent, self._has_begun = self._clock(), {}, False
        queue: asyncio.Queue[Event | None] = asyncio.Queue(QUEUE + 1)  # one place is for the None
        self._followers[queue] = cameras
        self._metrics.streams.set(len(self._followers))
        try:
            yield queue
        finally:
            self._followers.pop(queue, None)
            self._metrics.streams.set(len(self._followers))

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Serve until `stop`, then end all queues."""
        try:
            await self._follow_record(stop, beat)
        finally:
            self.close()

    async def _follow_record(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        while not stop.is_set():
            await pause(POLL_S, self._kick, stop)
            self._kick.clear()
            if self._followers:
                try:
                    await self._send_changes()
                except Transient as exc:
                    log.debug("changes cannot be read now", error=exc)
            beat()

    def close(self) -> None:
        """End all queues."""
        for queue in self._followers:
            if not queue.full():
                queue.put_nowait(None)

    async def _send_changes(self) -> None:
        # after a clock that was set back, changes are dated before those that were sent
        now = self._clock()
        self._since = min(self._since, now)
        at, key = self._since - OVERLAP, ""
        for _ in range(PAGES):
            async with self._database.reading() as connection:
                found = await changed_events(connection, at, key, BATCH)
            n_news = self._hand_out(found, now)
            if found:
                at, key = found[-1].updated_at, found[-1].id
                self._since = max(self._since, min(at, now))
            if len(found) < BATCH:
                break
            if at > now + OVERLAP and not n_news:
                # dated ahead, and sent: of those only the ones that changed last may be news
                async with self._database.reading() as connection:
                    self._hand_out(await changed_events(connection, now, "", BATCH, newest_first=True), now)
                break
        self._has_begun = True
        self._sent = {event: at for event, at in self._sent.items() if at >= self._since - OVERLAP}

    def _hand_out(self, found: Sequence[Event], now: datetime) -> int:
        """Send what was not sent yet; what was dated ahead before anybody followed is no news."""
        n_news = 0
        for event in found:
            if self._sent.get(event.id) == event.updated_at:
                continue
            self._sent[event.id] = event.updated_at
            n_news += 1
            if self._has_begun or event.updated_at <= now + OVERLAP:
                for queue, cameras in tuple(self._followers.items()):
                    if cameras is None or event.camera in cameras:
                        self._put(queue, event)
        return n_news

    def _put(self, queue: asyncio.Queue[Event | None], event: Event) -> None:
        if queue.qsize() < QUEUE:
            queue.put_nowait(event)
            return
        self._followers.pop(queue, None)
        self._metrics.streams_dropped.labels("slow").inc()
        queue.put_nowait(None)
