"""Leases on GPUs in Redis: replicas that see several GPUs spread over them. Knows no model, message or CUDA.

Docker gives every replica of a service the same GPUs; which of them each uses has to be agreed between them. A lease
says 'a process runs on this GPU' for `ttl_s`, and is renewed while the process lives: whoever starts takes the GPU
with the fewest (docs/design/devices.md). A lease forbids nothing: without Redis, or with more replicas than GPUs, work
goes on and the log says what is shared.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.classifier.devices.choice import Gpu
from shared.errors import redact
from shared.leases import LUA_CLOCK, Absence, LeaseSettings
from shared.logs import get_logger
from shared.streams.connection import is_away
from shared.waits import pause

log = get_logger(__name__)

# THE key: a sorted set of '<GPU id> <token>' by the millisecond of Redis' clock at which the lease ends. Every script
# drops what has ended, so it is as large as the number of processes; with the last lease the key goes too.
LEASES = "gpu-leases.v1"

_PRELUDE = (
    LUA_CLOCK
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', latest), '+inf')) do
  redis.call('ZADD', KEYS[1], string.format('%.0f', latest), member)
end

local function lease(member, ttl_ms)
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + ttl_ms), member)
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2]))
end
"""
)
# Written for Redis >= 6.2. Dropping what has ended comes first, also because a full Redis (noeviction) refuses a ZADD
# only as long as the script has not written; a lease is a hundred bytes.

# Take the least used GPU, of those the first that is named. A lease that this token already has (the answer to an
# earlier try was lost) is given up for it.
#
# KEYS: leases.   ARGV: token, milliseconds, GPU ids, best first …
# Answers {position of the GPU among the ids, from 1; leases on it, this one included}.
CLAIM = (
    _PRELUDE
    + """
local counts = {}
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local gpu, token = string.match(member, '^(%S+) (%S+)$')
  if token == ARGV[1] then
    redis.call('ZREM', KEYS[1], member)
  elseif gpu then
    counts[gpu] = (counts[gpu] or 0) + 1
  end
end
local best
for i = 3, #ARGV do
  if not best or (counts[ARGV[i]] or 0) < (counts[ARGV[best]] or 0) then best = i end
end
lease(ARGV[best] .. ' ' .. ARGV[1], tonumber(ARGV[2]))
return {best - 2, (counts[ARGV[best]] or 0) + 1}
"""
)

# Renew a lease; one that has ended is taken again, since the model is on that GPU.
#
# KEYS: leases.   ARGV: token, milliseconds, GPU id.   Answers {1 if it had not ended, else 0; leases on the GPU}.
RENEW = (
    _PRELUDE
    + """
local ours = ARGV[3] .. ' ' .. ARGV[1]
local was_there = redis.call('ZSCORE', KEYS[1], ours) and 1 or 0
lease(ours, tonumber(ARGV[2]))
local count = 0
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if string.match(member, '^(%S+) ') == ARGV[3] then count = count + 1 end
end
return {was_there, count}
"""
)

_CLAIM_TRIES = 3  # about 1 s; Redis has just answered a PING, so it is a blip, or goes on as an absence
_LONGEST_PAUSE_S = 5.0
_LEAVE_S = 2.0  # at the stop: for a renewal under way, and again for giving the lease back


@dataclass(slots=True)
class Lease:
    """A claimed GPU. `replicas` counts the leases on it, this one included, when last asked; 0: not registered."""

    gpu: Gpu
    replicas: int


@contextlib.asynccontextmanager
async def hold_gpu(
    redis: Redis,
    gpus: Sequence[Gpu],
    settings: LeaseSettings,
    stop: asyncio.Event,
    report: Callable[[int], None] = lambda _: None,
) -> AsyncIterator[Lease]:
    """Claim the least used of `gpus` (best first, at least one), renew the lease meanwhile, give it back at the end.

    `report` is told the number of replicas on the GPU. When renewing fails for another reason than Redis being away
    (a key of another type, a command that is not allowed, a bug), `stop` is set and the error raised at the end.
    """
    holder = _LeaseHolder(redis, settings, report)
    lease = await holder.claim(gpus)
    ended = asyncio.Event()
    task = asyncio.create_task(holder.renew(lease, ended), name="gpu lease")

    def look(done: asyncio.Task[None]) -> None:
        if not done.cancelled() and done.exception() is not None:
            log.error("renewing the lease on the GPU failed, stopping", error=redact(str(done.exception())))
            stop.set()

    task.add_done_callback(look)
    try:
        yield lease
    finally:
        # By an event, not a cancellation: a renewal that is under way must not reach Redis after the lease was removed.
        ended.set()
        await asyncio.wait({task}, timeout=_LEAVE_S)
        task.cancel()
        await holder.release(lease)
    if task.done() and not task.cancelled():
        task.result()


