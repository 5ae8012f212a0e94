"""The rows of verdicts and of the examples that follow from them."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import CameraIds, narrowed, of_cameras
from services.recorder.record.schema import cameras as configured
from services.recorder.record.schema import detections, events, examples, frame_embeddings, verdicts
from services.recorder.record.transactions import rising
from services.recorder.search.hindsight_rows import EventData, data_of
from services.recorder.verdicts.values import (
    Effect,
    NewVerdict,
    Verdict,
    VerdictRefused,
    counting,
    require_fitting,
)
from shared.clock import to_millis, uuid7
from shared.decisions.examples import Example, unrelated_cosine
from shared.decisions.teaching import TaughtPicture

EVENT_VERDICTS_MAX = 100  # of one event, with those that were taken back
EXAMPLES_READ_MAX = 4_000  # of a camera and its group, among which those in force are chosen
UNRELATED_OF = 400  # newest crops of a camera that are compared with each other
_VERDICT = tuple(name for name in Verdict.__dataclass_fields__ if name in verdicts.c)


@dataclass(frozen=True, slots=True)
class KeptExample:
    """An example with its verdict's id and its number, which rises with time."""

    number: int
    verdict_id: str
    example: Example


@dataclass(frozen=True, slots=True)
class CameraTeaching:
    """All that verdicts teach about one camera for one model; `unrelated` None: not measured there."""

    examples: tuple[KeptExample, ...]
    unrelated: float | None


async def imagine_verdict(
    connection: AsyncConnection, event_id: str, new: NewVerdict, now: datetime, cameras: CameraIds
) -> Verdict | None:
    """Return the verdict that would be written; None when there is no such event. Raises VerdictRefused."""
    found = select(events.c.camera, events.c.started_at).where(
        events.c.id == event_id, *of_cameras(events.c.camera, cameras)
    )
    event = (await connection.execute(found)).one_or_none()
    if event is None:
        return None
    of_event = select(detections.c.label).where(detections.c.event_id == event_id)
    recorded = tuple(sorted((await connection.scalars(of_event)).all()))
    require_fitting(new.kind, new.label, recorded)
    of_this = select(func.max(verdicts.c.made_at), func.count()).where(verdicts.c.event_id == event_id)
    last, n_said = (await connection.execute(of_this)).one()
    if n_said >= EVENT_VERDICTS_MAX:
        raise VerdictRefused(
            f"{n_said} verdicts on one event", f"{EVENT_VERDICTS_MAX} at most", "judge another event like it"
        )
    made_at = to_millis(now) if last is None else rising(last, to_millis(now))
    return Verdict(
        id=uuid7(made_at),
        event_id=event_id,
        camera=event.camera,
        event_started_at=event.started_at,
        kind=new.kind,
        label=new.label,
        recorded=recorded,
        drawn_with=new.drawn_with,
        effect=new.effect,
        made_by=new.made_by,
        made_at=made_at,
        drawn_at=None if new.drawn_at is None else to_millis(new.drawn_at),
    )


async def add_verdict(
    connection: AsyncConnection, event_id: str, new: NewVerdict, now: datetime, cameras: CameraIds
) -> Verdict | None:
    """Write a verdict; as `imagine_verdict`."""
    made = await imagine_verdict(connection, event_id, new, now, cameras)
    if made is not None:
        row = {name: getattr(made, name) for name in _VERDICT}
        recorded = json.dumps(made.recorded, ensure_ascii=False)
        await connection.execute(insert(verdicts).values({**row, "recorded": recorded}))
    return made


async def find_verdict(connection: AsyncConnection, verdict_id: str, cameras: CameraIds) -> Verdict | None:
    """Return a verdict; None when there is none on these cameras."""
    query = select(verdicts).where(verdicts.c.id == verdict_id, *of_cameras(verdicts.c.camera, cameras))
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _verdict(row)


async def verdicts_of_event(connection: AsyncConnection, event_id: str, cameras: CameraIds) -> list[Verdict]:
    """Return all verdicts of an event, oldest first."""
    query = select(verdicts).where(verdicts.c.event_id == event_id, *of_cameras(verdicts.c.camera, cameras))
    found = await connection.execute(query.order_by(verdicts.c.made_at, verdicts.c.id))
    return [_verdict(row) for row in found]


