"""The transaction that records snippets, and the one that closes events which went quiet. Knows no queue, no file.

All of an event's writers meet at its row, which each locks first; what they then read is what was committed before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.media.values import StoredMedia
from services.recorder.record.database_errors import DatabaseBusy, is_duplicate
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
from services.recorder.record.totals import NOTHING, TotalsShare, add_difference
from services.recorder.record.totals import Key as TotalsKey

CLOSED_AT_ONCE = 500  # events closed in one transaction at most
LOOKED_AT_ONCE = 5000  # open events that are watched
_KNOWN = ("event_id", *SnippetState.__dataclass_fields__, "labelled_at", "clip_bytes", "is_media_lost")


@dataclass(frozen=True, slots=True)
class RecordedSnippet:
    """What a transaction changed, and the files that the snippet's row names now."""

    is_new_event: bool
    is_new_snippet: bool
    media: StoredMedia = field(default_factory=StoredMedia)


@dataclass(frozen=True, slots=True)
class _Change:
    """What a message makes of a snippet's row; `known`: the row as it was (None: new)."""

    rows: SnippetRows
    media: StoredMedia
    known: Row | None
    is_answer: bool  # what the classifier said is new, or later than what is known

    @property
    def columns(self) -> Row:
        return {**(self.rows.columns if self.is_answer else {}), **self.media.columns}


async def record_snippet(
    connection: AsyncConnection, rows: SnippetRows, media: StoredMedia, now: datetime
) -> RecordedSnippet:
    """Write one snippet as `record_snippets` does."""
    return (await record_snippets(connection, [(rows, media)], now))[0]


async def record_snippets(
    connection: AsyncConnection, batch: Sequence[tuple[SnippetRows, StoredMedia]], now: datetime
) -> list[RecordedSnippet]:
    """Write snippets and bring their events up to date. Any order and any repetition end in the same rows.

    Of two answers for the same snippet the one decided later stands; no snippet may be in a batch twice. Raises
    DatabaseBusy when another transaction made one of the events meanwhile: run again, it finds and locks them.
    """
    there = await _locked_events(connection, {rows.event_id for rows, _ in batch})
    known = await _snippets_of(connection, list(there))
    before = _shares(there, known)
    changes = [_changed(known.setdefault(rows.event_id, {}), rows, media) for rows, media in batch]
    cameras = {rows.event_id: rows.camera for rows, _ in reversed(batch)} | {  # of several the first said
        event_id: event["camera"] for event_id, event in there.items()
    }
    found = {
        event_id: detections_of(event_id, cameras[event_id], _states(of_event))
        for event_id, of_event in known.items()
    }
    after = {
        event_id: {"camera": cameras[event_id], **event_of(_states(known[event_id]), found[event_id])}
        for event_id in known
    }
    await _insert_events(connection, {key: row for key, row in after.items() if key not in there}, now)
    await _write_snippets(connection, changes, now)
    await _write_frames(connection, [change for change in changes if change.is_answer])
    await _write_detections(connection, list(there), found)
    for event_id, event in there.items():
        await _update_event(connection, event, after[event_id], now)
    await add_difference(connection, before, _shares(after, known))
    new = set(after) - set(there)
    done = []
    for change in changes:
        is_first = change.rows.event_id in new
        new.discard(change.rows.event_id)
        done.append(RecordedSnippet(is_first, change.known is None, change.media))
    return done


def _changed(of_event: dict[int, Row], rows: SnippetRows, media: StoredMedia) -> _Change:
    """Return what a message changes, and change the snippets of its event."""
    known = of_event.get(rows.snippet)
    kept = StoredMedia(known["clip_name"], known["thumbnail_name"], known["clip_bytes"]) if known else None
    is_answer = known is None or rows.columns["labelled_at"] > known["labelled_at"]
    change = _Change(rows, merged_media(kept, media), known, is_answer)
    of_event[rows.snippet] = {**(known or {}), **change.columns}
    return change


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


async def _locked_events(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Row]:
    """Lock the events that are there, in the order of their ids; return their rows by id."""
    locked = select(events).where(events.c.id.in_(sorted(ids))).order_by(events.c.id).with_for_update()
    return {row["id"]: dict(row) for row in (await connection.execute(locked)).mappings()}


