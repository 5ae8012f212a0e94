"""Waits for what the classifier answers to a request in a stream: the recorder has no model of its own.

NoClassifier  (Transient)  nobody answered within the deadline, or Redis is away: say so, ask again later
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contract import Fields, answer_key
from shared.errors import Transient, shortened

BLOCK_S = 2.0  # well below the socket's deadline


class NoClassifier(Transient):
    """No classifier answers requests for embeddings now."""


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request as it is written: `waiting_max` of them wait in the stream, and the oldest go first."""

    stream: str
    request_id: str
    fields: Fields
    waiting_max: int
    deadline_s: float


async def answer_of(redis: Redis, request: WaitingRequest) -> dict[bytes, bytes]:
    """Return the fields of the answer; nothing of either stays in Redis. Raises NoClassifier."""
    try:
        fields = await _answer(redis, request)
    except (RedisError, OSError) as exc:
        raise NoClassifier(f"Redis does not answer: {shortened(str(exc), 200)}") from exc
    if fields is None:
        raise NoClassifier(f"no classifier answered within {request.deadline_s:g} s")
    return fields


async def _answer(redis: Redis, request: WaitingRequest) -> dict[bytes, bytes] | None:
    key = answer_key(request.request_id, request.stream)
    entry = await redis.xadd(
        request.stream, cast("Any", request.fields), maxlen=request.waiting_max, approximate=False
    )  # Any: redis-py's wide unions
    ends_at = asyncio.get_running_loop().time() + request.deadline_s
    try:
        while (left_s := ends_at - asyncio.get_running_loop().time()) > 0:
            found: Any = await redis.xread(
                {key: "0-0"}, count=1, block=max(1, int(min(left_s, BLOCK_S) * 1000))
            )
            if found:
                return dict(found[0][1][0][1])
        return None
    finally:
        with contextlib.suppress(RedisError, OSError):  # both go by themselves, too
            await redis.xdel(request.stream, entry)
            await redis.delete(key)
