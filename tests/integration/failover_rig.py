"""A Redis with a replica and three Sentinels, whose master is killed while snippets go through the services."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import redis

from shared.waits import pause
from tests.integration.pipeline_rig import Motion, SnippetShape, motion, services
from tests.servers import HOST, RedisServer, SentinelServer, free_port, wait_until

AOF = ("--appendonly", "yes", "--appendfsync", "everysec")


class WatchedRedis:
    """Two servers, one of which is the master, and three Sentinels."""

    def __init__(self, down_after_ms: int = 2000, sentinel_password: str = "") -> None:
        first = RedisServer(arguments=AOF)
        first.start()
        second = RedisServer(arguments=(*AOF, "--replicaof", f"{HOST} {first.port}"))
        second.start()
        self.servers = [first, second]
        self.sentinels = [
            SentinelServer(first.port, down_after_ms=down_after_ms, password=sentinel_password)
            for _ in range(3)
        ]
        for sentinel in self.sentinels:
            sentinel.start()
        wait_until(self.is_whole, 60, "the replica is in step and all Sentinels know it and each other")

    @property
    def url(self) -> str:
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/mymaster"

    def is_whole(self) -> bool:
        """Whether there is a master that all Sentinels agree on, with the other as its replica in step."""
        try:
            states = [self._state(sentinel) for sentinel in self.sentinels]
            ports = {state["port"] for state in states}
            if len(ports) != 1 or any(
                (state["num-slaves"], state["num-other-sentinels"]) != (1, 2) or state["flags"] != "master"
                for state in states
            ):
                return False
            (port,) = ports
            with contextlib.closing(redis.Redis(HOST, port, socket_timeout=2)) as client:
                found = client.info("replication")
        except (redis.RedisError, OSError, KeyError):
            return False
        replica = found.get("slave0", {})
        is_in_step = replica.get("state") == "online" and int(replica.get("lag", 9)) <= 1
        return bool(found["role"] == "master" and is_in_step)

    def _state(self, sentinel: SentinelServer) -> dict[str, Any]:  # Any: redis-py's dictionary of all kinds
        with contextlib.closing(sentinel.client()) as client:
            return cast("dict[str, Any]", client.sentinel_master("mymaster"))

    def master(self) -> RedisServer:
        """Return the server that the first Sentinel that is asked calls the master."""
        port = self._state(self.sentinels[0])["port"]
        return next(server for server in self.servers if server.port == port)

    def cut_off_the_replica(self) -> None:
        """Let the replica miss what comes now; Sentinel mends that after 8 s, or puts it in the master's place."""
        master = self.master()
        replica = next(server for server in self.servers if server is not master)
        with contextlib.closing(replica.client()) as client:
            client.execute_command("REPLICAOF", HOST, free_port())  # type: ignore[no-untyped-call]  # redis-py's gap

    def close(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.close()


@contextlib.contextmanager
def watched_redis(down_after_ms: int = 2000) -> Iterator[WatchedRedis]:
    """Run them for the block."""
    made = WatchedRedis(down_after_ms)
    try:
        yield made
    finally:
        made.close()


@dataclass
class FailoverResult:
    """What became of it. `back_s`: from each kill until the row of a snippet that was put in after it."""

    back_s: list[float] = field(default_factory=list)
    n_put: int = 0
    n_rows: int = 0
    n_events: int = 0
    n_clips: int = 0
    n_sent_again: int = 0
    n_dead: int = 0

    @property
    def n_lost(self) -> int:
        return self.n_put - self.n_events

    @property
    def n_doubled(self) -> int:
        return self.n_rows - self.n_events


async def kill_the_master(
    watched: WatchedRedis, folder: Path, *, kills: int = 3, rate_per_s: float = 20, limit_s: float = 60
) -> FailoverResult:
    """Send snippets at a steady rate, kill the master `kills` times meanwhile, and wait until all are recorded.

    The one that was killed is started again once a snippet has gone all the way, and comes back as a replica.
    """
    database = folder / "record.db"
    result = FailoverResult()
    shape = SnippetShape()
    with services(folder, watched.url, f"sqlite:///{database}", MIN_IDLE_S="5") as running:
        async with motion(folder, watched.url, shape) as source:
            stop = asyncio.Event()
            feeding = asyncio.create_task(_feed(source, rate_per_s, stop))
            for _ in range(kills):
                await _until(lambda: asyncio.to_thread(watched.is_whole), limit_s, "a replica in step")
                await asyncio.sleep(2)  # load
                result.back_s.append(await _kill_once(watched, source, database, limit_s))
                running.check()
            stop.set()
            await feeding
            result.n_put = len(source.put_at_s)
            await _until(lambda: _is_recorded(source, database), limit_s, "all rows")
            await _until(lambda: _is_freed(source), limit_s, "all receipts")
            result.n_sent_again = source.n_sent_again
            result.n_dead = sum(
                [await source.redis.xlen(f"{name}.v1:dead") for name in ("snippets", "labels")]
            )
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT event_id, snippet, clip_name FROM snippets").fetchall()
        result.n_events = connection.execute("SELECT count(*) FROM events").fetchone()[0]
    result.n_rows = len(rows)
    result.n_clips = sum((folder / "media" / name).is_file() for _, _, name in rows if name)
    return result


async def _kill_once(watched: WatchedRedis, source: Motion, database: Path, limit_s: float) -> float:
    master = await asyncio.to_thread(watched.master)
    before = set(source.put_at_s)
    killed_at_s = time.monotonic()
    master.kill()
    await _until(
        lambda: _has_others(database, before), limit_s, "the row of a snippet that came after the kill"
    )
    back_s = time.monotonic() - killed_at_s
    await asyncio.to_thread(master.start)
    return back_s


async def _feed(source: Motion, rate_per_s: float, stop: asyncio.Event) -> None:
    started_s = time.monotonic()
    number = 0
    while not stop.is_set():
        await source.put(number)
        number += 1
        await pause(max(0.0, started_s + number / rate_per_s - time.monotonic()), stop)


def _events(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return {str(row[0]) for row in connection.execute("SELECT event_id FROM snippets")}


async def _has_others(database: Path, before: set[str]) -> bool:
    return bool((await asyncio.to_thread(_events, database)) - before)


async def _is_recorded(source: Motion, database: Path) -> bool:
    return len(await asyncio.to_thread(_events, database)) >= len(source.put_at_s)


async def _is_freed(source: Motion) -> bool:
    return source.n_unrecorded == 0


async def _until(condition: Callable[[], Awaitable[bool]], limit_s: float, what: str) -> None:
    ends_at = time.monotonic() + limit_s
    while not await condition():
        if time.monotonic() > ends_at:
            raise AssertionError(f"{what}: not within {limit_s:g} s")
        await asyncio.sleep(0.05)