class _LeaseHolder:
    """One process's lease: claim, renew, release."""

    def __init__(self, redis: Redis, settings: LeaseSettings, report: Callable[[int], None]) -> None:
        self._redis = redis
        self._settings = settings
        self._token = settings.new_token()
        self._claim = redis.register_script(CLAIM)
        self._renew = redis.register_script(RENEW)
        self._report = report
        self._absence = Absence()

    async def claim(self, gpus: Sequence[Gpu]) -> Lease:
        """Take the least used GPU, or the first one while Redis is away."""
        for left in reversed(range(_CLAIM_TRIES)):
            try:
                position, replicas = await self._claim(
                    keys=[LEASES], args=[self._token, self._settings.ttl_ms, *(gpu.id for gpu in gpus)]
                )
            except (RedisError, OSError) as exc:
                if not is_away(exc):
                    raise
                if left:
                    await asyncio.sleep(0.2 * (_CLAIM_TRIES - left))
                else:
                    self._went(exc)
            else:
                lease = Lease(gpus[position - 1], 0)
                self._count(lease, replicas)
                return lease
        return Lease(gpus[0], 0)

    async def renew(self, lease: Lease, ended: asyncio.Event) -> None:
        """Renew until `ended`; while Redis is away more often, so that the lease is back soon after it."""
        pause_s = every_s = self._settings.ttl_s / 3
        if not lease.replicas:
            pause_s = min(every_s, 0.5)
        while not await _is_set_within(ended, pause_s):
            try:
                was_there, replicas = await self._renew(
                    keys=[LEASES], args=[self._token, self._settings.ttl_ms, lease.gpu.id]
                )
            except (RedisError, OSError) as exc:
                if not is_away(exc):
                    raise
                self._went(exc)
                pause_s = min(every_s, _LONGEST_PAUSE_S)
                continue
            self._returned(lease, is_kept=bool(was_there))
            self._count(lease, replicas)
            pause_s = every_s

    async def release(self, lease: Lease) -> None:
        """Give the lease back, if Redis answers soon; it runs out otherwise."""
        removing = asyncio.create_task(self._remove(lease))
        await asyncio.wait({removing}, timeout=_LEAVE_S)
        removing.cancel()

    async def _remove(self, lease: Lease) -> None:
        try:
            await self._redis.zrem(LEASES, f"{lease.gpu.id} {self._token}")
        except (RedisError, OSError) as exc:
            log.info(
                "the lease on the GPU is left to run out", ttl_s=self._settings.ttl_s, error=redact(str(exc))
            )

    # -- told once each way

    def _went(self, exc: BaseException) -> None:
        if self._absence.begin():
            log.warning("the GPU is used without a lease until Redis is back", error=redact(str(exc)))

    def _returned(self, lease: Lease, is_kept: bool) -> None:
        away_s = self._absence.end()
        if away_s is not None:
            log.info("the lease on the GPU is back", gpu=lease.gpu.id, away_s=away_s)
        elif not is_kept:
            log.warning(
                "the lease on the GPU was gone, claimed the same GPU again: this process was paused, or Redis replaced",
                gpu=lease.gpu.id,
                ttl_s=self._settings.ttl_s,
            )

    def _count(self, lease: Lease, replicas: int) -> None:
        before, lease.replicas = lease.replicas, replicas
        self._report(replicas)
        if replicas > 1 and replicas > before:
            log.warning(
                "the GPU is shared: each replica loads the model and slows the others; one for each GPU is meant",
                gpu=lease.gpu.id,
                replicas=replicas,
            )
        elif replicas == 1 and before > 1:
            log.info("the GPU is no longer shared", gpu=lease.gpu.id)


async def _is_set_within(event: asyncio.Event, seconds: float) -> bool:
    await pause(seconds, event)
    return event.is_set()
