"""The leases on cameras in Redis: one hash, changed by four scripts. Knows no camera worker and no clock but Redis'.

    camera-leases.v1   field 'process <name>' -> '<ends at, ms> <what the process says of itself, JSON>'
    camera-leases.v1   field 'camera <id>'    -> '<ends at, ms> <epoch> <read until, ms> <weight> <name of the process>'

"Read until" is when the camera was last known to deliver, 0: not known. A claim leaves it as it is, so that a process
that dies before its first picture came hides nothing from the next one.

The epoch of a camera grows with each claim: a renewal or release that names an older one changes nothing. A lease that
has ended stays for REMEMBERED_MS, so that whoever takes the camera knows until when it was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.asyncio import Redis

from shared.errors import shortened
from shared.leases import LUA_CLOCK, LeaseSettings
from shared.logs import get_logger

log = get_logger(__name__)

LEASES = "camera-leases.v1"
REMEMBERED_MS = 3_600_000

# Written for Redis >= 6.2. Each script deletes before it writes: a full Redis (noeviction) then does not refuse it.
_PRELUDE = (
    LUA_CLOCK
    + """
local function lease(camera)
  local value = redis.call('HGET', KEYS[1], 'camera ' .. camera)
  if not value then return nil end
  local ends, epoch, read, weight, holder = string.match(value, '^(%d+) (%d+) (%d+) (%S+) (%S+)$')
  if not ends then return nil end
  return {ends = tonumber(ends), epoch = tonumber(epoch), read = tonumber(read), weight = weight, holder = holder}
end

local function write(camera, ends, epoch, read, weight, holder)
  local times = string.format('%.0f %.0f %.0f', ends, epoch, read)
  redis.call('HSET', KEYS[1], 'camera ' .. camera, times .. ' ' .. weight .. ' ' .. holder)
end

local function read_until(how, known)
  if how == 'now' then return now end
  return how == 'kept' and known and known.read or 0
end
"""
)

# Renew the process and its leases, and answer the whole hash. A lease that is gone (Redis was emptied), has run out, or
# is not known to a replica that became the master is renewed, unless another process has claimed the camera since.
#
# KEYS: leases.   ARGV: name, ms, JSON of the process, REMEMBERED_MS, (camera, epoch, weight, ReadUntil) …
# Answers {now, 1 if the process was known, else 0, hash}.
RENEW = (
    _PRELUDE
    + """
local was_known = redis.call('HDEL', KEYS[1], 'process ' .. ARGV[1])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local ends, rest = string.match(all[i + 1], '^(%d+) (.*)$')
  ends = tonumber(ends)
  local is_process = string.sub(all[i], 1, 8) == 'process '
  if not ends or (is_process and ends <= now) or ends <= now - tonumber(ARGV[4]) then
    redis.call('HDEL', KEYS[1], all[i])
  elseif ends > latest then
    redis.call('HSET', KEYS[1], all[i], string.format('%.0f', latest) .. ' ' .. rest)
  end
end
redis.call('HSET', KEYS[1], 'process ' .. ARGV[1], string.format('%.0f', now + tonumber(ARGV[2])) .. ' ' .. ARGV[3])
for i = 5, #ARGV, 4 do
  local known = lease(ARGV[i])
  local epoch = tonumber(ARGV[i + 1])
  local is_ours = known and known.holder == ARGV[1] and known.epoch == epoch
  local is_older = known and known.epoch < epoch and known.ends <= now
  if not known or is_ours or is_older then
    write(ARGV[i], now + tonumber(ARGV[2]), epoch, read_until(ARGV[i + 3], known), ARGV[i + 2], ARGV[1])
  end
end
redis.call('PEXPIRE', KEYS[1], 2 * tonumber(ARGV[4]))
return {string.format('%.0f', now), was_known, redis.call('HGETALL', KEYS[1])}
"""
)

# Take the cameras that are free.
#
# KEYS: leases.   ARGV: name, ms, (camera, weight) …   Answers {now, epoch or 0, read until, ms, or 0 …}.
CLAIM = (
    _PRELUDE
    + """
