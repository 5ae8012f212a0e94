"""What it costs to keep snippets until they are recorded: `python -m bench.receipts`, a Redis of its own, no model.

Each snippet goes the whole way that delivery pays for (outbox, script, two consumer groups, settled), without the
classifier's and the recorder's own work: with receipts, and as it was without (the entry leaves the outbox when Redis
has it). Both in turn, so that a busy machine slows both.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.motion.metrics import MotionMetrics
from services.motion.spool.outbox import Outbox
from services.motion.spool.publisher import Publisher
from services.motion.spool.receipts import ReceiptReader
from shared.contract import CLASSIFIERS, LABELS, RECORDERS, SNIPPETS, LabelsMessage, SnippetMessage
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Delivery, Done, Outcome, Output
from shared.streams.receipts import receipt_of
from shared.streams.settings import ConsumerSettings
from tests.servers import RedisServer
from tests.unit.recorder.messages import Said, labels_message, media_message

N_SNIPPETS = 200
CLIP_BYTES, PICTURE_BYTES = 300_000, 12_000  # 10 s of a 720p camera while something moves; 8 pictures


@dataclass(frozen=True, slots=True)
class Cost:
    """A snippet's share."""

    wall_ms: float
    our_cpu_ms: float
    redis_cpu_ms: float
    redis_bytes: float  # appended to its file


async def measure(redis: Redis, folder: Path, *, has_receipts: bool) -> Cost:
    """Send N_SNIPPETS all the way."""
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(folder, 1 << 30, metrics)
    publisher = Publisher(outbox, redis, N_SNIPPETS + 1, "bench", metrics)
    receipts = ReceiptReader(outbox, redis, "bench", metrics)
    await redis.flushall()
    started, cpu_s, redis_s, size = time.perf_counter(), time.process_time(), *await _of_redis(redis)
    for number in range(N_SNIPPETS):
        said = Said(event=number, is_last=True)
        header = labels_message(said).header.snippet
        pictures = tuple(os.urandom(PICTURE_BYTES) for _ in header.pictures)
        outbox.put(media_message(said, os.urandom(CLIP_BYTES)), SnippetMessage(header, pictures))
        while await publisher.send_one() == "sent":
            continue
        if not has_receipts:
            for key in outbox.kept_keys():
                outbox.free(key)

    async def label(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        headers = [SnippetMessage.decode(one.fields).header for one in deliveries]
        events = [Said(event=_number(header.event_id), is_last=True) for header in headers]
        return [Done((Output(LABELS, labels_message(said).encode()),)) for said in events]

    async def record(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        headers = [LabelsMessage.decode(one.fields).header.snippet for one in deliveries]
        return [
            Done((receipt_of(header.event_id, header.snippet),) if has_receipts else ()) for header in headers
        ]

    await _consume(redis, ConsumerSettings(SNIPPETS, CLASSIFIERS, "one"), label)
    await _consume(redis, ConsumerSettings(LABELS, RECORDERS, "one"), record)
    if has_receipts:
        await receipts.check()
        await receipts.read()
    assert outbox.n_kept == 0
    after_s, after_size = await _of_redis(redis)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu_s
    each = 1000 / N_SNIPPETS
    return Cost(wall * each, cpu * each, (after_s - redis_s) * each, (after_size - size) / N_SNIPPETS)


def _number(event_id: str) -> int:
    return next(n for n in range(N_SNIPPETS) if Said(event=n).event_id == event_id)


async def _consume(redis: Redis, settings: ConsumerSettings, handler: Any) -> None:  # Any: a handler
    stop = asyncio.Event()
    running = asyncio.create_task(Consumer(redis, settings, handler).run(stop))
    while await redis.xlen(settings.stream):
        await asyncio.sleep(0.02)
    stop.set()
    await running


async def _of_redis(redis: Redis) -> tuple[float, float]:
    info: Any = await redis.info()  # Any: redis-py's dictionary of all kinds
    return info["used_cpu_user"] + info["used_cpu_sys"], float(info["aof_current_size"])


async def main() -> None:
    """Print the two ways beside each other."""
    server = RedisServer(
        arguments=("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")
    )
    server.start()
    redis: Redis = Redis.from_url(server.url)
    print(f"{'':10} {'wall ms':>9} {'our CPU ms':>11} {'Redis CPU ms':>13} {'bytes to its file':>18}")
    for _ in range(3):
        for has_receipts in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                cost = await measure(redis, Path(folder), has_receipts=has_receipts)
            name = "receipts" if has_receipts else "without"
            print(
                f"{name:10} {cost.wall_ms:9.2f} {cost.our_cpu_ms:11.2f} {cost.redis_cpu_ms:13.2f}"
                f" {cost.redis_bytes:18,.0f}"
            )
    await redis.aclose()
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
