"""Every query of the page, the API and the command line. Reads only."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Row, Select, and_, false, func, or_, select, true, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import CameraIds, narrowed, of_cameras, portions_in_order
from services.recorder.record.schema import (
    day_totals,
    detections,
    events,
    frame_probabilities,
    snippets,
    weather_reports,
)
from services.recorder.record.values import Detection, Event, Frames, LabelSeries, Snippet, Weather
from shared.contract import DecisionSettings

_EVENT = tuple(name for name in Event.__dataclass_fields__ if name in events.c)
_WEATHER = tuple(Weather.__dataclass_fields__)
_SNIPPET = tuple(name for name in Snippet.__dataclass_fields__ if name in snippets.c)
_Row = Row[*tuple[Any, ...]]  # Any: columns are read by name
_SAME_NAME_MAX = 10  # snippets that name one file: a publisher's fault, see is_named_by_another
_IDS_AT_ONCE = 500  # ids in one IN (…)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; `before` (started_at, id) continues after the last event of the page before.

    `cameras`: those that may be seen.
    """

    camera: str | None = None
    label: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    is_open: bool | None = None
    accepted_only: bool = True
    before: tuple[datetime, str] | None = None
    cameras: CameraIds = None
    id_start: str | None = None


@dataclass(frozen=True, slots=True)
class LastSeen:
    """A camera or label that was seen, and when its newest event started."""

    name: str
    newest_at: datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over the record, as far as it may be seen."""

    events: int
    accepted_events: int
    open_events: int
    snippets: int
    lost_clips: int
    clip_bytes: int
    oldest_at: datetime | None
    newest_at: datetime | None


async def find_events(connection: AsyncConnection, wanted: EventFilter, limit: int) -> list[Event]:
    """Return up to `limit` events, newest first, with weather and detections."""
    started_at, key, camera = events.c.started_at, events.c.id, events.c.camera
    query = _events()
    if wanted.label is not None:
        of_label = and_(detections.c.event_id == events.c.id, detections.c.label == wanted.label)
        query = query.join(detections, of_label)
        started_at, key, camera = detections.c.event_started_at, detections.c.event_id, detections.c.camera
    if wanted.accepted_only and wanted.label is None:
        is_accepted = events.c.is_accepted == true()
        if wanted.before is not None and connection.dialect.name == "mysql":
            # MariaDB 10.11 looks an equality up alone and walks past all that the pages before showed (12,047 rows for
            # a page in the middle of 60,000 events); of a list, which no third value can widen, it takes the range of
            # started_at (119 rows)
            is_accepted = type_coerce(events.c.is_accepted, Integer).in_((1, 2))
        query = query.where(is_accepted)
    if wanted.since is not None:
        query = query.where(started_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(started_at < wanted.until)
    if wanted.is_open is not None:
        query = query.where(events.c.is_open == (true() if wanted.is_open else false()))
    if wanted.id_start is not None:
        query = query.where(key >= wanted.id_start, key < f"{wanted.id_start}g")  # no id holds a g
    if wanted.before is not None:
        at, event_id = wanted.before
        # the first condition alone gives the index its range; the second drops what the page before showed
        query = query.where(started_at <= at, or_(started_at < at, key < event_id))
    query = query.order_by(started_at.desc(), key.desc()).limit(limit)
    found: list[_Row] = []
    for portion in portions_in_order(narrowed(wanted.camera, wanted.cameras)):
        found += (await connection.execute(query.where(*of_cameras(camera, portion)))).all()
    found.sort(key=lambda row: (row.started_at, row.id), reverse=True)
    return await _completed(connection, found[:limit])


async def changed_events(
    connection: AsyncConnection, since: datetime, after_id: str, limit: int, *, newest_first: bool = False
) -> list[Event]:
    """Return the events that changed after (`since`, `after_id`), in the order of their changes."""
    changed_at, key = events.c.updated_at, events.c.id
    query = _events().where(changed_at >= since, or_(changed_at > since, key > after_id))
    order = (changed_at.desc(), key.desc()) if newest_first else (changed_at, key)
    found = await connection.execute(query.order_by(*order).limit(limit))
    return await _completed(connection, found.all())


async def find_event(connection: AsyncConnection, event_id: str, cameras: CameraIds = None) -> Event | None:
    """Return one event with its snippets; None when there is none of this id on these cameras."""
    query = _events().where(events.c.id == event_id, *of_cameras(events.c.camera, cameras))
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    return (await with_snippets(connection, await _completed(connection, [row])))[0]


async def is_moving(connection: AsyncConnection, camera: str) -> bool:
    """Return whether an event of the camera is open."""
    query = select(events.c.id).where(events.c.is_open == true(), events.c.camera == camera).limit(1)
    return (await connection.execute(query)).first() is not None


async def is_there(connection: AsyncConnection, event_id: str, cameras: CameraIds) -> bool:
    """Return whether there is such an event on these cameras."""
    query = select(events.c.id).where(events.c.id == event_id, *of_cameras(events.c.camera, cameras))
    return (await connection.execute(query)).first() is not None


async def find_events_by_id(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Event]:
    """Return the events of `ids` that there are, by id, with weather and detections."""
    found: list[Event] = []
    for portion in _portions(ids):
        rows = (await connection.execute(_events().where(events.c.id.in_(portion)))).all()
        found += await _completed(connection, rows)
    return {event.id: event for event in found}


async def is_media_of(connection: AsyncConnection, name: str, cameras: CameraIds) -> bool:
    """Return whether a clip or thumbnail is of these cameras' events; one of no event, or of others' too, is not.

    A thumbnail is found by the name of its clip, which differs in its ending only.
    """
    clip_name = name.removesuffix(".jpg") + ".mp4" if name.endswith(".jpg") else name
    query = (
        select(events.c.camera, snippets.c.clip_name, snippets.c.thumbnail_name)
        .join(events, events.c.id == snippets.c.event_id)
        .where(snippets.c.clip_name == clip_name)
        .limit(_SAME_NAME_MAX)
    )
    found = (await connection.execute(query)).all()
    is_named = (
        any(name in (row.clip_name, row.thumbnail_name) for row in found) and len(found) < _SAME_NAME_MAX
    )
    return is_named and (cameras is None or all(row.camera in cameras for row in found))


async def find_frames(connection: AsyncConnection, event_id: str) -> list[Frames]:
    """Return the probabilities of every moment of an event, by snippet."""
    table = frame_probabilities
    found = await connection.execute(
        select(
            table.c.snippet,
            table.c.moment,
            table.c.captured_at,
            table.c.kind,
            table.c.label,
            table.c.probability,
            table.c.score,
            table.c.background,
        )
        .where(table.c.event_id == event_id)
        .order_by(table.c.snippet, table.c.moment)
    )
    by_snippet: dict[int, list[_Row]] = defaultdict(list)
    for row in found:
        by_snippet[row.snippet].append(row)
    return [_frames(snippet, rows) for snippet, rows in sorted(by_snippet.items())]


async def seen_cameras(connection: AsyncConnection, cameras: CameraIds = None) -> list[LastSeen]:
    """Return the cameras of the record, by name."""
    query = select(events.c.camera, func.max(events.c.started_at)).group_by(events.c.camera)
    query = query.where(*of_cameras(events.c.camera, cameras))
    return [LastSeen(*row) for row in await connection.execute(query.order_by(events.c.camera))]


async def seen_labels(connection: AsyncConnection, cameras: CameraIds = None) -> list[LastSeen]:
    """Return the labels that were ever accepted on these cameras, by name."""
    query = select(detections.c.label, func.max(detections.c.event_started_at)).group_by(detections.c.label)
    query = query.where(*of_cameras(detections.c.camera, cameras))
    return [LastSeen(*row) for row in await connection.execute(query.order_by(detections.c.label))]


async def find_totals(connection: AsyncConnection, cameras: CameraIds = None) -> Totals:
    """Return the totals: sums that are kept up to date, the ends of an index, and the few events that are open."""
    names = ("n_events", "n_accepted", "n_snippets", "n_lost", "clip_bytes")
    sums = (func.coalesce(func.sum(day_totals.c[name]), 0) for name in names)
    kept = select(*sums).where(*of_cameras(day_totals.c.camera, cameras))
    n_events, n_accepted, n_snippets, n_lost, clip_bytes = (await connection.execute(kept)).one()
    mine = of_cameras(events.c.camera, cameras)
    n_open = select(func.count()).select_from(events).where(events.c.is_open == true(), *mine)
    return Totals(
        events=int(n_events),
        accepted_events=int(n_accepted),
        open_events=int(await connection.scalar(n_open) or 0),
        snippets=int(n_snippets),
        lost_clips=int(n_lost),
        clip_bytes=int(clip_bytes),
        oldest_at=await connection.scalar(select(func.min(events.c.started_at)).where(*mine)),
        newest_at=await connection.scalar(select(func.max(events.c.started_at)).where(*mine)),
    )


async def with_snippets(connection: AsyncConnection, found: Sequence[Event]) -> list[Event]:
    """Return the events with their snippets, in order."""
    by_event: dict[str, list[Snippet]] = defaultdict(list)
    for ids in _portions([event.id for event in found]):
        query = (
            select(snippets.c.event_id, *(snippets.c[name] for name in _SNIPPET))
            .where(snippets.c.event_id.in_(ids))
            .order_by(snippets.c.event_id, snippets.c.snippet)
        )
        for row in await connection.execute(query):
            by_event[row.event_id].append(_snippet(row))
    return [replace(event, snippets=tuple(by_event[event.id])) for event in found]


async def _completed(connection: AsyncConnection, rows: Sequence[_Row]) -> list[Event]:
    """Return the events of `rows` with weather and detections."""
    reports = await _weather(connection, {row._mapping["weather_id"] for row in rows} - {None})
    found = [_event(row, reports) for row in rows]
    by_event: dict[str, list[Detection]] = defaultdict(list)
    names = tuple(Detection.__dataclass_fields__)
    for ids in _portions([event.id for event in found]):
        query = select(detections.c.event_id, *(detections.c[name] for name in names)).where(
            detections.c.event_id.in_(ids)
        )
        for event_id, *values in await connection.execute(query):
            by_event[event_id].append(Detection(*values))
    return [
        replace(event, detections=tuple(sorted(by_event[event.id], key=lambda d: (-d.probability, d.label))))
        for event in found
    ]


async def _weather(connection: AsyncConnection, ids: Collection[int]) -> dict[int, Weather]:
    if not ids:
        return {}
    columns = (weather_reports.c.id, *(weather_reports.c[name] for name in _WEATHER))
    found = await connection.execute(select(*columns).where(weather_reports.c.id.in_(ids)))
    return {report_id: Weather(*values) for report_id, *values in found}


def _events() -> Select[Any]:  # Any: the columns, all read by name
    # weather and detections are read afterwards, by key: joined here, MySQL gives up the index's order and sorts
    # all that fits (170 ms against 2 ms at 100,000 events)
    return select(*(events.c[name] for name in _EVENT), events.c.weather_id).select_from(events)


def _event(row: _Row, reports: Mapping[int, Weather]) -> Event:
    fields = row._mapping
    return Event(**{name: fields[name] for name in _EVENT}, weather=reports.get(fields["weather_id"]))


def _snippet(row: _Row) -> Snippet:
    fields = {name: row._mapping[name] for name in _SNIPPET}
    fields["peaks"] = json.loads(fields["peaks"])
    fields["decision"] = DecisionSettings.model_validate_json(fields["decision"])
    fields["accepted"] = tuple(said["label"] for said in json.loads(fields["accepted"]))
    return Snippet(**fields)


def _frames(snippet: int, rows: Sequence[_Row]) -> Frames:
    moments = {row.moment: row.captured_at for row in rows}
    columns: dict[tuple[str, str], dict[int, _Row]] = defaultdict(dict)
    for row in rows:
        columns[(row.kind, row.label)][row.moment] = row
    order = {"target": 0, "background": 1, "other": 2}
    ascending = sorted(moments)
    return Frames(
        snippet,
        tuple(moments[moment] for moment in ascending),
        tuple(
            _series(kind, label, [of_moment.get(moment) for moment in ascending])
            for (kind, label), of_moment in sorted(
                columns.items(), key=lambda c: (order.get(c[0][0], 3), c[0][1])
            )
        ),
    )


def _series(kind: str, label: str, rows: Sequence[_Row | None]) -> LabelSeries:
    probabilities = tuple(0.0 if row is None else row.probability for row in rows)
    if kind != "target" or any(row is None or row.score is None for row in rows):
        return LabelSeries(label, kind, probabilities)
    known = [row for row in rows if row is not None]
    return LabelSeries(
        label, kind, probabilities, tuple(row.score for row in known), tuple(row.background for row in known)
    )


def _portions(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE)]
