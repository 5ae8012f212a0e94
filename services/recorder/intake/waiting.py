"""Clips that the store does not take now: they wait in the queue, as long as it has room. Knows no database.

The events of these clips are recorded already, without them. When the queue has no more room for what comes, the
newest clips are let go, so that the oldest, which come first when it takes them again, are lost last.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from redis.asyncio import Redis

from services.recorder.metrics import RecorderMetrics
from shared.contract import MEDIA
from shared.logs import get_logger

log = get_logger(__name__)

USED_MAX = 0.85  # of Redis' memory: the rest is for pictures and answers, so that events go on being recorded
WAITING_MAX = 1000  # clips in the queue where Redis has no limit of its own: 2 GB of usual ones
DROPPED_AT_ONCE = 50
REMEMBERED = 10_000
FORGOTTEN_S = 600.0  # a clip that was not seen for so long is in another recorder's hands

# KEYS: media. Answers the id of the newest entry, which is removed; nothing when there is none.
_DROP_NEWEST = """
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not newest then return false end
redis.call('XDEL', KEYS[1], newest[1])
return newest[1]
"""


@dataclass(slots=True)
class WaitingClips:
    """What waits, by the ids of its entries in media.v1. Raises what the client raises."""

    redis: Redis
    metrics: RecorderMetrics
    clock: Callable[[], float] = time.monotonic
    _sizes: OrderedDict[str, int] = field(default_factory=OrderedDict, init=False)  # id -> bytes
    _seen_at: dict[str, float] = field(default_factory=dict, init=False)
    _dropped: OrderedDict[str, None] = field(default_factory=OrderedDict, init=False)

    def size(self, media_id: str) -> int | None:
        """Return the bytes of a clip that waits; None: it does not, or was let go."""
        return self._sizes.get(media_id)

    def was_dropped(self, media_id: str) -> bool:
        """Return whether this clip was let go for want of room."""
        return media_id in self._dropped

    async def may_wait(self, media_id: str, n_bytes: int) -> bool:
        """Let a clip wait; return False when it had to be let go. Makes room by letting go of the newest."""
        if media_id not in self._sizes:
            if not self._sizes:
                log.warning("clips wait in the queue until they can be kept")
            self._sizes[media_id] = n_bytes
        self._seen_at[media_id] = self.clock()
        n_dropped = 0
        while n_dropped < DROPPED_AT_ONCE and await self._is_full():
            dropped = cast("bytes | None", await self.redis.register_script(_DROP_NEWEST)(keys=[MEDIA]))
            if dropped is None:
                break
            n_dropped += 1
            self._forget(dropped.decode())
        if n_dropped:
            log.warning("let the newest clips go, the queue has no room for them", clips=n_dropped)
        return media_id in self._sizes

    def count(self) -> int:
        """Return how many clips wait, and show it."""
        long_ago = self.clock() - FORGOTTEN_S
        for media_id in [one for one, at in self._seen_at.items() if at < long_ago]:
            self.ended(media_id)
        self.metrics.media_waiting.set(len(self._sizes))
        return len(self._sizes)

    def ended(self, media_id: str) -> None:
        """Say that a clip is kept, or will never be."""
        self._seen_at.pop(media_id, None)
        if self._sizes.pop(media_id, None) is not None and not self._sizes:
            log.info("no clip waits in the queue any more")
        self._dropped.pop(media_id, None)

    def _forget(self, media_id: str) -> None:
        self._sizes.pop(media_id, None)
        self._seen_at.pop(media_id, None)
        self._dropped[media_id] = None
        while len(self._dropped) > REMEMBERED:
            self._dropped.popitem(last=False)

    async def _is_full(self) -> bool:
        memory = await self.redis.info("memory")
        used, most = int(memory["used_memory"]), int(memory.get("maxmemory", 0))
        return used > USED_MAX * most if most else int(await self.redis.xlen(MEDIA)) > WAITING_MAX