local found = {string.format('%.0f', now)}
for i = 3, #ARGV, 2 do
  local known = lease(ARGV[i])
  if known and known.ends > now then
    found[#found + 1] = '0'
    found[#found + 1] = '0'
  else
    local epoch = math.max(now, known and known.epoch + 1 or 0)
    local read = read_until('kept', known)
    redis.call('HDEL', KEYS[1], 'camera ' .. ARGV[i])
    write(ARGV[i], now + tonumber(ARGV[2]), epoch, read, ARGV[i + 1], ARGV[1])
    found[#found + 1] = string.format('%.0f', epoch)
    found[#found + 1] = string.format('%.0f', read)
  end
end
return found
"""
)

# End leases now: nobody reads these cameras any more.
#
# KEYS: leases.   ARGV: name, ms, (camera, epoch, ReadUntil) …   Answers the number of leases that ended.
RELEASE = (
    _PRELUDE
    + """
local count = 0
for i = 3, #ARGV, 3 do
  local known = lease(ARGV[i])
  if known and known.holder == ARGV[1] and known.epoch == tonumber(ARGV[i + 1]) then
    redis.call('HDEL', KEYS[1], 'camera ' .. ARGV[i])
    write(ARGV[i], now, known.epoch, read_until(ARGV[i + 2], known), known.weight, ARGV[1])
    count = count + 1
  end
end
return count
"""
)


# Forget until when cameras were read that nobody holds and nobody is to read.
#
# KEYS: leases.   ARGV: name, ms, then camera and how many ms ago it was last read at the latest …
# Answers {now, read until, ms, or 0 if it was not known, or the camera was read later …}.
FORGET_READ = (
    _PRELUDE
    + """
local found = {string.format('%.0f', now)}
for i = 3, #ARGV, 2 do
  local known = lease(ARGV[i])
  local read = 0
  if known and known.ends <= now and known.read > 0 and known.read <= now - ARGV[i + 1] then
    read = known.read
    redis.call('HDEL', KEYS[1], 'camera ' .. ARGV[i])
    write(ARGV[i], known.ends, known.epoch, 0, known.weight, known.holder)
  end
  found[#found + 1] = string.format('%.0f', read)
end
return found
"""
)


class ReadUntil(StrEnum):
    """What a lease is to say of when its camera was last read."""

    NOW = "now"
    KEPT = "kept"  # what it says already
    UNKNOWN = "unknown"


class ProcessEntry(BaseModel):
    """What a process says of itself. `cameras`: which list it reads; those of one list share it among themselves."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    load_max: float = Field(default=0.0, ge=0)
    location: str = ""
    cameras: str = ""
    is_leaving: bool = False


@dataclass(frozen=True, slots=True)
class CameraLease:
    """A camera's lease, held or ended. `weight`: megapixels a second, as its last holder measured it; 0: not known.

    `is_unread`: nobody holds it, and until when it was read is known.
    """

    holder: str
    epoch: int
    weight: float
    is_held: bool
    is_unread: bool = False


@dataclass(frozen=True, slots=True)
class HeldLease:
    """What its holder says of a lease with each renewal; `weight`: megapixels a second, 0: not known."""

    epoch: int
    weight: float
    read_until: ReadUntil = ReadUntil.NOW


@dataclass(frozen=True, slots=True)
class LeaseTable:
    """All that the hash holds, by the milliseconds of Redis' clock since 1970.

    `was_known`: whether it held this process before; if not, others that live may be missing, too.
    """

    now_ms: int
    processes: Mapping[str, ProcessEntry]
    leases: Mapping[str, CameraLease]
    was_known: bool = True

    def weight_of(self, camera_id: str) -> float:
        """Return the megapixels a second of a camera; 0: not known."""
        lease = self.leases.get(camera_id)
        return lease.weight if lease is not None and lease.weight > 0 else 0.0

    def mean_weight(self, camera_ids: Iterable[str]) -> float:
        """Return the mean of those that are known; 0: none is."""
        known = [weight for id_ in camera_ids if (weight := self.weight_of(id_))]
        return fmean(known) if known else 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A lease that was won. `read_until_ms`: when the camera was last known to be read, None: not known."""

    epoch: int
    read_until_ms: int | None
    now_ms: int


class RedisLeases:
    """The leases of one process. Every call raises what the client raises."""

    def __init__(self, redis: Redis, settings: LeaseSettings) -> None:
        self.name = settings.new_token()
        self._redis = redis
        self._ttl_ms = settings.ttl_ms
        self._renew = redis.register_script(RENEW)
        self._claim = redis.register_script(CLAIM)
        self._release = redis.register_script(RELEASE)
        self._forget_read = redis.register_script(FORGET_READ)

    async def renew(self, process: ProcessEntry, held: Mapping[str, HeldLease]) -> LeaseTable:
        """Renew this process and the cameras that it holds; return the whole table."""
        rows = [
            part
            for id_, one in held.items()
            for part in (id_, one.epoch, f"{one.weight:g}", one.read_until.value)
        ]
        answer: Any = await self._renew(  # Any: what a script answers
            keys=[LEASES], args=[self.name, self._ttl_ms, process.model_dump_json(), REMEMBERED_MS, *rows]
        )
        flat = [part.decode() for part in answer[2]]
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return read_table(int(answer[0]), fields, was_known=bool(answer[1]))

    async def claim(self, weights: Mapping[str, float]) -> dict[str, Claim]:
        """Take those of these cameras that are free."""
        rows = [part for id_, weight in weights.items() for part in (id_, f"{weight:g}")]
        answer: Any = await self._claim(keys=[LEASES], args=[self.name, self._ttl_ms, *rows])  # Any: as above
        now_ms, *found = [int(part) for part in answer]
        pairs = zip(weights, found[::2], found[1::2], strict=True)
        return {id_: Claim(epoch, read_ms or None, now_ms) for id_, epoch, read_ms in pairs if epoch}

    async def release(self, leases: Mapping[str, tuple[int, ReadUntil]]) -> None:
        """End these leases (by their epochs) now, unless another process has them."""
        rows = [part for id_, (epoch, read) in leases.items() for part in (id_, epoch, read.value)]
        await self._release(keys=[LEASES], args=[self.name, self._ttl_ms, *rows])

    async def forget_read(self, ago_ms: Mapping[str, int]) -> dict[str, tuple[int, int]]:
        """Forget until when cameras were read that nobody holds, and nobody read later than so many milliseconds ago.

        Returns when they were last read, and the time now, for those forgotten.
        """
        rows = [part for id_, ago in ago_ms.items() for part in (id_, ago)]
        answer: Any = await self._forget_read(
            keys=[LEASES], args=[self.name, self._ttl_ms, *rows]
        )  # Any: as above
        now_ms, *found = [int(part) for part in answer]
        return {id_: (read_ms, now_ms) for id_, read_ms in zip(ago_ms, found, strict=True) if read_ms}

    async def leave(self) -> None:
        """Remove this process; its leases are released before."""
        await cast("Any", self._redis.hdel(LEASES, f"process {self.name}"))  # Any: redis-py's union


def read_table(now_ms: int, fields: Mapping[str, str], *, was_known: bool = True) -> LeaseTable:
    """Return what the fields of the hash say; what cannot be read is left out."""
    processes: dict[str, ProcessEntry] = {}
    leases: dict[str, CameraLease] = {}
    for field, value in fields.items():
        kind, _, name = field.partition(" ")
        try:
            if kind == "process":
                processes[name] = ProcessEntry.model_validate_json(value.partition(" ")[2])
            elif kind == "camera":
                ends_ms, epoch, read_ms, weight, holder = value.split(" ")
                is_held = int(ends_ms) > now_ms
                is_unread = int(read_ms) > 0 and not is_held
                leases[name] = CameraLease(holder, int(epoch), float(weight), is_held, is_unread)
        except (ValidationError, ValueError) as exc:
            log.debug("a lease cannot be read", field=field, error=shortened(str(exc), 200))
    return LeaseTable(now_ms, processes, leases, was_known)