async def list_verdicts(
    connection: AsyncConnection,
    camera: str | None,
    before: tuple[datetime, str] | None,
    limit: int,
    cameras: CameraIds,
) -> list[Verdict]:
    """Return a page of verdicts, newest first."""
    at, key = verdicts.c.made_at, verdicts.c.id
    query = select(verdicts).where(*of_cameras(verdicts.c.camera, narrowed(camera, cameras)))
    if before is not None:
        query = query.where(at <= before[0], or_(at < before[0], key < before[1]))
    found = await connection.execute(query.order_by(at.desc(), key.desc()).limit(limit))
    return [_verdict(row) for row in found]


@dataclass(frozen=True, slots=True)
class ShownVerdicts:
    """What is shown beside verdicts: examples by verdict, and the pictures of events that are still there."""

    n_examples: dict[str, int]
    thumbnails: dict[str, str | None]


async def shown_of(connection: AsyncConnection, found: Sequence[Verdict]) -> ShownVerdicts:
    """Return what is shown beside these verdicts."""
    ids = [verdict.id for verdict in found]
    counts = select(examples.c.verdict_id, func.count().label("n")).where(examples.c.verdict_id.in_(ids))
    pictures = select(events.c.id, events.c.thumbnail_name).where(
        events.c.id.in_({verdict.event_id for verdict in found})
    )
    return ShownVerdicts(
        {row.verdict_id: row.n for row in await connection.execute(counts.group_by(examples.c.verdict_id))},
        {row.id: row.thumbnail_name for row in await connection.execute(pictures)},
    )


async def undo_verdict(
    connection: AsyncConnection, verdict_id: str, who: str, now: datetime, cameras: CameraIds
) -> Verdict | None:
    """Take a verdict back, once; None when there is none on these cameras."""
    mine = and_(verdicts.c.id == verdict_id, *of_cameras(verdicts.c.camera, cameras))
    stands = and_(mine, verdicts.c.undone_at.is_(None))
    await connection.execute(update(verdicts).where(stands).values(undone_by=who, undone_at=to_millis(now)))
    return await find_verdict(connection, verdict_id, cameras)


async def untaught(connection: AsyncConnection, limit: int) -> list[Verdict]:
    """Return the oldest verdicts that stand, are to have an effect, and have not taught yet."""
    query = select(verdicts).where(
        verdicts.c.taught_at.is_(None), verdicts.c.undone_at.is_(None), verdicts.c.effect != "none"
    )
    found = await connection.execute(query.order_by(verdicts.c.made_at, verdicts.c.id).limit(limit))
    return [_verdict(row) for row in found]


async def event_data(connection: AsyncConnection, event_id: str) -> EventData | None:
    """Return an event with its snippets and pictures."""
    rows = (await connection.execute(select(events).where(events.c.id == event_id))).all()
    return (await data_of(connection, rows))[0] if rows else None


@dataclass(frozen=True, slots=True)
class NewExamples:
    """What follows from a verdict: rows of `examples`, and the columns of its own row."""

    rows: Sequence[dict[str, Any]] = ()  # Any: column values of every type
    is_followed: bool = False
    unrelated: float | None = None


async def write_examples(
    connection: AsyncConnection, verdict: Verdict, new: NewExamples, now: datetime
) -> bool:
    """Write the examples of a verdict that has none yet; False when another recorder was faster."""
    mine = and_(verdicts.c.id == verdict.id, verdicts.c.taught_at.is_(None))
    done = {"taught_at": to_millis(now), "is_followed": new.is_followed, "unrelated": new.unrelated}
    if not (await connection.execute(update(verdicts).where(mine).values(done))).rowcount:
        return False
    if new.rows:
        await connection.execute(insert(examples), list(new.rows))
    return True


