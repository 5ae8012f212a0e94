"""Undoes a change of labels of the past: puts every answer back that it replaced, where its own still stands.

What was put back is the record again, to the last bit: its answer leaves past_answers. An answer that was replaced
once more since then stays, and is counted; undoing that later change then puts back what stood before both. Undoing
again does nothing, or what a broken-off undo left. An undo is no entry of its own: what was asked can be asked again.
Knows no HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.database import Database
from services.recorder.record.packed_frames import unpack_frames
from services.recorder.record.relabels import mark_undone
from services.recorder.record.schema import past_answers, snippets
from services.recorder.record.totals import add_difference, shares_of
from services.recorder.search.hindsight_rows import (
    ANSWER,
    EVENTS_AT_ONCE,
    derive_events,
    labels_of,
    locked_events,
    of_snippet,
    write_answers,
)
from shared.clock import now_utc


@dataclass(frozen=True, slots=True)
class UndoOutcome:
    """Counts so far. `n_events`: those whose labels changed back; `n_left`: answers that were replaced again since."""

    n_done: int = 0
    n_all: int = 0
    n_events: int = 0
    n_restored: int = 0
    n_left: int = 0


async def undo_relabel(database: Database, relabel_id: str, undone_by: str) -> AsyncIterator[UndoOutcome]:
    """Undo an entry that there is; yield the outcome after every page of events, the last one is complete.

    Raises DatabaseAway or DatabaseBusy at any time: each event is put back whole or not at all, and undoing again does
    the rest.
    """

    async def mark(connection: AsyncConnection) -> None:
        await mark_undone(connection, relabel_id, undone_by, now_utc())

    await database.write(mark)  # first: what is still being applied writes no more
    outcome, last = UndoOutcome(), ""
    async with database.reading() as connection:
        n_all = await connection.scalar(
            select(func.count(past_answers.c.event_id.distinct())).where(
                past_answers.c.relabel_id == relabel_id
            )
        )
    while True:

        async def undo_next(connection: AsyncConnection, after: str = last) -> tuple[list[str], UndoOutcome]:
            return await _undo_page(connection, relabel_id, after, now_utc())

        ids, page = await database.write(undo_next)
        outcome = UndoOutcome(
            outcome.n_done + len(ids),
            int(n_all or 0),
            outcome.n_events + page.n_events,
            outcome.n_restored + page.n_restored,
            outcome.n_left + page.n_left,
        )
        yield outcome
        if len(ids) < EVENTS_AT_ONCE:
            return
        last = ids[-1]


async def _undo_page(
    connection: AsyncConnection, relabel_id: str, after: str, now: datetime
) -> tuple[list[str], UndoOutcome]:
    """Undo an entry on the next events whose answers it replaced; return their ids, and what was done."""
    of_entry = and_(past_answers.c.relabel_id == relabel_id, past_answers.c.event_id > after)
    query = select(past_answers.c.event_id).where(of_entry).distinct()
    ids = list(
        (await connection.scalars(query.order_by(past_answers.c.event_id).limit(EVENTS_AT_ONCE))).all()
    )
    if not ids:
        return ids, UndoOutcome()
    there = await locked_events(connection, ids)
    before, labels = await shares_of(connection, ids), await labels_of(connection, ids)
    past = (await connection.execute(select(past_answers).where(past_answers.c.event_id.in_(ids)))).all()
    dates = select(snippets.c.event_id, snippets.c.snippet, snippets.c.labelled_at)
    standing = {
        (row.event_id, row.snippet): row.labelled_at
        for row in await connection.execute(dates.where(snippets.c.event_id.in_(ids)))
    }
    back: list[Row[Any]] = []  # Any: columns are read by name
    covered: list[Row[Any]] = []
    for row in past:
        if row.relabel_id == relabel_id:
            stands = standing[row.event_id, row.snippet] == row.replaced_by
            (back if stands else covered).append(row)
    if back:
        await _put_back(connection, back)
        await derive_events(connection, there, {row.event_id for row in back}, now)
    await _hand_on(connection, covered, past)
    after_labels = await labels_of(connection, ids)
    await add_difference(connection, before, await shares_of(connection, ids))
    n_events = sum(labels[event_id] != after_labels[event_id] for event_id in ids)
    return ids, UndoOutcome(n_events=n_events, n_restored=len(back), n_left=len(covered))


async def _put_back(connection: AsyncConnection, back: Sequence[Row[Any]]) -> None:
    answers = [
        {name: getattr(row, name) for name in ANSWER}
        | {"the_event": row.event_id, "the_snippet": row.snippet}
        for row in back
    ]
    frames = [frame for row in back for frame in unpack_frames(row.frames, row.event_id, row.snippet)]
    await write_answers(connection, answers, frames)
    await _forget(connection, back)


async def _hand_on(
    connection: AsyncConnection, covered: Sequence[Row[Any]], past: Sequence[Row[Any]]
) -> None:
    """Give answers to the later change that replaced what this one had written: undoing that one puts them back."""
    by_date = {(row.event_id, row.snippet, row.labelled_at): row for row in past}
    for row in covered:
        later = by_date.get((row.event_id, row.snippet, row.replaced_by))
        if later is None:
            continue  # the classifier answered anew
        await _forget(connection, [later])
        names = ("relabel_id", "replaced_at", "replaced_by")
        mine = and_(
            past_answers.c.event_id == row.event_id,
            past_answers.c.snippet == row.snippet,
            past_answers.c.labelled_at == row.labelled_at,
        )
        await connection.execute(
            update(past_answers).where(mine).values({name: getattr(later, name) for name in names})
        )


async def _forget(connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
    keys = [{"the_event": row.event_id, "the_snippet": row.snippet, "at": row.labelled_at} for row in rows]
    from_past = and_(of_snippet(past_answers), past_answers.c.labelled_at == bindparam("at"))
    await connection.execute(delete(past_answers).where(from_past), keys)
