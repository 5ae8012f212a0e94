"""Sums over the record, by day and camera, kept up to date in the transactions that change its rows.

A writer locks its events, reads what they add before and after its change, and adds the difference, last in its
transaction. So a repetition adds nothing, and what is rolled back was never added. `day_totals` is locked after events,
always in the order of its key. Sums that went wrong all the same (rows changed by hand, an older recorder that still
ran) are found and corrected day by day: whoever holds a row of `day_totals` sees exactly the changes that it counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import ColumnElement, Date, Integer, and_, delete, func, select, type_coerce, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.metrics import RecorderMetrics
from services.recorder.record.database import Database
from services.recorder.record.engines import insert_or_change, insert_or_keep
from services.recorder.record.schema import day_totals, events, snippets
from shared.errors import Transient
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

CHECK_EVERY_S = 10.0  # one day is compared with its rows this often: two years in two hours, then again
Key = tuple[date, str]  # UTC day of the start, camera


@dataclass(frozen=True, slots=True)
class TotalsShare:
    """What some events add to the totals."""

    n_events: int = 0
    n_accepted: int = 0
    n_snippets: int = 0
    n_lost: int = 0
    clip_bytes: int = 0

    def minus(self, other: TotalsShare) -> TotalsShare:
        """Return the difference, number by number."""
        return TotalsShare(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def plus(self, other: TotalsShare) -> TotalsShare:
        """Return the sum, number by number."""
        return TotalsShare(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


NOTHING = TotalsShare()


async def shares(connection: AsyncConnection, condition: ColumnElement[bool]) -> dict[Key, TotalsShare]:
    """Return what the events that fit add to each row of the totals, counted from the rows."""
    day = func.date(events.c.started_at, type_=Date)
    of_events = (
        select(day, events.c.camera, func.count(), func.sum(type_coerce(events.c.is_accepted, Integer)))
        .where(condition)
        .group_by(day, events.c.camera)
    )
    found: dict[Key, TotalsShare] = {}
    for at, camera, n_events, n_accepted in await connection.execute(of_events):
        found[(at, camera)] = TotalsShare(int(n_events), int(n_accepted))
    if not found:
        return found
    of_snippets = (
        select(
            day,
            events.c.camera,
            func.count(),
            func.sum(type_coerce(snippets.c.is_media_lost, Integer)),
            func.sum(snippets.c.clip_bytes),
        )
        .select_from(events)
        .join(snippets, snippets.c.event_id == events.c.id)
        .where(condition)
        .group_by(day, events.c.camera)
    )
    for at, camera, n_snippets, n_lost, clip_bytes in await connection.execute(of_snippets):
        known = found.get((at, camera), NOTHING)
        found[(at, camera)] = TotalsShare(
            known.n_events, known.n_accepted, int(n_snippets), int(n_lost), int(clip_bytes)
        )
    return found


async def shares_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[Key, TotalsShare]:
    """Return what these events add; lock them first, or the answer is old before it is used."""
    return await shares(connection, events.c.id.in_(ids)) if ids else {}


async def add_difference(
    connection: AsyncConnection, before: Mapping[Key, TotalsShare], after: Mapping[Key, TotalsShare]
) -> None:
    """Bring the totals from `before` to `after`; rows that come to nothing are removed."""
    changes = {
        key: after.get(key, NOTHING).minus(before.get(key, NOTHING)) for key in sorted({*before, *after})
    }
    if changes and all(min(astuple(change)) >= 0 for change in changes.values()):
        await _add_all(connection, {key: change for key, change in changes.items() if change != NOTHING})
        return
    for key, change in changes.items():
        if change != NOTHING:
            await _add(connection, key, change)


async def _add_all(connection: AsyncConnection, changes: Mapping[Key, TotalsShare]) -> None:
    """Add what is not negative, as nearly always, in one statement."""
    rows = [{"day": day, "camera": camera, **asdict(change)} for (day, camera), change in changes.items()]
    if rows:
        added = insert_or_change(
            connection.dialect.name,
            day_totals,
            lambda given: {name: day_totals.c[name] + given[name] for name in asdict(NOTHING)},
        )
        await connection.execute(added, rows)


async def _add(connection: AsyncConnection, key: Key, change: TotalsShare) -> None:
    row = _row(key)
    values = {name: day_totals.c[name] + value for name, value in asdict(change).items()}
    added = await connection.execute(update(day_totals).where(row).values(values))
    if not added.rowcount:
        await _make(connection, key)
        await connection.execute(update(day_totals).where(row).values(values))
    if change.n_events < 0 or change.n_snippets < 0:
        await _remove_empty(connection, key)


async def _make(connection: AsyncConnection, key: Key) -> None:
    """Make a row of nothing where there is none; it is locked afterwards, there or not."""
    made = insert_or_keep(connection.dialect.name, day_totals, "camera")
    await connection.execute(made.values(day=key[0], camera=key[1], **asdict(NOTHING)))


async def _remove_empty(connection: AsyncConnection, key: Key) -> None:
    is_empty = and_(*(day_totals.c[name] == 0 for name in asdict(NOTHING)))
    await connection.execute(delete(day_totals).where(_row(key), is_empty))


def _row(key: Key) -> ColumnElement[bool]:
    return and_(day_totals.c.day == key[0], day_totals.c.camera == key[1])


async def clip_bytes(connection: AsyncConnection) -> int:
    """Return the bytes of all clips."""
    return int(await connection.scalar(select(func.coalesce(func.sum(day_totals.c.clip_bytes), 0))) or 0)


# -- the check


async def differing(connection: AsyncConnection, day: date) -> list[Key]:
    """Return the rows of a day whose sums seem wrong: without locks, a writer may be between them."""
    counted, kept = await shares(connection, _on(day)), await _kept(connection, day)
    return sorted(key for key in {*counted, *kept} if counted.get(key, NOTHING) != kept.get(key, NOTHING))


async def correct(connection: AsyncConnection, key: Key) -> bool:
    """Count one row of the totals anew, with writers kept out; return whether it was wrong."""
    await _make(connection, key)
    condition = and_(_on(key[0]), events.c.camera == key[1])
    counted = (await shares(connection, condition)).get(key, NOTHING)
    is_wrong = (await _kept(connection, key[0])).get(key, NOTHING) != counted
    if is_wrong:
        await connection.execute(update(day_totals).where(_row(key)).values(asdict(counted)))
    await _remove_empty(connection, key)
    return is_wrong


async def _kept(connection: AsyncConnection, day: date) -> dict[Key, TotalsShare]:
    columns = (day_totals.c[name] for name in asdict(NOTHING))
    query = select(day_totals.c.camera, *columns).where(day_totals.c.day == day)
    return {
        (day, camera): TotalsShare(*map(int, values)) for camera, *values in await connection.execute(query)
    }


async def day_before(connection: AsyncConnection, day: date | None) -> date | None:
    """Return the newest day before `day` (None: of all) that has events or totals; None: there is none."""
    in_events, in_totals = select(func.max(events.c.started_at)), select(func.max(day_totals.c.day))
    if day is not None:
        in_events = in_events.where(events.c.started_at < _midnight(day))
        in_totals = in_totals.where(day_totals.c.day < day)
    newest: datetime | None = await connection.scalar(in_events)
    kept: date | None = await connection.scalar(in_totals)
    return max((at for at in (newest and newest.date(), kept) if at is not None), default=None)


def _on(day: date) -> ColumnElement[bool]:
    return and_(
        events.c.started_at >= _midnight(day), events.c.started_at < _midnight(day) + timedelta(days=1)
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


@dataclass(slots=True)
class TotalsCheck:
    """Compares the totals with the rows, a day at a time, the newest first, then from the start."""

    database: Database
    metrics: RecorderMetrics
    day: date | None = None  # looked at last

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Check a day every CHECK_EVERY_S, until `stop`."""
        while not stop.is_set():
            try:
                await self.check_next()
            except Transient as exc:
                log.debug("the check of the totals waits for the database", error=exc)
            beat()
            await pause(CHECK_EVERY_S, stop)

    async def check_next(self) -> date | None:
        """Check the next day; return it, or None at the end of the record."""
        async with self.database.reading() as connection:
            self.day = await day_before(connection, self.day)
            suspects = await differing(connection, self.day) if self.day else []
        for key in suspects:
            async with self.database.writing() as connection:
                is_wrong = await correct(connection, key)
            if is_wrong:
                self.metrics.totals_corrected.inc()
                log.warning("the totals of a day were wrong, corrected", day=str(key[0]), camera=key[1])
        return self.day
