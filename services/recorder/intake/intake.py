"""From a labels message to a committed row: fetches the clip, stores it, records, and only then deletes from Redis.

What was read together is written in one transaction; where that fails, each message by itself, so that a broken one
harms no other. While the database is away, what is in hand waits for it. A message is charged for its own fault only:
not for the database, the store of clips, Redis or a stop, nor for a kill while it waits for one of them. A clip that
the store does not take waits in the queue (waiting.py); its event is recorded meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.recorder.intake.waiting import WaitingClips
from services.recorder.media.store import MediaRefused, MediaStore, StagedMedia
from services.recorder.media.values import StoredMedia
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.outbox import NoticeOutbox
from services.recorder.record.database import Database
from services.recorder.record.database_errors import DatabaseAway, DatabaseBusy, RowConflict
from services.recorder.record.label_history import note_recorded
from services.recorder.record.rows import SnippetRows, snippet_rows
from services.recorder.record.transactions import RecordedSnippet, is_named_by_another, record_snippets
from shared.clock import duration_s, now_utc
from shared.contract import MEDIA, LabelsMessage, MediaMessage
from shared.errors import ContractError, Permanent, Stopped, Transient, reason
from shared.logs import get_logger
from shared.streams.connection import is_away
from shared.streams.outcomes import Dead, Delivery, Done, Outcome, Retry
from shared.streams.receipts import receipt_of
from shared.waits import pause, unless_stopped

log = get_logger(__name__)

BUSY_ATTEMPTS = 8  # deadlocks in a row before the message is given back; locks are waited for longer
AWAY_WAIT_MAX_S = 5.0
TOGETHER_MAX = 16  # messages in one transaction
TOGETHER_BYTES = 32 * 2**20  # of their clips, which are in memory meanwhile
FINISH_S = 0.5  # after a stop: for the transaction in hand


_T = TypeVar("_T")
_Snippet = tuple[SnippetRows, MediaMessage | None]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A sound message with its clip, or with the reason why there is none."""

    delivery: Delivery
    message: LabelsMessage
    rows: SnippetRows
    clip: MediaMessage | None
    lost: str
    was_waiting: bool  # the clip: its event is recorded already

    @property
    def names(self) -> set[str]:
        """What no other message of a transaction may name: the snippet, and its file."""
        snippet = f"{self.rows.event_id}/{self.rows.snippet}"
        return {snippet, self.clip.header.media_key} if self.clip is not None else {snippet}

    @property
    def n_bytes(self) -> int:
        return len(self.clip.clip) if self.clip is not None else 0


async def _nothing(_: Delivery) -> None:
    """Charge as it comes."""


