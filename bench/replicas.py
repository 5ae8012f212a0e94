"""How many pictures a second several classifiers take from one queue, JSON: `python -m bench.replicas`.

    python -m bench.replicas [--replicas 1,2,4,8] [--picture-ms 10] [--snippets 150]

Each replica is the real service, a process with a stand-in model that only waits for so long a picture, as a process
waits for its GPU: what ends the growth is then all the rest. Snippets have 8 pictures of 12 kB and 256 px, so many for
each replica, in Redis before they begin. For each number of replicas:

    pictures_per_s       from the tenth part of the answers to the last one
    of_the_model         that as a share of what the model alone would allow, replicas / picture-ms
    cpu_ms_a_picture     of all replicas together, and of Redis; `cores`: what both took of the machine
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from bench.streams import cpu_s
from shared.contract import LABELS, SNIPPETS
from shared.redis_client import make_redis
from tests.integration.pipeline_rig import Snippets, SnippetShape, services
from tests.servers import RedisServer

PICTURES = 8  # of a snippet
Result = dict[str, Any]  # Any: JSON


async def measure(n_replicas: int, args: argparse.Namespace, folder: Path, server: RedisServer) -> Result:
    """Let so many replicas empty a full queue."""
    redis = make_redis(server.url)
    await redis.flushall()
    model = {"SIMULATED_PICTURE_MS": str(args.picture_ms)}
    with services(folder, server.url, "", n_replicas, 0, **model) as running:
        pids = {name: process.pid for name, process in running.processes.items()}
        n_snippets = args.snippets * n_replicas
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)  # all begin with a full queue
        await _fill(redis, Snippets(SnippetShape(n_moments=PICTURES // 2)), n_snippets)
        before = {name: cpu_s(pid) for name, pid in (pids | {"redis": server.pid}).items()}
        began_s = time.monotonic()
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)
        times = [await _answered(redis, n) for n in (n_snippets // 10, n_snippets)]
        length_s = time.monotonic() - began_s
        spent = {name: cpu_s(pid) - before[name] for name, pid in (pids | {"redis": server.pid}).items()}
        running.check()
    await redis.aclose()
    n_pictures = PICTURES * n_snippets
    rate = PICTURES * (n_snippets - n_snippets // 10) / (times[1] - times[0])
    redis_s = spent.pop("redis")
    return {
        "replicas": n_replicas,
        "pictures_per_s": round(rate),
        "of_the_model": round(rate * args.picture_ms / 1000 / n_replicas, 2),
        "cpu_ms_a_picture": round(1000 * sum(spent.values()) / n_pictures, 2),
        "redis_cpu_ms_a_picture": round(1000 * redis_s / n_pictures, 3),
        "cores": round((sum(spent.values()) + redis_s) / length_s, 2),
        "host_cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
    }


async def _fill(redis: Redis, snippets: Snippets, n: int) -> None:
    for number in range(n):
        _, snippet = snippets.messages(number)
        await redis.xadd(SNIPPETS, snippet.encode())  # type: ignore[arg-type]  # redis-py's key type is invariant


async def _answered(redis: Redis, n: int) -> float:
    """Return when `n` answers are there, steady seconds."""
    while await redis.xlen(LABELS) < n:
        await asyncio.sleep(0.005)
    return time.monotonic()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="pictures a second against replicas")
    parser.add_argument("--replicas", default="1,2,4,8")
    parser.add_argument("--picture-ms", type=float, default=10)
    parser.add_argument("--snippets", type=int, default=150, help="for each replica")
    args = parser.parse_args()
    server = RedisServer()
    server.start()
    try:
        for n in (int(number) for number in args.replicas.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                print(json.dumps(asyncio.run(measure(n, args, Path(folder), server))), flush=True)
    finally:
        server.close()


if __name__ == "__main__":
    main()
