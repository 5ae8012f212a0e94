"""The classifier service: loads the model, holds a GPU, and runs the loops over snippets and requests."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from redis.asyncio import Redis

from services.classifier.devices.choice import Gpu
from services.classifier.devices.leases import hold_gpu
from services.classifier.examples import CameraExamples
from services.classifier.metrics import ClassifierMetrics
from services.classifier.model.engine import Engine, load, prepare
from services.classifier.model.runtimes import engine_for, gpu_facts, why_openvino
from services.classifier.picture_requests import PictureRequestMetrics
from services.classifier.port import DeviceLost
from services.classifier.settings import ClassifierSettings
from services.classifier.snippets import Classifier
from services.classifier.weights import hub
from services.classifier.weights.names import resolve_model
from services.classifier.words.text_requests import TextRequestMetrics
from shared.contract import CLASSIFIERS, SNIPPETS
from shared.errors import ConfigError, Stopped
from shared.leases import LeaseSettings
from shared.logs import get_logger
from shared.metrics import StreamMetrics
from shared.presence import Presence, announce
from shared.runtime import Runtime, connect_redis, run
from shared.streams.consumer import Consumer
from shared.streams.receipts import receipt_of_dead
from shared.streams.settings import ConsumerSettings
from shared.waits import unless_stopped

log = get_logger(__name__)
SERVICE = "classifier"
# A forward of 32 pictures takes seconds at worst; a loop without a turn for this long is stuck.
STALLED_AFTER_S = 120
_T = TypeVar("_T")


async def serve(settings: ClassifierSettings, runtime: Runtime, engine: Callable[[str], Engine]) -> None:
    """Label snippets until the runtime stops.

    `engine` gets DEVICE, and is called in the model's thread: importing a runtime takes seconds.
    """
    # before Redis is waited for: weights or a runtime that cannot be had are bad settings, whatever else is away
    why_openvino(settings.device, gpu_facts())
    reference = resolve_model(settings.model, settings.models_dir)
    require = asyncio.to_thread(hub.require, reference, settings.models_dir)  # may download
    await unless_stopped(require, runtime.stop)
    with _thread("model") as model_thread:
        context = contextvars.copy_context()  # what the service binds to its log lines

        def in_thread(work: Callable[[], _T]) -> asyncio.Future[_T]:
            return asyncio.get_running_loop().run_in_executor(model_thread, context.run, work)

        preparing = in_thread(partial(prepare, engine, reference, settings))
        metrics = ClassifierMetrics()
        stop = runtime.stop  # waits for no loading
        async with (
            _redis(settings, runtime) as redis,
            _announced(redis, settings, stop) as announced,
            _gpu(redis, settings, runtime, metrics, (await unless_stopped(preparing, stop)).gpus) as gpu,
        ):
            prepared = await preparing
            model = await unless_stopped(in_thread(partial(load, reference, settings, prepared, gpu)), stop)
            memory = partial(prepared.engine.gpu_memory, model.facts.device)
            busy = partial(prepared.engine.gpu_busy, gpu.id if gpu else "")
            metrics.show(model.facts, gpu.name if gpu else "CPU", memory, busy)
            examples = CameraExamples(redis, model.facts)
            classifier = Classifier(model, settings, metrics, model_thread, examples)
            try:
                await unless_stopped(classifier.warm_up(), stop)
                about = f"{model.facts.name} on {gpu.name if gpu else model.facts.device}"[:300]
                announced.presence = announced.presence.model_copy(update={"state": "ready", "about": about})
                await _run_loops(classifier, redis, settings, runtime)
            finally:
                classifier.close()


async def _run_loops(
    classifier: Classifier, redis: Redis, settings: ClassifierSettings, runtime: Runtime
) -> None:
    """Label snippets and answer requests until the runtime stops; raise DeviceLost when the device is lost."""
    stop, instance = runtime.stop, _instance(settings)
    beat = runtime.health.expect("batches", STALLED_AFTER_S)
    classifier.beat = beat
    losses: list[DeviceLost] = []
    classifier.lost = partial(_lost, losses, stop)
    consumer = Consumer(redis, _consumer(settings), classifier.handle, StreamMetrics(), receipt_of_dead)
    text_requests = classifier.text_request_server(redis, instance, TextRequestMetrics())
    picture_requests = classifier.picture_request_server(redis, instance, PictureRequestMetrics())
    runtime.health.is_ready = True
    log.info("ready")
    async with asyncio.TaskGroup() as group:  # one that fails ends the other, and the service
        group.create_task(consumer.run(stop, beat), name="snippets")
        for name, server in (("text requests", text_requests), ("picture requests", picture_requests)):
            serving = _until_stopped(server.run(stop), stop, settings.finish_s)
            group.create_task(serving, name=name)
    if losses:
        raise losses[0]


async def _until_stopped(work: Awaitable[None], stop: asyncio.Event, grace_s: float) -> None:
    """Run a task, and end it `grace_s` after a stop: whoever waits for an answer asks again."""
    with contextlib.suppress(Stopped):
        await unless_stopped(work, stop, grace_s=grace_s)


@contextlib.contextmanager
def _thread(name: str) -> Iterator[ThreadPoolExecutor]:
    """Give one thread; the end does not wait for it, since neither a forward nor loading can be interrupted."""
    executor = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _lost(losses: list[DeviceLost], stop: asyncio.Event, loss: DeviceLost) -> None:
    """Stop the service: here every snippet would fail; a new process may find the device again, or another one."""
    if not losses:
        log.error("the device is lost, stopping", error=str(loss))
        losses.append(loss)
    stop.set()


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


@dataclass(slots=True)
class _Announced:
    """What this process says of itself; the page shows that a model is loading, which may take minutes."""

    presence: Presence


@contextlib.asynccontextmanager
async def _announced(
    redis: Redis, settings: ClassifierSettings, stop: asyncio.Event
) -> AsyncIterator[_Announced]:
    """Announce this process, as loading first, until the runtime stops or the service ends."""
    said = _Announced(Presence(service=SERVICE, name=_instance(settings), state="loading"))
    ends = asyncio.Event()
    telling = announce(redis, lambda: said.presence, ends, lambda: said.presence.state)
    task = asyncio.create_task(telling, name="presence")
    waiting = asyncio.create_task(stop.wait())
    waiting.add_done_callback(lambda _: ends.set())
    try:
        yield said
    finally:
        waiting.cancel()
        ends.set()
        await task


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
    faults: list[str] = []
    for require in (
        lambda: why_openvino(settings.device, gpu_facts()),
        lambda: hub.require(resolve_model(settings.model, settings.models_dir), settings.models_dir),
    ):
        try:
            require()
        except ConfigError as exc:
            faults.extend(exc.faults)
    return faults


def main() -> None:
    """Run the service."""
    run(SERVICE, ClassifierSettings, partial(serve, engine=engine_for), check)
