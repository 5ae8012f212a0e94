"""HTTP: /api for the record, /media for the files, / for the page. Changes only what is protected; knows no queue.

Routes are added before the database is open; until then they answer 503.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, SecretStr
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.recorder.health.pipeline import Disk, Pipeline, problems
from services.recorder.media.files import MediaFolder
from services.recorder.record import queries
from services.recorder.record.database import Database
from services.recorder.record.feed import Feed, FeedFull
from services.recorder.record.queries import EventFilter, Totals
from services.recorder.record.retention import Forecast, Limits, RetentionRule, forecast, set_protected
from services.recorder.record.values import Event, Frames, Snippet, Weather
from services.recorder.weather.words import icon_of
from shared.access import Caller, refusal
from shared.clock import epoch_ms, from_epoch_ms, now_utc
from shared.decisions.decision import required_threshold
from shared.http_api import ApiFault, IsoTime, documented

TOTALS_S = 1.0  # how long totals that were read are given out
HEARTBEAT_S = 15.0  # an idle stream says so: proxies keep it, and the page knows that it lives
PAGE_MAX = 200
LATEST_MS = 7_258_118_400_000  # the year 2200
ATTRIBUTIONS = {
    "open_meteo": ("Weather data by Open-Meteo.com (CC BY 4.0)", "https://open-meteo.com/"),
    "openweather": ("Weather data provided by OpenWeather", "https://openweathermap.org/"),
}
WEB = Path(__file__).parent / "web"
WEB_FILES = {
    "app.css": "text/css",
    **dict.fromkeys(
        (
            "app.js",
            "asked.js",
            "chart.js",
            "detail.js",
            "dom.js",
            "format.js",
            "health.js",
            "list.js",
            "star.js",
        ),
        "text/javascript",
    ),
}
_CURSOR = re.compile(r"(\d{1,15})_([0-9a-f-]{36})")
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(slots=True)
class Api:
    """What the routes need; `None` until the service has it."""

    is_ready: Callable[[], bool]
    database: Database | None = None
    media: MediaFolder | None = None
    feed: Feed | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    totals: tuple[float, Totals] | None = None
    limits: Limits = field(default_factory=Limits)
    token: SecretStr | None = None
    changed: Callable[[], None] = lambda: None
    cameras_url: str | None = None
    pipeline: Pipeline | None = None

    def open_database(self) -> Database:
        if self.database is None:
            raise ApiFault(
                503, "the recorder is starting", "a recorder that is ready", "try again in a moment"
            )
        return self.database


# -- what is answered


class _Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class WeatherOut(_Answer):
    provider: str
    observed_at: AwareDatetime
    words: str
    icon: str
    wmo_code: int | None
    is_day: bool | None
    temperature_c: float | None
    humidity_percent: float | None
    precipitation_mm: float | None
    wind_speed_ms: float | None
    wind_direction_deg: float | None
    cloud_percent: float | None
    pressure_hpa: float | None
    visibility_m: float | None
    attribution: str
    attribution_url: str


class DetectionOut(_Answer):
    label: str
    probability: float
    started_at: AwareDatetime
    ended_at: AwareDatetime
    snippet: int


class EventOut(_Answer):
    """An event as it stands in lists and in the stream."""

    id: str
    camera: str
    started_at: AwareDatetime
    ended_at: AwareDatetime
    duration_s: float
    is_open: bool
    label: str | None
    probability: float | None
    detections: list[DetectionOut]
    n_snippets: int
    motion_peak: float
    thumbnail_url: str | None
    clip_url: str | None
    latitude: float | None
    longitude: float | None
    weather: WeatherOut | None
    updated_at: AwareDatetime
    is_protected: bool


class SnippetOut(_Answer):
    snippet: int
    started_at: AwareDatetime
    ended_at: AwareDatetime
    clip_url: str | None
    thumbnail_url: str | None
    clip_bytes: int
    is_media_lost: bool
    model: str
    reason: str
    peaks: dict[str, float]
    accepted: list[str]
    threshold: float


class SeriesOut(_Answer):
    """One label, a number a moment. `scores` (targets only, null in events of older classifiers) were compared with
    the threshold, and had to exceed `backgrounds` by the margin; `probabilities` are softmax shares before averaging.
    """

    label: str
    kind: Literal["target", "background", "other"]
    probabilities: list[float]
    scores: list[float] | None
    backgrounds: list[float] | None


class FramesOut(_Answer):
    """What the model said of each moment of a snippet."""

    snippet: int
    moments: list[AwareDatetime]
    series: list[SeriesOut]


class EventDetailOut(EventOut):
    snippets: list[SnippetOut]
    frames: list[FramesOut]
    peaks: dict[str, float]


class EventsOut(_Answer):
    """A page of events, newest first; `next` is the `before` of the page that follows, null at the end."""

    events: list[EventOut]
    next: str | None


class NamedOut(_Answer):
    name: str
    newest_at: AwareDatetime


class StatsOut(_Answer):
    events: int
    accepted_events: int
    open_events: int
    snippets: int
    lost_clips: int
    clip_bytes: int
    oldest_at: AwareDatetime | None
    newest_at: AwareDatetime | None
    is_ready: bool
    cameras_url: str | None = None


class CameraOut(_Answer):
    """A camera as motion says it is: connecting, running, away, ended or failed."""

    id: str
    state: str
    message: str
    motion: str


class ServiceOut(_Answer):
    """A process of the pipeline; silent: it has said nothing for a while."""

    service: str
    name: str
    about: str
    is_silent: bool
    age_s: float


class QueueOut(_Answer):
    stream: str
    waiting: int
    oldest_s: float
    dead: int


class DiskOut(_Answer):
    free_bytes: int
    total_bytes: int
    wanted_bytes: int


class ProblemOut(_Answer):
    severity: Literal["bad", "warn"]
    text: str


class HealthOut(_Answer):
    """How the whole pipeline is; problems come worst first."""

    is_ready: bool
    problems: list[ProblemOut]
    cameras: list[CameraOut]
    services: list[ServiceOut]
    queues: list[QueueOut]
    disk: DiskOut | None
    dropped_clips: dict[str, int]


class ProtectedIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    is_protected: bool


class RetentionOut(_Answer):
    """What the next pass of retention would remove, and the limits that say so; 0: no limit."""

    days: float
    size_bytes: int
    free_bytes: int
    rules: list[RetentionRule]
    aged_events: int
    aged_before: AwareDatetime | None
    excess_bytes: int


def event_out(event: Event) -> EventOut:
    """Return what a list or the stream says of an event."""
    return EventOut.model_validate(_event_fields(event))


def _event_fields(event: Event) -> dict[str, Any]:  # Any: fields of every type, validated by the model
    return {
        "id": event.id,
        "camera": event.camera,
        "started_at": event.started_at,
        "ended_at": event.ended_at,
        "duration_s": max((event.ended_at - event.started_at).total_seconds(), 0.0),
        "is_open": event.is_open,
        "label": event.label,
        "probability": event.probability,
        "detections": [DetectionOut.model_validate(detection) for detection in event.detections],
        "n_snippets": event.n_snippets,
        "motion_peak": event.motion_peak,
        "thumbnail_url": _media_url(event.thumbnail_name),
        "clip_url": _media_url(event.clip_name),
        "latitude": event.latitude,
        "longitude": event.longitude,
        "weather": _weather_out(event.weather),
        "updated_at": event.updated_at,
        "is_protected": event.is_protected,
    }


def _weather_out(weather: Weather | None) -> WeatherOut | None:
    if weather is None:
        return None
    text, url = ATTRIBUTIONS.get(weather.provider, (weather.provider, ""))
    fields = {name: getattr(weather, name) for name in Weather.__dataclass_fields__}
    return WeatherOut(
        **fields, icon=icon_of(weather.wmo_code, weather.is_day), attribution=text, attribution_url=url
    )


def _snippet_out(snippet: Snippet, n_moments: int) -> SnippetOut:
    fields = {name: getattr(snippet, name) for name in Snippet.__dataclass_fields__}
    del fields["clip_name"], fields["thumbnail_name"], fields["decision"]
    return SnippetOut(
        **fields,
        threshold=required_threshold(snippet.decision, n_moments),
        clip_url=_media_url(snippet.clip_name),
        thumbnail_url=_media_url(snippet.thumbnail_name),
    )


def _detail_out(event: Event, frames: list[Frames]) -> EventDetailOut:
    n_moments = {part.snippet: len(part.moments) for part in frames}
    return EventDetailOut(
        **_event_fields(event),
        snippets=[_snippet_out(snippet, n_moments.get(snippet.snippet, 0)) for snippet in event.snippets],
        frames=[FramesOut.model_validate(part) for part in frames],
        peaks=event.peaks,
    )


def _media_url(name: str | None) -> str | None:
    return None if name is None else f"/media/{name}"


# -- routes


def add_routes(app: FastAPI, api: Api) -> None:
    """Add everything to `app`. Call it before the first request is served: middleware cannot come later."""
    app.add_middleware(_SecurityHeaders)
    app.include_router(_record_routes(api))
    app.include_router(_media_routes(api))
    app.include_router(_page_routes())

    @app.get("/api/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())


def _record_routes(api: Api) -> APIRouter:
    router = APIRouter(
        prefix="/api",
        tags=["record"],
        responses=documented(503),
    )

    @router.get("/events")
    async def events(
        response: Response,
        camera: Annotated[str | None, Query(max_length=64, description="only this camera")] = None,
        label: Annotated[str | None, Query(max_length=200, description="only events with this label")] = None,
        since: Annotated[IsoTime | None, Query(description="started at this time or later")] = None,
        until: Annotated[IsoTime | None, Query(description="started before this time")] = None,
        accepted_only: Annotated[
            bool, Query(description="leave out events without an accepted label")
        ] = True,
        is_open: Annotated[
            bool | None, Query(alias="open", description="only events that last / ended")
        ] = None,
        before: Annotated[str | None, Query(max_length=64, description="`next` of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> EventsOut:
        """Events, newest first."""
        wanted = EventFilter(camera, label, since, until, is_open, accepted_only, parse_cursor(before))
        async with api.open_database().reading() as connection:
            found = await queries.find_events(connection, wanted, limit)
        response.headers["cache-control"] = "no-store"
        following = f"{epoch_ms(found[-1].started_at)}_{found[-1].id}" if len(found) == limit else None
        return EventsOut(events=[event_out(event) for event in found], next=following)

    @router.get("/events/{event_id}", responses=documented(404))
    async def event(event_id: str, response: Response) -> EventDetailOut:
        """One event with its snippets and the probabilities of every moment."""
        async with api.open_database().reading() as connection:
            found = await queries.find_event(connection, event_id)
            frames = await queries.find_frames(connection, event_id) if found else []
        if found is None:
            raise ApiFault(
                404, f"no event '{event_id[:64]}'", "the id of a recorded event", "look in /api/events"
            )
        response.headers["cache-control"] = "no-store"
        return _detail_out(found, frames)

    @router.put("/events/{event_id}/protected", responses=documented(401, 403, 404, 415))
    async def protect(event_id: str, wanted: ProtectedIn, request: Request) -> ProtectedIn:
        """Keep an event from being removed by retention, or no longer."""
        refuse_strangers(request, api.token)
        async with api.open_database().writing() as connection:
            is_known = await set_protected(connection, event_id, wanted.is_protected, now_utc())
        if not is_known:
            raise ApiFault(
                404, f"no event '{event_id[:64]}'", "the id of a recorded event", "look in /api/events"
            )
        api.changed()
        return wanted

    @router.get("/retention")
    async def retention() -> RetentionOut:
        """What retention would remove now; nothing is changed."""
        database, media = api.open_database(), api.media
        free_bytes = shutil.disk_usage(media.root).free if media is not None else 0
        async with database.reading() as connection:
            said = await forecast(connection, api.limits, now_utc(), free_bytes)
        fields = {name: getattr(said, name) for name in Forecast.__dataclass_fields__}
        fields |= {name: getattr(api.limits, name) for name in Limits.__dataclass_fields__}
        return RetentionOut.model_validate(fields)

    @router.get("/cameras")
    async def cameras() -> list[NamedOut]:
        """Cameras that were seen, by name."""
        async with api.open_database().reading() as connection:
            return [NamedOut.model_validate(named) for named in await queries.seen_cameras(connection)]

    @router.get("/labels")
    async def labels() -> list[NamedOut]:
        """Labels that were accepted at least once, by name."""
        async with api.open_database().reading() as connection:
            return [NamedOut.model_validate(named) for named in await queries.seen_labels(connection)]

    @router.get("/stats")
    async def stats() -> StatsOut:
        """Totals over the whole record, at most some seconds old."""
        totals = await _totals(api)
        fields = {name: getattr(totals, name) for name in Totals.__dataclass_fields__}
        return StatsOut(**fields, is_ready=api.is_ready(), cameras_url=api.cameras_url)

    @router.get("/health")
    async def health(response: Response) -> HealthOut:
        """How the pipeline is: cameras, services, queues, disk, and what is wrong; some seconds old."""
        response.headers["cache-control"] = "no-store"
        disk = await asyncio.to_thread(disk_of, api)
        return _health_out(api.pipeline or Pipeline(), disk, api.is_ready())

    @router.get(
        "/stream",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
                "description": "server-sent events named `event`, each with an event as in /api/events",
            }
        },
    )
    async def stream() -> StreamingResponse:
        """Every event that is added or changes, as it happens, whether accepted or not."""
        api.open_database()
        return StreamingResponse(
            _stream(api),
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

    return router


def refuse_strangers(request: Request, token: SecretStr | None) -> None:
    """Raise ApiFault unless this caller may change something."""
    caller = Caller.of(request.client.host if request.client else None, request.headers.get)
    refused = refusal(caller, token.get_secret_value() if token else None)
    if refused is not None:
        raise ApiFault(
            refused.status, "a change of the record", "somebody who may change it", refused.message
        )


def disk_of(api: Api) -> Disk | None:
    """Return the media folder's disk; None when it cannot be looked at."""
    if api.media is None:
        return None
    try:
        usage = shutil.disk_usage(api.media.root)
    except OSError:
        return None  # readiness says so
    return Disk(usage.free, usage.total, api.limits.free_bytes)


