"""The classifier's shell: reads snippets, keeps decoding and the model busy side by side, writes labels."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from math import nan
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from redis.asyncio import Redis

from services.classifier.devices.choice import DeviceChoice, Gpu, Hardware, candidates, choose_format
from services.classifier.devices.leases import LeaseSettings, hold_gpu
from services.classifier.model.preprocess import (
    REASONS,
    PictureRefusal,
    PixelBudget,
    inspect,
    load_picture,
    stack,
)
from services.classifier.model.speed_trial import speed_trials
from services.classifier.port import DeviceLost, Model, ModelFacts
from services.classifier.process import keep_memory, tune
from services.classifier.settings import ClassifierSettings
from services.classifier.weights import hub
from services.classifier.weights.names import ModelReference, resolve_model
from services.classifier.words.prompts import LabelBank
from services.classifier.words.text_requests import Answerer, AnswererMetrics
from shared.clock import now_utc
from shared.contract import CLASSIFIERS, LABELS, SNIPPETS, LabelSet, SnippetMessage
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.errors import ConfigError, ContractError, Stopped
from shared.logs import get_logger
from shared.metrics import SECONDS, StreamMetrics
from shared.presence import Presence, announce
from shared.runtime import Runtime, connect_redis, run
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Dead, Delivery, Done, Outcome, Output
from shared.streams.receipts import receipt_of_dead
from shared.streams.settings import ConsumerSettings
from shared.waits import unless_stopped

log = get_logger(__name__)
SERVICE = "classifier"
# A forward of 32 pictures takes seconds at worst; a loop without a turn for this long is stuck.
STALLED_AFTER_S = 120
# Batches come in few sizes: the chip's libraries prepare themselves, and keep memory, for every size they see.
MULTIPLE = 4
AHEAD = 2  # chunks decoded ahead of the forward: bounds what decoded pictures occupy
_T = TypeVar("_T")


def chunk_sizes(n_pictures: int, most: int) -> list[int]:
    """Return how many pictures each forward gets, at most `most`: nearly the same, since a small one wastes a forward,
    and all but the last a multiple of MULTIPLE, since what is missing to it is paid for as well."""
    step = MULTIPLE if most >= MULTIPLE else 1
    n_steps = -(-n_pictures // step)
    n_chunks = -(-n_steps // (most // step))
    short, n_long = divmod(n_steps, max(1, n_chunks))
    sizes = [step * (short + (number < n_long)) for number in range(n_chunks)]
    if sizes:
        sizes[-1] -= n_steps * step - n_pictures
    return sizes


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
        self.label_sets = Counter(
            "clipwatch_classifier_label_sets_embedded_total",
            "Label sets whose texts were embedded; a set that is in use is embedded once.",
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
            ["device", "dtype", "name"],
            registry=registry,
        )
        self.gpu_replicas = Gauge(
            "clipwatch_classifier_gpu_replicas",
            "Replicas on this one's GPU at the last renewal, itself included; 0 on a CPU, and before it is registered.",
            registry=registry,
        )
        self.gpu_memory = Gauge(
            "clipwatch_classifier_gpu_memory_bytes",
            "Memory of the GPU that is used, by whomever, and free; nan on a CPU.",
            ["state"],
            registry=registry,
        )
        self.gpu_busy = Gauge(
            "clipwatch_classifier_gpu_busy_ratio",
            "Share of time in which the GPU computed, for whomever; nan on a CPU, and where the driver does not tell.",
            registry=registry,
        )

    def show(
        self,
        facts: ModelFacts,
        name: str,
        gpu_memory: Callable[[], tuple[int, int] | None],
        gpu_busy: Callable[[], float | None],
    ) -> None:
        """Export what the model runs on.

        At each scrape `gpu_memory` is asked for the bytes that are free and all, `gpu_busy` for the share of time.
        """
        self.device.labels(facts.device, facts.dtype, name).set(1)

        def used() -> float:
            memory = gpu_memory()
            return nan if memory is None else memory[1] - memory[0]

        def free() -> float:
            memory = gpu_memory()
            return nan if memory is None else memory[0]

        self.gpu_memory.labels("used").set_function(used)

        def busy() -> float:
            share = gpu_busy()
            return nan if share is None else share

        self.gpu_memory.labels("free").set_function(free)
        self.gpu_busy.set_function(busy)


@dataclass(slots=True)
class _Work:
    """One delivery on its way through a batch."""

    message: SnippetMessage
    verdicts: tuple[PictureRefusal | None, ...]
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
        self._bank = LabelBank(model, settings.label_sets, settings.distractors, metrics.label_sets.inc)
        self._budget = PixelBudget(settings.max_picture_pixels, settings.max_snippet_pixels)
        self.beat: Callable[[], None] = lambda: None
        self.lost: Callable[[DeviceLost], None] = lambda _: None  # told of each; what was taken comes again

    def close(self) -> None:
        """Let go of the decoding threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def answerer(self, redis: Redis, metrics: AnswererMetrics) -> Answerer:
        """Return what answers questions for text embeddings with the same model, bank and thread."""
        consumer = _instance(self._settings)
        return Answerer(redis, consumer, self._model, self._bank, self._in_model_thread, metrics)

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
        ends = list(itertools.accumulate(chunk_sizes(len(pictures), self._settings.batch_pictures)))
        chunks = [pictures[first:end] for first, end in itertools.pairwise([0, *ends])]
        decoding: list[asyncio.Task[list[NDArray[np.uint8] | PictureRefusal]]] = []
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

    async def _decode(self, chunk: list[tuple[_Work, int]]) -> list[NDArray[np.uint8] | PictureRefusal]:
        loop = asyncio.get_running_loop()
        size = self._model.facts.image_size

        def load(work: _Work, index: int) -> NDArray[np.uint8] | PictureRefusal:
            verdict = work.verdicts[index]
            return verdict or load_picture(work.message.pictures[index], size, self._model.resize)

        return list(
            await asyncio.gather(
                *(loop.run_in_executor(self._decoders, load, work, index) for work, index in chunk)
            )
        )

    async def _embed(
        self, chunk: list[tuple[_Work, int]], loaded: list[NDArray[np.uint8] | PictureRefusal]
    ) -> None:
        good: list[tuple[_Work, int]] = []
        pixels: list[NDArray[np.uint8]] = []
        for (work, index), picture in zip(chunk, loaded, strict=True):
            if isinstance(picture, PictureRefusal):
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
        looked = EmbeddedSnippet(work.message, work.embeddings, work.seen)
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
        try:
            return await asyncio.get_running_loop().run_in_executor(self._model_thread, work)
        except DeviceLost as exc:
            self.lost(exc)
            raise


