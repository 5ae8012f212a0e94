"""Which services are there, and their cameras: each service writes itself into one hash of Redis every few seconds.

    presence.v1   field '<service> <name>' -> '<milliseconds since 1970, Redis's clock> <Presence as JSON>'
    presence.v1   (channel) the field, published when what `mark` returns has changed: `follow_changes` wakes on it

Pages and notifications follow it; the record of events does not. A published change that is lost costs promptness only:
the hash holds the whole state. A service that is away stays in the hash for FORGET_S, so that a page can say who fell
silent, and since when.
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

from shared.errors import shortened
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

KEY = "presence.v1"
EVERY_S = 5.0
LOOK_S = 0.2  # how often a process looks for changes that are published at once
RETRY_S = 1.0
SILENT_S = 20.0  # a service that wrote nothing for this long counts as gone
FORGET_S = 3600.0
CAMERAS_MAX = 500
ELSEWHERE = "elsewhere"  # the state of a camera that is in a process's list and not read by it
Service = Literal["motion", "classifier"]

# The deletion comes first: once a script has written, a full Redis does not refuse it any more.
_SAY = """
local time = redis.call('TIME')
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], time[1] .. string.format('%03d', math.floor(time[2] / 1000)) .. ' ' .. ARGV[2])
redis.call('EXPIRE', KEYS[1], 86400)
if ARGV[3] == '1' then redis.call('PUBLISH', KEYS[1], ARGV[1]) end
return 1
"""


class CameraReport(BaseModel):
    """How a camera is; `state` is one of connecting, running, away, ended, failed, disabled, elsewhere.

    Elsewhere: it is in this process's list, and read by another process, or by none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    state: str
    message: str = Field(default="", max_length=500)
    name: str = Field(default="", max_length=200)  # the camera's name for people; empty: its id
    example_group: str = Field(
        default="", max_length=64
    )  # cameras that learn from each other's verdicts; empty: none
    # from when to when nobody read it before this process did, or before it was paused; milliseconds since 1970 by
    # Redis's clock
    unread_ms: tuple[int, int] | None = None
    is_moving: bool | None = None  # whether an event is open; None: a motion service that does not say


class Presence(BaseModel):
    """What a process says of itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    service: Service
    name: str = Field(min_length=1, max_length=128, pattern=r"^\S+$")
    about: str = Field(default="", max_length=300)
    state: str = Field(default="ready", max_length=32)  # ready, or loading: a classifier that loads its model
    cameras: tuple[CameraReport, ...] = Field(default=(), max_length=CAMERAS_MAX)
    # motion\'s data directory: it stays when the process is another
    owner: str = Field(default="", max_length=128)
    address: str = Field(
        default="", max_length=500
    )  # of motion: where this process is reached; empty: not said
    is_complete: bool = True  # false: there are, or may be, more cameras than `cameras`


@dataclass(frozen=True, slots=True)
class ProcessPresence:
    """A process, and the seconds since it last wrote its presence."""

    presence: Presence
    age_s: float  # by Redis's wall clock, which may be set
    said_ms: int = 0  # when it was written; another number: written anew

    @property
    def is_silent(self) -> bool:
        return self.age_s > SILENT_S

    @property
    def is_loading(self) -> bool:
        """Whether it is there and still loads its model, which may take minutes."""
        return not self.is_silent and self.presence.state == "loading"


async def announce(
    redis: Redis,
    say: Callable[[], Presence],
    stop: asyncio.Event,
    mark: Callable[[], object] = lambda: None,
) -> None:
    """Write this process's presence until `stop`, then remove it.

    Written every EVERY_S, and within LOOK_S when `mark` returns something else than before. A Redis that is away delays
    nobody, and is logged elsewhere.
    """
    script = redis.register_script(_SAY)
    field, marked, due_s = "", None, 0.0
    while not stop.is_set():
        found, now_s = mark(), asyncio.get_running_loop().time()
        if found != marked or now_s >= due_s:
            said = say()
            field = f"{said.service} {said.name}"
            try:
                await script(keys=[KEY], args=[field, said.model_dump_json(), int(found != marked)])
                marked, due_s = found, now_s + EVERY_S
            except (RedisError, OSError) as exc:
                log.debug("presence could not be told", error=exc)
                due_s, marked = now_s + RETRY_S, found  # whoever looks finds it then
        await pause(LOOK_S, stop)
    if field:
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(1):
                await cast("Any", redis.hdel(KEY, field))  # Any: redis-py's unions of both clients


async def follow_changes(redis: Redis, stop: asyncio.Event, wake: Callable[[], None]) -> None:
    """Call `wake` at each published change, until `stop`. Changes may be lost: look now and then all the same."""
    while not stop.is_set():
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(KEY)
                while not stop.is_set():
                    if await channel.get_message(timeout=RETRY_S) is not None:
                        wake()
        except (RedisError, OSError) as exc:
            log.debug("changes of presence cannot be followed", error=exc)
            await pause(RETRY_S, stop)


async def list_processes(redis: Redis) -> list[ProcessPresence]:
    """Return every process that was heard within FORGET_S, by service and name; raises what the client raises.

    A silent one is left out when a process with the same `owner` took its place.
    """
    seconds, micros = await redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    said: dict[bytes, bytes] = await cast("Any", redis.hgetall(KEY))  # Any: as above
    found: list[ProcessPresence] = []
    for field, value in said.items():
        heard = _heard(value, now_ms)
        if heard is None or heard.age_s > FORGET_S:
            await cast("Any", redis.hdel(KEY, field))
        else:
            found.append(heard)
    owners = {one.presence.owner for one in found if not one.is_silent}
    there = [one for one in found if not (one.is_silent and one.presence.owner in owners - {""})]
    return sorted(there, key=lambda one: (one.presence.service, one.presence.name))


def _heard(value: bytes, now_ms: int) -> ProcessPresence | None:
    at, _, text = value.partition(b" ")
    try:
        return ProcessPresence(Presence.model_validate_json(text), max(now_ms - int(at), 0) / 1000, int(at))
    except (ValidationError, ValueError) as exc:
        log.debug("presence cannot be read", error=shortened(str(exc), 200))
        return None
