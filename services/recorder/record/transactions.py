"""The transaction that records a snippet, and the one that closes events which went quiet. Knows no queue, no file.

All of an event's writers meet at its row, which each locks first; what they then read is what was committed before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Table, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.media.values import StoredMedia
from services.recorder.record.engines import insert_or_keep
from services.recorder.record.rows import (
    Row,
    SnippetRows,
    SnippetState,
    detections_of,
    event_of,
    merged_media,
)
from services.recorder.record.schema import (
    detections,
    events,
    frame_embeddings,
    frame_probabilities,
    snippets,
)
from services.recorder.record.totals import TotalsShare, add_difference, shares_of

CLOSED_AT_ONCE = 500  # events closed in one transaction at most
LOOKED_AT_ONCE = 5000  # open events that are watched


@dataclass(frozen=True, slots=True)
class RecordedSnippet:
    """What a transaction changed, and the files that the snippet's row names now."""

    is_new_event: bool
    is_new_snippet: bool
    media: StoredMedia = field(default_factory=StoredMedia)


async def record_snippet(
    connection: AsyncConnection, rows: SnippetRows, media: StoredMedia, now: datetime
) -> RecordedSnippet:
    """Write one snippet and bring its event up to date. Any order and any repetition end in the same rows.

    Of two answers for the same snippet the one decided later stands.
    """
    key = and_(snippets.c.event_id == rows.event_id, snippets.c.snippet == rows.snippet)
    event = await _locked_event(connection, rows, now)
    if event is None:
        return await _record_first(connection, rows, merged_media(None, media), now)
    before = await shares_of(connection, [rows.event_id])
    columns = (snippets.c.labelled_at, snippets.c.clip_name, snippets.c.thumbnail_name, snippets.c.clip_bytes)
    known = (await connection.execute(select(*columns).where(key))).one_or_none()
    kept = StoredMedia(known.clip_name, known.thumbnail_name, known.clip_bytes) if known else None
    media = merged_media(kept, media)
    if known is None:
        values = {**rows.columns, **media.columns, "recorded_at": now}
        await connection.execute(insert(snippets).values(values))
    elif rows.columns["labelled_at"] > known.labelled_at:
        await connection.execute(update(snippets).where(key).values({**rows.columns, **media.columns}))
    else:
        await connection.execute(update(snippets).where(key).values(media.columns))
    if known is None or rows.columns["labelled_at"] > known.labelled_at:
        await _replace_frames(connection, rows, is_known=known is not None)
    await derive(connection, rows.event_id, event, now)
    await add_difference(connection, before, await shares_of(connection, [rows.event_id]))
    return RecordedSnippet(False, known is None, media)


async def _record_first(
    connection: AsyncConnection, rows: SnippetRows, media: StoredMedia, now: datetime
) -> RecordedSnippet:
    """Write the first snippet of an event that this transaction made.

    The same rows as by the general way, without its six queries: there is nothing else of the event to be read.
    """
    values = {**rows.columns, **media.columns, "recorded_at": now}
    await connection.execute(insert(snippets).values(values))
    await _replace_frames(connection, rows, is_known=False)
    states = [SnippetState(**{name: values[name] for name in SnippetState.__dataclass_fields__})]
    found = detections_of(rows.event_id, rows.camera, states)
    if found:
        await connection.execute(insert(detections), found)
    event = event_of(states, found)
    await connection.execute(
        update(events).where(events.c.id == rows.event_id).values({**event, "updated_at": now})
    )
    share = TotalsShare(1, int(event["is_accepted"]), 1, int(values["is_media_lost"]), media.clip_bytes)
    day = event["started_at"].astimezone(UTC).date()
    await add_difference(connection, {}, {(day, rows.camera): share})
    return RecordedSnippet(True, True, media)


async def is_named_by_another(connection: AsyncConnection, rows: SnippetRows, media: StoredMedia) -> bool:
    """Return whether the row of another snippet, of about the same day, names this clip."""
    at = rows.columns["started_at"]
    named = (
        select(snippets.c.event_id)
        .join(events, events.c.id == snippets.c.event_id)
        .where(
            events.c.started_at.between(at - timedelta(days=7), at + timedelta(days=2)),
            snippets.c.clip_name == media.clip_name,
            or_(snippets.c.event_id != rows.event_id, snippets.c.snippet != rows.snippet),
        )
    )
    return (await connection.execute(named.limit(1))).first() is not None


