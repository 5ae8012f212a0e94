"""Changes of the labels of the past, each an entry that can be undone; and what they changed on one event.

An entry is made in the transaction that first writes under it, and its counts rise in each further one: whatever is
broken off, it counts exactly what was written. Knows neither why labels changed nor how they are put back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Row, and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.engines import insert_or_keep
from services.recorder.record.schema import past_answers, relabels, snippets
from shared.errors import Permanent

LISTED_MAX = 100
_LOOKED_AT_MAX = 2000  # newest entries, of all cameras
RelabelKind = Literal["words", "verdicts"]


class RelabelUndone(Permanent):
    """The change was undone while it was still being applied: it writes no more."""


@dataclass(frozen=True, slots=True)
class NewRelabel:
    """An entry before it is written. `asked`: JSON values, among them `cameras`: ids, or None for all."""

    id: str
    kind: RelabelKind
    asked: Mapping[str, Any]  # Any: JSON values
    made_by: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Relabel:
    """An entry as it stands. `n_unfinished`: answers that an undo which was broken off has not put back yet."""

    id: str
    kind: str
    asked: Mapping[str, Any]  # Any: JSON values
    made_by: str
    made_at: datetime
    n_events: int
    n_snippets: int
    undone_by: str | None
    undone_at: datetime | None
    n_unfinished: int = 0

    def is_seen_by(self, cameras: CameraIds) -> bool:
        """Whether it was about these cameras only: what it asked may name what is seen on others."""
        own = self.asked.get("cameras")
        return cameras is None or (own is not None and cameras.issuperset(own))


@dataclass(frozen=True, slots=True)
class EventRelabel:
    """The labels of an event before and after a change, by name; `made_by` None: before such entries were kept."""

    changed_at: datetime
    made_by: str | None
    kind: str | None
    before: tuple[str, ...]
    after: tuple[str, ...]


async def count_relabel(
    connection: AsyncConnection, entry: NewRelabel, n_events: int, n_snippets: int
) -> None:
    """Add what a transaction wrote to the entry, making it first; raise RelabelUndone when it was undone."""
    made = insert_or_keep(connection.dialect.name, relabels, "id").values(
        id=entry.id,
        kind=entry.kind,
        asked=json.dumps(entry.asked, ensure_ascii=False, separators=(",", ":")),
        made_by=entry.made_by,
        made_at=entry.made_at,
        n_events=0,
        n_snippets=0,
    )
    await connection.execute(made)
    values = {
        "n_events": relabels.c.n_events + n_events,
        "n_snippets": relabels.c.n_snippets + n_snippets,
    }
    stands = and_(relabels.c.id == entry.id, relabels.c.undone_at.is_(None))
    counted = await connection.execute(update(relabels).where(stands).values(values))
    if not counted.rowcount:
        raise RelabelUndone("the change was undone while it was applied")


async def forget_empty_relabel(connection: AsyncConnection, relabel_id: str) -> bool:
    """Delete an entry under which nothing was written; return whether there was such an entry."""
    empty = and_(relabels.c.id == relabel_id, relabels.c.n_snippets == 0)
    return (await connection.execute(delete(relabels).where(empty))).rowcount > 0


async def find_relabels(connection: AsyncConnection, cameras: CameraIds = None) -> list[Relabel]:
    """Return the newest entries that were about these cameras only, newest first."""
    query = select(relabels).order_by(relabels.c.made_at.desc(), relabels.c.id.desc()).limit(_LOOKED_AT_MAX)
    found = [_relabel(row) for row in await connection.execute(query)]
    seen = [entry for entry in found if entry.is_seen_by(cameras)][:LISTED_MAX]
    return await _with_unfinished(connection, seen)


async def find_relabel(
    connection: AsyncConnection, relabel_id: str, cameras: CameraIds = None
) -> Relabel | None:
    """Return an entry; None when there is none, or none that was about these cameras only."""
    row = (await connection.execute(select(relabels).where(relabels.c.id == relabel_id))).one_or_none()
    entry = None if row is None else _relabel(row)
    if entry is None or not entry.is_seen_by(cameras):
        return None
    return (await _with_unfinished(connection, [entry]))[0]


async def mark_undone(connection: AsyncConnection, relabel_id: str, undone_by: str, now: datetime) -> None:
    """Say who undid an entry, and when; the first one stands."""
    first = and_(relabels.c.id == relabel_id, relabels.c.undone_at.is_(None))
    await connection.execute(update(relabels).where(first).values(undone_by=undone_by, undone_at=now))


async def find_label_changes(connection: AsyncConnection, event_id: str) -> list[EventRelabel]:
    """Return what was changed about the labels of an event since it was recorded, the newest first."""
    columns = ("snippet", "labelled_at", "replaced_at", "accepted", "relabel_id")
    past = (
        select(*(past_answers.c[name] for name in columns), relabels.c.made_by, relabels.c.kind)
        .outerjoin(relabels, relabels.c.id == past_answers.c.relabel_id)
        .where(past_answers.c.event_id == event_id)
        .order_by(past_answers.c.replaced_at, past_answers.c.labelled_at)
    )
    rows = (await connection.execute(past)).all()
    if not rows:
        return []
    standing = select(snippets.c.snippet, snippets.c.accepted).where(snippets.c.event_id == event_id)
    now = {row.snippet: row.accepted for row in await connection.execute(standing)}
    return label_changes(rows, now)[::-1]


def label_changes(past: Sequence[Any], now: Mapping[int, str]) -> list[EventRelabel]:
    """Return the changes of an event's labels, the oldest first. Pure. Any: rows, whose columns are read by name.

    `past`: its past answers in the order of their replacement; `now`: `accepted` of each snippet. What replaced
    answers without changing a label is left out.
    """
    changes: list[EventRelabel] = []
    for at in sorted({row.replaced_at for row in past}):
        # of each snippet the answer that stood until `at`, and the one that stood from then on
        before, after = dict(now), dict(now)
        for row in reversed(past):
            if row.replaced_at >= at:
                before[row.snippet] = row.accepted
            if row.replaced_at > at:
                after[row.snippet] = row.accepted
        names = _labels(before), _labels(after)
        if set(names[0]) != set(names[1]):
            cause = next(row for row in past if row.replaced_at == at)
            changes.append(EventRelabel(at, cause.made_by, cause.kind, *names))
    return changes


def _labels(accepted: Mapping[int, str]) -> tuple[str, ...]:
    """Return the labels of an event's snippets, best first."""
    best: dict[str, float] = {}
    for said in accepted.values():
        for one in json.loads(said):
            best[one["label"]] = max(best.get(one["label"], 0.0), one["probability"])
    return tuple(sorted(best, key=lambda label: (-best[label], label)))


def _relabel(row: Row[Any]) -> Relabel:  # Any: columns are read by name
    return Relabel(
        row.id,
        row.kind,
        json.loads(row.asked),
        row.made_by,
        row.made_at,
        row.n_events,
        row.n_snippets,
        row.undone_by,
        row.undone_at,
    )


async def _with_unfinished(connection: AsyncConnection, found: Sequence[Relabel]) -> list[Relabel]:
    undone = [entry.id for entry in found if entry.undone_at is not None]
    if not undone:
        return list(found)
    of_answer = and_(
        snippets.c.event_id == past_answers.c.event_id,
        snippets.c.snippet == past_answers.c.snippet,
        snippets.c.labelled_at == past_answers.c.replaced_by,
    )
    query = (
        select(past_answers.c.relabel_id, func.count())
        .join(snippets, of_answer)
        .where(past_answers.c.relabel_id.in_(undone))
        .group_by(past_answers.c.relabel_id)
    )
    left = {relabel_id: int(n) for relabel_id, n in await connection.execute(query)}
    return [replace(entry, n_unfinished=left.get(entry.id, 0)) for entry in found]
