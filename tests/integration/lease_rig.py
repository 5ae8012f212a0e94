"""Processes that hold cameras by leases, without cameras: tasks of a test, each with its own client of a real Redis."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.motion.leases.camera_leases import CameraLeases, OwnProcess
from services.motion.leases.redis_leases import LEASES, RedisLeases
from services.motion.metrics import MotionMetrics
from shared.leases import LeaseSettings

LIMIT_S = 60.0


async def until(condition: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < ends_at, f"{what} did not hold within {LIMIT_S:g} s"
        await asyncio.sleep(0.01)


@dataclass
class Reading:
    """One process reads one camera; `ends_s` None: it still does. By time.monotonic()."""

    process: str
    camera: str
    begins_s: float
    ends_s: float | None = None


@dataclass
class Workers:
    """Stands in for the workers: notes who reads what, and when."""

    process: str
    cameras: dict[str, str]  # id: location
    readings: list[Reading]
    weights: dict[str, float] = field(default_factory=dict)
    is_slow_to_stop: bool = False
    is_connecting: bool = False  # no camera delivers
    stopping: set[str] = field(default_factory=set)
    held: dict[str, Reading] = field(default_factory=dict)
    known_paused: set[str] = field(default_factory=set)
    known_bound: set[str] = field(default_factory=set)
    n_looks: int = 0  # rounds that began

    def paused(self) -> Collection[str]:
        return self.known_paused

    def bound(self) -> Collection[str]:
        return self.known_bound

    def locations(self) -> Mapping[str, str]:
        self.n_looks += 1
        return self.cameras

    def hold(self, ids: Collection[str]) -> None:
        now_s = time.monotonic()
        for id_ in set(self.held) - set(ids):
            self.held.pop(id_).ends_s = now_s
            if self.is_slow_to_stop:
                self.stopping.add(id_)
        for id_ in set(ids) - set(self.held):
            self.held[id_] = Reading(self.process, id_, now_s)
            self.readings.append(self.held[id_])

    def running(self) -> Collection[str]:
        return {*self.held, *self.stopping}

    def weight_of(self, camera_id: str) -> float | None:
        return None if self.is_connecting else self.weights.get(camera_id, 1.0)


@dataclass
class Process:
    """A running process."""

    workers: Workers
    leases: CameraLeases
    redis: Redis
    metrics: MotionMetrics
    ends: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def ids(self) -> set[str]:
        return set(self.workers.held)

    def start(self) -> None:
        self.task = asyncio.create_task(self.leases.run(self.ends))

    async def has_looked(self) -> None:
        """Wait until it did a whole round that began later."""
        n_before = self.workers.n_looks
        await until(lambda: self.workers.n_looks > n_before + 1, f"that {self.workers.process} looks")

    async def kill(self) -> None:
        """End it without a word, as kill -9 does: nothing is read any more, nothing released."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.workers.hold(())
        await self.redis.aclose()

    async def stop(self, within_s: float = 0.0) -> None:
        assert self.task is not None
        await self.leases.leave(within_s, LIMIT_S)
        self.ends.set()
        await self.task
        await self.redis.aclose()


class Site:
    """Processes that share one list of cameras."""

    def __init__(self, url: str, n_cameras: int, ttl_s: float = 4.0) -> None:
        self.url = url
        self.ttl_s = ttl_s
        self.unlisted_s = 4.0
        self.cameras = {f"c{number:02}": "" for number in range(n_cameras)}
        self.readings: list[Reading] = []
        self.processes: list[Process] = []

    def add(
        self,
        name: str,
        cameras: dict[str, str] | None = None,
        load_max: float = 0.0,
        location: str = "",
        client: type[RedisLeases] = RedisLeases,
    ) -> Process:
        """Start a process; `cameras`: a list of its own."""
        known = self.cameras if cameras is None else cameras
        redis: Redis = Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1)
        workers = Workers(name, known, self.readings)
        metrics = MotionMetrics(CollectorRegistry())
        own = OwnProcess(self.ttl_s, load_max, location, self.unlisted_s)
        made = client(redis, LeaseSettings(name, self.ttl_s))
        process = Process(
            workers, CameraLeases(made, workers, own, lambda: ",".join(known), metrics), redis, metrics
        )
        process.start()
        self.processes.append(process)
        return process

    async def all_read(self, *among: Process) -> None:
        """Wait until every camera is read by one of these processes, and by one only."""

        def holds() -> bool:
            read = [id_ for process in among for id_ in process.ids]
            return sorted(read) == sorted(self.cameras)

        await until(holds, f"that {len(self.cameras)} cameras are read")

    async def is_even(self, *among: Process) -> None:
        """Wait until every camera is read, and no process reads two more than another."""

        def holds() -> bool:
            counts = [len(process.ids) for process in among]
            return sum(counts) == len(self.cameras) and max(counts) - min(counts) <= 1

        await until(holds, "that the cameras are spread evenly")

    async def is_noted(self) -> None:
        """Wait until every lease says that its camera was read."""
        client: Redis = Redis.from_url(self.url)
        async with asyncio.timeout(LIMIT_S):
            for id_ in self.cameras:
                while int((await cast("Any", client.hget(LEASES, f"camera {id_}"))).split()[2]) == 0:
                    await asyncio.sleep(0.01)
        await client.aclose()

    async def has_ended(self, id_: str) -> None:
        """Wait until the lease on a camera has ended, by Redis' clock."""
        client: Redis = Redis.from_url(self.url)
        async with asyncio.timeout(LIMIT_S):
            while True:
                value = await cast("Any", client.hget(LEASES, f"camera {id_}"))
                seconds, micros = await client.time()
                if int(value.split()[0]) <= seconds * 1000 + micros // 1000:
                    break
                await asyncio.sleep(0.01)
        await client.aclose()

    async def close(self) -> None:
        for process in self.processes:
            if process.task is not None:
                process.task.cancel()
                await asyncio.gather(process.task, return_exceptions=True)
            await process.redis.aclose()

    def doubles(self) -> list[tuple[Reading, Reading]]:
        """Return pairs of readings of one camera that overlap."""
        now_s = time.monotonic()
        by_begin = sorted(self.readings, key=lambda one: (one.camera, one.begins_s))
        pairs = itertools.pairwise(by_begin)
        return [(a, b) for a, b in pairs if a.camera == b.camera and (a.ends_s or now_s) > b.begins_s]
