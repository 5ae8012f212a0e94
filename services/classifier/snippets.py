"""Labels batches of snippets: inspect, decode, embed, decide. Decoding and the model are kept busy side by side."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from services.classifier.examples import CameraExamples
from services.classifier.metrics import ClassifierMetrics
from services.classifier.model.batching import MULTIPLE, chunk_sizes
from services.classifier.model.preprocess import PictureRefusal, PixelBudget, inspect, load_picture, stack
from services.classifier.picture_requests import (
    PORTION,
    PictureEmbedding,
    PictureRequestMetrics,
    PictureRequestServer,
)
from services.classifier.port import DeviceLost, Model
from services.classifier.settings import ClassifierSettings
from services.classifier.words.prompts import LabelBank
from services.classifier.words.text_requests import TextRequestMetrics, TextRequestServer
from shared.clock import now_utc
from shared.contract import LABELS, LabelSet, SnippetHeader, SnippetMessage
from shared.decisions.examples import NO_EXAMPLES, LabelExamples
from shared.decisions.label_texts import LabelTexts
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.errors import ContractError
from shared.logs import get_logger
from shared.streams.outcomes import Dead, Delivery, Done, Outcome, Output

log = get_logger(__name__)
AHEAD = 2  # chunks decoded ahead of the forward: bounds what decoded pictures occupy
_T = TypeVar("_T")


@dataclass(slots=True)
class _PendingSnippet:
    """One snippet on its way through a batch: its pictures are embedded chunk by chunk."""

    message: SnippetMessage
    verdicts: tuple[PictureRefusal | None, ...]
    embeddings: NDArray[np.float32]
    seen: NDArray[np.bool_]
    faults: list[str] = field(default_factory=list)


_Chunk: TypeAlias = list[tuple[_PendingSnippet, int]]  # snippet, and number of its picture


class Classifier:
    """Labels batches of deliveries with one model. Decoding runs in its own threads, the model in a single one."""

    def __init__(
        self,
        model: Model,
        settings: ClassifierSettings,
        metrics: ClassifierMetrics,
        model_thread: ThreadPoolExecutor,
        examples: CameraExamples | None = None,
    ) -> None:
        self._model = model
        self._examples = examples
        self._settings = settings
        self._metrics = metrics
        self._model_thread = model_thread
        threads = settings.decode_threads or min(8, model.facts.threads)
        self._decoders = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._bank = LabelBank(model, settings.label_sets, settings.distractors, metrics.label_sets.inc)
        self._budget = PixelBudget(settings.max_picture_pixels, settings.max_snippet_pixels)
        self.beat: Callable[[], None] = lambda: None
        self.lost: Callable[[DeviceLost], None] = lambda _: (
            None
        )  # called for each loss; the snippets come again

    def close(self) -> None:
        """Let go of the decoding threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def text_request_server(
        self, redis: Redis, consumer: str, metrics: TextRequestMetrics
    ) -> TextRequestServer:
        """Return the server of text requests, which uses the same model, bank and thread."""
        return TextRequestServer(redis, consumer, self._model, self._bank, self._in_model_thread, metrics)

    def picture_request_server(
        self, redis: Redis, consumer: str, metrics: PictureRequestMetrics
    ) -> PictureRequestServer:
        """Return the server of picture requests, which uses the same model, threads and bounds."""
        portion = min(PORTION, self._settings.batch_pictures)
        embedding = PictureEmbedding(
            self._model, self._in_model_thread, self._decoders, self._budget, portion
        )
        return PictureRequestServer(redis, consumer, embedding, metrics)

    async def handle(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Return one outcome for each delivery; only the broken ones are Dead."""
        outcomes: list[Outcome | None] = [None] * len(deliveries)
        pending: dict[int, _PendingSnippet] = {}
        for index, delivery in enumerate(deliveries):
            try:
                pending[index] = self._pending(SnippetMessage.decode(delivery.fields))
            except ContractError as exc:
                outcomes[index] = self._dead(str(exc))
        await self._embed_all(list(pending.values()))
        if self._examples is not None:
            await self._examples.refresh({snippet.message.header.camera for snippet in pending.values()})
        for index, snippet in pending.items():
            outcomes[index] = await self._decide(snippet)
        return [outcome for outcome in outcomes if outcome is not None]

    def _pending(self, message: SnippetMessage) -> _PendingSnippet:
        n_pictures = len(message.pictures)
        return _PendingSnippet(
            message,
            inspect(message.pictures, self._budget),
            np.zeros((n_pictures, self._model.facts.embedding_dim), dtype=np.float32),
            np.zeros(n_pictures, dtype=np.bool_),
        )

    async def _embed_all(self, pending: list[_PendingSnippet]) -> None:
        """Embed all pictures of a batch: while the model works on one chunk, the next ones are decoded."""
        pictures = [(snippet, index) for snippet in pending for index in range(len(snippet.message.pictures))]
        ends = list(itertools.accumulate(chunk_sizes(len(pictures), self._settings.batch_pictures)))
        chunks = [pictures[first:end] for first, end in itertools.pairwise([0, *ends])]
        decoding: list[asyncio.Task[list[NDArray[np.uint8] | PictureRefusal]]] = []
        try:
            for number, chunk in enumerate(chunks):
                while len(decoding) < min(number + AHEAD, len(chunks)):
                    decoding.append(asyncio.create_task(self._decode(chunks[len(decoding)])))
                await self._embed_chunk(chunk, await decoding[number])
                self.beat()
        finally:
            for task in decoding:
                task.cancel()
            await asyncio.gather(*decoding, return_exceptions=True)

    async def _decode(self, chunk: _Chunk) -> list[NDArray[np.uint8] | PictureRefusal]:
        loop = asyncio.get_running_loop()
        size = self._model.facts.image_size

        def load(snippet: _PendingSnippet, index: int) -> NDArray[np.uint8] | PictureRefusal:
            verdict = snippet.verdicts[index]
            return verdict or load_picture(snippet.message.pictures[index], size, self._model.resize)

        return list(
            await asyncio.gather(
                *(loop.run_in_executor(self._decoders, load, snippet, index) for snippet, index in chunk)
            )
        )

    async def _embed_chunk(self, chunk: _Chunk, loaded: list[NDArray[np.uint8] | PictureRefusal]) -> None:
        good: _Chunk = []
        pixels: list[NDArray[np.uint8]] = []
        for (snippet, index), picture in zip(chunk, loaded, strict=True):
            if isinstance(picture, PictureRefusal):
                self._metrics.refused.labels(picture.reason).inc()
                snippet.faults.append(f"picture {index}: {picture.reason}: {picture.detail}")
            else:
                good.append((snippet, index))
                pixels.append(picture)
        if not good:
            return
        n_blank = -len(pixels) % MULTIPLE
        pixels += [np.zeros_like(pixels[0])] * n_blank
        with self._metrics.forward.time():
            vectors = await self._in_model_thread(lambda: self._model.embed_pictures(stack(pixels)))
        self._metrics.pictures.inc(len(good))
        for (snippet, index), vector in zip(good, vectors[: len(good)], strict=True):
            snippet.embeddings[index] = vector
            snippet.seen[index] = True

    async def _decide(self, snippet: _PendingSnippet) -> Outcome:
        header = snippet.message.header
        if snippet.faults:
            log.warning(
                "pictures left out",
                camera=header.camera,
                event_id=header.event_id,
                left_out=len(snippet.faults),
                of=len(snippet.message.pictures),
                first=snippet.faults[0],
            )
        if snippet.message.pictures and not snippet.seen.any():
            return self._dead(f"no picture of the snippet can be read: {snippet.faults[0]}")
        texts, examples = await self._in_model_thread(lambda: self._texts_and_examples(header))
        embedded = EmbeddedSnippet(snippet.message, snippet.embeddings, snippet.seen)
        labels = label(embedded, texts, self._model.facts, now_utc(), examples)
        self._metrics.snippets.labels("accepted" if labels.header.accepted else "none").inc()
        return Done(outputs=(Output(LABELS, labels.encode()),))

    def _texts_and_examples(self, header: SnippetHeader) -> tuple[LabelTexts, LabelExamples]:
        texts = self._bank.get(header.label_set)
        if self._examples is None:
            return texts, NO_EXAMPLES
        return texts, self._examples.of(header.camera, header.label_set)

    def _dead(self, reason: str) -> Dead:
        self._metrics.snippets.labels("dead").inc()
        return Dead(reason)

    async def warm_up(self) -> None:
        """Run one forward and one label set, so that the first snippet does not pay for them.

        A GPU gets a whole batch: its memory and kernels are chosen for that. A CPU computes a second for it.
        """
        size, is_cpu = self._model.facts.image_size, self._model.facts.device == "cpu"
        n_pictures = MULTIPLE if is_cpu else self._settings.batch_pictures
        pictures = np.zeros((n_pictures, 3, size, size), dtype=np.uint8)
        await self._in_model_thread(lambda: self._model.embed_pictures(pictures))
        await self._in_model_thread(lambda: self._bank.get(LabelSet(labels=("a person",))))

    async def _in_model_thread(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._model_thread, work)
        except DeviceLost as exc:
            self.lost(exc)
            raise
