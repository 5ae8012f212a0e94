"""Closes events that went quiet, and removes clips from the queue that nobody will fetch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.recorder.intake.orphans import Orphans
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.outbox import NoticeOutbox
from services.recorder.record.database import Database
from services.recorder.record.transactions import QuietEventCloser
from shared.clock import now_utc
from shared.errors import Transient
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

EVERY_S = 5.0


@dataclass(slots=True)
class Housekeeping:
    """Does its work every EVERY_S. `changed` is called when events were closed."""

    redis: Redis
    database: Database
    metrics: RecorderMetrics
    outbox: NoticeOutbox
    close_after_s: float
    changed: Callable[[], None]
    _quiet: QuietEventCloser = field(init=False)
    _orphans: Orphans = field(init=False)

    def __post_init__(self) -> None:
        self._quiet, self._orphans = QuietEventCloser(self.close_after_s), Orphans(self.redis)

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Keep house until `stop`; a database or Redis that is away is waited for."""
        while not stop.is_set():
            try:
                await self._close_quiet_events()
            except Transient as exc:
                log.debug("housekeeping waits for the database", error=exc)
            with contextlib.suppress(RedisError, OSError):  # readiness says so
                await self._remove_orphans()
            beat()
            await pause(EVERY_S, stop)

    async def _close_quiet_events(self) -> None:
        async with self.database.writing() as connection:
            closed = await self._quiet.close(connection, now_utc())
            await self.outbox.note(connection, closed, now_utc())
        if closed:
            self.metrics.closed.inc(len(closed))
            log.info("closed events that went quiet", events=len(closed))
            self.changed()

    async def _remove_orphans(self) -> None:
        if removed := await self._orphans.remove():
            self.metrics.orphans.inc(removed)
            log.warning("removed clips of dead letters from the queue", clips=removed)
