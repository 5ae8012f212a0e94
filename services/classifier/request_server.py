"""Answers the requests that wait in one stream, one after the other. Knows no model, and not what is asked.

At most once: a request is deleted when it is read; its sender has a deadline and may ask again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from shared.contract import ANSWER_KEPT_S, CLASSIFIERS, Fields, answer_key
from shared.errors import ContractError
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)

BLOCK_MS = 1000
PAUSE_S = 2.0  # after Redis did not answer
OUTCOMES = ("answered", "refused", "late", "failed")
_T = TypeVar("_T")


class InModelThread(Protocol):
    """Runs a function in the model's thread, after what already waits there."""

    def __call__(self, work: Callable[[], _T]) -> Awaitable[_T]:
        """Return what `work` returns."""
        ...


class Request(Protocol):
    """What every request says of itself."""

    @property
    def request_id(self) -> str: ...

    @property
    def deadline_s(self) -> float: ...


class Answer(Protocol):
    """A message that can be written."""

    def encode(self) -> Fields: ...


RequestT = TypeVar("RequestT", bound=Request)


@dataclass(frozen=True, slots=True)
class RequestStream(Generic[RequestT]):
    """A stream of requests: how they are read, and what answers them, with the outcome (one of OUTCOMES)."""

    name: str
    decode: Callable[[Mapping[bytes, bytes]], RequestT]
    answer: Callable[[RequestT], Awaitable[tuple[Answer, str]]]
    requests: Counter  # with the label `outcome`


class RequestServer(Generic[RequestT]):
    """One loop over one stream."""

    def __init__(self, redis: Redis, consumer: str, stream: RequestStream[RequestT]) -> None:
        self._redis = redis
        self._consumer = consumer
        self._stream = stream
        self._is_away = False

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until `stop`. While Redis is away, wait; the snippets' loop logs it."""
        while not stop.is_set():
            try:
                await self._next()
                self._is_away = False
            except (RedisError, OSError) as exc:
                if not self._is_away:
                    log.info("requests wait for Redis", stream=self._stream.name, error=str(exc))
                self._is_away = True
                await pause(PAUSE_S, stop)

    async def _next(self) -> None:
        name = self._stream.name
        try:
            found = await self._redis.xreadgroup(
                CLASSIFIERS, self._consumer, {name: ">"}, count=1, block=BLOCK_MS, noack=True
            )
        except ResponseError as exc:
            if "NOGROUP" not in str(exc) and "UNBLOCKED" not in str(exc):
                raise
            with contextlib.suppress(ResponseError):  # another replica made it meanwhile
                await self._redis.xgroup_create(name, CLASSIFIERS, id="0", mkstream=True)
            return
        for _stream, entries in cast(
            "list[tuple[bytes, list[tuple[bytes, Any]]]]", found or []
        ):  # Any: redis-py's
            for entry_id, fields in entries:
                await self._redis.xdel(name, entry_id)
                await self._handle(entry_id, fields or {})

    async def _handle(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> None:
        try:
            request = self._stream.decode(fields)
        except ContractError as exc:
            self._stream.requests.labels("refused").inc()
            log.warning("a request cannot be read", stream=self._stream.name, error=str(exc))
            return
        seconds, micros = await self._redis.time()
        waited_s = seconds + micros / 1e6 - int(entry_id.partition(b"-")[0]) / 1e3
        if waited_s > request.deadline_s:
            self._stream.requests.labels("late").inc()
            return
        answer, outcome = await self._stream.answer(request)
        key = answer_key(request.request_id, self._stream.name)
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.xadd(key, dict[Any, Any](answer.encode()))  # Any: redis-py's wide unions
            pipeline.expire(key, ANSWER_KEPT_S)
            await pipeline.execute()
        self._stream.requests.labels(outcome).inc()
