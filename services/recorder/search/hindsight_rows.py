"""The rows that labels in hindsight read, a page of events at a time, and the answers that they replace.

An answer that is replaced is kept whole, its frames among it, under the entry of the change: relabel_undo.py puts it
back.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    RowMapping,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import narrowed, of_cameras
from services.recorder.record.packed_frames import pack_frames
from services.recorder.record.relabels import NewRelabel, count_relabel
from services.recorder.record.rows import SnippetRows
from services.recorder.record.schema import (
    detections,
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
ANSWER = ("model", "reason", "label_set", "decision", "accepted", "peaks", "labelled_at")


@dataclass(frozen=True, slots=True)
class EventData:
    """An event with its snippets, and their pictures by snippet."""

    event: Row[Any]  # Any: columns are read by name
    snippets: tuple[Row[Any], ...]
    pictures: Mapping[int, tuple[Row[Any], ...]]

    @property
    def recorded(self) -> set[str]:
        """The accepted labels of its snippets, as they are recorded."""
        return {one["label"] for row in self.snippets for one in json.loads(row.accepted)}


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
    connection: AsyncConnection,
    replaced: Mapping[str, Sequence[Replacement]],
    entry: NewRelabel,
    now: datetime,
) -> int:
    """Write new answers of events' snippets, keep the old ones under the entry, derive the events; return how many.

    An answer that is there already, or that changed since it was read, is left alone. Raises RelabelUndone.
    """
    there = await locked_events(connection, replaced)
    ids = [event["id"] for event in there]
    before = await shares_of(connection, ids)
    labels = await labels_of(connection, ids)
    columns = [snippets.c[name] for name in ("event_id", "snippet", *ANSWER)]
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
    await _keep_answers(connection, [row for row, _ in new], [_dated(row, now) for row, _ in new], entry, now)
    answers = [
        {name: rows.columns[name] for name in ANSWER}
        | {"labelled_at": _dated(row, now), "the_event": row.event_id, "the_snippet": row.snippet}
        for row, rows in new
    ]
    await write_answers(connection, answers, [one for _, rows in new for one in rows.probabilities])
    await derive_events(connection, there, {row.event_id for row, _ in new}, now)
    now_labels = await labels_of(connection, ids)
    n_events = sum(labels[event_id] != now_labels[event_id] for event_id in ids)
    await count_relabel(connection, entry, n_events, len(new))
    await add_difference(connection, before, await shares_of(connection, ids))
    return len(new)


async def locked_events(connection: AsyncConnection, ids: Collection[str]) -> list[RowMapping]:
    """Lock events and return their rows, without those deleted meanwhile."""
    locked = select(events).where(events.c.id.in_(ids)).order_by(events.c.id).with_for_update()
    return list((await connection.execute(locked)).mappings().all())


async def labels_of(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the accepted labels of each event."""
    found: dict[str, set[str]] = {event_id: set() for event_id in ids}
    query = select(detections.c.event_id, detections.c.label).where(detections.c.event_id.in_(ids))
    for event_id, label in await connection.execute(query):
        found[event_id].add(label)
    return {event_id: frozenset(labels) for event_id, labels in found.items()}


async def derive_events(
    connection: AsyncConnection, there: Sequence[RowMapping], changed: Collection[str], now: datetime
) -> None:
    """Derive those events that changed by the code that records; `there`: as they were."""
    for event in there:
        if event["id"] not in changed:
            continue
        await derive(connection, event["id"], dict(event), now)
        if not event["is_open"]:  # closed because it went quiet: that follows from no snippet
            await connection.execute(update(events).where(events.c.id == event["id"]).values(is_open=False))


def _dated(row: Row[Any], now: datetime) -> datetime:
    """Return the date of the answer that replaces `row`: later than its own, whatever the clock says."""
    before: datetime = row.labelled_at
    return max(now, before + timedelta(milliseconds=1))


def _is_new(known: Row[Any] | None, one: Replacement) -> bool:
    if known is None or known.labelled_at != one.read_labelled_at:
        return False
    return any(getattr(known, name) != one.rows.columns[name] for name in ANSWER if name != "labelled_at")


async def _keep_answers(
    connection: AsyncConnection,
    old: Sequence[Row[Any]],
    dated: Sequence[datetime],
    entry: NewRelabel,
    now: datetime,
) -> None:
    """Keep answers that are about to be replaced; `dated`: by answers of when."""
    ids = sorted({row.event_id for row in old})
    frames: dict[tuple[str, int], list[Mapping[str, Any]]] = {}  # Any: columns of every type
    found = await connection.execute(
        select(frame_probabilities).where(frame_probabilities.c.event_id.in_(ids))
    )
    for row in found.mappings():
        frames.setdefault((row["event_id"], row["snippet"]), []).append(dict(row))
    kept = [
        {name: getattr(row, name) for name in ("event_id", "snippet", *ANSWER)}
        | {
            "replaced_at": now,
            "replaced_by": at,
            "relabel_id": entry.id,
            "frames": pack_frames(frames.get((row.event_id, row.snippet), ())),
        }
        for row, at in zip(old, dated, strict=True)
    ]
    await connection.execute(insert(past_answers), kept)


async def write_answers(
    connection: AsyncConnection,
    answers: Sequence[Mapping[str, Any]],
    probabilities: Sequence[Mapping[str, Any]],  # Any: columns of every type
) -> None:
    """Put answers (ANSWER, `the_event`, `the_snippet`) and the rows of their frames in the place of those there."""
    await connection.execute(update(snippets).where(of_snippet(snippets)), list(answers))
    keys = [{name: answer[name] for name in ("the_event", "the_snippet")} for answer in answers]
    await connection.execute(delete(frame_probabilities).where(of_snippet(frame_probabilities)), keys)
    if probabilities:
        await connection.execute(insert(frame_probabilities), list(probabilities))


def of_snippet(table: Table) -> ColumnElement[bool]:
    """Return the condition for rows of `the_event` and `the_snippet`, for many at once."""
    return and_(table.c.event_id == bindparam("the_event"), table.c.snippet == bindparam("the_snippet"))
