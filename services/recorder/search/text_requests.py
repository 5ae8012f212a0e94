"""Has the classifier embed words (texts.v1).

NoClassifier  (Transient)  as in classifier_answers.py
TextsRefused  (Permanent)  the classifier does not take these words; the message says why
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from redis.asyncio import Redis

from services.recorder.search.classifier_answers import NoClassifier, WaitingRequest, answer_of
from shared.contract import TEXTS, TEXTS_WAITING, LabelSet, TextsAnswer, TextsRequest
from shared.decisions.label_texts import EmbeddedLabelSet, from_answer
from shared.errors import ContractError, Permanent

__all__ = ["NoClassifier", "TextEmbedder", "TextsRefused"]


class TextsRefused(Permanent):
    """The classifier does not embed these words."""


@dataclass(frozen=True, slots=True)
class TextEmbedder:
    """Sends requests for text embeddings to the classifier. Each waits `deadline_s` at most."""

    redis: Redis
    deadline_s: float = 5.0

    async def ask(self, label_set: LabelSet, with_others: bool) -> EmbeddedLabelSet:
        """Return the embedded label set; `with_others`: with all that a decision needs."""
        request_id = secrets.token_hex(16)
        request = TextsRequest(
            request_id=request_id, label_set=label_set, with_others=with_others, deadline_s=self.deadline_s
        )
        waiting = WaitingRequest(TEXTS, request_id, request.encode(), TEXTS_WAITING, self.deadline_s)
        fields = await answer_of(self.redis, waiting)
        try:
            answer = TextsAnswer.decode(fields)
            if not answer.header.fault:
                return from_answer(answer)
        except ContractError as exc:
            raise TextsRefused(f"the classifier's answer cannot be read: {exc}") from exc
        raise TextsRefused(answer.header.fault)