async def serve(settings: ClassifierSettings, runtime: Runtime, engine: Callable[[], Engine]) -> None:
    """Label snippets until the runtime stops. `engine` is called in the model's thread: torch takes seconds."""
    tune()
    reference = resolve_model(settings.model, settings.models_dir)
    # before Redis is waited for: weights that cannot be had are bad settings, whatever else is away
    require = asyncio.to_thread(hub.require, reference, settings.models_dir)  # may download
    await unless_stopped(require, runtime.stop)
    with _thread("model") as model_thread:
        context = contextvars.copy_context()  # what the service binds to its log lines

        def in_thread(work: Callable[[], _T]) -> asyncio.Future[_T]:
            return asyncio.get_running_loop().run_in_executor(model_thread, context.run, work)

        preparing = in_thread(partial(_prepare, engine, reference, settings))
        metrics = ClassifierMetrics()
        stop = (
            runtime.stop
        )  # loading, trying speeds and proving int8 take minutes: a stop waits for none of them
        async with (
            _redis(settings, runtime) as redis,
            _gpu(redis, settings, runtime, metrics, (await unless_stopped(preparing, stop)).gpus) as gpu,
        ):
            prepared = await preparing
            model = await unless_stopped(in_thread(partial(_load, reference, settings, prepared, gpu)), stop)
            memory = partial(prepared.engine.gpu_memory, model.facts.device)
            busy = partial(prepared.engine.gpu_busy, gpu.id if gpu else "")
            metrics.show(model.facts, gpu.name if gpu else "CPU", memory, busy)
            keep_memory()
            classifier = Classifier(model, settings, metrics, model_thread)
            try:
                await unless_stopped(classifier.warm_up(), stop)
                beat = runtime.health.expect("batches", STALLED_AFTER_S)
                classifier.beat = beat
                losses: list[DeviceLost] = []
                classifier.lost = partial(_lost, losses, runtime.stop)
                runtime.health.is_ready = True
                log.info("ready")
                consumer = Consumer(
                    redis, _consumer(settings), classifier.handle, StreamMetrics(), receipt_of_dead
                )
                answerer = classifier.answerer(redis, AnswererMetrics())
                async with asyncio.TaskGroup() as group:  # one that fails ends the other, and the service
                    group.create_task(consumer.run(runtime.stop, beat), name="snippets")
                    answering = _until_stopped(answerer.run(stop), stop, settings.finish_s)
                    group.create_task(answering, name="questions")
                    about = f"{model.facts.name} on {gpu.name if gpu else model.facts.device}"[:300]
                    presence = Presence(service="classifier", name=_instance(settings), about=about)
                    group.create_task(announce(redis, lambda: presence, runtime.stop), name="presence")
                if losses:
                    raise losses[0]
            finally:
                classifier.close()


async def _until_stopped(work: Awaitable[None], stop: asyncio.Event, grace_s: float) -> None:
    """Run a task, and end it `grace_s` after a stop: who asked will ask again."""
    with contextlib.suppress(Stopped):
        await unless_stopped(work, stop, grace_s=grace_s)


