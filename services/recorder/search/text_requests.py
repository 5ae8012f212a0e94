"""Has the classifier embed words (texts.v1): the recorder has no model of its own.

NoClassifier  (Transient)  nobody answered within the deadline, or Redis is away: say so, ask again later
TextsRefused  (Permanent)  the classifier does not take these words; the message says why
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contract import TEXTS, TEXTS_WAITING, LabelSet, TextsAnswer, TextsRequest, answer_key
from shared.decisions.label_texts import EmbeddedLabelSet, from_answer
from shared.errors import ContractError, Permanent, Transient, shortened

BLOCK_S = 2.0  # well below the socket's deadline


class NoClassifier(Transient):
    """No classifier answers requests for text embeddings now."""


class TextsRefused(Permanent):
    """The classifier does not embed these words."""


@dataclass(frozen=True, slots=True)
class TextEmbedder:
    """Sends requests for text embeddings to the classifier. Each waits `deadline_s` at most."""

    redis: Redis
    deadline_s: float = 5.0

    async def ask(self, label_set: LabelSet, with_others: bool) -> EmbeddedLabelSet:
        """Return the embedded label set; `with_others`: with all that a decision needs."""
        request = TextsRequest(
            request_id=secrets.token_hex(16),
            label_set=label_set,
            with_others=with_others,
            deadline_s=self.deadline_s,
        )
        try:
            fields = await self._answer(request)
        except (RedisError, OSError) as exc:
            raise NoClassifier(f"Redis does not answer: {shortened(str(exc), 200)}") from exc
        if fields is None:
            raise NoClassifier(f"no classifier answered within {self.deadline_s:g} s")
        try:
            answer = TextsAnswer.decode(fields)
            if not answer.header.fault:
                return from_answer(answer)
        except ContractError as exc:
            raise TextsRefused(f"the classifier's answer cannot be read: {exc}") from exc
        raise TextsRefused(answer.header.fault)

    async def _answer(self, request: TextsRequest) -> dict[bytes, bytes] | None:
        key = answer_key(request.request_id)
        entry = await self.redis.xadd(
            TEXTS, cast("Any", request.encode()), maxlen=TEXTS_WAITING, approximate=False
        )  # Any: redis-py's wide unions
        ends_at = asyncio.get_running_loop().time() + self.deadline_s
        try:
            while (left_s := ends_at - asyncio.get_running_loop().time()) > 0:
                found: Any = await self.redis.xread(
                    {key: "0-0"}, count=1, block=max(1, int(min(left_s, BLOCK_S) * 1000))
                )
                if found:
                    return dict(found[0][1][0][1])
            return None
        finally:
            with contextlib.suppress(RedisError, OSError):  # both go by themselves, too
                await self.redis.xdel(TEXTS, entry)
                await self.redis.delete(key)
