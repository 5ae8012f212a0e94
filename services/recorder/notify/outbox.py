"""The rows of `notices`: what is to be sent, and what was. Knows the tables, no channel.

`note` runs in the transaction that changes an event: what is committed is sent, and nothing else. Everything after it
runs in transactions of its own, so no target can hold up the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, case, delete, select, update
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.due import is_due
from services.recorder.record.engines import insert_or_keep
from services.recorder.record.schema import events, notice_holders, notices
from shared.clock import EPOCH

KEPT_DAYS = 30  # how long it is known what was sent: longer than any cooldown, and than any event lasts
PRUNED_AT_ONCE = 1000
ROWS_AT_ONCE = 500  # SQLite takes 32,766 values a statement
BEFORE = "before"  # in column `said`: the event is older than the target, which is sent nothing of it
GIVEN_BACK = EPOCH  # `held_until` of a lease that nobody holds


@dataclass(frozen=True, slots=True)
class DueNotice:
    """A row whose event changed, for one target."""

    event_id: str
    version: int
    attempts: int
    last_sent: str | None  # digest of what the target was last sent of the event; BEFORE
    noted_at: datetime


@dataclass(frozen=True, slots=True)
class SentNotice:
    """What a target was sent of an event."""

    digest: str
    at: datetime
    camera: str
    label: str | None


@dataclass(frozen=True, slots=True)
class NoticeOutbox:
    """Notes for every target that events changed."""

    targets: tuple[str, ...]

    async def note(self, connection: AsyncConnection, ids: Sequence[str], now: datetime) -> None:
        """Note that these events changed; the caller's transaction holds their rows."""
        rows = [
            {
                "target": target,
                "event_id": event_id,
                "version": 1,
                "due_at": now,
                "noted_at": now,
                "attempts": 0,
            }
            for event_id in ids
            for target in self.targets
        ]
        if not rows:
            return
        again = {"version": notices.c.version + 1, "due_at": now, "noted_at": now, "attempts": 0}
        for first in range(0, len(rows), ROWS_AT_ONCE):
            # one statement of many rows: of many statements aiomysql's executemany cannot bind what follows the rows
            part = rows[first : first + ROWS_AT_ONCE]
            if connection.dialect.name == "sqlite":
                upsert = sqlite.insert(notices).values(part)
                await connection.execute(
                    upsert.on_conflict_do_update(
                        index_elements=[notices.c.target, notices.c.event_id], set_=again
                    )
                )
            else:
                await connection.execute(mysql.insert(notices).values(part).on_duplicate_key_update(again))


async def are_introduced(connection: AsyncConnection, targets: Sequence[str]) -> bool:
    """Return whether exactly these targets are known."""
    known = (await connection.execute(select(notice_holders.c.target))).scalars()
    return set(known) == set(targets)


async def introduce(connection: AsyncConnection, targets: Sequence[str], now: datetime) -> None:
    """Make targets known. New ones are sent nothing of the events that are open now.

    Call it before the first `note`: closing an event that an earlier run left open changes it, which would be news to
    a new target. A target that is gone from the file, and that no recorder serves any more, is new when it comes back.
    """
    table, dialect = notice_holders, connection.dialect.name
    gone = and_(table.c.target.not_in(targets), table.c.held_until < now)
    await connection.execute(delete(table).where(gone))
    known = set((await connection.execute(select(table.c.target))).scalars())
    new = [target for target in targets if target not in known]
    if not new:
        return
    opened = (await connection.execute(select(events.c.id).where(events.c.is_open))).scalars().all()
    marks = [
        {
            "target": target,
            "event_id": event_id,
            "version": 0,
            "noted_at": now,
            "attempts": 0,
            "said": BEFORE,
        }
        for target in new
        for event_id in opened
    ]
    if marks:
        await connection.execute(insert_or_keep(dialect, notices, "target"), marks)
    holders = [{"target": target, "holder": "", "held_until": now} for target in new]
    await connection.execute(insert_or_keep(dialect, table, "target"), holders)


