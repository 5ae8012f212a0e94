"""The classifier's shell: reads snippets, keeps decoding and the model busy side by side, writes labels."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from redis.asyncio import Redis

from services.classifier.labeller import Looked, label
from services.classifier.model import Model
from services.classifier.preprocess import REASONS, Budget, Refused, inspect, load_picture, stack
from services.classifier.process import keep_memory, tune
from services.classifier.prompts import LabelBank
from services.classifier.references import ModelReference, resolve_model
from services.classifier.settings import ClassifierSettings
from shared.clock import now_utc
from shared.contract import CLASSIFIERS, LABELS, SNIPPETS, LabelSet, SnippetMessage
from shared.errors import ConfigError, ContractError
from shared.logs import get_logger
from shared.metrics import SECONDS, StreamMetrics
from shared.runtime import Runtime, connect_redis, run
from shared.streams import Consumer, ConsumerSettings, Dead, Delivery, Done, Outcome, Output

if TYPE_CHECKING:
    from services.classifier.openclip import OpenClipModel

log = get_logger(__name__)
SERVICE = "classifier"
# A forward of 32 pictures takes seconds at worst; a loop without a turn for this long is stuck.
STALLED_AFTER_S = 120
# Batches come in few sizes: the chip's libraries prepare themselves, and keep memory, for every size they see.
MULTIPLE = 4
AHEAD = 2  # chunks decoded ahead of the forward: bounds what decoded pictures occupy
_T = TypeVar("_T")


class ClassifierMetrics:
    """What the classifier counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.pictures = Counter(
            "clipwatch_classifier_pictures_total", "Pictures that were looked at.", registry=registry
        )
        self.refused = Counter(
            "clipwatch_classifier_pictures_refused_total",
            "Pictures that were left out, by reason.",
            ["reason"],
            registry=registry,
        )
        for reason in REASONS:
            self.refused.labels(reason)
        self.snippets = Counter(
            "clipwatch_classifier_snippets_total",
            "Snippets that were decided: accepted, none or dead.",
            ["outcome"],
            registry=registry,
        )
        self.forward = Histogram(
            "clipwatch_classifier_forward_seconds",
            "Time of one forward of the model.",
            buckets=SECONDS,
            registry=registry,
        )
        self.device = Gauge(
            "clipwatch_classifier_device_info",
            "1 for the device and number format in use.",
            ["device", "dtype"],
            registry=registry,
        )


@dataclass(slots=True)
class _Work:
    """One delivery on its way through a batch."""

    message: SnippetMessage
    verdicts: tuple[Refused | None, ...]
    embeddings: NDArray[np.float32]
    seen: NDArray[np.bool_]
    faults: list[str] = field(default_factory=list)


