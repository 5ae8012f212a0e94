"""Adds the weather to events after they were recorded. Nothing here can delay or lose an event.

The work list is the record itself: events that have a place and no weather. So a restart goes on where it was, and an
outage of the provider is made up for later, up to `max_age_h` back.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.metrics import RecorderMetrics
from services.recorder.record.database import Database
from services.recorder.record.engines import insert_or_keep
from services.recorder.record.schema import events, weather_reports
from services.recorder.record.transactions import rising
from services.recorder.weather.port import (
    Place,
    Report,
    WeatherAway,
    WeatherLimited,
    WeatherProvider,
    WeatherRefused,
)
from services.recorder.weather.words import words_of
from shared.clock import epoch_ms, now_utc
from shared.errors import Permanent, Transient
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

ROUND_S = 30.0  # looked for at least this often; at once after an event was recorded
RECENT = timedelta(hours=1)  # younger events get the current conditions, older ones their hour's
NEAR = timedelta(minutes=30)  # a report this near in time is as good as a new one: values are hourly
PAGE = 200  # events read at once
PAGES = 25  # read in one round at most
REQUESTS = 20  # to the provider in one round at most
BACKOFF_S, BACKOFF_MAX_S = 5.0, 900.0  # after a failure, per request; doubles
REFUSED_S = 6 * 3600.0  # a request that was refused, or that has no data, is asked again after this long
MEMORY = 1000  # places and requests remembered


@dataclass(frozen=True, slots=True)
class WeatherRequest:
    """One request to the provider: a place now (`hour` 0), or at an hour since 1970."""

    place: Place
    hour: int = 0


@dataclass(frozen=True, slots=True)
class EventWithoutWeather:
    """An event without weather."""

    id: str
    started_at: datetime
    place: Place


@dataclass(slots=True)
class _Wait:
    until: float = 0.0
    backoff_s: float = BACKOFF_S


@dataclass(slots=True)
class WeatherCompletion:
    """The background task; `changed` is called after events got their weather."""

    database: Database
    provider: WeatherProvider
    metrics: RecorderMetrics
    cache_s: float
    max_age_h: float
    changed: Callable[[], None]
    clock: Callable[[], datetime] = now_utc
    _kick: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _waits: OrderedDict[WeatherRequest, _Wait] = field(default_factory=OrderedDict, init=False)
    _newest: OrderedDict[Place, tuple[int, datetime, datetime]] = field(
        default_factory=OrderedDict, init=False
    )
    _limited_until: float = field(default=0.0, init=False)
    _is_away: bool = field(default=False, init=False)

    def kick(self) -> None:
        """Say that an event was recorded."""
        self._kick.set()

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Complete rows until `stop`."""
        while not stop.is_set():
            try:
                await self.complete(stop, beat)
            except Transient as exc:
                log.debug("weather waits for the database", error=exc)
            beat()
            await self._wait_for_work(stop)

    async def _wait_for_work(self, stop: asyncio.Event) -> None:
        now = time.monotonic()
        due_s = min((wait.until - now for wait in self._waits.values() if wait.until > now), default=ROUND_S)
        due_s = max(due_s, self._limited_until - now)
        await pause(min(max(due_s, 0.5), ROUND_S), self._kick, stop)
        self._kick.clear()

    async def complete(self, stop: asyncio.Event, beat: Callable[[], None] = lambda: None) -> int:
        """Go once over the events without weather, newest first; return how many got theirs."""
        completed, requests = 0, 0
        before: tuple[datetime, str] | None = None
        for _ in range(PAGES):
            page = await self._without_weather(before)
            for request, group in self._grouped(page).items():
                if stop.is_set() or requests >= REQUESTS:
                    return completed
                report_id = await self._known(request, group)
                if report_id is None and self._is_due(request):
                    requests += 1
                    report_id = await self._ask(request, group)
                if report_id is not None:
                    completed += await self._attach(report_id, [event.id for event in group])
                beat()
            if len(page) < PAGE:
                break
            before = (page[-1].started_at, page[-1].id)
        return completed

    # -- what is to do

    async def _without_weather(self, before: tuple[datetime, str] | None) -> list[EventWithoutWeather]:
        now = self.clock()
        query = (
            select(events.c.id, events.c.started_at, events.c.latitude, events.c.longitude)
            .where(
                events.c.weather_id.is_(None),
                events.c.latitude.is_not(None),
                events.c.longitude.is_not(None),
                events.c.started_at >= now - timedelta(hours=self.max_age_h),
                events.c.started_at <= (before[0] if before else now + RECENT),
            )
            .order_by(events.c.started_at.desc(), events.c.id.desc())
            .limit(PAGE)
        )
        if before:
            query = query.where(or_(events.c.started_at < before[0], events.c.id < before[1]))
        async with self.database.reading() as connection:
            found = (await connection.execute(query)).all()
        return [
            EventWithoutWeather(row.id, row.started_at, Place.around(row.latitude, row.longitude))
            for row in found
        ]

    def _grouped(
        self, page: Sequence[EventWithoutWeather]
    ) -> dict[WeatherRequest, list[EventWithoutWeather]]:
        now, groups = self.clock(), dict[WeatherRequest, list[EventWithoutWeather]]()
        for event in page:
            is_recent = now - event.started_at < RECENT
            hour = 0 if is_recent else (epoch_ms(event.started_at) + 1_800_000) // 3_600_000
            groups.setdefault(WeatherRequest(event.place, hour), []).append(event)
        return groups

    # -- answers

    async def _known(self, request: WeatherRequest, group: Sequence[EventWithoutWeather]) -> int | None:
        """Return a report that fits all of the group: the place's newest while it is fresh, or one near in time."""
        now = self.clock()
        newest = self._newest.get(request.place)
        fresh = timedelta(seconds=self.cache_s)
        if request.hour == 0 and newest and abs(now - newest[1]) < fresh:  # ahead: the clock was set back
            return newest[0]
        table = weather_reports
        first, last = min(e.started_at for e in group), max(e.started_at for e in group)
        query = select(table.c.id, table.c.observed_at, table.c.fetched_at).where(
            table.c.provider == self.provider.name,
            table.c.latitude == request.place.latitude,
            table.c.longitude == request.place.longitude,
            table.c.observed_at.between(last - NEAR, first + NEAR),
        )
        if request.hour == 0:
            query = query.where(table.c.fetched_at.between(now - fresh, now + fresh))
        async with self.database.reading() as connection:
            found = (
                await connection.execute(query.order_by(table.c.observed_at.desc()).limit(1))
            ).one_or_none()
        if found is None:
            return None
        if request.hour == 0:
            self._remember(request.place, found.id, found.fetched_at, found.observed_at)
        return int(found.id)

    def _is_due(self, request: WeatherRequest) -> bool:
        wait, now = self._waits.get(request), time.monotonic()
        return now >= self._limited_until and (wait is None or now >= wait.until)

    async def _ask(self, request: WeatherRequest, group: Sequence[EventWithoutWeather]) -> int | None:
        try:
            if request.hour == 0:
                report: Report | None = await self.provider.current(request.place)
            else:
                report = await self.provider.at(request.place, group[0].started_at)
        except WeatherLimited as exc:
            self._limited_until = time.monotonic() + exc.retry_s
            self._went(exc)
            return None
        except WeatherAway as exc:
            self._limited_until = time.monotonic() + BACKOFF_S  # the next place would only wait as long
            self._went(exc)
            self._postpone(request)
            return None
        except WeatherRefused as exc:
            log.warning("the weather provider refused a question", error=exc, hour=request.hour)
            self._postpone(request, REFUSED_S)
            return None
        self._returned()
        if report is None:
            self._postpone(request, REFUSED_S)
            return None
        self._waits.pop(request, None)
        return await self._keep(request, report)

    async def _keep(self, request: WeatherRequest, report: Report) -> int:
        fetched_at = self.clock()
        values = {
            **asdict(report),
            "provider": self.provider.name,
            "latitude": request.place.latitude,
            "longitude": request.place.longitude,
            "fetched_at": fetched_at,
            "words": words_of(report.wmo_code),
        }
        async with self.database.writing() as connection:
            report_id = await _kept_report(connection, values)
        if request.hour == 0:
            self._remember(request.place, report_id, fetched_at, report.observed_at)
        return report_id

    def _remember(self, place: Place, report_id: int, fetched_at: datetime, observed_at: datetime) -> None:
        self._newest[place] = (report_id, fetched_at, observed_at)
        while len(self._newest) > MEMORY:
            self._newest.popitem(last=False)

    async def _attach(self, report_id: int, ids: Sequence[str]) -> int:
        now = self.clock()
        async with self.database.writing() as connection:
            missing = (
                select(events.c.id, events.c.updated_at)
                .where(events.c.id.in_(ids), events.c.weather_id.is_(None))
                .order_by(events.c.id)
                .with_for_update()
            )
            found = (await connection.execute(missing)).all()
            for row in found:
                await connection.execute(
                    update(events)
                    .where(events.c.id == row.id)
                    .values(weather_id=report_id, updated_at=rising(row.updated_at, now))
                )
        if found:
            self.metrics.weather_completed.inc(len(found))
            self.changed()
        return len(found)

    # -- failures

    def _postpone(self, request: WeatherRequest, for_s: float | None = None) -> None:
        wait = self._waits.pop(request, _Wait())
        wait.until = time.monotonic() + (for_s or wait.backoff_s)
        wait.backoff_s = min(wait.backoff_s * 2, BACKOFF_MAX_S)
        self._waits[request] = wait
        while len(self._waits) > MEMORY:
            self._waits.popitem(last=False)

    def _went(self, exc: WeatherAway) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("no weather for now, events are completed later", error=exc)

    def _returned(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("the weather provider answers again")


async def _kept_report(connection: AsyncConnection, values: Mapping[str, object]) -> int:
    """Insert the report unless another recorder did; return its number."""
    table = weather_reports
    await connection.execute(insert_or_keep(connection.dialect.name, table, "id").values(values))
    found = await connection.scalar(
        select(table.c.id).where(
            table.c.provider == values["provider"],
            table.c.latitude == values["latitude"],
            table.c.longitude == values["longitude"],
            table.c.observed_at == values["observed_at"],
        )
    )
    if found is None:
        raise Permanent("the weather report vanished while it was written")
    return int(found)
