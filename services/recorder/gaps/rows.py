"""The rows of `gaps`, `cameras` and `gap_notices`. Knows the tables, no channel and no clock.

A gap and its notices are written in one transaction. Several recorders see the same gap: `open_key` lets
one of them write its begin and one its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.gaps.tracker import GapChange
from services.recorder.gaps.values import ConfiguredCamera, Gap, GapKey, UnreadTime
from services.recorder.record.camera_filter import CameraIds, of_cameras
from services.recorder.record.due import is_due
from services.recorder.record.engines import insert_or_keep
from services.recorder.record.schema import cameras, gap_notices, gaps
from shared.clock import epoch_ms, uuid7

OPEN_MAX = 2000  # as many gaps are looked at as are open at most: cameras, and a few more
PRUNED_AT_ONCE = 1000
EDGE = timedelta(seconds=1)
UNREAD = "no motion process read the camera until another one took it over"
BEGAN, ENDED = "began", "ended"


@dataclass(frozen=True, slots=True)
class GapFilter:
    """Which gaps to find; `camera` and `cameras` (those that may be seen) also find those of no single camera."""

    camera: str | None = None
    kind: str | None = None
    since: datetime | None = None  # lasted at this time or later
    until: datetime | None = None  # began before
    is_open: bool | None = None
    before: tuple[datetime, str] | None = None
    cameras: CameraIds = None


@dataclass(frozen=True, slots=True)
class DueGapNotice:
    """A gap that began or ended, for one target."""

    gap: Gap
    attempts: int
    last_sent: str | None  # BEGAN or ENDED, as the target was last sent
    noted_at: datetime


async def write(
    connection: AsyncConnection, change: GapChange, targets: Sequence[str], now: datetime
) -> bool:
    """Write a begin or an end, and its notices; return False when another recorder did, or there is nothing to end."""
    if change.ended_at is not None:
        return await _end(connection, change.key, change.ended_at, now)
    gap_id = uuid7(change.started_at)
    row = {
        "id": gap_id,
        "kind": change.key.kind,
        "subject": change.key.subject,
        "camera": change.key.camera,
        "reason": change.reason,
        "started_at": change.started_at,
        "open_key": change.key.text,
    }
    await connection.execute(insert_or_keep(connection.dialect.name, gaps, "open_key").values(row))
    written = await connection.scalar(select(gaps.c.id).where(gaps.c.open_key == change.key.text))
    if written != gap_id:
        return False
    notes = [
        {"target": target, "gap_id": gap_id, "due_at": now, "noted_at": now, "attempts": 0}
        for target in targets
    ]
    if notes:
        await connection.execute(insert(gap_notices), notes)
    return True


async def write_unread(connection: AsyncConnection, unread: UnreadTime) -> bool:
    """Write that nobody read a camera; return False when it is known.

    Nobody is told: it is over. What overlaps gaps of the camera that are known makes them longer. A time in which all
    of motion was gone is a gap of all cameras already and is left out.
    """
    found = [await _write_span(connection, one) for one in await _outside_motion_gone(connection, unread)]
    return any(found)


async def _outside_motion_gone(connection: AsyncConnection, unread: UnreadTime) -> list[UnreadTime]:
    """Return what is left of a time without the gaps of all of motion, the earliest first.

    Beside such a gap, less than EDGE is none of the camera's own: only so well is it known when motion went.
    """
    known = and_(gaps.c.kind == "motion.gone", _overlaps(unread))
    query = select(gaps.c.started_at, gaps.c.ended_at).where(known).order_by(gaps.c.started_at)
    gone = (await connection.execute(query)).all()
    if not gone:
        return [unread]
    left, since = [], unread.started_at
    for row in gone:
        left.append(UnreadTime(unread.camera, since, row.started_at))
        since = max(since, row.ended_at or unread.ended_at)
    left.append(UnreadTime(unread.camera, since, unread.ended_at))
    return [one for one in left if one.ended_at - one.started_at >= EDGE]


async def _write_span(connection: AsyncConnection, unread: UnreadTime) -> bool:
    known = and_(gaps.c.camera == unread.camera, _overlaps(unread))
    columns = (gaps.c.id, gaps.c.started_at, gaps.c.ended_at)
    query = select(*columns).where(known).order_by(gaps.c.started_at, gaps.c.id).with_for_update()
    rows = (await connection.execute(query)).all()
    if not rows:
        gap_id = uuid7(unread.started_at, f"unread {unread.camera} {epoch_ms(unread.started_at)}")
        values = {
            "id": gap_id,
            "kind": "camera.away",
            "subject": unread.camera,
            "camera": unread.camera,
            "reason": UNREAD,
            "started_at": unread.started_at,
            "ended_at": unread.ended_at,
        }
        # another recorder writes the same id
        await connection.execute(insert_or_keep(connection.dialect.name, gaps, "id").values(values))
        return True
    return await _lengthen(connection, rows, unread)


async def _lengthen(
    connection: AsyncConnection,
    known: Sequence[Row[Any, Any, Any]],  # Any: columns of every type
    unread: UnreadTime,
) -> bool:
    """Make gaps that overlap a time, the earliest first, cover all of it; return False when they do already.

    Where none covers it, the one before lasts until the next begins: none is deleted, for targets may have been told.
    """
    longer: dict[str, dict[str, datetime]] = {}
    first = known[0]
    if first.started_at > unread.started_at:
        longer[first.id] = {"started_at": unread.started_at}
    last_id, covered = first.id, first.ended_at
    for row in known[1:]:
        if covered is not None and covered < row.started_at:
            longer.setdefault(last_id, {})["ended_at"] = row.started_at
        if covered is not None and (row.ended_at is None or row.ended_at > covered):
            last_id, covered = row.id, row.ended_at
    if covered is not None and covered < unread.ended_at:
        longer.setdefault(last_id, {})["ended_at"] = unread.ended_at
    for gap_id, values in longer.items():
        await connection.execute(update(gaps).where(gaps.c.id == gap_id).values(values))
    return bool(longer)


def _overlaps(unread: UnreadTime) -> Any:  # Any: SQLAlchemy's condition
    return and_(
        gaps.c.started_at < unread.ended_at,
        or_(gaps.c.ended_at.is_(None), gaps.c.ended_at > unread.started_at),
    )


async def _end(connection: AsyncConnection, key: GapKey, ended_at: datetime, now: datetime) -> bool:
    query = select(gaps.c.id, gaps.c.started_at).where(gaps.c.open_key == key.text).with_for_update()
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return False
    ended_at = max(ended_at, row.started_at)
    await connection.execute(update(gaps).where(gaps.c.id == row.id).values(ended_at=ended_at, open_key=None))
    # only for targets that have a notice of its begin: one that was added since knows nothing of it
    await connection.execute(
        update(gap_notices).where(gap_notices.c.gap_id == row.id).values(due_at=now, noted_at=now, attempts=0)
    )
    return True


async def open_gaps(connection: AsyncConnection) -> list[Gap]:
    """Return the gaps that last."""
    return await find(connection, GapFilter(is_open=True), OPEN_MAX)


async def find(connection: AsyncConnection, wanted: GapFilter, limit: int) -> list[Gap]:
    """Return gaps, the newest begin first."""
    query = select(gaps)
    if wanted.camera is not None:
        query = query.where(or_(gaps.c.camera == wanted.camera, gaps.c.camera.is_(None)))
    if wanted.cameras is not None:
        query = query.where(or_(*of_cameras(gaps.c.camera, wanted.cameras), gaps.c.camera.is_(None)))
    if wanted.kind is not None:
        query = query.where(gaps.c.kind == wanted.kind)
    if wanted.since is not None:
        query = query.where(or_(gaps.c.ended_at.is_(None), gaps.c.ended_at >= wanted.since))
    if wanted.until is not None:
        query = query.where(gaps.c.started_at < wanted.until)
    if wanted.is_open is not None:
        query = query.where(gaps.c.ended_at.is_(None) if wanted.is_open else gaps.c.ended_at.is_not(None))
    if wanted.before is not None:
        at, gap_id = wanted.before
        query = query.where(or_(gaps.c.started_at < at, and_(gaps.c.started_at == at, gaps.c.id < gap_id)))
    rows = await connection.execute(query.order_by(gaps.c.started_at.desc(), gaps.c.id.desc()).limit(limit))
    return [_gap(row) for row in rows]


async def prune(connection: AsyncConnection, before: datetime) -> int:
    """Forget gaps that ended before `before`; return how many."""
    query = select(gaps.c.id).where(gaps.c.ended_at < before).limit(PRUNED_AT_ONCE)
    found = (await connection.scalars(query)).all()
    if found:
        await connection.execute(delete(gaps).where(gaps.c.id.in_(found)))
    return len(found)


# -- notices


async def find_due(connection: AsyncConnection, target: str, now: datetime, limit: int) -> list[DueGapNotice]:
    """Return what is due for a target, the longest waiting first."""
    columns = (gap_notices.c.attempts, gap_notices.c.said, gap_notices.c.noted_at)
    query = (
        select(gaps, *columns)
        .join(gap_notices, gap_notices.c.gap_id == gaps.c.id)
        .where(gap_notices.c.target == target, is_due(gap_notices.c.due_at, gap_notices.c.attempts, now))
        .order_by(gap_notices.c.due_at, gaps.c.id)
        .limit(limit)
    )
    rows = await connection.execute(query)
    return [DueGapNotice(_gap(row), row.attempts, row.said, row.noted_at) for row in rows]


async def settle(connection: AsyncConnection, target: str, due: DueGapNotice, sent: str | None) -> None:
    """Close a row, unless its gap ended since it was read; `sent` None: there was nothing to send."""
    values: dict[str, object] = {"attempts": 0} if sent is None else {"attempts": 0, "said": sent}
    await connection.execute(update(gap_notices).where(_key(target, due)).values(values))
    seen = and_(_key(target, due), gap_notices.c.noted_at == due.noted_at)
    await connection.execute(update(gap_notices).where(seen).values(due_at=None))


async def postpone(connection: AsyncConnection, target: str, due: DueGapNotice, until: datetime) -> None:
    """Try this row again at `until`."""
    values = {"attempts": due.attempts + 1, "due_at": until}
    await connection.execute(update(gap_notices).where(_key(target, due)).values(values))


async def give_up(connection: AsyncConnection, target: str, before: datetime) -> int:
    """Close rows that wait since before `before`; return how many."""
    old = and_(gap_notices.c.due_at.is_not(None), gap_notices.c.noted_at < before)
    done = await connection.execute(
        update(gap_notices).where(gap_notices.c.target == target, old).values(due_at=None)
    )
    return int(done.rowcount)


def _key(target: str, due: DueGapNotice) -> Any:  # Any: SQLAlchemy's condition
    return and_(gap_notices.c.target == target, gap_notices.c.gap_id == due.gap.id)


# -- configured cameras


async def known_cameras(connection: AsyncConnection) -> dict[str, ConfiguredCamera]:
    """Return the configured cameras by id, as motion services last named them."""
    rows = await connection.execute(
        select(cameras.c.id, cameras.c.name, cameras.c.owner, cameras.c.example_group)
    )
    return {row.id: ConfiguredCamera(*row) for row in rows}


async def change_cameras(
    connection: AsyncConnection, changed: Sequence[ConfiguredCamera], removed: Sequence[str]
) -> None:
    """Write which cameras motion services name."""
    for camera in sorted(changed, key=lambda one: one.id):
        row = asdict(camera)
        await connection.execute(insert_or_keep(connection.dialect.name, cameras, "id").values(row))
        await connection.execute(update(cameras).where(cameras.c.id == camera.id).values(row))
    for camera_id in removed:
        await connection.execute(delete(cameras).where(cameras.c.id == camera_id))


def before_of(now: datetime, days: float) -> datetime:
    """Return the time before which gaps are forgotten."""
    return now - timedelta(days=days)


def _gap(row: Row[Any]) -> Gap:  # Any: columns of every type
    return Gap(row.id, GapKey(row.kind, row.subject), row.reason, row.started_at, row.ended_at)
