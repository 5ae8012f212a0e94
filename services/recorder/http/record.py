"""The record as a whole: its cameras and labels, its totals, and what retention would remove."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from pydantic import AwareDatetime

from services.recorder.http.models import ApiModel
from services.recorder.http.state import ApiState
from services.recorder.record import queries
from services.recorder.record.queries import Totals
from services.recorder.record.retention import Forecast, RetentionLimits, RetentionRule, forecast
from shared.clock import now_utc
from shared.http_api import documented

TOTALS_S = 1.0  # totals are read again after this long


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
    router = APIRouter(prefix="/api", tags=["record"], responses=documented(503))
    read_totals = _cached_totals(api)

    @router.get("/retention")
    async def retention() -> RetentionOut:
        """What retention would remove now; nothing is changed."""
        disk = await asyncio.to_thread(api.disk)
        free_bytes = disk.free_bytes if disk is not None else 0
        async with api.open_database().reading() as connection:
            expected = await forecast(connection, api.limits, now_utc(), free_bytes)
        fields = {name: getattr(expected, name) for name in Forecast.__dataclass_fields__}
        fields |= {name: getattr(api.limits, name) for name in RetentionLimits.__dataclass_fields__}
        return RetentionOut.model_validate(fields)

    @router.get("/record/cameras")
    async def cameras() -> list[NamedOut]:
        """Cameras that were seen, by name."""
        async with api.open_database().reading() as connection:
            return [NamedOut.model_validate(named) for named in await queries.seen_cameras(connection)]

    @router.get("/record/labels")
    async def labels() -> list[NamedOut]:
        """Labels that were accepted at least once, by name."""
        async with api.open_database().reading() as connection:
            return [NamedOut.model_validate(named) for named in await queries.seen_labels(connection)]

    @router.get("/stats")
    async def stats() -> StatsOut:
        """Totals over the whole record, at most some seconds old."""
        totals = await read_totals()
        fields = {name: getattr(totals, name) for name in Totals.__dataclass_fields__}
        return StatsOut(**fields, is_ready=api.is_ready())

    return router


def _cached_totals(api: ApiState) -> Callable[[], Awaitable[Totals]]:
    cached: tuple[float, Totals] | None = None

    async def read() -> Totals:
        nonlocal cached
        now_s = time.monotonic()
        if cached is None or now_s - cached[0] > TOTALS_S:
            async with api.open_database().reading() as connection:
                cached = (now_s, await queries.find_totals(connection))
        return cached[1]

    return read
