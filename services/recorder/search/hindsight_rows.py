"""The rows that labels in hindsight read, a page of events at a time, and the answers that they replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import narrowed, of_cameras
from services.recorder.record.rows import SnippetRows
from services.recorder.record.schema import (
    events,
    frame_embeddings,
    frame_probabilities,
    past_answers,
    snippets,
)
from services.recorder.record.totals import add_difference, shares_of
from services.recorder.record.transactions import derive
from services.recorder.search.hindsight_values import HindsightRequest

EVENTS_AT_ONCE = 40
_ANSWER = ("model", "reason", "label_set", "decision", "accepted", "peaks", "labelled_at")


@dataclass(frozen=True, slots=True)
class EventData:
    """An event with its snippets, and their pictures by snippet."""

    event: Row[Any]  # Any: columns are read by name
    snippets: tuple[Row[Any], ...]
    pictures: Mapping[int, tuple[Row[Any], ...]]


@dataclass(frozen=True, slots=True)
class Replacement:
    """A new answer to a snippet, and the date of the one that it replaces."""

    rows: SnippetRows
    read_labelled_at: datetime


def _conditions(request: HindsightRequest) -> list[Any]:  # Any: SQLAlchemy's conditions
    cameras = narrowed(request.camera, request.cameras)
    in_time = [events.c.started_at >= request.since, events.c.started_at < request.until]
    return [*in_time, *of_cameras(events.c.camera, cameras)]


async def count_events(connection: AsyncConnection, request: HindsightRequest) -> int:
    """Return how many events a request is about."""
    query = select(func.count()).select_from(events).where(*_conditions(request))
    return int((await connection.execute(query)).scalar_one())


async def page_of_events(
    connection: AsyncConnection, request: HindsightRequest, before: tuple[datetime, str] | None
) -> list[EventData]:
    """Return the next events, newest first, with their snippets and pictures."""
    at, key = events.c.started_at, events.c.id
    query = select(events).where(*_conditions(request))
    if before is not None:
        query = query.where(at <= before[0], or_(at < before[0], key < before[1]))
    found = (await connection.execute(query.order_by(at.desc(), key.desc()).limit(EVENTS_AT_ONCE))).all()
    return await data_of(connection, found)


async def data_of(connection: AsyncConnection, found: Sequence[Row[Any]]) -> list[EventData]:
    """Return rows of `events` with their snippets and pictures, in the same order."""
    ids = [row.id for row in found]
    by_event: dict[str, list[Row[Any]]] = {event_id: [] for event_id in ids}
    of_snippets = select(snippets).where(snippets.c.event_id.in_(ids))
    for row in await connection.execute(of_snippets.order_by(snippets.c.event_id, snippets.c.snippet)):
        by_event[row.event_id].append(row)
    pictures: dict[str, dict[int, list[Row[Any]]]] = {event_id: {} for event_id in ids}
    table = frame_embeddings
    of_pictures = select(table).where(table.c.event_id.in_(ids))
    for row in await connection.execute(
        of_pictures.order_by(table.c.event_id, table.c.snippet, table.c.picture)
    ):
        pictures[row.event_id].setdefault(row.snippet, []).append(row)
    return [
        EventData(
            row,
            tuple(by_event[row.id]),
            {snippet: tuple(rows) for snippet, rows in pictures[row.id].items()},
        )
        for row in found
    ]


async def replace_answers(
    connection: AsyncConnection, replaced: Mapping[str, Sequence[Replacement]], now: datetime
) -> int:
    """Write new answers of events' snippets, keep the old ones, derive the events; return how many were written.

    An answer that is there already, or that changed since it was read, is left alone.
    """
    locked = select(events).where(events.c.id.in_(replaced)).order_by(events.c.id).with_for_update()
    there = (await connection.execute(locked)).mappings().all()  # without those deleted meanwhile
    ids = [event["id"] for event in there]
    before = await shares_of(connection, ids)
    columns = [snippets.c[name] for name in ("event_id", "snippet", *_ANSWER)]
    of_events = select(*columns).where(snippets.c.event_id.in_(ids))
    known = {(row.event_id, row.snippet): row for row in await connection.execute(of_events)}
    new = [
        (known[event_id, one.rows.snippet], one.rows)
        for event_id, replacements in replaced.items()
        for one in replacements
        if _is_new(known.get((event_id, one.rows.snippet)), one)
    ]
    if not new:
        return 0
    await _write_answers(connection, new, now)
    changed = {row.event_id for row, _ in new}
    for event in there:
        if event["id"] not in changed:
            continue
        await derive(connection, event["id"], dict(event), now)
        if not event["is_open"]:  # closed because it went quiet: that follows from no snippet
            await connection.execute(update(events).where(events.c.id == event["id"]).values(is_open=False))
    await add_difference(connection, before, await shares_of(connection, ids))
    return len(new)


def _is_new(known: Row[Any] | None, one: Replacement) -> bool:
    if known is None or known.labelled_at != one.read_labelled_at:
        return False
    return any(getattr(known, name) != one.rows.columns[name] for name in _ANSWER if name != "labelled_at")


async def _write_answers(
    connection: AsyncConnection, new: Sequence[tuple[Row[Any], SnippetRows]], now: datetime
) -> None:
    """Put answers in the place of the rows as they are known."""
    old = [{name: getattr(row, name) for name in ("event_id", "snippet", *_ANSWER)} for row, _ in new]
    await connection.execute(insert(past_answers), [{**row, "replaced_at": now} for row in old])
    keys = [{"the_event": row.event_id, "the_snippet": row.snippet} for row, _ in new]
    answers = [
        {name: rows.columns[name] for name in _ANSWER}
        | {"labelled_at": max(now, row.labelled_at + timedelta(milliseconds=1))}
        for row, rows in new
    ]
    await connection.execute(
        update(snippets).where(_of_snippet(snippets)),
        [key | answer for key, answer in zip(keys, answers, strict=True)],
    )
    await connection.execute(delete(frame_probabilities).where(_of_snippet(frame_probabilities)), keys)
    probabilities = [probability for _, rows in new for probability in rows.probabilities]
    if probabilities:
        await connection.execute(insert(frame_probabilities), probabilities)


def _of_snippet(table: Table) -> ColumnElement[bool]:
    return and_(table.c.event_id == bindparam("the_event"), table.c.snippet == bindparam("the_snippet"))
