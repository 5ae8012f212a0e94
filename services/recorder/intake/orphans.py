"""Removes clips from the queue that nobody will fetch: those of dead letters, a day later.

A clip waits in media.v1 for its snippet's answer. When snippet or answer went to the dead letters, the clip stays for
KEPT_S: a letter that is put back within that time is recorded with its clip, later without.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from redis.asyncio import Redis

from shared.clock import EPOCH, CautiousClock, from_epoch_ms
from shared.contract import LABELS, MEDIA, SNIPPETS

KEPT_S = 24 * 3600.0
MARGIN_S = 3600.0  # entries of one script have the time of one clock; it may have been set between scripts

# What is older than KEPT_S and than every snippet that waits, while no answer waits, belongs to nothing that waits: a
# snippet becomes an answer, and an answer a row, in one step each.
#
# KEYS: media, labels.   ARGV: KEPT_S and MARGIN_S in milliseconds; snippets, which the recorder may only read, while
# Redis takes all KEYS for what a script writes.   Answers the number of removed entries.
_REMOVE = """
if redis.call('XLEN', KEYS[2]) > 0 then return 0 end
local cut = redis.call('TIME')[1] * 1000 - ARGV[1]
local first = redis.call('XRANGE', ARGV[3], '-', '+', 'COUNT', 1)[1]
if first then cut = math.min(cut, string.match(first[1], '^%d+') - ARGV[2]) end
if cut <= 0 then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', cut))
"""


async def remove_orphans(redis: Redis, kept_s: float = KEPT_S) -> int:
    """Remove what belongs to nothing that waits; return how many clips went. Raises what the client raises."""
    arguments: list[int | str] = [int(kept_s * 1000), int(MARGIN_S * 1000), SNIPPETS]
    return int(await redis.register_script(_REMOVE)(keys=[MEDIA, LABELS], args=arguments))


class Orphans:
    """Removes them again and again; a leap ahead of Redis' clock makes none of them older for KEPT_S."""

    def __init__(self, redis: Redis, seconds: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._redis_now = EPOCH
        self._aging = CautiousClock(KEPT_S, MARGIN_S, lambda: self._redis_now, seconds)

    async def remove(self) -> int:
        """Return how many clips went. Raises what the client raises."""
        seconds, micros = await self._redis.time()
        self._redis_now = from_epoch_ms(int(seconds) * 1000 + int(micros) // 1000)
        self._aging()
        return await remove_orphans(self._redis, KEPT_S + self._aging.ahead_s)
