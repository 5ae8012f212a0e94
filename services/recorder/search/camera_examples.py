"""What people said of a camera's pictures, as the classifier knows it now: both read the same key of Redis.

So whatever is decided here, for a look back or for labels on trial, is decided as the next snippet will be.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.recorder.search.classifier_answers import NoClassifier
from services.recorder.search.snippet_decisions import KnownExamples
from shared.contract import ExamplesMessage, examples_key
from shared.decisions.examples import examples_of
from shared.errors import ContractError, shortened

# Of a camera and a model. Raises NoClassifier where they cannot be asked for.
ExamplesNow = Callable[[str, str], Awaitable[KnownExamples]]


@dataclass(frozen=True, slots=True)
class ExamplesInRedis:
    """Reads the examples that the recorder last wrote."""

    redis: Redis

    async def of(self, camera: str, model: str) -> KnownExamples:
        """Return the examples of a camera and a model; none where their message cannot be read: the classifier leaves
        them out, too. Raises NoClassifier when Redis is away."""
        try:
            # Any: redis-py's unions of both clients
            fields: dict[bytes, bytes] = await cast("Any", self.redis.hgetall(examples_key(camera, model)))
        except (RedisError, OSError) as exc:
            raise NoClassifier(f"Redis does not answer: {shortened(str(exc), 200)}") from exc
        if not fields:
            return KnownExamples()
        try:
            message = ExamplesMessage.decode(fields)
        except ContractError:
            return KnownExamples()
        return KnownExamples(examples_of(message), message.header.unrelated)
