"""Removes old events, by age, size or free disk space: whole events, the oldest first, rows and files together.

One transaction deletes the rows of an event and notes the names of its files; then the files are removed, then the
names are deleted. After a kill the next pass goes on from the names. Protected and open events stay.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import ColumnElement, and_, delete, exists, false, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.media.store import MediaAway, MediaStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.camera_filter import CameraIds, of_cameras
from services.recorder.record.database import Database
from services.recorder.record.engines import insert_or_keep
from services.recorder.record.schema import detections, events, removals, snippets, verdicts
from services.recorder.record.totals import add_difference, clip_bytes, shares_of
from services.recorder.record.transactions import rising
from shared.clock import CautiousClock, now_utc
from shared.contract import CameraId, LabelText
from shared.errors import Transient
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

AT_ONCE = 50  # events in one transaction
BATCHES = 40  # of AT_ONCE: events in one pass at most
PASS_EVERY_S = 30.0
SETTLED = timedelta(minutes=10)  # an event that changed later than this ago may still change
LEAP_S = 43_200.0  # a wall clock this far ahead of itself, or at the start of the newest row, has leapt,
HOLD_S = 86_400.0  # and is believed after this long
# rows dated before this were written by a clock that was not set (1970, 1980, 2000): they may be new
EARLIEST = datetime(2001, 1, 1, tzinfo=UTC)
GB = 1_000_000_000


class RetentionRule(BaseModel):
    """Events of this camera, with this label, or both: kept for so many days; 0: for ever."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    camera: CameraId | None = None
    label: LabelText | None = None
    days: Annotated[float, Field(ge=0, le=36500)]

    @model_validator(mode="after")
    def _names_something(self) -> RetentionRule:
        if self.camera is None and self.label is None:
            raise ValueError("wanted a camera, a label, or both")
        return self