def example_rows(
    verdict: Verdict, data: EventData, model: str, taught: Iterable[tuple[int, TaughtPicture]]
) -> list[dict[str, Any]]:
    """Return the rows of `examples`; each picture comes with the number of its snippet within the event."""
    rows = []
    for snippet, one in taught:
        picture = data.pictures[snippet][one.picture]
        rows.append(
            {
                "verdict_id": verdict.id,
                "camera": verdict.camera,
                "label": one.example.label,
                "is_right": one.example.is_right,
                "event_id": verdict.event_id,
                "snippet": snippet,
                "picture": picture.picture,
                "captured_at": picture.captured_at,
                "model": model,
                "dim": picture.dim,
                "embedding": picture.embedding,
            }
        )
    return rows


async def groups_of(connection: AsyncConnection) -> dict[str, tuple[str, ...]]:
    """Return the cameras of each camera's group, by camera; those that are alone are left out."""
    members: dict[str, list[str]] = defaultdict(list)
    query = select(configured.c.id, configured.c.example_group).where(configured.c.example_group != "")
    for row in await connection.execute(query.order_by(configured.c.id)):
        members[row.example_group].append(row.id)
    return {camera: tuple(found) for found in members.values() for camera in found}


async def cameras_taught(connection: AsyncConnection) -> dict[tuple[str, str], object]:
    """Return every camera and model that there may be examples for, with a value that differs after each change."""
    table = verdicts.c
    found = await connection.execute(
        select(
            table.camera,
            func.count(),
            func.max(table.made_at),
            func.max(table.taught_at),
            func.count(table.taught_at),
            func.max(table.undone_at),
            func.count(table.undone_at),
        ).group_by(table.camera)
    )
    pictures = select(examples.c.camera, func.count().label("n")).group_by(examples.c.camera)
    n_examples = {row.camera: row.n for row in await connection.execute(pictures)}
    changes = {row.camera: (*row, n_examples.get(row.camera, 0)) for row in found}
    groups = await groups_of(connection)
    models = (await connection.scalars(select(examples.c.model).distinct())).all()
    known = {*changes, *(await connection.scalars(select(configured.c.id))).all()}
    alike = {camera: groups.get(camera, (camera,)) for camera in known}
    return {
        (camera, model): (group, [changes.get(one) for one in group])
        for camera, group in sorted(alike.items())
        for model in models
    }


async def teaching_of(
    connection: AsyncConnection, camera: str, model: str, besides: Verdict | None = None
) -> CameraTeaching:
    """Return what the verdicts on a camera and its group teach, those that count, by their newest pictures.

    `besides`: a verdict whose own pictures are left out, while those that it takes the place of count no more.
    """
    group = (await groups_of(connection)).get(camera, (camera,))
    table = verdicts.c
    stands = and_(table.undone_at.is_(None), table.effect != "none")
    found = (await connection.execute(_newest_examples(group, model, stands, besides))).all()
    on_events = table.event_id.in_({row.event_id for row in found})
    said = (await connection.execute(select(verdicts).where(stands, on_events))).all()
    of_model = exists().where(examples.c.verdict_id == table.id, examples.c.model == model)
    unrelated = select(table.unrelated).where(
        table.camera.in_(group), stands, of_model, table.unrelated.is_not(None)
    )
    nearest = ((table.camera == camera).desc(), table.taught_at.desc(), table.id.desc())
    last = await connection.scalar(unrelated.order_by(*nearest).limit(1))
    return await asyncio.to_thread(_teaching, found, said, besides, last)


def _newest_examples(
    group: Sequence[str], model: str, stands: ColumnElement[bool], besides: Verdict | None
) -> Select[Any]:
    """Return the query of the newest pictures for, and against, each label, so that none crowds out another."""
    table = examples.c
    place = func.row_number().over(partition_by=(table.label, table.is_right), order_by=table.number.desc())
    of_model = (
        select(table.number, place.label("place"))
        .join(verdicts, verdicts.c.id == table.verdict_id)
        .where(table.camera.in_(group), table.model == model, stands)
        .where(verdicts.c.id != ("" if besides is None else besides.id))
        .subquery()
    )
    newest = select(examples).join(of_model, of_model.c.number == table.number)
    return newest.order_by(of_model.c.place, table.number.desc()).limit(EXAMPLES_READ_MAX)


