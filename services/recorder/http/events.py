"""Events: pages of them, one with its details, its protection, and a stream of their changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict

from services.recorder.http.models import ApiModel, EventDetailOut, EventOut, event_detail_out, event_out
from services.recorder.http.paging import PAGE_MAX, cursor, parse_cursor
from services.recorder.http.state import ApiState
from services.recorder.http.viewer import Viewer
from services.recorder.record import queries
from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.feed import FeedFull
from services.recorder.record.queries import EventFilter
from services.recorder.record.relabels import find_label_changes
from services.recorder.record.retention import set_protected
from shared.clock import epoch_ms, now_utc
from shared.http_api import ApiFault, IsoTime

HEARTBEAT_S = 5.0  # an idle stream says so: proxies keep it, and the page knows that it lives


class EventsOut(ApiModel):
    """A page of events, newest first; `next` is the `before` of the page that follows, null at the end."""

    events: list[EventOut]
    next: str | None


class ProtectedIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    is_protected: bool


@dataclass(frozen=True, slots=True)
class EventQuery:
    """The parameters of /api/events."""

    camera: Annotated[str | None, Query(max_length=64, description="only this camera")] = None
    label: Annotated[str | None, Query(max_length=200, description="only events with this label")] = None
    since: Annotated[IsoTime | None, Query(description="started at this time or later")] = None
    until: Annotated[IsoTime | None, Query(description="started before this time")] = None
    accepted_only: Annotated[bool, Query(description="leave out events without an accepted label")] = True
    is_open: Annotated[bool | None, Query(alias="open", description="only events that last / ended")] = None
    id_start: Annotated[
        str | None, Query(pattern="^[0-9a-f-]{1,36}$", description="only events whose id starts so")
    ] = None
    before: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50

    def filter(self, viewer: CameraIds) -> EventFilter:
        """Return the filter for the database; raises ApiFault when `before` is no cursor."""
        return EventFilter(
            self.camera,
            self.label,
            self.since,
            self.until,
            self.is_open,
            self.accepted_only,
            parse_cursor(self.before),
            viewer,
            self.id_start,
        )


def event_routes(api: ApiState) -> APIRouter:
    """Return the routes of events."""
    router = APIRouter(prefix="/api", tags=["record"])

    @router.get("/events")
    async def events(
        query: Annotated[EventQuery, Depends()], response: Response, viewer: Viewer
    ) -> EventsOut:
        """Events, newest first."""
        wanted = query.filter(viewer)
        async with api.open_database().reading() as connection:
            found = await queries.find_events(connection, wanted, query.limit)
        response.headers["cache-control"] = "no-store"
        following = cursor(found[-1].started_at, found[-1].id) if len(found) == query.limit else None
        return EventsOut(events=[event_out(event) for event in found], next=following)

    @router.get("/events/{event_id}")
    async def event(event_id: str, response: Response, viewer: Viewer) -> EventDetailOut:
        """One event with its snippets and the probabilities of every moment."""
        async with api.open_database().reading() as connection:
            found = await queries.find_event(connection, event_id, viewer)
            frames = await queries.find_frames(connection, event_id) if found else []
            changes = await find_label_changes(connection, event_id) if found else []
        if found is None:
            raise no_event(event_id)
        response.headers["cache-control"] = "no-store"
        return event_detail_out(found, frames, changes)

    @router.put("/events/{event_id}/protected")
    async def protect(event_id: str, wanted: ProtectedIn, viewer: Viewer) -> ProtectedIn:
        """Keep an event from being removed by retention, or no longer."""
        async with api.open_database().writing() as connection:
            is_known = await set_protected(connection, event_id, wanted.is_protected, now_utc(), viewer)
        if not is_known:
            raise no_event(event_id)
        api.changed()
        return wanted

    @router.get(
        "/stream",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
                "description": "server-sent events named `event`, each with an event as in /api/events",
            },
        },
    )
    async def stream(viewer: Viewer) -> StreamingResponse:
        """Every event that is added or changes, as it happens, whether accepted or not."""
        api.open_database()
        return StreamingResponse(
            _stream(api, viewer),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return router


def no_event(event_id: str) -> ApiFault:
    """Return the answer for an event that there is not, or that is of a camera which the caller does not see."""
    found = f"no event '{event_id[:64]}'"
    return ApiFault(404, found, "the id of a recorded event", "look in /api/events")


async def _stream(api: ApiState, viewer: CameraIds) -> AsyncIterator[str]:
    if api.feed is None or api.stop.is_set():
        yield "retry: 2000\n\n"
        return
    try:
        with api.feed.follow(viewer) as queue:
            yield "retry: 2000\nevent: hello\ndata: {}\n\n"
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
                except TimeoutError:
                    yield "event: beat\ndata: {}\n\n"
                    continue
                if event is None:
                    return
                yield f"id: {epoch_ms(event.updated_at)}\nevent: event\ndata: {event_out(event).model_dump_json()}\n\n"
    except FeedFull:
        yield "retry: 30000\nevent: full\ndata: {}\n\n"