@dataclass(frozen=True, slots=True)
class RetentionLimits:
    """0: no limit. Of several rules that fit an event the longest holds; without one, `days`."""

    days: float = 0
    size_bytes: int = 0  # of all clips
    free_bytes: int = 0  # that stay free where the media folder is
    rules: tuple[RetentionRule, ...] = ()
    keeps_judged: bool = True  # events that a verdict learned from stay, however old

    @property
    def is_set(self) -> bool:
        return bool(self.days or self.size_bytes or self.free_bytes or any(rule.days for rule in self.rules))

    def rules_of(self, cameras: CameraIds) -> list[RetentionRule]:
        """Return the rules that name one of these cameras, or none."""
        return [
            rule for rule in self.rules if cameras is None or rule.camera is None or rule.camera in cameras
        ]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a pass would remove now: for age all of it, for want of space as many bytes as are too many."""

    aged_events: int
    aged_before: datetime | None  # newest start of those
    excess_bytes: int


def aged(limits: RetentionLimits, now: datetime) -> ColumnElement[bool]:
    """Return the condition for events that are too old, but for those that a verdict learned from."""
    is_too_old = too_old(limits, now)
    return and_(is_too_old, ~_is_judged()) if limits.keeps_judged else is_too_old


def _is_judged() -> ColumnElement[bool]:
    of_event = and_(verdicts.c.event_id == events.c.id, verdicts.c.undone_at.is_(None))
    return exists().where(of_event, verdicts.c.effect != "none")


def too_old(limits: RetentionLimits, now: datetime) -> ColumnElement[bool]:
    """Return the condition for events that are older than every rule that fits them allows, also those that stay.

    An event is as old as the later of its start and its row: the camera's clock may have been wrong.
    """
    beyond = []
    fits = []
    for rule in limits.rules:
        fit = _fits(rule)
        fits.append(fit)
        if rule.days:
            beyond.append(or_(~fit, _is_before(now - timedelta(days=rule.days))))
        else:
            beyond.append(~fit)
    by_rule = and_(or_(false(), *fits), *beyond)
    if not limits.days:
        return by_rule
    by_default = and_(*(~fit for fit in fits), _is_before(now - timedelta(days=limits.days)))
    return or_(by_rule, by_default)


def _is_before(limit: datetime) -> ColumnElement[bool]:
    return and_(events.c.started_at < limit, events.c.created_at < limit, events.c.created_at >= EARLIEST)


def _fits(rule: RetentionRule) -> ColumnElement[bool]:
    parts: list[ColumnElement[bool]] = []
    if rule.camera is not None:
        parts.append(events.c.camera == rule.camera)
    if rule.label is not None:
        found = detections.alias("fitting")  # not the detections of a query that this is a condition of
        parts.append(exists().where(found.c.event_id == events.c.id, found.c.label == rule.label))
    return and_(*parts)


def _removable(now: datetime) -> ColumnElement[bool]:
    settled = or_(events.c.updated_at < now - SETTLED, events.c.updated_at > now + timedelta(days=1))
    return and_(events.c.is_protected == false(), events.c.is_open == false(), settled)


async def forecast(
    connection: AsyncConnection,
    limits: RetentionLimits,
    now: datetime,
    free_bytes: float,
    cameras: CameraIds = None,
) -> Forecast:
    """Return what a pass would remove, of these cameras as far as age is the reason; changes nothing."""
    condition = and_(aged(limits, now), _removable(now), *of_cameras(events.c.camera, cameras))
    query = select(func.count(), func.max(events.c.started_at)).select_from(events).where(condition)
    n_events, newest = (await connection.execute(query)).one()
    return Forecast(int(n_events), newest, await _excess_bytes(connection, limits, free_bytes))


async def _excess_bytes(connection: AsyncConnection, limits: RetentionLimits, free_bytes: float) -> int:
    excess = 0
    if limits.size_bytes:
        excess = await clip_bytes(connection) - limits.size_bytes
    if limits.free_bytes:
        excess = max(excess, int(max(limits.free_bytes - free_bytes, 0)))
    return max(excess, 0)


async def remove_events(
    connection: AsyncConnection,
    condition: ColumnElement[bool],
    now: datetime,
    at_least_bytes: int | None = None,
) -> tuple[int, int]:
    """Remove up to AT_ONCE events, the oldest first; return how many, and the bytes of their clips.

    With `at_least_bytes`, only as many as it takes.
    """
    query = (
        select(events.c.id)
        .where(condition, _removable(now))
        .order_by(events.c.started_at, events.c.id)
        .limit(AT_ONCE)
        .with_for_update()
    )
    n_events, n_bytes = 0, 0
    found = (await connection.scalars(query)).all()
    before = await shares_of(connection, found)
    for event_id in found:
        if at_least_bytes is not None and n_bytes >= at_least_bytes:
            break
        of_event = snippets.c.event_id == event_id
        columns = (snippets.c.clip_name, snippets.c.thumbnail_name, snippets.c.clip_bytes)
        files = (await connection.execute(select(*columns).where(of_event))).all()
        names = {name for row in files for name in (row.clip_name, row.thumbnail_name) if name}
        if names:
            rows = [{"name": name, "decided_at": now} for name in sorted(names)]
            noted = insert_or_keep(connection.dialect.name, removals, "name").values(rows)
            await connection.execute(noted)
        await connection.execute(delete(events).where(events.c.id == event_id))
        n_events += 1
        n_bytes += sum(row.clip_bytes for row in files)
    await add_difference(connection, before, await shares_of(connection, found))
    return n_events, n_bytes


async def set_protected(
    connection: AsyncConnection,
    event_id: str,
    is_protected: bool,
    now: datetime,
    cameras: CameraIds = None,
) -> bool:
    """Protect an event from retention, or no longer; return False when these cameras have no such event."""
    mine = and_(events.c.id == event_id, *of_cameras(events.c.camera, cameras))
    query = select(events.c.updated_at).where(mine).with_for_update()
    before = (await connection.execute(query)).one_or_none()
    if before is None:
        return False
    values = {"is_protected": is_protected, "updated_at": rising(before.updated_at, now)}
    await connection.execute(update(events).where(events.c.id == event_id).values(values))
    return True


@dataclass(slots=True)
class Retention:
    """Removes what the limits do not allow, pass after pass."""

    database: Database
    media: MediaStore
    metrics: RecorderMetrics
    limits: RetentionLimits
    clock: Callable[[], datetime] = now_utc
    free_bytes: Callable[[], int] | None = None  # of the disk; None: asks the store
    hold_s: float = HOLD_S
    seconds: Callable[[], float] = time.monotonic
    _aging: CautiousClock | None = field(default=None, init=False)
    _is_doubtful: bool = field(default=False, init=False)
    _is_short: bool = field(default=False, init=False)

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Make a pass at once and every PASS_EVERY_S, until `stop`."""
        while not stop.is_set():
            try:
                await self.make_pass(stop, beat)
            except Transient as exc:
                log.debug("retention waits for the database", error=exc)
            except MediaAway as exc:
                log.warning("retention waits for the store of clips", place=self.media.place, error=exc)
            beat()
            await pause(PASS_EVERY_S, stop)

    async def make_pass(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Finish what a killed pass left, then remove what is too old, then what is too much."""
        await self._unlink()
        free_bytes = await self._free()
        self.metrics.media_free_bytes.set(free_bytes)
        if not self.limits.is_set:
            return
        for _ in range(BATCHES):
            n_events = await self._remove("age", aged(self.limits, await self._believed_now()), None)
            beat()
            if n_events < AT_ONCE or stop.is_set():
                break
        for _ in range(BATCHES):
            free_bytes = await self._free()
            async with self.database.reading() as connection:
                excess = await _excess_bytes(connection, self.limits, free_bytes)
            n_events = await self._remove("space", events.c.id.is_not(None), excess) if excess else 0
            beat()
            if excess and not n_events and not self._is_short:
                log.error("nothing more may be removed, and space is short", excess_bytes=excess)
            self._is_short = bool(excess and not n_events)
            if not n_events or stop.is_set():
                break

    async def _believed_now(self) -> datetime:
        """Return the time that ages count to; a clock that is ahead of it is logged once each way."""
        if self._aging is None:
            self._aging = CautiousClock(self.hold_s, LEAP_S, self.clock, self.seconds)
            async with self.database.reading() as connection:
                newest = await connection.scalar(select(func.max(events.c.created_at)))
            if newest is not None:
                self._aging.expect(newest)
        now, ahead_s = self._aging(), self._aging.ahead_s
        if ahead_s and not self._is_doubtful:
            log.warning(
                "the clock is far ahead of the record: nothing new is removed by age until it has been so for a while",
                ahead_days=round(ahead_s / 86_400, 1),
                hold_h=round(self.hold_s / 3600, 1),
            )
        elif self._is_doubtful and not ahead_s:
            log.info("events are removed by age as the clock says", now=now.isoformat())
        self._is_doubtful = ahead_s > 0
        return now

    async def _remove(self, reason: str, condition: ColumnElement[bool], excess: int | None) -> int:
        async with self.database.writing() as connection:
            n_events, n_bytes = await remove_events(connection, condition, self.clock(), excess)
        await self._unlink()
        if n_events:
            self.metrics.removed.labels(reason).inc(n_events)
            log.info("removed old events", reason=reason, events=n_events, clip_bytes=n_bytes)
        return n_events

    async def _unlink(self) -> None:
        while True:
            async with self.database.reading() as connection:
                found = await connection.scalars(select(removals.c.name).limit(AT_ONCE * 10))
                names = list(found.all())
            if not names:
                return
            await self.media.remove(names)
            async with self.database.writing() as connection:
                await connection.execute(delete(removals).where(removals.c.name.in_(names)))

    async def _free(self) -> float:
        """Return the free bytes; infinite where the store has no end. Raises MediaAway."""
        if self.free_bytes:
            return self.free_bytes()
        space = await self.media.space()
        return space.free_bytes if space is not None else math.inf
