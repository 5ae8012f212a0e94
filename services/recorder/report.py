"""The record for programs beside the service (launcher, command line): reads a DATABASE_URL, starts nothing.

    engine = open_record("sqlite:///data/clipwatch.db")
    events = await recent_events(engine, limit=20)
    await engine.dispose()

A database that no recorder has used yet reads as empty. Raises DatabaseAway or DatabaseBusy (both Transient) when
the database does not answer.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncEngine

from services.recorder.record.database import Database
from services.recorder.record.database_errors import TablesMissing
from services.recorder.record.engines import make_engine
from services.recorder.record.queries import (
    EventFilter,
    Totals,
    find_event,
    find_events,
    find_totals,
    with_snippets,
)
from services.recorder.record.values import Detection, Event, Snippet, Weather

__all__ = [
    "Detection",
    "Event",
    "EventFilter",
    "Snippet",
    "Totals",
    "Weather",
    "event_record",
    "event_records",
    "open_record",
    "recent_events",
    "totals",
]

_PAGE = 200
EVERYTHING = EventFilter(accepted_only=False)


def open_record(database_url: str) -> AsyncEngine:
    """Return an engine for the URL; raise ConfigError when it cannot be one. End it with `dispose()`."""
    return make_engine(database_url)


async def recent_events(engine: AsyncEngine, limit: int, accepted_only: bool = True) -> list[Event]:
    """Return the newest events, newest first, with snippets, detections and weather."""
    try:
        async with Database(engine).reading() as connection:
            found = await find_events(connection, EventFilter(accepted_only=accepted_only), limit)
            return await with_snippets(connection, found)
    except TablesMissing:
        return []


async def event_records(engine: AsyncEngine, wanted: EventFilter = EVERYTHING) -> list[Event]:
    """Return all events that fit, oldest first, with snippets, detections and weather."""
    found: list[Event] = []
    try:
        async with Database(engine).reading() as connection:
            while True:
                page = await find_events(connection, wanted, _PAGE)
                found += await with_snippets(connection, page)
                if len(page) < _PAGE:
                    return found[::-1]
                wanted = replace(wanted, before=(page[-1].started_at, page[-1].id))
    except TablesMissing:
        return []


async def event_record(engine: AsyncEngine, event_id: str) -> Event | None:
    """Return one event with snippets, detections and weather; None when there is none of this id."""
    try:
        async with Database(engine).reading() as connection:
            return await find_event(connection, event_id)
    except TablesMissing:
        return None


async def totals(engine: AsyncEngine) -> Totals:
    """Return the counts over the whole record."""
    try:
        async with Database(engine).reading() as connection:
            return await find_totals(connection)
    except TablesMissing:
        return Totals(0, 0, 0, 0, 0, 0, None, None)