@contextlib.contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """A thread that nobody waits for at the end: a forward or a model that loads cannot be interrupted."""
    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _lost(losses: list[DeviceLost], stop: asyncio.Event, loss: DeviceLost) -> None:
    """End the service: a new process may find the device again, or another one; here every snippet would fail."""
    if not losses:
        log.error("the device is lost, stopping", error=str(loss))
        losses.append(loss)
    stop.set()


class Engine(Protocol):
    """The port to what loads models and knows the GPUs: openclip.py as a module; tests simulate it."""

    def probe_hardware(self) -> Hardware:
        """Return what this machine offers; must not occupy memory on any GPU."""
        ...

    def load_chosen(
        self,
        reference: ModelReference,
        choice: DeviceChoice,
        cache_dir: Path | None = None,
        temperature: float | None = None,
    ) -> Model:
        """Load a model on the chosen device; called, as the model is used, in one thread."""
        ...

    def gpu_memory(self, device: str) -> tuple[int, int] | None:
        """Return the bytes that are free on a GPU in use, and that it has; None on a CPU. Any thread may ask."""
        ...

    def gpu_busy(self, gpu_id: str) -> float | None:
        """Return the share of time in which a GPU computed; None without an id, or when it is not told."""
        ...


def open_clip() -> Engine:
    """Return the engine of production."""
    from services.classifier.model.open_clip import engine  # torch: seconds, so only here

    return engine


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What the model's thread has ready before Redis is asked: on a CPU the model, else the GPUs to choose from."""

    engine: Engine
    hardware: Hardware
    gpus: tuple[Gpu, ...]
    model: Model | None = None


def _prepare(
    make_engine: Callable[[], Engine], reference: ModelReference, settings: ClassifierSettings
) -> _Prepared:
    engine = make_engine()
    hardware = engine.probe_hardware()
    gpus = candidates(settings.device, hardware)
    if not gpus and settings.device == "auto":
        log.info("no GPU, using the CPU", why=hardware.why_no_gpu)
    prepared = _Prepared(engine, hardware, gpus)
    return prepared if gpus else replace(prepared, model=_load(reference, settings, prepared, None))


def _load(
    reference: ModelReference, settings: ClassifierSettings, prepared: _Prepared, gpu: Gpu | None
) -> Model:
    if prepared.model is not None:
        return prepared.model
    choice = choose_format(gpu, settings.dtype, settings.threads, prepared.hardware)
    trials = speed_trials(choice, settings.dtype, settings.threads, prepared.hardware)
    is_tried = settings.speed_trial == "on"
    choice = replace(choice, is_compiled=settings.compile == "on", trials=trials if is_tried else ())
    return prepared.engine.load_chosen(reference, choice, settings.models_dir, settings.temperature)


@contextlib.asynccontextmanager
async def _gpu(
    redis: Redis,
    settings: ClassifierSettings,
    runtime: Runtime,
    metrics: ClassifierMetrics,
    gpus: Sequence[Gpu],
) -> AsyncIterator[Gpu | None]:
    """Hold a lease on one of `gpus`; None when there is none, on a CPU."""
    if not gpus:
        yield None
        return
    lease_settings = LeaseSettings(_instance(settings), settings.gpu_lease_s)
    async with hold_gpu(redis, gpus, lease_settings, runtime.stop, metrics.gpu_replicas.set) as lease:
        gpu = lease.gpu
        log.info(
            "using a GPU",
            device=f"cuda:{gpu.index}",
            name=gpu.name,
            id=gpu.id,
            memory_gb=round(gpu.total_bytes / 2**30, 1),
            free_gb=None if gpu.free_bytes is None else round(gpu.free_bytes / 2**30, 1),
            replicas=lease.replicas,
            of_gpus=len(gpus),
        )
        yield gpu


@contextlib.asynccontextmanager
async def _redis(settings: ClassifierSettings, runtime: Runtime) -> AsyncIterator[Redis]:
    redis = await connect_redis(settings, runtime.stop)
    try:
        yield redis
    finally:
        await redis.aclose()


def _consumer(settings: ClassifierSettings) -> ConsumerSettings:
    return ConsumerSettings(
        SNIPPETS,
        CLASSIFIERS,
        _instance(settings),
        batch_max=settings.batch_snippets,
        finish_s=settings.finish_s,
    )


def _instance(settings: ClassifierSettings) -> str:
    return settings.instance or f"{socket.gethostname()}-{os.getpid()}"


async def check(settings: ClassifierSettings) -> Sequence[str]:
    """Return what is wrong with the settings beyond their types; loads no model."""
    try:
        hub.require(resolve_model(settings.model, settings.models_dir), settings.models_dir)
    except ConfigError as exc:
        return exc.faults
    return ()


def main() -> None:
    """Run the service."""
    run(SERVICE, ClassifierSettings, partial(serve, engine=open_clip), check)
