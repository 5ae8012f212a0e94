"""From a labels message to a committed row: fetch the clip, keep it, record, and only then let Redis forget.

A database that is away is waited for here, with the message in hand: giving it back would count as an attempt, and
a long outage would drain the queue into the dead letters.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from redis.asyncio import Redis

from services.recorder.database import Database, DatabaseAway, DatabaseBusy
from services.recorder.derivation import KeptMedia, SnippetRows, snippet_rows
from services.recorder.media import MediaFolder, MediaRefused
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.outbox import Outbox
from services.recorder.record import Recorded, record_snippet
from shared.clock import now_utc
from shared.contract import MEDIA, LabelsMessage, MediaMessage
from shared.errors import ContractError, Permanent, Transient
from shared.logs import get_logger
from shared.receipts import receipt_of
from shared.streams import Dead, Delivery, Done, Outcome, Retry

log = get_logger(__name__)

BUSY_ATTEMPTS = 8  # deadlocks in a row before the message is given back
AWAY_WAIT_MAX_S = 5.0


@dataclass(slots=True)
class Intake:
    """The handler of labels.v1. `recorded` is told the id of every event that changed."""

    redis: Redis
    database: Database
    media: MediaFolder
    metrics: RecorderMetrics
    stop: asyncio.Event
    beat: Callable[[], None]
    recorded: Callable[[str], None]
    outbox: Outbox = field(default_factory=lambda: Outbox(()))
    _away_since: float | None = field(default=None, init=False)

    async def handle(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Record each message for itself: one broken message is no other's fault."""
        outcomes = []
        for delivery in deliveries:
            outcomes.append(await self._handle_one(delivery))
            self.beat()
        return outcomes

    async def _handle_one(self, delivery: Delivery) -> Outcome:
        try:
            message = LabelsMessage.decode(delivery.fields)
            rows = snippet_rows(message)
            media, lost = await self._keep_media(message)
            done = await self._record(rows, media)
        except Permanent as exc:
            return Dead(str(exc))
        except Transient as exc:
            return Retry(str(exc))
        self._count(message, media, lost, done)
        self.recorded(rows.event_id)
        media_id = message.header.media_id
        # none while the clip is gone or broken: motion sends the snippet again, and with it the clip
        receipts = () if lost in ("gone", "broken") else (receipt_of(rows.event_id, rows.snippet),)
        return Done(receipts, ((MEDIA, media_id),) if media_id else ())

    # -- media

    async def _keep_media(self, message: LabelsMessage) -> tuple[KeptMedia, str]:
        """Return the kept files, and why there are none ('' when there are)."""
        media_id = message.header.media_id
        if not media_id:
            return KeptMedia(), "none"
        entries = await self.redis.xrange(MEDIA, media_id, media_id)
        if not entries:
            return KeptMedia(), "gone"
        try:
            media = MediaMessage.decode(
                cast("Mapping[bytes, bytes]", entries[0][1])
            )  # the client gives bytes
        except ContractError as exc:
            log.warning("the clip cannot be read", media_id=media_id, error=exc)
            return KeptMedia(), "broken"
        snippet = message.header.snippet
        if (media.header.event_id, media.header.snippet) != (snippet.event_id, snippet.snippet):
            log.warning("the clip belongs to another snippet", media_id=media_id, event_id=snippet.event_id)
            return KeptMedia(), "broken"
        try:
            kept = await asyncio.to_thread(self.media.keep, media)
        except MediaRefused as exc:
            log.error("the clip cannot be kept", event_id=snippet.event_id, error=exc)
            return KeptMedia(), "full" if exc.is_full else "refused"
        self.metrics.media_bytes.inc(kept.clip_bytes)
        return kept, ""

    # -- the row

    async def _record(self, rows: SnippetRows, media: KeptMedia) -> Recorded:
        """Commit; wait for a database that is away until `stop`, then raise Transient."""
        backoff_s, busy = 0.1, 0
        while True:
            try:
                async with self.database.writing() as connection:
                    done = await record_snippet(connection, rows, media, now_utc())
                    await self.outbox.note(connection, [rows.event_id], now_utc())
            except DatabaseBusy:
                busy += 1
                if busy >= BUSY_ATTEMPTS:
                    raise
                wait_s = random.uniform(0.005, 0.05) * busy  # noqa: S311 - spreads replicas, hides nothing
            except DatabaseAway as exc:
                self._went(exc)
                if self.stop.is_set():
                    raise
                wait_s, backoff_s = backoff_s, min(backoff_s * 2, AWAY_WAIT_MAX_S)
            else:
                self._returned()
                return done
            self.beat()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.stop.wait(), wait_s)

    def _count(self, message: LabelsMessage, media: KeptMedia, lost: str, done: Recorded) -> None:
        header = message.header
        if done.is_new_event:
            self.metrics.events.inc()
        self.metrics.snippets.labels("new" if done.is_new_snippet else "again").inc()
        if done.is_new_snippet:
            now = now_utc()
            self.metrics.latency.observe(max((now - header.snippet.ended_at).total_seconds(), 0))
            self.metrics.labelled_latency.observe(max((now - header.labelled_at).total_seconds(), 0))
        if lost and done.is_new_snippet:
            self.metrics.media_lost.labels(lost).inc()
            log.warning(
                "recorded without its clip",
                event_id=header.snippet.event_id,
                snippet=header.snippet.snippet,
                reason=lost,
            )
        log.debug(
            "recorded",
            event_id=header.snippet.event_id,
            snippet=header.snippet.snippet,
            clip=media.clip_name,
            is_new=done.is_new_snippet,
        )

    # -- the database, told once each way

    def _went(self, exc: DatabaseAway) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("the database is away, waiting for it", error=exc)
        self.metrics.database_connected.set(0)

    def _returned(self) -> None:
        if self._away_since is not None:
            log.info("the database is back", away_s=round(time.monotonic() - self._away_since, 1))
            self._away_since = None
        self.metrics.database_connected.set(1)
