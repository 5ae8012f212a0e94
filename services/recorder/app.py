"""The recorder's shell: builds everything, runs the tasks, stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis

from services.recorder.access.authenticator import RecorderAuthenticator, SettingTokens
from services.recorder.access.links import EventLinks
from services.recorder.access.oidc import OidcLogins
from services.recorder.access.opening import SiteOpening, address_fault, open_site
from services.recorder.access.site import SiteAccess
from services.recorder.gaps.tracker import GapTracker
from services.recorder.gaps.watch import GapWatch, LiveState
from services.recorder.health.backlog import Backlog
from services.recorder.health.pipeline import Pipeline
from services.recorder.http.api import add_routes
from services.recorder.http.motion_client import MotionClient
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.http.webrtc_views import WebrtcViews
from services.recorder.intake.housekeeping import Housekeeping
from services.recorder.intake.intake import Intake
from services.recorder.intake.readiness import Readiness
from services.recorder.media.opening import folder_faults, open_store
from services.recorder.media.s3_store import BucketStore
from services.recorder.media.store import MediaStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.notify.build import NotifierParts, make_notifiers
from services.recorder.notify.file import NotifyFile, load_notify
from services.recorder.notify.notifier import Notifier
from services.recorder.notify.outbox import NoticeOutbox, are_introduced, introduce
from services.recorder.quality.watch import QualityWatch
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.database_url import parse_url
from services.recorder.record.feed import Feed
from services.recorder.record.orphan_media import OrphanMedia
from services.recorder.record.retention import Retention
from services.recorder.record.totals import TotalsCheck
from services.recorder.search.camera_examples import ExamplesInRedis
from services.recorder.search.common_words import CommonWords
from services.recorder.search.explainer import Explainer
from services.recorder.search.hindsight import Hindsight
from services.recorder.search.index import EmbeddingIndex
from services.recorder.search.label_trial import LabelTrial
from services.recorder.search.likeness import Likeness
from services.recorder.search.nearest_events import NearestEvents
from services.recorder.search.picture_requests import PictureEmbedder
from services.recorder.search.recorded_pictures import RecordedPictures
from services.recorder.search.text_requests import TextEmbedder
from services.recorder.search.words import Search
from services.recorder.settings import RecorderSettings
from services.recorder.verdicts.teacher import Teacher
from services.recorder.weather.completion import WeatherCompletion
from services.recorder.weather.open_meteo import URL as OPEN_METEO_URL
from services.recorder.weather.open_meteo import OpenMeteo
from services.recorder.weather.openweather import URL as OPENWEATHER_URL
from services.recorder.weather.openweather import OpenWeather
from services.recorder.weather.port import WeatherProvider
from shared.clock import now_utc
from shared.contract import LABELS, RECORDERS
from shared.errors import ConfigError, Stopped, Transient
from shared.logs import get_logger
from shared.metrics import StreamMetrics
from shared.runtime import Runtime, connect_redis, run, wait_for_service
from shared.streams.consumer import Consumer
from shared.streams.receipts import receipt_of_dead
from shared.streams.settings import ConsumerSettings
from shared.waits import unless_stopped

log = get_logger(__name__)

_Loop = Callable[[asyncio.Event, Callable[[], None]], Coroutine[Any, Any, None]]  # Any: as in _cut_off
SEARCH_TEXT_S = 5.0  # a search waits this long for the classifier
SEARCH_PICTURE_S = 5.0  # the same, for a picture that is sent
LABEL_TEXT_S = 2.0  # and this long for what only says better which picture of an event is meant
EXPLAIN_TEXT_S = 5.0
HINDSIGHT_TEXT_S = 20.0  # whole label sets take longer


@dataclass(slots=True)
class _Parts:
    """What the tasks share."""

    settings: RecorderSettings
    runtime: Runtime
    redis: Redis
    database: Database
    media: MediaStore
    metrics: RecorderMetrics
    provider: WeatherProvider | None
    notify: NotifyFile
    access: SiteAccess

    @property
    def outbox(self) -> NoticeOutbox:
        return NoticeOutbox(tuple(target.name for target in self.notify.targets))

    @property
    def name(self) -> str:
        """This process among its replicas."""
        return self.settings.instance or f"{socket.gethostname()}-{os.getpid()}"


def start() -> None:
    """Run the recorder until it is stopped; exits the process."""
    run("recorder", RecorderSettings, main, check)


async def check(settings: RecorderSettings) -> Sequence[str]:
    """Return what is wrong with settings that can each be read.

    Nothing is connected, but a database is asked for users where the site would be open to a network without one.
    """
    faults: list[str] = []
    checks: tuple[Callable[[], object], ...] = (
        lambda: parse_url(settings.database_address),
        lambda: _notify_file(settings),
        lambda: settings.weather_key,
        lambda: settings.bucket,
    )
    for one in checks:
        try:
            one()
        except ConfigError as exc:
            faults.extend(exc.faults)
    return [*faults, *await _network_faults(settings), *_folder_faults(settings)]


async def _network_faults(settings: RecorderSettings) -> list[str]:
    """Say why the site would be open to a network; ADMIN_PASSWORD makes a user at the start."""
    if settings.admin_password is not None:
        return []
    try:
        fault = await address_fault(
            settings.database_address, settings.http_host, _secret(settings.api_token)
        )
    except ConfigError:  # the address of the database is told above
        return []
    return [fault] if fault else []


def _folder_faults(settings: RecorderSettings) -> list[str]:
    if settings.media_url and settings.index_dir:  # nothing is written to MEDIA_DIR then
        return folder_faults("INDEX_DIR", settings.index_dir)
    return folder_faults("MEDIA_DIR", settings.media_dir)


async def main(settings: RecorderSettings, runtime: Runtime) -> None:
    """Connect, then record until `runtime.stop`."""
    api = ApiState(
        lambda: runtime.health.is_ready,
        limits=settings.limits,
        motion=MotionClient(settings.motion_url, settings.motion_token, lambda: api.pipeline.heard),
        stop=runtime.stop,
    )
    runtime.access.rules.update(RULES)
    runtime.access.patterns.update(PATTERNS)
    metrics = RecorderMetrics()
    access = api.access = _site_access(settings, metrics)
    runtime.access.authenticator = access.authenticator
    add_routes(runtime.app, api)  # before anything is awaited: no request can have come yet
    notify = _notify_file(settings)
    media = await open_store(settings.bucket, settings.media_dir.absolute())
    provider = _provider(settings, metrics)
    async with contextlib.AsyncExitStack() as resources:
        resources.push_async_callback(api.motion.close)
        redis = await connect_redis(settings, runtime.stop)
        resources.push_async_callback(redis.aclose)
        database = await open_database(
            settings.database_address,
            runtime.stop,
            settings.connect_s,
            settings.transaction_s,
            migration=settings.migration,
        )
        resources.push_async_callback(_closed_soon, database)
        await _open_site(settings, runtime, access, database)
        if access.oidc is not None:
            resources.push_async_callback(access.oidc.close)
        await _introduce_targets(settings, runtime, database, notify)
        if provider:
            resources.push_async_callback(provider.close)
        index_dir = (settings.index_dir or settings.media_dir / ".index").absolute()
        index = EmbeddingIndex(index_dir, database, _database_name(settings))
        resources.enter_context(index.opened())
        texts, nearest = TextEmbedder(redis, SEARCH_TEXT_S), NearestEvents(index, database)
        api.search = Search(texts, CommonWords(texts), nearest)
        recorded = RecordedPictures(database, TextEmbedder(redis, LABEL_TEXT_S))
        api.likeness = Likeness(PictureEmbedder(redis, SEARCH_PICTURE_S), recorded, nearest)
        examples = ExamplesInRedis(redis).of
        api.explainer = Explainer(TextEmbedder(redis, EXPLAIN_TEXT_S), database, examples)
        api.label_trial = LabelTrial(texts, PictureEmbedder(redis, SEARCH_PICTURE_S), examples)
        teacher = api.teacher = Teacher(redis, database, TextEmbedder(redis, SEARCH_TEXT_S))
        hindsight_texts = TextEmbedder(redis, HINDSIGHT_TEXT_S)
        api.hindsight = Hindsight(hindsight_texts, database, teacher.known, teacher.called_right)
        await _run(
            _Parts(settings, runtime, redis, database, media, metrics, provider, notify, access), api, index
        )


def _site_access(settings: RecorderSettings, metrics: RecorderMetrics) -> SiteAccess:
    tokens = SettingTokens(_secret(settings.api_token), _secret(settings.metrics_token))
    authenticator = RecorderAuthenticator(tokens, settings.session_limits)
    return SiteAccess(authenticator, metrics, oidc=OidcLogins(settings.oidc) if settings.oidc else None)


async def _open_site(
    settings: RecorderSettings, runtime: Runtime, access: SiteAccess, database: Database
) -> None:
    """Let in who may; raise ConfigError when it would be everybody."""
    plan = SiteOpening(
        settings.http_host,
        _secret(settings.api_token),
        _secret(settings.admin_password),
        settings.local_token_file,
    )
    await wait_for_service(
        "the database",
        lambda: open_site(access, database, plan),
        lambda exc: isinstance(exc, Transient),
        settings,
        runtime.stop,
    )


def _secret(given: SecretStr | None) -> str | None:
    return given.get_secret_value() if given is not None else None


def _notify_file(settings: RecorderSettings) -> NotifyFile:
    return load_notify(settings.notify_file) if settings.notify_file else NotifyFile()


async def _introduce_targets(
    settings: RecorderSettings, runtime: Runtime, database: Database, notify: NotifyFile
) -> None:
    names = [target.name for target in notify.targets]

    async def attempt() -> None:
        async with database.reading() as connection:
            if await are_introduced(connection, names):
                return  # nothing to lock: another program that writes for long does not hold up the start
        async with database.writing() as connection:
            await introduce(connection, names, now_utc())

    await wait_for_service(
        "the database", attempt, lambda exc: isinstance(exc, Transient), settings, runtime.stop
    )


def _database_name(settings: RecorderSettings) -> str:
    """Return a name for the database, without its password: the index belongs to it."""
    url = parse_url(settings.database_address)
    return f"{url.get_backend_name()}://{url.host or ''}:{url.port or ''}/{url.database or ''}"


async def _closed_soon(database: Database) -> None:
    """Close connections that can be; a thread that still waits for a lock is left to the end of the process."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            await database.close()


