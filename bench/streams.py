"""How many snippets a second the three services carry, JSON: `python -m bench.streams [--snippets N]`.

Snippets of 300 kB (a clip of 204 kB of random bytes, 8 JPEGs of 256 px and 12 kB) go through motion's outbox and
publisher (this process), the classifier with a stand-in model that answers at once, and the recorder, on a Redis (AOF
every second) and a MariaDB (flushed at each commit) of their own. First as fast as they go, with 400 on their way; then
at half of that. `latency_ms`: from before the outbox's write to the receipt, which follows the row's commit.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from shared.logs import configure_logs
from tests.integration.failover_rig import AOF
from tests.integration.pipeline_rig import Motion, SnippetShape, motion, services
from tests.servers import MariaDBServer, RedisServer

ON_THEIR_WAY = 400  # motion reads receipts once a second: fewer would be the limit themselves
WARM_UP = 50
CHECK_EVERY_S = 0.01


async def as_fast_as_it_goes(source: Motion, numbers: range) -> float:
    """Return snippets a second, from the first receipt to the last, without the first tenth."""
    for number in numbers:
        while source.n_unrecorded >= ON_THEIR_WAY:
            await asyncio.sleep(CHECK_EVERY_S)
        await source.put(number)
    await _all_recorded(source)
    ours = {source.snippets.event_id(number) for number in numbers}
    times = sorted(at for event, at in (await source.recorded_at_s()).items() if event in ours)
    times = times[len(times) // 10 :]
    return (len(times) - 1) / (times[-1] - times[0])


async def at_a_rate(source: Motion, numbers: range, rate_per_s: float) -> list[float]:
    """Return each snippet's latency in ms, put in at equal distances."""
    started_s = time.monotonic()
    puts = []
    for i, number in enumerate(numbers):
        await asyncio.sleep(max(0.0, started_s + i / rate_per_s - time.monotonic()))
        puts.append(asyncio.create_task(source.put(number)))
    await asyncio.gather(*puts)
    await _all_recorded(source)
    recorded = await source.recorded_at_s()
    ids = [source.snippets.event_id(number) for number in numbers]
    return [1000 * (recorded[one] - source.put_at_s[one]) for one in ids]


async def _all_recorded(source: Motion) -> None:
    while source.n_unrecorded:
        await asyncio.sleep(CHECK_EVERY_S)


async def _redis_cpu_s(redis: Redis) -> float:
    info: Any = await redis.info("cpu")  # Any: redis-py's dictionary of all kinds
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


def cpu_s(pid: int) -> float:
    """Return the processor time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, int | None]]:
    """Give the URL of an empty database, and the server's process."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/record.db", None
        return
    server = MariaDBServer(
        ("--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=256M", "--innodb-log-file-size=64M")
    )
    server.start()
    try:
        yield server.url(server.new_database()).replace("mysql+aiomysql", "mysql"), server.pid
    finally:
        server.close()


async def measure(args: argparse.Namespace, folder: Path, redis: RedisServer) -> dict[str, object]:
    """Return the figures."""
    with (
        database(args.database, folder) as (url, database_pid),
        services(folder, redis.url, url, args.classifiers, args.recorders) as running,
    ):
        async with motion(folder, redis.url, SnippetShape(n_moments=args.moments)) as source:
            pids = {name: process.pid for name, process in running.processes.items()} | {
                "motion": os.getpid()
            }
            pids |= {"redis": redis.pid} | ({"database": database_pid} if database_pid else {})
            await as_fast_as_it_goes(source, range(WARM_UP))
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            until = WARM_UP + args.snippets
            most_per_s = await as_fast_as_it_goes(source, range(WARM_UP, until))
            spent = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
            rate_per_s = args.rate or most_per_s / 2
            latencies = await at_a_rate(source, range(until, until + args.snippets), rate_per_s)
            running.check()
    percentiles = statistics.quantiles(latencies, n=100)
    return {
        "database": args.database,
        "classifiers": args.classifiers,
        "recorders": args.recorders,
        "pictures": 2 * args.moments,
        "most_per_s": round(most_per_s, 1),
        "rate_per_s": round(rate_per_s, 1),
        "latency_ms": {
            "p50": round(percentiles[49]),
            "p95": round(percentiles[94]),
            "worst": round(max(latencies)),
        },
        "cpu_ms_a_snippet": {name: round(1000 * s / args.snippets, 2) for name, s in spent.items()},
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--snippets", type=int, default=1000, help="in each part")
    parser.add_argument("--database", choices=("mariadb", "sqlite"), default="mariadb")
    parser.add_argument("--classifiers", type=int, default=1)
    parser.add_argument("--recorders", type=int, default=1)
    parser.add_argument("--moments", type=int, default=4, help="of a snippet, with two pictures each")
    parser.add_argument(
        "--rate", type=float, default=0, help="of the second part, a second; 0: half of the most"
    )
    args = parser.parse_args()
    configure_logs("bench", "ERROR", "text")
    redis = RedisServer(arguments=AOF)
    redis.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(await measure(args, Path(folder), redis)))
    finally:
        redis.close()


if __name__ == "__main__":
    asyncio.run(main())
