"""HTTP for gaps: times in which something was not watched, recorded or told. Knows no channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel

from services.recorder.gaps import rows
from services.recorder.gaps.values import Gap, Kind
from services.recorder.http.api import PAGE_MAX, Api, parse_cursor
from shared.clock import epoch_ms
from shared.http_api import IsoTime, documented


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


def gap_routes(api: Callable[[], Api]) -> APIRouter:
    """Return the routes; 503 until the recorder has its database."""
    router = APIRouter(prefix="/api", tags=["gaps"], responses=documented(503))

    @router.get("/gaps")
    async def gaps(
        response: Response,
        camera: Annotated[
            str | None, Query(max_length=64, description="this camera, and what is of no single camera")
        ] = None,
        kind: Annotated[Kind | None, Query(description="only gaps of this kind")] = None,
        since: Annotated[IsoTime | None, Query(description="lasted at this time or later")] = None,
        until: Annotated[IsoTime | None, Query(description="began before this time")] = None,
        is_open: Annotated[
            bool | None, Query(alias="open", description="only gaps that last / ended")
        ] = None,
        before: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> GapsOut:
        """Times in which something was not watched, recorded or told, the newest first."""
        wanted = rows.GapFilter(camera, kind, since, until, is_open, parse_cursor(before))
        async with api().open_database().reading() as connection:
            found = await rows.find(connection, wanted, limit)
        response.headers["cache-control"] = "no-store"
        following = f"{epoch_ms(found[-1].started_at)}_{found[-1].id}" if len(found) == limit else None
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