async def _run(parts: _Parts, api: ApiState, index: EmbeddingIndex) -> None:
    """Run all tasks until a stop; one that fails ends the others, and the service."""
    settings, stop, health = parts.settings, parts.runtime.stop, parts.runtime.health
    feed = Feed(parts.database, parts.metrics, settings.streams_max)
    live, pipeline = LiveState(), _pipeline(parts)
    api.database, api.media, api.feed, api.pipeline = parts.database, parts.media, feed, pipeline
    api.links = EventLinks(parts.database)
    views = api.views = WebrtcViews(api.motion, parts.access.authenticator.is_current)
    api.changed = feed.kick
    weather = _weather(parts, feed)
    notifiers = make_notifiers(
        parts.notify,
        NotifierParts(parts.database, parts.media, parts.metrics, parts.name[-64:], live),
    )

    def notify() -> None:
        for notifier in notifiers:
            notifier.kick()

    def changed() -> None:
        feed.kick()
        notify()

    def recorded(_event_id: str) -> None:
        changed()
        if weather:
            weather.kick()

    beat = health.expect("labels", 60)
    intake, consumer = _intake(parts, beat, recorded)
    readiness = Readiness(
        health, parts.redis, parts.database, parts.media, parts.metrics, consumer, intake, pipeline
    )
    housekeeping = Housekeeping(
        parts.redis, parts.database, parts.metrics, parts.outbox, settings.close_after_s, changed
    )
    loops: dict[str, tuple[_Loop, float]] = {  # by name: what runs, and how long it may be silent
        "access": (parts.access.run, 300),
        "views": (views.run, 60),
        "feed": (feed.run, 60),
        "index": (index.run, 300),
        "housekeeping": (housekeeping.run, 120),
        "gaps": (_gap_watch(parts, api, notifiers, live, notify).run, 120),
        **_keeping(parts),
    }
    if api.teacher:
        loops["verdicts"] = api.teacher.run, 120
    if weather:
        loops["weather"] = weather.run, 120
    grace_s = settings.finish_s / 2
    async with asyncio.TaskGroup() as group:
        group.create_task(consumer.run(stop, beat), name="labels")
        group.create_task(_cut_off(readiness.run(stop), stop, grace_s), name="readiness")
        for name, (loop, silent_s) in loops.items():
            group.create_task(_cut_off(loop(stop, health.expect(name, silent_s)), stop, grace_s), name=name)
        for notifier in notifiers:  # not cut off: it says good-bye
            name = f"notify-{notifier.recipient.name}"
            group.create_task(notifier.run(stop, health.expect(name, 300)), name=name)