@dataclass(slots=True)
class Intake:
    """The handler of labels.v1. `recorded` is called with the id of every event that changed."""

    redis: Redis
    database: Database
    media: MediaStore
    metrics: RecorderMetrics
    stop: asyncio.Event
    beat: Callable[[], None]
    recorded: Callable[[str], None]
    outbox: NoticeOutbox = field(default_factory=lambda: NoticeOutbox(()))
    uncharge: Callable[[Delivery], Awaitable[None]] = _nothing  # see Consumer.uncharge
    written_at: float = field(default=float("-inf"), init=False)  # of the last committed row, monotonic
    waiting: WaitingClips = field(init=False)
    _away_since: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.waiting = WaitingClips(self.redis, self.metrics)

    async def handle(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Record messages, as many together as go into a transaction; return their outcomes in their order."""
        outcomes: dict[int, Outcome] = {}  # by place in the batch
        group: dict[int, _Prepared] = {}
        for place, delivery in enumerate(deliveries):
            prepared = await self._prepared_or_outcome(delivery)
            if not isinstance(prepared, _Prepared):
                outcomes[place] = prepared
                continue
            if not _goes_with(list(group.values()), prepared):
                outcomes |= zip(group, await self._recorded(list(group.values())), strict=True)
                group = {}
            group[place] = prepared
        outcomes |= zip(group, await self._recorded(list(group.values())), strict=True)
        return [outcomes[place] for place in range(len(deliveries))]

    async def _prepared_or_outcome(self, delivery: Delivery) -> _Prepared | Outcome:
        if self.stop.is_set():
            return Retry("stopping", is_charged=False)
        try:
            return await self._prepared(delivery, LabelsMessage.decode(delivery.fields))
        except (Permanent, Transient, Stopped) as exc:
            return _outcome_of_fault(exc)
        finally:
            self.beat()

    async def _prepared(self, delivery: Delivery, message: LabelsMessage) -> _Prepared | Outcome:
        rows = snippet_rows(message)
        media_id = message.header.media_id
        size = self.waiting.size(media_id)  # of a clip whose event is recorded already
        is_hopeless = size is not None and not await self.media.has_room(size)
        if is_hopeless and await self._may_wait(media_id, size or 0):
            return _later(f"the {self.media.place} does not take the clip")
        clip, lost = await self._fetch(message)
        if delivery.attempts > 1:  # it is sound; what follows may be waited for, through any number of kills
            await self.uncharge(delivery)
        return _Prepared(delivery, message, rows, clip, lost, size is not None)

    async def _recorded(self, group: Sequence[_Prepared]) -> list[Outcome]:
        """Record a group: in one transaction, or one by one where that does not go."""
        if len(group) > 1:
            try:
                done = await self._record([(one.rows, one.clip) for one in group])
            except (MediaRefused, Permanent, RowConflict, DatabaseBusy) as exc:
                log.debug("recording one by one", messages=len(group), reason=reason(exc))
            except (Transient, Stopped) as exc:
                return [_outcome_of_fault(exc)] * len(group)
            else:
                return [self._done(one, written, one.lost) for one, written in zip(group, done, strict=True)]
        outcomes: list[Outcome] = []
        for one in group:
            if self.stop.is_set():
                outcomes.append(Retry("stopping", is_charged=False))
                continue
            try:
                outcomes.append(await self._recorded_alone(one))
            except (Permanent, Transient, Stopped) as exc:
                outcomes.append(_outcome_of_fault(exc))
            self.beat()
        return outcomes

    async def _recorded_alone(self, one: _Prepared) -> Outcome:
        rows, clip, lost = one.rows, one.clip, one.lost
        try:
            (done,) = await self._record([(rows, clip)])
        except MediaRefused as exc:
            assert clip is not None
            if not exc.is_lasting and await self._may_wait(one.message.header.media_id, len(clip.clip)):
                if not one.was_waiting:
                    self._count(one.message, (await self._record([(rows, None)]))[0])
                return _later(reason(exc))
            log.error("the clip cannot be kept", event_id=rows.event_id, error=exc)
            (done,) = await self._record([(rows, None)])
            lost = "refused" if exc.is_lasting else "full"
        return self._done(one, done, lost)

    def _done(self, one: _Prepared, done: RecordedSnippet, lost: str) -> Outcome:
        media_id = one.message.header.media_id
        self._count(one.message, done)
        if lost and (done.is_new_snippet or one.was_waiting):
            self._count_lost(one.message, lost)
        self.waiting.ended(media_id)
        # none while the clip is gone or broken: motion sends the snippet again, and with it the clip
        receipts = () if lost in ("gone", "broken") else (receipt_of(one.rows.event_id, one.rows.snippet),)
        return Done(receipts, ((MEDIA, media_id),) if one.clip is not None else ())  # nobody else's clip

    # -- media

    async def _fetch(self, message: LabelsMessage) -> tuple[MediaMessage | None, str]:
        """Return the snippet's clip, or why there is none."""
        media_id = message.header.media_id
        if not media_id:
            return None, "none"
        try:
            entries = await self.redis.xrange(MEDIA, media_id, media_id)
        except (RedisError, OSError) as exc:
            raise _translated(exc) from exc
        if not entries:
            return None, "full" if self.waiting.was_dropped(media_id) else "gone"
        try:
            media = MediaMessage.decode(
                cast("Mapping[bytes, bytes]", entries[0][1])
            )  # the client gives bytes
        except ContractError as exc:
            log.warning("the clip cannot be read", media_id=media_id, error=exc)
            return None, "broken"
        snippet = message.header.snippet
        if (media.header.event_id, media.header.snippet) != (snippet.event_id, snippet.snippet):
            log.warning("the clip belongs to another snippet", media_id=media_id, event_id=snippet.event_id)
            return None, "broken"
        return media, ""

    async def _may_wait(self, media_id: str, n_bytes: int) -> bool:
        try:
            return await self.waiting.may_wait(media_id, n_bytes)
        except (RedisError, OSError) as exc:
            raise _translated(exc) from exc

    # -- the row

    async def _record(self, batch: Sequence[_Snippet]) -> list[RecordedSnippet]:
        """Write files and rows; raise MediaRefused, with nothing written, when the store does not take the files."""
        staged = await self._staged([clip for _, clip in batch if clip is not None])
        left = iter(staged)
        try:
            done = await self._commit(
                [(rows, next(left) if clip is not None else None) for rows, clip in batch]
            )
        finally:
            await _each(one.discard() for one in staged)
        self.metrics.media_bytes.inc(sum(one.kept.clip_bytes for one in staged))
        return done

    async def _stage(self, clip: MediaMessage) -> StagedMedia:
        try:
            return await self.media.stage(clip)
        finally:
            self.beat()

    async def _staged(self, clips: Sequence[MediaMessage]) -> list[StagedMedia]:
        staging = [asyncio.create_task(self._stage(clip)) for clip in clips]
        try:
            return list(await _each(staging))
        except BaseException:  # what the others have written is to go, also at a stop
            for task in staging:
                task.cancel()
            left = await asyncio.gather(*staging, return_exceptions=True)
            await _each(one.discard() for one in left if not isinstance(one, BaseException))
            raise

    async def _commit(self, batch: Sequence[tuple[SnippetRows, StagedMedia | None]]) -> list[RecordedSnippet]:
        """Commit; wait for a database that is away until `stop`, for locks a while, then raise Transient."""
        backoff_s, busy, ends_at = 0.1, 0, time.monotonic() + self.database.lock_wait_s
        while True:
            try:
                done = await unless_stopped(self._transaction(batch), self.stop, grace_s=FINISH_S)
            except DatabaseBusy:
                busy += 1
                if busy >= BUSY_ATTEMPTS or time.monotonic() > ends_at:
                    raise
                wait_s = random.uniform(0.005, 0.05) * busy  # noqa: S311 - spreads replicas, hides nothing
            except DatabaseAway as exc:
                self._went(exc)
                wait_s, backoff_s = backoff_s, min(backoff_s * 2, AWAY_WAIT_MAX_S)
            else:
                self._returned()
                return done
            self.beat()
            await pause(wait_s, self.stop)
            if self.stop.is_set():
                raise Transient("stopping")

    async def _transaction(
        self, batch: Sequence[tuple[SnippetRows, StagedMedia | None]]
    ) -> list[RecordedSnippet]:
        async with self.database.writing() as connection:
            now, kept = now_utc(), [staged.kept if staged else StoredMedia() for _, staged in batch]
            for (rows, staged), media in zip(batch, kept, strict=True):
                if staged and staged.was_there and await is_named_by_another(connection, rows, media):
                    raise MediaRefused(f"{media.clip_name}: belongs to another snippet", is_lasting=True)
            all_rows = [rows for rows, _ in batch]
            done = await record_snippets(connection, list(zip(all_rows, kept, strict=True)), now)
            await self.outbox.note(connection, sorted({rows.event_id for rows in all_rows}), now)
            new = [rows for rows, one in zip(all_rows, done, strict=True) if one.is_new_snippet]
            await note_recorded(connection, new, now)
            named = [
                staged
                for (_, staged), one in zip(batch, done, strict=True)
                if staged and one.media == staged.kept
            ]
            # last before the commit: no row without its file, and no file without its row but for a moment
            await _each(one.publish() for one in named)
        return done

    def _count(self, message: LabelsMessage, done: RecordedSnippet) -> None:
        self.recorded(message.header.snippet.event_id)
        header = message.header
        if done.is_new_event:
            self.metrics.events.inc()
        self.metrics.snippets.labels("new" if done.is_new_snippet else "again").inc()
        if done.is_new_snippet:
            now = now_utc()
            self.metrics.latency.observe(duration_s(header.snippet.ended_at, now))
            self.metrics.labelled_latency.observe(duration_s(header.labelled_at, now))
        log.debug(
            "recorded",
            event_id=header.snippet.event_id,
            snippet=header.snippet.snippet,
            clip=done.media.clip_name,
            is_new=done.is_new_snippet,
        )

    def _count_lost(self, message: LabelsMessage, lost: str) -> None:
        snippet = message.header.snippet
        self.metrics.media_lost.labels(lost).inc()
        log.warning(
            "recorded without its clip", event_id=snippet.event_id, snippet=snippet.snippet, reason=lost
        )

    # -- the database's absence: logged once each way

    def _went(self, exc: DatabaseAway) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("the database is away, waiting for it", error=exc)
        self.metrics.database_connected.set(0)

    def _returned(self) -> None:
        self.written_at = time.monotonic()
        if self._away_since is not None:
            log.info("the database is back", away_s=round(time.monotonic() - self._away_since, 1))
            self._away_since = None
        self.metrics.database_connected.set(1)


def _goes_with(group: Sequence[_Prepared], prepared: _Prepared) -> bool:
    """Return whether a message may be recorded with a group: no snippet and no file twice, at most TOGETHER_BYTES."""
    if len(group) >= TOGETHER_MAX or any(one.names & prepared.names for one in group):
        return False
    return not group or sum(one.n_bytes for one in (*group, prepared)) <= TOGETHER_BYTES


def _outcome_of_fault(exc: Exception) -> Outcome:
    if isinstance(exc, Permanent):
        return Dead(reason(exc))
    return Retry(reason(exc), is_charged=isinstance(exc, RowConflict))  # which may be the message's own fault


async def _each(calls: Iterable[Awaitable[_T]]) -> list[_T]:
    """Return the results of all calls; raise the first fault once all of them have ended."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


def _later(why: str) -> Retry:
    return Retry(why, is_charged=False, is_alone=True)


def _translated(exc: Exception) -> Exception:
    """Return what an error of Redis means for a message: nothing, when Redis is away."""
    return Transient(f"Redis: {reason(exc)}") if is_away(exc) else exc
