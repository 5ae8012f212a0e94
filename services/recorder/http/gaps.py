"""Gaps: times in which something was not watched, recorded or notified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel

from services.recorder.gaps import rows
from services.recorder.gaps.values import Gap, Kind
from services.recorder.http.paging import PAGE_MAX, cursor, parse_cursor
from services.recorder.http.state import ApiState
from services.recorder.http.viewer import Viewer
from services.recorder.record.camera_filter import CameraIds
from shared.http_api import IsoTime


class GapOut(BaseModel):
    """A gap; `ended_at` null: it lasts. `camera` null: it is of no single camera."""

    id: str
    kind: Kind
    subject: str
    camera: str | None
    reason: str
    started_at: AwareDatetime
    ended_at: AwareDatetime | None
    duration_s: float | None


class GapsOut(BaseModel):
    """A page of gaps, the newest begin first; `next` is the `before` of the page that follows, null at the end."""

    gaps: list[GapOut]
    next: str | None


@dataclass(frozen=True, slots=True)
class GapQuery:
    """The parameters of /api/gaps."""

    camera: Annotated[
        str | None, Query(max_length=64, description="this camera, and what is of no single camera")
    ] = None
    kind: Annotated[Kind | None, Query(description="only gaps of this kind")] = None
    since: Annotated[IsoTime | None, Query(description="lasted at this time or later")] = None
    until: Annotated[IsoTime | None, Query(description="began before this time")] = None
    is_open: Annotated[bool | None, Query(alias="open", description="only gaps that last / ended")] = None
    before: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50

    def filter(self, viewer: CameraIds) -> rows.GapFilter:
        """Return the filter for the database; raises ApiFault when `before` is no cursor."""
        before = parse_cursor(self.before)
        return rows.GapFilter(self.camera, self.kind, self.since, self.until, self.is_open, before, viewer)


def gap_routes(api: ApiState) -> APIRouter:
    """Return the route of gaps."""
    router = APIRouter(prefix="/api", tags=["gaps"])

    @router.get("/gaps")
    async def gaps(query: Annotated[GapQuery, Depends()], response: Response, viewer: Viewer) -> GapsOut:
        """Times in which something was not watched, recorded or told, the newest first."""
        wanted = query.filter(viewer)
        async with api.open_database().reading() as connection:
            found = await rows.find(connection, wanted, query.limit)
        response.headers["cache-control"] = "no-store"
        following = cursor(found[-1].started_at, found[-1].id) if len(found) == query.limit else None
        return GapsOut(gaps=[_gap_out(gap) for gap in found], next=following)

    return router


def _gap_out(gap: Gap) -> GapOut:
    return GapOut(
        id=gap.id,
        kind=gap.key.kind,
        subject=gap.key.subject,
        camera=gap.key.camera,
        reason=gap.reason,
        started_at=gap.started_at,
        ended_at=gap.ended_at,
        duration_s=gap.duration_s,
    )
