"""Answers requests for picture embeddings (pictures.v1) beside the snippets, between two forwards of the model.

Pictures are decoded in the decoding threads and embedded a portion at a time, each of which queues for the model's
thread as a snippet's forward does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from redis.asyncio import Redis

from services.classifier.model.batching import MULTIPLE, chunk_sizes
from services.classifier.model.preprocess import PictureRefusal, PixelBudget, stack
from services.classifier.model.sent_pictures import inspect_sent, load_sent
from services.classifier.port import Model
from services.classifier.request_server import OUTCOMES, InModelThread, RequestServer, RequestStream
from shared.contract import PICTURES, PicturesAnswer, PicturesAnswerHeader, PicturesRequest
from shared.errors import Transient

PORTION = 8  # pictures embedded at once


class PictureRequestMetrics:
    """What the server of picture requests counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.requests = Counter(
            "clipwatch_classifier_picture_requests_total",
            "Requests for picture embeddings: answered, refused, late (nobody waits any more), failed.",
            ["outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self.requests.labels(outcome)


@dataclass(frozen=True, slots=True)
class PictureEmbedding:
    """What embeds pictures: the model with its thread, the threads that decode, and how much they decode."""

    model: Model
    in_model_thread: InModelThread
    decoders: Executor
    budget: PixelBudget
    portion: int = PORTION


class PictureRequestServer:
    """One loop over pictures.v1."""

    def __init__(
        self, redis: Redis, consumer: str, embedding: PictureEmbedding, metrics: PictureRequestMetrics
    ) -> None:
        stream = RequestStream(PICTURES, PicturesRequest.decode, self.answer, metrics.requests)
        self._server = RequestServer(redis, consumer, stream)
        self._embedding = embedding

    async def run(self, stop: asyncio.Event) -> None:
        """Answer until `stop`."""
        await self._server.run(stop)

    async def answer(self, request: PicturesRequest) -> tuple[PicturesAnswer, str]:
        """Return the answer and its outcome (a label of the metric); one bad picture refuses all of a request."""
        header = PicturesAnswerHeader(request_id=request.request_id)
        loaded = await self._load(request.pictures)
        faults = [
            f"picture {number}: {found.detail}" if len(loaded) > 1 else found.detail
            for number, found in enumerate(loaded)
            if isinstance(found, PictureRefusal)
        ]
        if faults:
            return PicturesAnswer(header.model_copy(update={"fault": "; ".join(faults)})), "refused"
        try:
            rows = await self._embed([found for found in loaded if not isinstance(found, PictureRefusal)])
        except Transient as exc:  # the device has no memory now, or is lost
            return PicturesAnswer(header.model_copy(update={"fault": str(exc), "is_passing": True})), "failed"
        facts = self._embedding.model.facts
        said = {"model": facts.name, "embedding_dim": facts.embedding_dim, "n_pictures": len(rows)}
        return PicturesAnswer(header.model_copy(update=said), rows.astype("<f4").tobytes()), "answered"

    async def _load(self, pictures: Sequence[bytes]) -> list[NDArray[np.uint8] | PictureRefusal]:
        embedding, loop = self._embedding, asyncio.get_running_loop()
        size, resize = embedding.model.facts.image_size, embedding.model.resize

        def load(picture: bytes, refusal: PictureRefusal | None) -> NDArray[np.uint8] | PictureRefusal:
            return refusal or load_sent(picture, size, resize)

        refusals = inspect_sent(pictures, embedding.budget)
        waiting = [
            loop.run_in_executor(embedding.decoders, load, *one)
            for one in zip(pictures, refusals, strict=True)
        ]
        return list(await asyncio.gather(*waiting))

    async def _embed(self, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        embedding = self._embedding
        ends = list(itertools.accumulate(chunk_sizes(len(pictures), embedding.portion)))
        parts = []
        for first, end in itertools.pairwise([0, *ends]):
            portion = pictures[first:end]
            pixels = stack([*portion, *[np.zeros_like(portion[0])] * (-len(portion) % MULTIPLE)])
            vectors = await embedding.in_model_thread(partial(embedding.model.embed_pictures, pixels))
            parts.append(vectors[: len(portion)])
        return np.concatenate(parts)