async def find_due(connection: AsyncConnection, target: str, now: datetime, limit: int) -> list[DueNotice]:
    """Return what is due for a target, the longest waiting first."""
    query = (
        select(
            notices.c.event_id,
            notices.c.version,
            notices.c.attempts,
            notices.c.said,
            notices.c.noted_at,
        )
        .where(
            notices.c.target == target,
            is_due(notices.c.due_at, notices.c.attempts, now),
        )
        .order_by(notices.c.due_at)
        .limit(limit)
    )
    return [DueNotice(*row) for row in await connection.execute(query)]


async def is_cooling(
    connection: AsyncConnection, target: str, subject: tuple[str, str], within: tuple[datetime, datetime]
) -> bool:
    """Return whether the target was sent a notice of this camera and label within a time.

    What was sent later than that time was sent before the clock was set back: how long ago is not known.
    """
    camera, label = subject
    query = select(notices.c.event_id).where(
        notices.c.target == target,
        notices.c.camera == camera,
        notices.c.label == label,
        notices.c.sent_at.between(*within),
    )
    return (await connection.execute(query.limit(1))).first() is not None


async def settle(
    connection: AsyncConnection, target: str, due: DueNotice, sent: SentNotice | None = None
) -> None:
    """Close a row, unless its event changed since it was read; `sent` None: there was nothing to send."""
    values: dict[str, object] = {
        "due_at": case((notices.c.version == due.version, None), else_=notices.c.due_at),
        "attempts": 0,
    }
    if sent is not None and due.last_sent != BEFORE:
        values["said"] = sent.digest
        if due.last_sent is None:
            values |= {"sent_at": sent.at, "camera": sent.camera, "label": sent.label}
    await connection.execute(update(notices).where(_key(target, due)).values(values))


async def postpone(connection: AsyncConnection, target: str, due: DueNotice, until: datetime) -> None:
    """Try this row again at `until`."""
    await connection.execute(
        update(notices).where(_key(target, due)).values(attempts=due.attempts + 1, due_at=until)
    )


async def give_up(connection: AsyncConnection, target: str, before: datetime) -> int:
    """Close rows that wait since before `before`; return how many."""
    done = await connection.execute(
        update(notices)
        .where(notices.c.target == target, notices.c.due_at.is_not(None), notices.c.noted_at < before)
        .values(due_at=None)
    )
    return int(done.rowcount)


async def prune(connection: AsyncConnection, now: datetime) -> int:
    """Forget rows older than KEPT_DAYS, those of targets that are no more among them; return how many."""
    old = notices.c.noted_at < now - timedelta(days=KEPT_DAYS)
    query = select(notices.c.target, notices.c.event_id).where(old).limit(PRUNED_AT_ONCE)
    found = (await connection.execute(query)).all()
    for row in found:
        key = and_(notices.c.target == row.target, notices.c.event_id == row.event_id, old)
        await connection.execute(delete(notices).where(key))
    return len(found)


async def take_lease(
    connection: AsyncConnection,
    target: str,
    holder: str,
    until: datetime,
    is_over: Callable[[str, datetime], bool],
) -> bool:
    """Become or stay the one who sends to `target`; return False when another recorder is.

    `until` has to differ from renewal to renewal; `is_over` is asked of another's lease, with its holder and `until`.
    """
    table = notice_holders
    await connection.execute(
        insert_or_keep(connection.dialect.name, table, "target").values(
            target=target, holder=holder, held_until=until
        )
    )
    row = (await connection.execute(select(table).where(table.c.target == target).with_for_update())).one()
    if row.holder != holder and not is_over(row.holder, row.held_until):
        return False
    await connection.execute(
        update(table).where(table.c.target == target).values(holder=holder, held_until=until)
    )
    return True


async def give_lease_back(connection: AsyncConnection, target: str, holder: str) -> None:
    """Let another recorder take over at once."""
    table = notice_holders
    mine = and_(table.c.target == target, table.c.holder == holder)
    await connection.execute(update(table).where(mine).values(held_until=GIVEN_BACK))


def _key(target: str, due: DueNotice) -> ColumnElement[bool]:
    return and_(notices.c.target == target, notices.c.event_id == due.event_id)
