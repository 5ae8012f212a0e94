"""What the tests of the consumer loop share: a handler that notes what it is given, and consumers run as tasks."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from shared.metrics import StreamMetrics
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Delivery, Done, Outcome, Output
from shared.streams.settings import ConsumerSettings

STREAM, GROUP, OUT = "items.v1", "workers", "results.v1"
QUICK = ConsumerSettings(
    STREAM, GROUP, "alone", block_ms=40, min_idle_s=0.3, claim_every_s=0.05, max_attempts=3, batch_max=8
)


def done(delivery: Delivery) -> Done:
    """Answer with one output that names the input."""
    return Done(outputs=(Output(OUT, {b"of": delivery.fields[b"n"]}),))


@dataclass
class Handler:
    """Answers each delivery with `answer`, which may raise, and notes the batches it was given."""

    answer: Callable[[Delivery], Outcome | Awaitable[Outcome]] = done
    batches: list[list[Delivery]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    async def __call__(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        self.batches.append(list(deliveries))
        self.times.append(time.monotonic())
        outcomes: list[Outcome] = []
        for delivery in deliveries:
            outcome = self.answer(delivery)
            outcomes.append(await outcome if inspect.isawaitable(outcome) else outcome)
        return outcomes

    def seen(self, n: int) -> list[int]:
        """Return the attempts at which entry `n` was handed over."""
        return [d.attempts for batch in self.batches for d in batch if d.fields[b"n"] == b"%d" % n]


@dataclass
class Running:
    task: asyncio.Task[None]
    stop: asyncio.Event
    metrics: StreamMetrics
    registry: CollectorRegistry
    beats: list[float]

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def running(
    redis: Redis, handler: Callable[[Sequence[Delivery]], Awaitable[Sequence[Outcome]]], **changes: object
) -> AsyncIterator[Running]:
    """Run a consumer for the block; it is stopped at its end, and what it raised is raised."""
    registry = CollectorRegistry()
    metrics, stop, beats = StreamMetrics(registry), asyncio.Event(), [0.0]
    consumer = Consumer(redis, replace(QUICK, **changes), handler, metrics)  # type: ignore[arg-type]  # any field

    def beat() -> None:
        beats.append(time.monotonic())

    task = asyncio.create_task(consumer.run(stop, beat))
    try:
        yield Running(task, stop, metrics, registry, beats)
    finally:
        stop.set()
        await asyncio.wait({task}, timeout=10)
        if not task.done():
            where = io.StringIO()
            task.print_stack(file=where)
            task.cancel()
            await asyncio.wait({task}, timeout=5)
            raise AssertionError(f"the consumer did not stop: {where.getvalue()}")
    if not task.cancelled():
        task.result()


async def until(condition: Callable[[], bool | Awaitable[bool]], limit_s: float = 60) -> None:
    """Return once `condition` holds; fail when it does not within `limit_s`."""
    ends_at = time.monotonic() + limit_s
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        if time.monotonic() > ends_at:
            raise AssertionError(f"not so within {limit_s:g} s: {inspect.getsource(condition).strip()}")
        await asyncio.sleep(0.005)


async def append(redis: Redis, stream: str, fields: dict[bytes, bytes]) -> str:
    """Append an entry; return its id."""
    values = [part for pair in fields.items() for part in pair]
    answer = await redis.execute_command("XADD", stream, "*", *values)  # type: ignore[no-untyped-call]  # its gap
    return cast("bytes", answer).decode()


async def entries(redis: Redis, stream: str) -> list[dict[bytes, bytes]]:
    """Return the fields of all entries of a stream."""
    rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", await redis.xrange(stream))
    return [fields for _, fields in rows]


async def add(redis: Redis, *numbers: int) -> list[str]:
    """Append entries that carry a number; return their ids."""
    return [await append(redis, STREAM, {b"n": b"%d" % n}) for n in numbers]


async def results(redis: Redis) -> list[int]:
    """Return the numbers of the outputs in their order."""
    return [int(fields[b"of"]) for fields in await entries(redis, OUT)]


async def have(redis: Redis, *numbers: int) -> bool:
    """Whether the outputs are just these, in any order."""
    return sorted(await results(redis)) == sorted(numbers)


async def dead(redis: Redis) -> list[dict[bytes, bytes]]:
    """Return the dead letters."""
    return await entries(redis, f"{STREAM}:dead")


async def pending(redis: Redis) -> int:
    """Return how many entries were handed out and not settled."""
    return int((await redis.xpending(STREAM, GROUP))["pending"])


async def is_settled(redis: Redis) -> bool:
    """Whether nothing is left, neither pending nor in the stream."""
    return await redis.xlen(STREAM) == 0 and await pending(redis) == 0
