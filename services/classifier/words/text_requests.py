"""Answers requests for text embeddings (texts.v1) beside the snippets, between two forwards of the model.

Texts are embedded in portions, each of which queues for the model's thread as a forward does; so a request delays a
snippet by one portion at a time, however long it is. Knows the bank of label sets, no torch.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from redis.asyncio import Redis

from services.classifier.port import Model
from services.classifier.request_server import OUTCOMES, InModelThread, RequestServer, RequestStream
from services.classifier.words.prompts import LabelBank, embed_labels
from shared.contract import TEXTS, Column, TextsAnswer, TextsAnswerHeader, TextsRequest
from shared.decisions.label_texts import EmbeddedLabelSet, LabelTexts, to_answer
from shared.errors import Transient

PORTION = 4  # labels embedded at once; with CLIP's five templates 20 texts
SEARCHES_MAX = 256  # texts of searches that stay embedded
ROWS_MAX = 200  # texts of one request, others included: 200 x 1024 float32 are 0.8 MB


class TextRequestMetrics:
    """What the server of text requests counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "clipwatch_classifier_questions_total",
            "Questions for text embeddings: answered, refused, late (nobody waits any more), failed.",
            ["outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self.requests.labels(outcome)


class TextRequestServer:
    """One loop over texts.v1. Shares the classifier's `bank`, so that a label set is embedded once, and alike."""

    def __init__(  # noqa: PLR0913  # what it is built of, once, by app.py
        self,
        redis: Redis,
        consumer: str,
        model: Model,
        bank: LabelBank,
        in_model_thread: InModelThread,
        metrics: TextRequestMetrics,
    ) -> None:
        stream = RequestStream(TEXTS, TextsRequest.decode, self.answer, metrics.requests)
        self._server = RequestServer(redis, consumer, stream)
        self._model = model
        self._bank = bank
        self._in_model_thread = in_model_thread
        self._search_vectors: OrderedDict[str, NDArray[np.float32]] = OrderedDict()

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until `stop`."""
        await self._server.run(stop)

    async def answer(self, request: TextsRequest) -> tuple[TextsAnswer, str]:
        """Return the answer and its outcome (a label of the metric)."""
        facts = self._model.facts
        label_set = request.label_set
        n_rows = len(self._bank.wording(label_set)) if request.with_others else len(label_set.labels)
        if n_rows > ROWS_MAX:
            fault = f"{n_rows} texts, others included; wanted {ROWS_MAX} at most; name fewer labels"
            return TextsAnswer(TextsAnswerHeader(request_id=request.request_id, fault=fault)), "refused"
        try:
            texts = await (self._label_set(request) if request.with_others else self._search(request))
        except Transient as exc:  # the device has no memory now, or is lost
            return TextsAnswer(TextsAnswerHeader(request_id=request.request_id, fault=str(exc))), "failed"
        embedded = EmbeddedLabelSet(facts.name, facts.temperature, facts.embedding_dim, texts)
        return to_answer(request.request_id, embedded), "answered"

    async def _label_set(self, request: TextsRequest) -> LabelTexts:
        known = self._bank.known(request.label_set)
        if known is not None:
            return known
        vectors = await self._embed(self._bank.wording(request.label_set))
        return self._bank.keep(request.label_set, vectors)

    async def _search(self, request: TextsRequest) -> LabelTexts:
        labels = request.label_set.labels
        missing = tuple(text for text in dict.fromkeys(labels) if text not in self._search_vectors)
        found = dict(zip(missing, await self._embed(missing), strict=True)) if missing else {}
        rows = [found[text] if text in found else self._search_vectors[text] for text in labels]
        for text, row in zip(labels, rows, strict=True):
            self._search_vectors[text] = row
            self._search_vectors.move_to_end(text)
        while len(self._search_vectors) > SEARCHES_MAX:
            self._search_vectors.popitem(last=False)
        n = len(labels)
        return LabelTexts(
            columns=(
                *(Column(text=text, kind="target") for text in labels),
                Column(text="other", kind="other"),
            ),
            embeddings=np.stack(rows),
            n_targets=n,
            n_background=0,
            rivals=np.zeros((n, n), dtype=np.bool_),
            against=np.zeros((n, 0), dtype=np.bool_),
            shown=np.zeros(0, dtype=np.bool_),
        )

    async def _embed(self, texts: tuple[str, ...]) -> NDArray[np.float32]:
        portions = [texts[start : start + PORTION] for start in range(0, len(texts), PORTION)]
        parts = [
            await self._in_model_thread(partial(embed_labels, self._model, portion)) for portion in portions
        ]
        return np.concatenate(parts)
