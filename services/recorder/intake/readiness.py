"""Whether records can be written: checks Redis, the database and the store of clips every few seconds.

A database that answers may still be locked, read-only or full, so a recording is tried and rolled back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import false, insert, update

from services.recorder.health.pipeline import Pipeline, counted
from services.recorder.intake.intake import Intake
from services.recorder.media.store import MediaAway, MediaStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.database import Database
from services.recorder.record.schema import (
    day_totals,
    detections,
    events,
    frame_embeddings,
    frame_probabilities,
    notices,
    removals,
    snippets,
)
from shared.clock import now_utc
from shared.errors import Permanent, Transient, reason
from shared.logs import get_logger
from shared.runtime import Health
from shared.streams.consumer import Consumer
from shared.waits import pause

log = get_logger(__name__)

LOOK_S = 2.0
REDIS_S, DATABASE_S, MEDIA_S = 3.0, 5.0, 5.0
_WRITTEN = (events, snippets, detections, frame_probabilities, frame_embeddings, day_totals, notices)
_PROBE = "probe"


class _Undone(Exception):
    """Ends a transaction that must leave nothing."""


@dataclass(slots=True)
class Readiness:
    """Checks, and reports to `health` and `pipeline`."""

    health: Health
    redis: Redis
    database: Database
    media: MediaStore
    metrics: RecorderMetrics
    consumer: Consumer
    intake: Intake
    pipeline: Pipeline
    _was_faulty: bool = field(default=False, init=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Look every LOOK_S until `stop`."""
        while not stop.is_set():
            await self.look()
            await pause(LOOK_S, stop)
        self.health.is_ready = False

    async def look(self) -> None:
        """Look once; a change is logged once each way."""
        fault = await self.fault()
        with contextlib.suppress(RedisError, OSError, TimeoutError):  # `fault` says so
            async with asyncio.timeout(REDIS_S):
                await self.pipeline.look(self.redis)
                self.metrics.classifier_due.set(self.pipeline.is_classifier_due)
        if fault and not self._was_faulty:
            log.warning("not ready", reason=fault)
        elif not fault and not self.health.is_ready:
            log.info("ready")
        self._was_faulty = bool(fault)
        self.health.is_ready = not fault
        self.pipeline.fault, self.pipeline.dropped_clips = fault, counted(self.metrics.media_lost)
        self.pipeline.waiting_clips = self.intake.waiting.count()

    async def fault(self) -> str:
        """Return why records cannot be written now; '' when they can."""
        return (
            await self._redis_fault()
            or await self._database_fault()
            or await self._media_fault()
            or self.consumer.hindrance
        )

    async def _redis_fault(self) -> str:
        try:
            async with asyncio.timeout(REDIS_S):
                await self.redis.ping()
        except TimeoutError:
            return f"Redis: no answer within {REDIS_S:g} s"
        except (RedisError, OSError) as exc:
            return f"Redis: {reason(exc)}"
        return "" if self.consumer.is_connected else "Redis: the queue cannot be read"

    async def _database_fault(self) -> str:
        fault = ""
        try:
            async with asyncio.timeout(DATABASE_S):
                if time.monotonic() - self.intake.written_at < LOOK_S:
                    return ""  # a record was written: under load a probe would only be in its way
                await try_recording(self.database)
        except TimeoutError:
            fault = f"database: a record could not be written within {DATABASE_S:g} s"
        except (Transient, Permanent) as exc:
            fault = f"database: {reason(exc)}"
        self.metrics.database_connected.set(0 if fault else 1)
        return fault

    async def _media_fault(self) -> str:
        place = self.media.place
        try:
            async with asyncio.timeout(MEDIA_S):
                await self.media.check()
        except TimeoutError:
            return f"{place}: no answer within {MEDIA_S:g} s"
        except MediaAway as exc:
            return f"{place}: {reason(exc)}"
        n_waiting = self.intake.waiting.count()
        return f"{place}: no room, {n_waiting} clips wait in the queue" if n_waiting else ""


async def try_recording(database: Database) -> None:
    """Take the locks of a recording and write a row, then roll back; raises as `Database.writing` does."""
    with contextlib.suppress(_Undone):
        async with database.writing() as connection:
            for table in _WRITTEN:
                column = next(iter(table.primary_key.columns))
                await connection.execute(update(table).where(false()).values({column.name: column}))
            await connection.execute(insert(removals).values(name=_PROBE, decided_at=now_utc()))
            raise _Undone
