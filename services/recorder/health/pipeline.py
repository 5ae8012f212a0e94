"""How the whole pipeline is: services, queues, lost clips, memory and disk. Pure, but for `look`.

A problem says in a sentence what is wrong and what it means; `bad` costs events or clips now, `warn` may.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from prometheus_client import Counter
from redis.asyncio import Redis

from services.recorder.health.backlog import Backlog, Queue
from shared.contract import SNIPPETS
from shared.plurals import plural
from shared.presence import ELSEWHERE, CameraReport, ProcessPresence, list_processes

LAG_S = 60.0  # an entry that waits longer: the classifier or the recorder does not keep up
FEW_BYTES = 1_000_000_000  # less than this free: some hundred clips
NO_BYTES = 20_000_000  # less than this free: clips are being dropped, or soon will
NEARLY_FULL = 0.9  # of Redis' memory
_AWAY = ("away", "failed")
_UNREAD = ("disabled", ELSEWHERE)


@dataclass(frozen=True, slots=True)
class Disk:
    """The media folder's disk, bytes; `wanted_bytes` is what retention keeps free."""

    free_bytes: int
    total_bytes: int
    wanted_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that somebody should look at."""

    severity: Literal["bad", "warn"]
    text: str


@dataclass(slots=True)
class Pipeline:
    """What was seen last; `fault` says why the recorder itself is not ready."""

    fault: str = "starting"
    heard: tuple[ProcessPresence, ...] = ()
    queues: tuple[Queue, ...] = ()
    dropped_clips: dict[str, int] = field(default_factory=dict)
    target_faults: dict[str, str] = field(default_factory=dict)  # why targets get no notices
    waiting_clips: int = 0  # in the queue, until they can be kept
    media_place: str = "disk"  # where clips are kept, for people
    memory_ratio: float = 0.0  # of what Redis may use; 0: it has no limit
    backlog: Backlog | None = None  # None: nothing is looked at yet
    is_known: bool = False  # queues and processes were looked at
    classifier_start_s: float = (
        0  # how soon one is started for snippets that wait; 0: one is always to be there
    )
    _first_heard: dict[str, tuple[int, float]] = field(default_factory=dict, init=False)

    @property
    def is_model_loading(self) -> bool:
        """Whether a classifier is there, and none has loaded its model yet."""
        found = [one for one in self.heard if one.presence.service == "classifier" and not one.is_silent]
        return bool(found) and all(one.is_loading for one in found)

    @property
    def is_classifier_due(self) -> bool:
        """Whether a classifier is to be there: always, or once a snippet has waited for as long as its start takes."""
        oldest_s = max((queue.oldest_s for queue in self.queues if queue.stream == SNIPPETS), default=0.0)
        return not self.classifier_start_s or oldest_s > self.classifier_start_s

    async def look(self, redis: Redis) -> None:
        """Read who is there and what waits; raises what the client raises."""
        if self.backlog is not None:
            self.queues = await self.backlog.look(redis)
        memory = await redis.info("memory")
        most = int(memory.get("maxmemory", 0))
        self.memory_ratio = int(memory["used_memory"]) / most if most else 0.0
        self.hear(await list_processes(redis), time.monotonic())
        self.is_known = True

    def hear(self, heard: Sequence[ProcessPresence], now_s: float) -> tuple[ProcessPresence, ...]:
        """Take what was heard at `now_s`, on a clock that never steps; return it with its age by that clock.

        Redis dates presence by its wall clock, which may be set. Its age counts only when a process is heard for the
        first time.
        """
        first_heard: dict[str, tuple[int, float]] = {}
        aged = []
        for one in heard:
            name = f"{one.presence.service} {one.presence.name}"
            said_ms, at_s = self._first_heard.get(name, (one.said_ms, now_s - one.age_s))
            if said_ms != one.said_ms:
                said_ms, at_s = one.said_ms, now_s
            first_heard[name] = said_ms, at_s
            aged.append(replace(one, age_s=now_s - at_s))
        self._first_heard, self.heard = first_heard, tuple(aged)
        return self.heard


def counted(counter: Counter) -> dict[str, int]:
    """Return the values of a counter with one label, by that label."""
    samples = [sample for metric in counter.collect() for sample in metric.samples]
    return {next(iter(one.labels.values())): int(one.value) for one in samples if one.name.endswith("_total")}


def problems(pipeline: Pipeline, disk: Disk | None, cameras: frozenset[str] | None = None) -> list[Problem]:
    """Return what is wrong, the worst first; of cameras only these (None: all)."""
    found = [
        *_of_recorder(pipeline),
        *(_of_services(pipeline) if pipeline.is_known else ()),
        *_of_cameras(pipeline.heard, cameras),
        *_of_queues(pipeline.queues),
        *(
            Problem("bad", f"'{name}' is not told: {fault}.")
            for name, fault in pipeline.target_faults.items()
        ),
        *_of_memory(pipeline.memory_ratio),
        *_of_disk(disk, pipeline.media_place, pipeline.waiting_clips, pipeline.dropped_clips.get("full", 0)),
    ]
    return sorted(found, key=lambda one: one.severity != "bad")


def _of_recorder(pipeline: Pipeline) -> list[Problem]:
    return [Problem("bad", f"The recorder is not ready: {pipeline.fault}.")] if pipeline.fault else []


def _of_services(pipeline: Pipeline) -> list[Problem]:
    heard = pipeline.heard
    there = {one.presence.service for one in heard if not one.is_silent and not one.is_loading}
    is_loading = any(one.is_loading for one in heard)
    found = [
        Problem(
            "warn", f"{one.presence.service} '{one.presence.name}' has said nothing for {_ago(one.age_s)}."
        )
        for one in heard
        if one.is_silent
    ]
    if "motion" not in there:
        found.append(Problem("bad", "No motion service is there: no camera is watched."))
    if "classifier" not in there:
        waiting = sum(queue.waiting for queue in pipeline.queues if queue.stream == SNIPPETS)
        wait = plural(waiting, "snippet waits", "snippets wait")
        if is_loading:
            found.append(Problem("warn", f"The classifier is loading its model: {wait} until it is ready."))
        elif not pipeline.is_classifier_due:
            if waiting:
                found.append(Problem("warn", f"A classifier is to be started: {wait} for it."))
        else:
            found.append(Problem("bad", f"No classifier is there: {wait}, and nothing is recorded."))
    return found


def _of_cameras(heard: Sequence[ProcessPresence], cameras: frozenset[str] | None) -> list[Problem]:
    return [
        Problem(
            "bad",
            f"Camera '{camera.name or camera.id}' is {camera.state}{f': {camera.message}' if camera.message else '.'}",
        )
        for _, camera in reports_of(heard)
        if camera.state in _AWAY and (cameras is None or camera.id in cameras)
    ]


def reports_of(heard: Sequence[ProcessPresence]) -> list[tuple[str, CameraReport]]:
    """Return the names of motion processes with what they say of cameras.

    What several list and none reads is there once.
    """
    said = [
        (one.presence.name, camera) for one in heard if not one.is_silent for camera in one.presence.cameras
    ]
    found = [pair for pair in said if pair[1].state not in _UNREAD]
    known = {camera.id for _, camera in found}
    for name, camera in said:
        if camera.id not in known:
            known.add(camera.id)
            is_away = camera.state == ELSEWHERE
            away = {"state": "away", "message": "no motion process reads it"}
            found.append((name, camera.model_copy(update=away) if is_away else camera))
    return found


def _of_queues(queues: Sequence[Queue]) -> list[Problem]:
    late = [
        Problem(
            "warn", f"The queue lags: the oldest entry of {queue.stream} waits for {_ago(queue.oldest_s)}."
        )
        for queue in queues
        if queue.oldest_s > LAG_S
    ]
    dead = [
        Problem(
            "warn", f"{_entries(queue.dead)} of {queue.stream} could not be handled: see {queue.stream}:dead."
        )
        for queue in queues
        if queue.dead
    ]
    return late + dead


def _of_memory(ratio: float) -> list[Problem]:
    if ratio >= 1:
        return [
            Problem("bad", "Redis is full: what is new waits on motion's disk, as long as that has room.")
        ]
    if ratio > NEARLY_FULL:
        return [Problem("warn", f"Redis is nearly full: {100 * ratio:.0f} % of its memory are used.")]
    return []


def _of_disk(disk: Disk | None, place: str, n_waiting: int, n_dropped: int) -> list[Problem]:
    found: list[Problem] = []
    if n_waiting:
        clips = plural(n_waiting, "clip waits", "clips wait")
        found.append(
            Problem("bad", f"The {place} does not take clips: {clips} in the queue as long as it has room.")
        )
    if disk is not None and disk.free_bytes < NO_BYTES:
        found.append(
            Problem("bad", "The disk is full: events are recorded, and their clips wait in the queue.")
        )
    elif disk is not None and disk.free_bytes < min(
        max(disk.wanted_bytes, FEW_BYTES), disk.total_bytes // 10
    ):
        found.append(Problem("warn", f"The disk is nearly full: {disk.free_bytes / 1e9:.2f} GB are free."))
    if n_dropped:
        clips = plural(n_dropped, "clip was", "clips were")
        found.append(
            Problem(
                "warn", f"{clips} dropped since the start: the {place} took none, and the queue was full."
            )
        )
    return found


def _entries(n: int) -> str:
    return "1 entry" if n == 1 else f"{n} entries"


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