def _pipeline(parts: _Parts) -> Pipeline:
    start_s = parts.settings.classifier_start_s
    return Pipeline(backlog=Backlog(), classifier_start_s=start_s, media_place=parts.media.place)


def _keeping(parts: _Parts) -> dict[str, tuple[_Loop, float]]:
    """Return the loops that keep the record in order."""
    database, media, metrics, limits = parts.database, parts.media, parts.metrics, parts.settings.limits
    loops: dict[str, tuple[_Loop, float]] = {
        "retention": (Retention(database, media, metrics, limits).run, 300),
        "totals": (TotalsCheck(database, metrics).run, 300),
        "quality": (QualityWatch(database, metrics, limits).run, 900),
    }
    if isinstance(media, BucketStore):  # in a folder a killed recorder leaves nothing of the kind
        loops["orphans"] = OrphanMedia(media, database).run, 300
    return loops


async def _cut_off(
    work: Coroutine[Any, Any, None],  # Any: a coroutine neither yields nor is sent anything
    stop: asyncio.Event,
    grace_s: float,
) -> None:
    """Run a task, and end it `grace_s` after a stop: what it writes is whole, or not there."""
    with contextlib.suppress(Stopped):
        await unless_stopped(work, stop, grace_s=grace_s)


def _intake(
    parts: _Parts, beat: Callable[[], None], recorded: Callable[[str], None]
) -> tuple[Intake, Consumer]:
    intake = Intake(
        parts.redis,
        parts.database,
        parts.media,
        parts.metrics,
        parts.runtime.stop,
        beat,
        recorded,
        parts.outbox,
    )
    settings = _consumer_settings(parts.settings, parts.name)
    consumer = Consumer(parts.redis, settings, intake.handle, StreamMetrics(), receipt_of_dead)
    intake.uncharge = consumer.uncharge
    return intake, consumer


