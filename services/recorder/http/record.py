"""The record as a whole: its cameras and labels, its totals, and what retention would remove."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from pydantic import AwareDatetime

from services.recorder.http.models import ApiModel
from services.recorder.http.state import ApiState
from services.recorder.http.viewer import Viewer
from services.recorder.record import queries
from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.queries import Totals
from services.recorder.record.retention import Forecast, RetentionLimits, RetentionRule, forecast
from shared.clock import now_utc

TOTALS_S = 1.0  # totals are read again after this long
TOTALS_KEPT = 32  # different sets of cameras


class NamedOut(ApiModel):
    name: str
    newest_at: AwareDatetime


class StatsOut(ApiModel):
    events: int
    accepted_events: int
    open_events: int
    snippets: int
    lost_clips: int
    clip_bytes: int
    oldest_at: AwareDatetime | None
    newest_at: AwareDatetime | None
    is_ready: bool


class RetentionOut(ApiModel):
    """What the next pass of retention would remove, and the limits that say so; 0: no limit."""

    days: float
    size_bytes: int
    free_bytes: int
    rules: list[RetentionRule]
    aged_events: int
    aged_before: AwareDatetime | None
    excess_bytes: int


def record_routes(api: ApiState) -> APIRouter:
    """Return the routes of the record as a whole."""
    router = APIRouter(prefix="/api", tags=["record"])
    read_totals = _cached_totals(api)

    @router.get("/retention")
    async def retention(viewer: Viewer) -> RetentionOut:
        """What retention would remove now; nothing is changed."""
        disk = await api.disk()
        free_bytes = disk.free_bytes if disk is not None else 0
        async with api.open_database().reading() as connection:
            expected = await forecast(connection, api.limits, now_utc(), free_bytes, viewer)
        fields = {name: getattr(expected, name) for name in Forecast.__dataclass_fields__}
        fields |= {name: getattr(api.limits, name) for name in RetentionLimits.__dataclass_fields__}
        return RetentionOut.model_validate(fields | {"rules": api.limits.rules_of(viewer)})

    @router.get("/record/cameras")
    async def cameras(viewer: Viewer) -> list[NamedOut]:
        """Cameras that were seen, by name."""
        async with api.open_database().reading() as connection:
            found = await queries.seen_cameras(connection, viewer)
        return [NamedOut.model_validate(named) for named in found]

    @router.get("/record/labels")
    async def labels(viewer: Viewer) -> list[NamedOut]:
        """Labels that were accepted at least once, by name."""
        async with api.open_database().reading() as connection:
            found = await queries.seen_labels(connection, viewer)
        return [NamedOut.model_validate(named) for named in found]

    @router.get("/stats")
    async def stats(viewer: Viewer) -> StatsOut:
        """Totals over the record, at most some seconds old."""
        totals = await read_totals(viewer)
        fields = {name: getattr(totals, name) for name in Totals.__dataclass_fields__}
        return StatsOut(**fields, is_ready=api.is_ready())

    return router


def _cached_totals(api: ApiState) -> Callable[[CameraIds], Awaitable[Totals]]:
    cached: dict[CameraIds, tuple[float, Totals]] = {}  # by whose cameras; TOTALS_KEPT at most

    async def read(viewer: CameraIds) -> Totals:
        now_s = time.monotonic()
        if viewer not in cached or now_s - cached[viewer][0] > TOTALS_S:
            async with api.open_database().reading() as connection:
                found = (now_s, await queries.find_totals(connection, viewer))
            cached.pop(viewer, None)
            if len(cached) >= TOTALS_KEPT:
                del cached[next(iter(cached))]
            cached[viewer] = found
        return cached[viewer][1]

    return read
