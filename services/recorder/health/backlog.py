"""How much waits in the queue, for Prometheus: settled entries are deleted, so what is there is what waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from prometheus_client import REGISTRY, CollectorRegistry, Gauge
from redis.asyncio import Redis

from shared.clock import epoch_ms, now_utc
from shared.contract import LABELS, MEDIA, SNIPPETS


@dataclass(frozen=True, slots=True)
class Queue:
    """How a stream is: entries that are not settled, the age of the oldest (0: none), and dead letters."""

    stream: str
    waiting: int
    oldest_s: float
    dead: int


class Backlog:
    """Gauges by stream; `look` fills them."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.entries = Gauge(
            "clipwatch_stream_waiting_entries",
            "Entries of a stream that are not settled.",
            ["stream"],
            registry=registry,
        )
        self.oldest = Gauge(
            "clipwatch_stream_oldest_seconds",
            "Age of the oldest entry that is not settled; 0: none.",
            ["stream"],
            registry=registry,
        )
        self.dead = Gauge(
            "clipwatch_stream_dead_letters_entries",
            "Entries that could not be handled and are kept to be looked at.",
            ["stream"],
            registry=registry,
        )

    async def look(self, redis: Redis) -> tuple[Queue, ...]:
        """Read lengths and ages; raises what the client raises."""
        queues = tuple([await self._queue(redis, stream) for stream in (SNIPPETS, MEDIA, LABELS)])
        for queue in queues:
            self.entries.labels(queue.stream).set(queue.waiting)
            self.dead.labels(queue.stream).set(queue.dead)
            self.oldest.labels(queue.stream).set(queue.oldest_s)
        return queues

    async def _queue(self, redis: Redis, stream: str) -> Queue:
        waiting, dead = int(await redis.xlen(stream)), int(await redis.xlen(f"{stream}:dead"))
        first = await redis.xrange(stream, count=1)
        entry_id = cast("bytes", first[0][0]) if first else b""  # the client gives bytes
        added_ms = int(entry_id.partition(b"-")[0]) if entry_id else epoch_ms(now_utc())
        return Queue(stream, waiting, max(epoch_ms(now_utc()) - added_ms, 0) / 1000, dead)