def _gap_watch(
    parts: _Parts,
    api: ApiState,
    notifiers: Sequence[Notifier],
    live: LiveState,
    notify: Callable[[], None],
) -> GapWatch:
    def target_faults() -> dict[str, str | None]:
        faults = {
            one.recipient.name: one.fault for one in notifiers if one.is_holder and one.fault is not None
        }
        api.pipeline.target_faults = {name: fault for name, fault in faults.items() if fault}
        return {name: fault or None for name, fault in faults.items()}

    after_s = parts.settings.gap_after_s
    return GapWatch(
        parts.redis,
        parts.database,
        api.pipeline,
        parts.metrics,
        live,
        GapTracker(after_s, back_s=after_s / 2),
        parts.outbox.targets,
        target_faults,
        api.disk,
        notify,
        kept_days=parts.settings.retention_days,
    )


def _provider(settings: RecorderSettings, metrics: RecorderMetrics) -> WeatherProvider | None:
    if settings.weather_provider == "none":
        return None
    if key := settings.weather_key:
        url = settings.weather_url or OPENWEATHER_URL
        return OpenWeather(url, key, settings.weather_timeout_s, metrics)
    return OpenMeteo(settings.weather_url or OPEN_METEO_URL, settings.weather_timeout_s, metrics)


def _weather(parts: _Parts, feed: Feed) -> WeatherCompletion | None:
    if parts.provider is None:
        return None
    cache_s, max_age_h = parts.settings.weather_cache_s, parts.settings.weather_max_age_h
    return WeatherCompletion(parts.database, parts.provider, parts.metrics, cache_s, max_age_h, feed.kick)


def _consumer_settings(settings: RecorderSettings, name: str) -> ConsumerSettings:
    return ConsumerSettings(
        stream=LABELS,
        group=RECORDERS,
        consumer=name,
        batch_max=settings.batch_max,
        min_idle_s=settings.min_idle_s,
        claim_every_s=min(settings.min_idle_s / 3, 5),
        max_attempts=settings.max_attempts,
        finish_s=settings.finish_s,
    )
