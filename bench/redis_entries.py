"""What one Redis carries of entries of 300 kB, JSON: `python -m bench.redis_entries [--entries N]`.

Entries are added, read by a group and settled as the services do it, 8 at a time in one process, on a Redis of its own
with its file flushed every second (`appendfsync everysec`), and without a file. `redis_cpu_ms` is an entry's share of
Redis' processor time, its threads included: what a core of its own would carry is 1000 by it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from typing import Any, cast

from redis.asyncio import Redis

from shared.streams.scripts import SETTLE
from tests.integration.failover_rig import AOF
from tests.servers import RedisServer

ENTRY_BYTES = 300_000
AT_ONCE = 8
STREAM, GROUP = "entries", "readers"


async def measure(redis: Redis, n_entries: int) -> dict[str, float]:
    """Return the figures of one server."""
    settle = redis.register_script(SETTLE)
    await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    values = [os.urandom(ENTRY_BYTES) for _ in range(AT_ONCE)]
    times_ms: list[float] = []

    async def carry(value: bytes, count: int) -> None:
        for _ in range(count):
            started = time.perf_counter()
            await redis.xadd(STREAM, {"clip": value})
            times_ms.append(1000 * (time.perf_counter() - started))
            answer: Any = await redis.xreadgroup(
                GROUP, "one", {STREAM: ">"}, count=1
            )  # Any: redis-py's union
            entry_id = answer[0][1][0][0]
            await settle(keys=[STREAM], args=[GROUP, entry_id, 0])

    await carry(values[0], AT_ONCE)
    times_ms.clear()
    before_s, started = await _cpu_s(redis), time.perf_counter()
    await asyncio.gather(*(carry(value, n_entries // AT_ONCE) for value in values))
    wall_s = time.perf_counter() - started
    n = len(times_ms)
    percentiles = statistics.quantiles(times_ms, n=100)
    return {
        "entries_per_s": round(n / wall_s, 1),
        "megabytes_per_s": round(n * ENTRY_BYTES / wall_s / 1e6, 1),
        "add_p50_ms": round(percentiles[49], 1),
        "add_p95_ms": round(percentiles[94], 1),
        "redis_cpu_ms": round(1000 * (await _cpu_s(redis) - before_s) / n, 2),
    }


async def _cpu_s(redis: Redis) -> float:
    info = cast("dict[str, float]", await redis.info("cpu"))
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=4000)
    args = parser.parse_args()
    found: dict[str, object] = {}
    for name, arguments in (("everysec", AOF), ("no_file", ())):
        server = RedisServer(arguments=arguments)
        server.start()
        redis: Redis = Redis.from_url(server.url)
        found[name] = await measure(redis, args.entries)
        await redis.aclose()
        server.close()
    print(json.dumps({**found, "cores": os.cpu_count(), "load_1min": round(os.getloadavg()[0], 1)}))


if __name__ == "__main__":
    asyncio.run(main())
