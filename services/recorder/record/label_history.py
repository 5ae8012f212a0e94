"""The history of each camera's label settings: labels, background, and what decides; since when, and who changed them.

A row is written when a snippet is recorded that was made under other settings than the last row says (so a change of
the file by hand is in it, too), and at once, with a name, when a change came through the site. The order of labels says
nothing. Of several recorders that see one change, one writes it: the number of a camera's row is part of its key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.engines import insert_or_keep
from services.recorder.record.rows import SnippetRows
from services.recorder.record.schema import label_changes
from services.recorder.record.transactions import rising
from services.recorder.record.verdict_tables import VERDICT_WHO_CHARS
from shared.contract import DecisionSettings, LabelSet

KEPT = 500  # newest rows of a camera
# A snippet that was on its way when the settings were changed through the site ends a little later, by another clock.
ON_ITS_WAY = timedelta(seconds=60)
_ATTEMPTS = 5  # each writes a row or finds that all is said; another recorder may have taken the number


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """What a camera is asked, and what decides."""

    label_set: LabelSet
    decision: DecisionSettings

    def is_same(self, other: LabelSettings) -> bool:
        """Whether both ask the same; the order of labels says nothing."""
        return self._key() == other._key()

    def _key(self) -> tuple[list[str], list[str], DecisionSettings]:
        return sorted(self.label_set.labels), sorted(self.label_set.background), self.decision


@dataclass(frozen=True, slots=True)
class LabelChange:
    """The label settings of a camera from `changed_at` on; `changed_by` None: changed in the file, so nobody knows."""

    number: int
    changed_at: datetime
    changed_by: str | None
    settings: LabelSettings


@dataclass(frozen=True, slots=True)
class NamedChange:
    """A change through the site: the settings before it, where they are known, and after it."""

    camera: str
    before: LabelSettings | None
    after: LabelSettings
    changed_by: str


async def find_changes(connection: AsyncConnection, camera: str, limit: int) -> list[LabelChange]:
    """Return the last changes of a camera's label settings, the newest first."""
    return [_change(row) for row in await _last_rows(connection, camera, limit)]


async def note_recorded(connection: AsyncConnection, recorded: Sequence[SnippetRows], now: datetime) -> None:
    """Write a row where snippets that were just recorded were made under other settings than the last row says."""
    last = await _last_two(connection, sorted({rows.camera for rows in recorded}))
    for rows in recorded:
        found, columns = last.get(rows.camera, []), rows.columns
        if found and (found[0].label_set, found[0].decision) == (columns["label_set"], columns["decision"]):
            continue  # nearly always
        if await _note_other(connection, rows, found, now):
            last |= await _last_two(connection, [rows.camera])


async def _note_other(
    connection: AsyncConnection, rows: SnippetRows, found: Sequence[Row[Any]], now: datetime
) -> bool:
    """Write a row of a snippet's settings, unless they are no news; `found`: its camera's last two rows."""
    columns = rows.columns
    newest, older = (*(_change(row) for row in found), None, None)[:2]
    settings = _settings(columns["label_set"], columns["decision"])
    since = min(columns["ended_at"], now)  # a camera's clock may be ahead
    if newest is not None:
        if newest.settings.is_same(settings) or since <= newest.changed_at:
            return False  # the same in another order, or a snippet that was late
        may_be_late = newest.changed_by is not None and since < newest.changed_at + ON_ITS_WAY
        if may_be_late and older is not None and older.settings.is_same(settings):
            return False
    await _write(connection, rows.camera, LabelChange(_next(newest), since, None, settings))
    return True


async def note_named(connection: AsyncConnection, change: NamedChange, now: datetime) -> None:
    """Write who changed a camera's label settings through the site, and what they were before where no row says it."""
    before, after = change.before, change.after
    if before is not None and before.is_same(after):
        return
    for _ in range(_ATTEMPTS):
        newest = next(iter(await find_changes(connection, change.camera, 1)), None)
        if newest is not None and newest.settings.is_same(after) and newest.changed_at > now - ON_ITS_WAY:
            await _name(connection, change, newest)  # a recorder saw a snippet under the new settings already
            return
        if before is not None and (newest is None or not newest.settings.is_same(before)):
            former = LabelChange(_next(newest), _after(newest, now), None, before)
            await _write(connection, change.camera, former)
            continue
        if newest is not None and newest.settings.is_same(after):
            return
        named = LabelChange(
            _next(newest), _after(newest, now), change.changed_by[:VERDICT_WHO_CHARS], change.after
        )
        await _write(connection, change.camera, named)


def _next(newest: LabelChange | None) -> int:
    return 1 if newest is None else newest.number + 1


def _after(newest: LabelChange | None, now: datetime) -> datetime:
    return now if newest is None else rising(newest.changed_at, now)


async def _write(connection: AsyncConnection, camera: str, change: LabelChange) -> None:
    """Insert a row, unless another recorder did; the oldest rows beyond KEPT go."""
    values = {
        "camera": camera,
        "number": change.number,
        "changed_at": change.changed_at,
        "changed_by": change.changed_by,
        "label_set": _json(change.settings.label_set),
        "decision": _json(change.settings.decision),
    }
    await connection.execute(insert_or_keep(connection.dialect.name, label_changes, "camera").values(values))
    if change.number > KEPT:
        is_old = label_changes.c.number <= change.number - KEPT
        await connection.execute(delete(label_changes).where(label_changes.c.camera == camera, is_old))


async def _name(connection: AsyncConnection, change: NamedChange, row: LabelChange) -> None:
    if row.changed_by is not None:
        return
    key = (label_changes.c.camera == change.camera, label_changes.c.number == row.number)
    await connection.execute(
        update(label_changes).where(*key).values(changed_by=change.changed_by[:VERDICT_WHO_CHARS])
    )


def _json(value: LabelSet | DecisionSettings) -> str:
    return json.dumps(
        value.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"), sort_keys=True
    )


async def _last_two(connection: AsyncConnection, cameras: Sequence[str]) -> dict[str, list[Row[Any]]]:
    """Return the last two rows of each camera, the newest first."""
    if not cameras:
        return {}
    newest = (
        select(label_changes.c.camera, func.max(label_changes.c.number).label("number"))
        .where(label_changes.c.camera.in_(cameras))
        .group_by(label_changes.c.camera)
        .subquery()
    )
    query = (
        select(label_changes)
        .join(newest, label_changes.c.camera == newest.c.camera)
        .where(label_changes.c.number > newest.c.number - 2)
        .order_by(label_changes.c.number.desc())
    )
    found: dict[str, list[Row[Any]]] = {}
    for row in await connection.execute(query):
        found.setdefault(row.camera, []).append(row)
    return found


async def _last_rows(connection: AsyncConnection, camera: str, limit: int) -> Sequence[Row[Any]]:
    query = select(label_changes).where(label_changes.c.camera == camera)
    return (await connection.execute(query.order_by(label_changes.c.number.desc()).limit(limit))).all()


def _change(row: Row[Any]) -> LabelChange:  # Any: columns are read by name
    return LabelChange(row.number, row.changed_at, row.changed_by, _settings(row.label_set, row.decision))


def _settings(label_set: str, decision: str) -> LabelSettings:
    return LabelSettings(
        LabelSet.model_validate_json(label_set), DecisionSettings.model_validate_json(decision)
    )