async def _snippets_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, dict[int, Row]]:
    """Return what is known of the snippets of events, by event and number."""
    found: dict[str, dict[int, Row]] = {event_id: {} for event_id in ids}
    if ids:
        query = select(*(snippets.c[name] for name in _KNOWN)).where(snippets.c.event_id.in_(ids))
        for row in (await connection.execute(query)).mappings():
            found[row["event_id"]][row["snippet"]] = dict(row)
    return found


def _states(of_event: Mapping[int, Row]) -> list[SnippetState]:
    names = SnippetState.__dataclass_fields__
    return [SnippetState(**{name: row[name] for name in names}) for row in of_event.values()]


def _shares(
    of_events: Mapping[str, Row], known: Mapping[str, Mapping[int, Row]]
) -> dict[TotalsKey, TotalsShare]:
    """Return what events add to the totals, as `totals.shares` counts it in the database."""
    added: dict[TotalsKey, TotalsShare] = {}
    for event_id, event in of_events.items():
        rows = known[event_id].values()
        key = (event["started_at"].astimezone(UTC).date(), event["camera"])
        added[key] = added.get(key, NOTHING).plus(
            TotalsShare(
                1,
                int(event["is_accepted"]),
                len(rows),
                sum(bool(row["is_media_lost"]) for row in rows),
                sum(row["clip_bytes"] for row in rows),
            )
        )
    return added


async def _insert_events(connection: AsyncConnection, new: Mapping[str, Row], now: datetime) -> None:
    made = [{"id": key, **new[key], "created_at": now, "updated_at": now} for key in sorted(new)]
    if not made:
        return
    try:
        await connection.execute(insert(events), made)
    except IntegrityError as exc:
        if not is_duplicate(exc):
            raise
        raise DatabaseBusy("another transaction made one of the events") from exc


async def _write_snippets(connection: AsyncConnection, changes: Sequence[_Change], now: datetime) -> None:
    new = [{**change.columns, "recorded_at": now} for change in changes if change.known is None]
    if new:
        await connection.execute(insert(snippets), new)
    for change in changes:
        if change.known is not None:
            key = and_(snippets.c.event_id == change.rows.event_id, snippets.c.snippet == change.rows.snippet)
            await connection.execute(update(snippets).where(key).values(change.columns))


async def _write_frames(connection: AsyncConnection, changes: Sequence[_Change]) -> None:
    """Write the frames of what is said of snippets, in place of what was said before."""
    frames: tuple[tuple[Table, list[Row]], ...] = (
        (frame_probabilities, [row for change in changes for row in change.rows.probabilities]),
        (frame_embeddings, [row for change in changes for row in change.rows.embeddings]),
    )
    for table, values in frames:
        for change in changes:
            if change.known is not None:
                of_snippet = and_(
                    table.c.event_id == change.rows.event_id, table.c.snippet == change.rows.snippet
                )
                await connection.execute(delete(table).where(of_snippet))
        if values:
            await connection.execute(insert(table), values)


async def derive(connection: AsyncConnection, event_id: str, before: Row, now: datetime) -> None:
    """Write what follows from the event's snippets, where it differs from what is there."""
    states = _states((await _snippets_of(connection, [event_id]))[event_id])
    found = detections_of(event_id, before["camera"], states)
    await _write_detections(connection, [event_id], {event_id: found})
    await _update_event(connection, before, event_of(states, found), now)


async def _write_detections(
    connection: AsyncConnection, there: Sequence[str], found: Mapping[str, list[Row]]
) -> None:
    """Write the detections of events where they differ from what is there; `there`: the events that may have some."""
    kept: dict[str, list[Row]] = {event_id: [] for event_id in found}
    if there:
        query = select(detections).where(detections.c.event_id.in_(there))
        for row in (await connection.execute(query)).mappings():
            kept[row["event_id"]].append(dict(row))
    changed = [key for key in found if sorted(kept[key], key=_by_label) != sorted(found[key], key=_by_label)]
    if gone := [key for key in changed if kept[key]]:
        await connection.execute(delete(detections).where(detections.c.event_id.in_(gone)))
    if values := [row for key in changed for row in found[key]]:
        await connection.execute(insert(detections), values)


async def _update_event(connection: AsyncConnection, before: Row, values: Row, now: datetime) -> None:
    if any(before[name] != value for name, value in values.items()):
        changed = {**values, "updated_at": rising(before["updated_at"], now)}
        await connection.execute(update(events).where(events.c.id == before["id"]).values(changed))


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
        query = query.order_by(events.c.id)  # as all who lock several
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


def _by_label(row: Row) -> str:
    return str(row["label"])
