"""A consumer in a process of its own, for tests that kill or freeze it: `stream_worker.py URL CONSUMER BEHAVIOUR`.

`hang`: notes each batch in the list `taken` and waits for the key `go`. `poison`: entry 3 ends the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from redis.asyncio import Redis

from shared.streams.consumer import Consumer
from shared.streams.outcomes import Delivery, Outcome
from tests.integration.streams_rig import QUICK, done


async def main(url: str, name: str, behaviour: str) -> None:
    redis: Redis = Redis.from_url(url, socket_timeout=10)

    async def handle(deliveries: Sequence[Delivery]) -> list[Outcome]:
        for delivery in deliveries:
            await redis.rpush("taken", b"%s %s" % (name.encode(), delivery.fields[b"n"]))
        if behaviour == "hang":
            while not await redis.exists("go"):
                await asyncio.sleep(0.01)
        elif any(delivery.fields[b"n"] == b"3" for delivery in deliveries):
            os._exit(9)
        return [done(delivery) for delivery in deliveries]

    await Consumer(redis, replace(QUICK, consumer=name), handle).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