async def _locked_event(connection: AsyncConnection, rows: SnippetRows, now: datetime) -> Row | None:
    """Lock the event's row, making it when there is none; return it as it was (None: new)."""
    locked = select(events).where(events.c.id == rows.event_id).with_for_update()
    found = (await connection.execute(locked)).mappings().one_or_none()
    if found is not None:
        return dict(found)
    said = rows.columns
    made = await connection.execute(
        insert_or_keep(connection.dialect.name, events, "id").values(
            id=rows.event_id,
            camera=rows.camera,
            started_at=said["event_started_at"],
            ended_at=said["event_ended_at"],
            is_open=True,
            is_accepted=False,
            n_snippets=0,
            motion_peak=0.0,
            created_at=now,
            updated_at=now,
        )
    )
    found = (await connection.execute(locked)).mappings().one()
    return None if made.rowcount == 1 and found["n_snippets"] == 0 else dict(found)


async def _replace_frames(connection: AsyncConnection, rows: SnippetRows, is_known: bool) -> None:
    frames: tuple[tuple[Table, tuple[Row, ...]], ...] = (
        (frame_probabilities, rows.probabilities),
        (frame_embeddings, rows.embeddings),
    )
    for table, values in frames:
        if is_known:
            of_snippet = and_(table.c.event_id == rows.event_id, table.c.snippet == rows.snippet)
            await connection.execute(delete(table).where(of_snippet))
        if values:
            await connection.execute(insert(table), list(values))


async def derive(connection: AsyncConnection, event_id: str, before: Row | None, now: datetime) -> None:
    """Write what follows from the event's snippets, where it differs from what is there."""
    names = SnippetState.__dataclass_fields__
    found = await connection.execute(
        select(*(snippets.c[name] for name in names)).where(snippets.c.event_id == event_id)
    )
    states = [SnippetState(*row) for row in found]
    event = (await connection.execute(select(events).where(events.c.id == event_id))).mappings().one()
    wanted = detections_of(event_id, event["camera"], states)
    there = (
        (await connection.execute(select(detections).where(detections.c.event_id == event_id)))
        .mappings()
        .all()
    )
    if sorted((dict(row) for row in there), key=_by_label) != sorted(wanted, key=_by_label):
        await connection.execute(delete(detections).where(detections.c.event_id == event_id))
        if wanted:
            await connection.execute(insert(detections), wanted)
    values = event_of(states, wanted)
    if before is None or any(before[name] != value for name, value in values.items()):
        updated_at = now if before is None else rising(before["updated_at"], now)
        await connection.execute(
            update(events).where(events.c.id == event_id).values({**values, "updated_at": updated_at})
        )


@dataclass(slots=True)
class QuietEventCloser:
    """Which open events did not change for `close_after_s`, by this process's own seconds: no clocks are compared."""

    close_after_s: float
    seconds: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[datetime, float]] = field(default_factory=dict)  # bounded by LOOKED_AT_ONCE

    async def close(self, connection: AsyncConnection, now: datetime) -> list[str]:
        """Close what went quiet; return the ids. A snippet that comes after all opens its event again.

        An event counts as quiet from when this process first saw it unchanged.
        """
        query = select(events.c.id, events.c.updated_at).where(events.c.is_open).order_by(events.c.id)
        found = {row.id: row.updated_at for row in await connection.execute(query.limit(LOOKED_AT_ONCE))}
        now_s = self.seconds()
        seen = {}
        for event_id, updated_at in found.items():
            before = self._seen.get(event_id)
            is_same = before is not None and before[0] == updated_at
            seen[event_id] = before if before is not None and is_same else (updated_at, now_s)
        self._seen = seen
        quiet = [key for key, (_, since_s) in seen.items() if now_s - since_s > self.close_after_s]
        return await self._closed(connection, quiet[:CLOSED_AT_ONCE], now)

    async def _closed(self, connection: AsyncConnection, quiet: Sequence[str], now: datetime) -> list[str]:
        if not quiet:
            return []
        query = select(events.c.id, events.c.updated_at).where(events.c.id.in_(quiet), events.c.is_open)
        found = (await connection.execute(query.with_for_update())).all()
        still = [row for row in found if row.updated_at == self._seen[row.id][0]]
        for row in still:
            await connection.execute(
                update(events)
                .where(events.c.id == row.id)
                .values(is_open=False, updated_at=rising(row.updated_at, now))
            )
        return [row.id for row in still]


def rising(before: datetime, now: datetime) -> datetime:
    """Return the time of a change: now, but always after the change before (clocks differ, and step back)."""
    return max(now, before + timedelta(milliseconds=1))


def _by_label(row: Any) -> str:  # Any: a mapping of column values
    return str(row["label"])
