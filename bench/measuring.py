"""What the benches measure with: clocks, memory, a Redis of their own."""

from __future__ import annotations

import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.local.launcher.redis_server import prepare_redis


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds: by the clock, and of all threads of this process."""

    wall_s: float
    cpu_s: float


def clocks() -> Spent:
    """Return both clocks, to be subtracted."""
    return Spent(time.perf_counter(), time.process_time())


def per_image(work: Callable[[], object], n_images: int) -> Spent:
    """Run once what was warmed before."""
    started = clocks()
    work()
    now = clocks()
    return Spent((now.wall_s - started.wall_s) / n_images, (now.cpu_s - started.cpu_s) / n_images)


def median_s(work: Callable[[], object], n_times: int) -> float:
    work()
    times = []
    for _ in range(n_times):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def rss_mb() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return round(pages * resource.getpagesize() / 2**20)
    except OSError:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@contextmanager
def embedded_redis() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as held:
        server = prepare_redis(Path(folder), held)
        process = subprocess.Popen(server.argv, stdout=subprocess.DEVNULL)
        try:
            wait_for(server.url)
            yield server.url
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str, limit_s: float = 20) -> None:
    from redis import Redis as Client
    from redis.exceptions import RedisError

    ends_at = time.monotonic() + limit_s
    while True:
        try:
            Client.from_url(url).ping()
            return
        except RedisError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.05)
