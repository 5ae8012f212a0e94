"""Who is there: each service says so in one hash of Redis every few seconds, and what it looks after.

    presence.v1   field '<service> <name>' -> '<milliseconds since 1970, Redis's clock> <Presence as JSON>'

Only for people to look at: no service acts on it. What is away stays in the hash as long as FORGET_S, so that a page
can say who fell silent, and since when.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.errors import redact
from shared.logs import get_logger

log = get_logger(__name__)

KEY = "presence.v1"
EVERY_S = 5.0
SILENT_S = 20.0  # after this long without a word a service is taken for gone
FORGET_S = 3600.0
CAMERAS_MAX = 500
Service = Literal["motion", "classifier"]

_SAY = """
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], ARGV[1], time[1] .. string.format('%03d', math.floor(time[2] / 1000)) .. ' ' .. ARGV[2])
return redis.call('EXPIRE', KEYS[1], 86400)
"""


class CameraSeen(BaseModel):
    """How a camera is; `state` is one of connecting, running, away, ended, failed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    state: str
    message: str = Field(default="", max_length=500)


class Presence(BaseModel):
    """What a process says of itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    service: Service
    name: str = Field(min_length=1, max_length=128, pattern=r"^\S+$")
    about: str = Field(default="", max_length=300)
    cameras: tuple[CameraSeen, ...] = Field(default=(), max_length=CAMERAS_MAX)


@dataclass(frozen=True, slots=True)
class Heard:
    """A process, and the seconds since it last said something."""

    presence: Presence
    age_s: float

    @property
    def is_silent(self) -> bool:
        return self.age_s > SILENT_S


async def announce(redis: Redis, say: Callable[[], Presence], stop: asyncio.Event) -> None:
    """Say who is there until `stop`, then leave. Redis being away delays nobody and is told elsewhere."""
    script = redis.register_script(_SAY)
    field = ""
    while not stop.is_set():
        said = say()
        field = f"{said.service} {said.name}"
        try:
            await script(keys=[KEY], args=[field, said.model_dump_json()])
        except (RedisError, OSError) as exc:
            log.debug("presence could not be told", error=exc)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY_S)
    if field:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(1):
                await cast("Any", redis.hdel(KEY, field))  # Any: redis-py's unions of both clients


async def who_is_there(redis: Redis) -> list[Heard]:
    """Return every process that was heard within FORGET_S, by service and name; raises what the client raises."""
    seconds, micros = await redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    said: dict[bytes, bytes] = await cast("Any", redis.hgetall(KEY))  # Any: as above
    found: list[Heard] = []
    for field, value in said.items():
        heard = _heard(value, now_ms)
        if heard is None or heard.age_s > FORGET_S:
            await cast("Any", redis.hdel(KEY, field))
        else:
            found.append(heard)
    return sorted(found, key=lambda one: (one.presence.service, one.presence.name))


def _heard(value: bytes, now_ms: int) -> Heard | None:
    at, _, text = value.partition(b" ")
    try:
        return Heard(Presence.model_validate_json(text), max(now_ms - int(at), 0) / 1000)
    except (ValidationError, ValueError) as exc:
        log.debug("presence cannot be read", error=redact(str(exc))[:200])
        return None
