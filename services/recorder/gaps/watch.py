"""Looks at services, cameras, disk and targets, and records gaps. Knows no channel.

It looks every LOOK_S, and within milliseconds when motion publishes a change of its cameras.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.recorder.gaps import rows
from services.recorder.gaps.snapshot import (
    PipelineSnapshot,
    cameras_now,
    configured,
    faults,
    there,
    unread_times,
)
from services.recorder.gaps.tracker import GapChange, GapTracker
from services.recorder.gaps.values import KINDS, ConfiguredCamera, GapKey, LiveCamera, UnreadTime
from services.recorder.health.pipeline import Disk, Pipeline
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.database import Database
from services.recorder.record.retention import HOLD_S, LEAP_S
from shared.clock import CautiousClock, now_utc
from shared.errors import Transient, redact
from shared.logs import get_logger
from shared.presence import ProcessPresence, follow_changes, list_processes
from shared.waits import pause

log = get_logger(__name__)

LOOK_S = 1.0
REDIS_S = 3.0  # a Redis that needs longer counts as away
PENDING_MAX = 1000  # changes that wait for the database; beyond it the oldest are dropped, logged and counted
PRUNE_EVERY_S = 3600.0
UNLIMITED_DAYS = 400.0  # gaps are forgotten after this long where events are kept for good
MOTION_GONE = GapKey("motion.gone", "motion")
OpenGap = tuple[GapKey, str, datetime]  # what, why, since when


@dataclass(slots=True)
class LiveState:
    """How cameras and gaps stand now, for channels that show state; `cameras` None: not known yet."""

    cameras: Mapping[str, LiveCamera] | None = None
    gaps: tuple[OpenGap, ...] = ()

    def name_of(self, camera: str) -> str:
        """Return what people call a camera: its name, or its id where it has none, or is not known."""
        known = (self.cameras or {}).get(camera)
        return known.name or camera if known is not None else camera


@dataclass(slots=True)
class GapWatch:
    """Keeps `live` and the rows of gaps up to date."""

    redis: Redis
    database: Database
    pipeline: Pipeline
    metrics: RecorderMetrics
    live: LiveState
    tracker: GapTracker
    targets: tuple[str, ...]  # who gets notices
    target_faults: Callable[[], Mapping[str, str | None]]
    disk: Callable[[], Awaitable[Disk | None]]
    changed: Callable[[], None]  # called when `live` or a gap changed
    kept_days: float = 0  # 0: UNLIMITED_DAYS
    clock: Callable[[], datetime] = now_utc
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _cameras: dict[str, ConfiguredCamera] | None = field(default=None, init=False)
    _were_there: set[str] = field(default_factory=set, init=False)
    _pending: list[GapChange] = field(default_factory=list, init=False)
    _since_s: float = field(default=0, init=False)
    _prune_at_s: float = field(default=0, init=False)
    _unread: set[UnreadTime] = field(default_factory=set, init=False)  # written, and still told
    _aging: CautiousClock = field(init=False)

    def __post_init__(self) -> None:
        self._aging = CautiousClock(HOLD_S, LEAP_S, lambda: self.clock())

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Look until `stop`."""
        following = asyncio.create_task(follow_changes(self.redis, stop, self._wake.set), name="presence")
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    await self.look()
                except Transient as exc:
                    log.debug("gaps wait for the database", error=exc)
                beat()
                await pause(LOOK_S, stop, self._wake)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def look(self) -> None:
        """Look once. Raises Transient of the database; what could not be written is written with the next look."""
        now_s = asyncio.get_running_loop().time()
        known = await self._known(now_s)
        heard = await self._heard()
        if heard is not None:
            known = await self._configured(known, heard)
        seen = PipelineSnapshot(
            up_s=now_s - self._since_s,
            heard=heard,
            were_there=frozenset(self._were_there),
            cameras=known,
            disk=await self.disk(),
            recorder_fault=None if self.pipeline.fault == "starting" else self.pipeline.fault,
            targets=self.target_faults(),
            is_classifier_due=self.pipeline.is_classifier_due,
        )
        changes = self.tracker.step(faults(seen, self.tracker.open_keys), self.clock(), now_s)
        self._note(changes)
        before = self.live.cameras
        self.live.cameras = cameras_now(seen, self.tracker.open_keys, before or {})
        self.live.gaps = self.tracker.open_gaps
        if self.live.cameras != before:
            self.changed()
        await self._write()
        if heard is not None:
            await self._write_unread(unread_times(heard))
        if now_s >= self._prune_at_s:
            await self._prune()
            self._prune_at_s = now_s + PRUNE_EVERY_S

    # -- what is known

    async def _known(self, now_s: float) -> dict[str, ConfiguredCamera]:
        if self._cameras is None:
            async with self.database.reading() as connection:
                found = await rows.known_cameras(connection)
                self.tracker.restore(await rows.open_gaps(connection), now_s)
            self._cameras, self._since_s = found, now_s
        return self._cameras

    async def _heard(self) -> tuple[ProcessPresence, ...] | None:
        try:
            async with asyncio.timeout(REDIS_S):
                found = await list_processes(self.redis)
                heard = self.pipeline.hear(found, asyncio.get_running_loop().time())
                is_missing = not all(there(heard, service) for service in ("motion", "classifier"))
                if is_missing and await _is_full(self.redis):
                    return None  # those who are there cannot say so
        except (RedisError, OSError, TimeoutError):  # readiness says so
            return None
        self._were_there |= {one.presence.service for one in heard if not one.is_loading}
        return heard

    async def _configured(
        self, known: dict[str, ConfiguredCamera], heard: tuple[ProcessPresence, ...]
    ) -> dict[str, ConfiguredCamera]:
        cameras, changed, removed = configured(known, heard)
        if changed or removed:
            async with self.database.writing() as connection:
                await rows.change_cameras(connection, changed, removed)
            if removed:
                log.info("cameras are no longer configured", cameras=removed[:20], n=len(removed))
        self._cameras = cameras
        return cameras

    # -- what is written

    def _note(self, changes: list[GapChange]) -> None:
        for change in changes:
            facts = {"kind": change.key.kind, "subject": change.key.subject, "reason": redact(change.reason)}
            if change.ended_at is None:
                log.warning("a gap began", **facts)
                continue
            lasted_s = (change.ended_at - change.started_at).total_seconds()
            log.info("a gap ended", **facts, lasted_s=round(lasted_s, 1))
        self._pending += changes
        if (n_dropped := len(self._pending) - PENDING_MAX) > 0:
            del self._pending[:n_dropped]
            self.metrics.gaps_dropped.inc(n_dropped)
            log.error("gaps were dropped: the database is away", gaps=n_dropped)
        open_kinds = [key.kind for key in self.tracker.open_keys]
        for kind in KINDS:
            self.metrics.gaps_open.labels(kind).set(open_kinds.count(kind))

    async def _write(self) -> None:
        if not self._pending:
            return
        async with self.database.writing() as connection:
            for change in self._pending:
                await rows.write(connection, change, self.targets, self.clock())
        self._pending.clear()
        self.changed()

    async def _write_unread(self, times: Sequence[UnreadTime]) -> None:
        """Write when cameras were read by nobody; each process tells it for as long as it reads the camera.

        Not before the gap of all of motion has its end: what is within that is none of a camera's own.
        """
        if MOTION_GONE in self.tracker.open_keys:
            return
        self._unread &= set(times)
        for one in times:
            if one in self._unread:
                continue
            async with self.database.writing() as connection:
                is_new = await rows.write_unread(connection, one)
            self._unread.add(one)
            if is_new:
                lasted_s = round((one.ended_at - one.started_at).total_seconds(), 1)
                log.info("a camera was read by no motion process", camera=one.camera, lasted_s=lasted_s)
                self.changed()

    async def _prune(self) -> None:
        with contextlib.suppress(Transient):
            async with self.database.writing() as connection:
                before = rows.before_of(self._aging(), self.kept_days or UNLIMITED_DAYS)
                await rows.prune(connection, before)


async def _is_full(redis: Redis) -> bool:
    """Return whether Redis takes nothing because its memory is used up; raises what the client raises."""
    memory = await redis.info("memory")
    limit = int(memory.get("maxmemory", 0))
    return 0 < limit <= int(memory["used_memory"])
