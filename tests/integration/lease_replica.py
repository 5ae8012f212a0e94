"""A simulated replica as a process: holds a lease on one of some GPUs that are not there, until SIGTERM.

Arguments: Redis' URL, milliseconds of the lease, ids of the GPUs, best first. Prints the id it holds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from redis.asyncio import Redis

from services.classifier.devices.choice import Gpu
from services.classifier.devices.leases import hold_gpu
from shared.leases import LeaseSettings


async def main(url: str, ttl_ms: int, gpu_ids: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    redis: Redis = Redis.from_url(url)
    gpus = [Gpu(index, "simulated", has_bf16=True, id=gpu_id) for index, gpu_id in enumerate(gpu_ids)]
    async with hold_gpu(redis, gpus, LeaseSettings(f"pid-{os.getpid()}", ttl_ms / 1000), stop) as lease:
        print(f"holds {lease.gpu.id}", flush=True)
        await stop.wait()
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