def _health_out(pipeline: Pipeline, disk: Disk | None, is_ready: bool) -> HealthOut:
    return HealthOut(
        is_ready=is_ready,
        problems=[ProblemOut.model_validate(problem) for problem in problems(pipeline, disk)],
        cameras=[
            CameraOut(id=camera.id, state=camera.state, message=camera.message, motion=one.presence.name)
            for one in pipeline.heard
            if not one.is_silent
            for camera in one.presence.cameras
        ],
        services=[
            ServiceOut(
                service=one.presence.service,
                name=one.presence.name,
                about=one.presence.about,
                is_silent=one.is_silent,
                age_s=round(one.age_s, 1),
            )
            for one in pipeline.heard
        ],
        queues=[QueueOut.model_validate(queue) for queue in pipeline.queues],
        disk=DiskOut.model_validate(disk) if disk else None,
        dropped_clips=pipeline.dropped_clips,
    )


async def _totals(api: Api) -> Totals:
    now = time.monotonic()
    if api.totals is None or now - api.totals[0] > TOTALS_S:
        async with api.open_database().reading() as connection:
            api.totals = (now, await queries.find_totals(connection))
    return api.totals[1]


async def _stream(api: Api) -> AsyncIterator[str]:
    if api.feed is None or api.stop.is_set():
        yield "retry: 2000\n\n"
        return
    try:
        with api.feed.follow() as queue:
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