class Classifier:
    """Labels batches of deliveries with one model. Decoding runs in its own threads, the model in a single one."""

    def __init__(
        self,
        model: Model,
        settings: ClassifierSettings,
        metrics: ClassifierMetrics,
        model_thread: ThreadPoolExecutor,
    ) -> None:
        self._model = model
        self._settings = settings
        self._metrics = metrics
        self._model_thread = model_thread
        threads = settings.decode_threads or min(8, model.facts.threads)
        self._decoders = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._bank = LabelBank(model, settings.label_sets, settings.distractors)
        self._budget = Budget(settings.max_picture_pixels, settings.max_snippet_pixels)
        self.beat: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Let go of the decoding threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    async def handle(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """Answer one outcome for each delivery; a broken one is Dead alone."""
        outcomes: list[Outcome | None] = [None] * len(deliveries)
        works: dict[int, _Work] = {}
        for index, delivery in enumerate(deliveries):
            try:
                works[index] = self._taken(SnippetMessage.decode(delivery.fields))
            except ContractError as exc:
                outcomes[index] = self._dead(str(exc))
        await self._look(list(works.values()))
        for index, work in works.items():
            outcomes[index] = await self._decide(work)
        return [outcome for outcome in outcomes if outcome is not None]

    def _taken(self, message: SnippetMessage) -> _Work:
        n_pictures = len(message.pictures)
        return _Work(
            message,
            inspect(message.pictures, self._budget),
            np.zeros((n_pictures, self._model.facts.embedding_dim), dtype=np.float32),
            np.zeros(n_pictures, dtype=np.bool_),
        )

    async def _look(self, works: list[_Work]) -> None:
        """Embed all pictures of a batch: while the model works on one chunk, the next ones are decoded."""
        pictures = [(work, index) for work in works for index in range(len(work.message.pictures))]
        n_chunks = -(-len(pictures) // self._settings.batch_pictures)
        size = -(-len(pictures) // max(1, n_chunks)) or 1  # even chunks: a small last one wastes a forward
        chunks = [pictures[at : at + size] for at in range(0, len(pictures), size)]
        decoding: list[asyncio.Task[list[NDArray[np.uint8] | Refused]]] = []
        try:
            for number, chunk in enumerate(chunks):
                while len(decoding) < min(number + AHEAD, len(chunks)):
                    decoding.append(asyncio.create_task(self._decode(chunks[len(decoding)])))
                await self._embed(chunk, await decoding[number])
                self.beat()
        finally:
            for task in decoding:
                task.cancel()
            await asyncio.gather(*decoding, return_exceptions=True)

    async def _decode(self, chunk: list[tuple[_Work, int]]) -> list[NDArray[np.uint8] | Refused]:
        loop = asyncio.get_running_loop()
        size = self._model.facts.image_size

        def load(work: _Work, index: int) -> NDArray[np.uint8] | Refused:
            verdict = work.verdicts[index]
            return verdict or load_picture(work.message.pictures[index], size, self._model.resize)

        return list(
            await asyncio.gather(
                *(loop.run_in_executor(self._decoders, load, work, index) for work, index in chunk)
            )
        )

    async def _embed(self, chunk: list[tuple[_Work, int]], loaded: list[NDArray[np.uint8] | Refused]) -> None:
        good: list[tuple[_Work, int]] = []
        pixels: list[NDArray[np.uint8]] = []
        for (work, index), picture in zip(chunk, loaded, strict=True):
            if isinstance(picture, Refused):
                self._metrics.refused.labels(picture.reason).inc()
                work.faults.append(f"picture {index}: {picture.reason}: {picture.detail}")
            else:
                good.append((work, index))
                pixels.append(picture)
        if not good:
            return
        n_blank = -len(pixels) % MULTIPLE
        pixels += [np.zeros_like(pixels[0])] * n_blank
        with self._metrics.forward.time():
            vectors = await self._in_model_thread(lambda: self._model.embed_pictures(stack(pixels)))
        self._metrics.pictures.inc(len(good))
        for (work, index), vector in zip(good, vectors[: len(good)], strict=True):
            work.embeddings[index] = vector
            work.seen[index] = True

    async def _decide(self, work: _Work) -> Outcome:
        header = work.message.header
        if work.faults:
            log.warning(
                "pictures left out",
                camera=header.camera,
                event_id=header.event_id,
                left_out=len(work.faults),
                of=len(work.message.pictures),
                first=work.faults[0],
            )
        if work.message.pictures and not work.seen.any():
            return self._dead(f"no picture of the snippet can be read: {work.faults[0]}")
        texts = await self._in_model_thread(lambda: self._bank.get(header.label_set))
        looked = Looked(work.message, work.embeddings, work.seen)
        labels = label(looked, texts, self._model.facts, now_utc())
        self._metrics.snippets.labels("accepted" if labels.header.accepted else "none").inc()
        return Done(outputs=(Output(LABELS, labels.encode()),))

    def _dead(self, reason: str) -> Dead:
        self._metrics.snippets.labels("dead").inc()
        return Dead(reason)

    async def warm_up(self) -> None:
        """Run one forward and one label set, so that the first snippet does not pay for them."""
        size = self._model.facts.image_size
        pictures = np.zeros((self._settings.batch_pictures, 3, size, size), dtype=np.uint8)
        await self._in_model_thread(lambda: self._model.embed_pictures(pictures))
        await self._in_model_thread(lambda: self._bank.get(LabelSet(labels=("a person",))))

    async def _in_model_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._model_thread, work)


async def serve(settings: ClassifierSettings, runtime: Runtime) -> None:
    """Label snippets until the runtime stops."""
    tune()
    reference = resolve_model(settings.model, settings.models_dir)
    with ThreadPoolExecutor(1, thread_name_prefix="model") as model_thread:
        context = contextvars.copy_context()  # what the service binds to its log lines
        load = partial(context.run, _load, reference, settings)
        loading = asyncio.get_running_loop().run_in_executor(model_thread, load)
        async with _redis(settings, runtime) as redis:
            model = await loading
            keep_memory()
            classifier = Classifier(model, settings, ClassifierMetrics(), model_thread)
            try:
                await classifier.warm_up()
                beat = runtime.health.expect("batches", STALLED_AFTER_S)
                classifier.beat = beat
                runtime.health.is_ready = True
                log.info("ready")
                consumer = Consumer(redis, _consumer(settings), classifier.handle, StreamMetrics())
                await consumer.run(runtime.stop, beat)
            finally:
                classifier.close()


def _load(reference: ModelReference, settings: ClassifierSettings) -> OpenClipModel:
    from services.classifier import openclip  # torch: seconds, so only here

    wanted = (settings.device, settings.dtype, settings.threads)
    return openclip.load(reference, wanted, settings.models_dir, settings.temperature)


@contextlib.asynccontextmanager
async def _redis(settings: ClassifierSettings, runtime: Runtime) -> AsyncIterator[Redis]:
    redis = await connect_redis(settings, runtime.stop)
    try:
        yield redis
    finally:
        await redis.aclose()


def _consumer(settings: ClassifierSettings) -> ConsumerSettings:
    name = settings.instance or f"{socket.gethostname()}-{os.getpid()}"
    return ConsumerSettings(SNIPPETS, CLASSIFIERS, name, batch_max=settings.batch_snippets)


async def check(settings: ClassifierSettings) -> Sequence[str]:
    """Return what is wrong with the settings beyond their types; loads no model."""
    try:
        resolve_model(settings.model, settings.models_dir)
    except ConfigError as exc:
        return exc.faults
    return ()


def main() -> None:
    """Run the service."""
    run(SERVICE, ClassifierSettings, serve, check)