def _teaching(
    found: Sequence[Row[Any]], said: Sequence[Row[Any]], besides: Verdict | None, unrelated: float | None
) -> CameraTeaching:
    standing = [_verdict(row) for row in said if besides is None or row.id != besides.id]
    counted = {one.id for one in _counting(standing if besides is None else [*standing, besides])}
    kept = [
        KeptExample(
            row.number,
            row.verdict_id,
            Example(
                row.event_id,
                row.label,
                row.is_right,
                np.frombuffer(row.embedding, dtype="<f2").astype(np.float32),
            ),
        )
        for row in found
        if row.verdict_id in counted
    ]
    return CameraTeaching(tuple(sorted(kept, key=lambda one: one.number)), unrelated)


async def examples_by_model(connection: AsyncConnection, cameras: CameraIds) -> dict[str, int]:
    """Return how many pictures teach something now, by the model that they were looked at with."""
    stands = and_(verdicts.c.undone_at.is_(None), verdicts.c.effect != "none")
    query = select(examples.c.model, func.count().label("n")).join(
        verdicts, verdicts.c.id == examples.c.verdict_id
    )
    mine = query.where(stands, *of_cameras(examples.c.camera, cameras)).group_by(examples.c.model)
    return {row.model: row.n for row in await connection.execute(mine.order_by(examples.c.model))}


async def note_relabel(connection: AsyncConnection, verdict_id: str, relabel_id: str | None) -> None:
    """Say which change of the past a verdict leads to; None: to none."""
    mine = update(verdicts).where(verdicts.c.id == verdict_id)
    effect: Effect = "future" if relabel_id is None else "past"
    await connection.execute(mine.values(effect=effect, relabel_id=relabel_id))


async def rightly_recorded(connection: AsyncConnection, event_ids: Collection[str]) -> set[tuple[str, str]]:
    """Return those of some events with the labels that somebody called right, by the verdicts that count."""
    stands = and_(verdicts.c.undone_at.is_(None), verdicts.c.event_id.in_(event_ids))
    found = await connection.execute(select(verdicts).where(stands))
    return {(one.event_id, label) for one in _counting(map(_verdict, found)) for label in one.said.shown}


async def counting_ids(connection: AsyncConnection, camera: str, event_ids: Collection[str]) -> set[str]:
    """Return the ids of the verdicts on some events of a camera that count among those that teach."""
    stands = and_(verdicts.c.undone_at.is_(None), verdicts.c.effect != "none")
    mine = select(verdicts).where(stands, verdicts.c.camera == camera, verdicts.c.event_id.in_(event_ids))
    return {one.id for one in _counting(map(_verdict, await connection.execute(mine)))}


def _counting(found: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts that count, of some that stand."""
    by_event: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in found:
        by_event[verdict.event_id].append(verdict)
    return [one for said in by_event.values() for one in counting(said)]


async def unrelated_of(connection: AsyncConnection, camera: str, model: str, dim: int) -> float:
    """Return the mean cosine of pictures of different events of a camera, newest first."""
    table = frame_embeddings
    query = (
        select(table.c.event_id, table.c.embedding)
        .join(events, events.c.id == table.c.event_id)
        .where(events.c.camera == camera, table.c.model == model, table.c.dim == dim, table.c.kind == "crop")
        .order_by(events.c.started_at.desc(), table.c.event_id, table.c.snippet, table.c.picture)
        .limit(UNRELATED_OF)
    )
    rows = [row for row in await connection.execute(query) if len(row.embedding) == 2 * dim]
    if not rows:
        return unrelated_cosine(np.zeros((0, dim), np.float32), [])
    vectors = np.frombuffer(b"".join(row.embedding for row in rows), dtype="<f2").reshape(-1, dim)
    of_events = [row.event_id for row in rows]
    return await asyncio.to_thread(unrelated_cosine, vectors.astype(np.float32), of_events)


def _verdict(row: Row[Any]) -> Verdict:
    fields = {name: getattr(row, name) for name in _VERDICT}
    return Verdict(**{**fields, "recorded": tuple(json.loads(row.recorded))})