def parse_cursor(before: str | None) -> tuple[datetime, str] | None:
    if before is None:
        return None
    found = _CURSOR.fullmatch(before)
    if found is None:
        raise ApiFault(
            400, f"before={before!r}", "the `next` of a page of events", "leave it out for the newest events"
        )
    return from_epoch_ms(min(int(found[1]), LATEST_MS)), found[2]


def _media_routes(api: Api) -> APIRouter:
    router = APIRouter(tags=["media"])

    @router.head("/media/{name:path}", include_in_schema=False)
    @router.get(
        "/media/{name:path}",
        response_class=FileResponse,
        responses={
            200: {"content": {"video/mp4": {}, "image/jpeg": {}}},
            206: {"description": "the bytes that `Range` asks for"},
            **documented(404),
            416: {"description": "`Range` lies outside the file"},
        },
    )
    async def media(name: str, request: Request) -> Response:
        """A clip or thumbnail; the name is its capability and its content never changes."""
        found = await asyncio.to_thread(api.media.find, name) if api.media else None
        if found is None:
            raise ApiFault(
                404, "no such file", "/media/<yyyy>/<mm>/<dd>/<name>", "take the address from /api/events"
            )
        path, status, media_type = found
        headers = {
            "etag": f'"{path.stem}-{status.st_size:x}"',
            "cache-control": "private, max-age=31536000, immutable",
            "cross-origin-resource-policy": "cross-origin",  # Grafana shows them from another origin
        }
        if _is_known(request.headers.get("if-none-match"), headers["etag"]):
            return Response(status_code=304, headers=headers)
        return FileResponse(path, media_type=media_type, stat_result=status, headers=headers)

    return router


def _page_routes() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.api_route("/", methods=["GET", "HEAD"])
    async def index(request: Request) -> Response:
        return await _web_file(request, "index.html", "text/html")

    @router.api_route("/web/{name}", methods=["GET", "HEAD"])
    async def asset(name: str, request: Request) -> Response:
        if name not in WEB_FILES:
            raise ApiFault(404, "no such file", "a file of the page", "start at /")
        return await _web_file(request, name, WEB_FILES[name])

    return router


async def _web_file(request: Request, name: str, media_type: str) -> Response:
    path = WEB / name
    status = await asyncio.to_thread(path.stat)
    headers = {"etag": f'"{status.st_mtime_ns:x}-{status.st_size:x}"', "cache-control": "no-cache"}
    if _is_known(request.headers.get("if-none-match"), headers["etag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type=media_type, stat_result=status, headers=headers)


def _is_known(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return etag in known or "*" in known


class _SecurityHeaders:
    """Adds SECURITY_HEADERS to every answer; plain ASGI, so that streams and files pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)
