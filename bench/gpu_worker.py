"""What bench/gpu.py measures: networks with random weights, and processes that feed and label over Redis.

Feeders write snippets for as long as they are wanted; workers are the service's own loop (Classifier and Consumer) with
their own copy of the model. Processes agree by keys in Redis.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from bench.classifier_load import MOMENTS, Load, encode, street
from bench.measuring import clocks
from services.classifier.devices.choice import Dtype, usable_cores
from services.classifier.metrics import ClassifierMetrics
from services.classifier.port import ModelFacts
from services.classifier.settings import ClassifierSettings
from services.classifier.snippets import Classifier
from shared.contract import CLASSIFIERS, SNIPPETS
from shared.logs import configure_logs
from shared.streams.consumer import Consumer
from shared.streams.settings import ConsumerSettings

if TYPE_CHECKING:  # torch takes seconds, which a feeder does not need
    import torch

    from services.classifier.model.open_clip.model import OpenClipModel

READY, GO, STOP, RESULTS = "bench:ready", "bench:go", "bench:stop", "bench:results"
SETTLE_S = 1.0
TEMPERATURE = 100.0
# Labels need some text tower, which is not under measurement: a small one, so that no tokenizer has to be fetched.
SMALL_TEXT = {"context_length": 8, "vocab_size": 128, "width": 64, "heads": 2, "layers": 1}
SMALL_VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}


@dataclass(frozen=True, slots=True)
class GpuCase:
    """A model in a number format on a device, and how its worker is run."""

    model: str  # an architecture of open_clip
    dtype: Dtype
    device: str
    is_small: bool = False  # a tower of two small layers in its place, for a dry run
    batch: int = 32
    n_feeders: int = 1
    n_workers: int = 1
    measured_s: float = 6.0
    # in the stream for each worker, those in its hands included: 1,500 pictures, 70 MB
    snippets_ahead: int = 64


def make_network(case: GpuCase) -> Any:  # Any: open_clip has no types
    """Return the network with random weights, the same ones in every process, in float32 on the CPU."""
    import open_clip
    import torch

    torch.manual_seed(0)
    vision = {"vision_cfg": SMALL_VISION} if case.is_small else {}
    network = open_clip.create_model(case.model, text_cfg=SMALL_TEXT, **vision)
    network.eval()
    network.requires_grad_(False)
    return network


def as_model(network: Any, case: GpuCase) -> OpenClipModel:  # Any: open_clip has no types
    """Put a network on the case's device in its number format, as the service does, behind the service's port."""
    import open_clip
    import torch

    from services.classifier.model.open_clip.model import OpenClipModel
    from services.classifier.model.open_clip.tower import prepare_network

    if case.device != "cpu":
        torch.cuda.set_device(case.device)  # pinned memory belongs to the current one
    network.to(case.device)
    prepare_network(network, case.dtype)
    size = network.visual.image_size
    facts = ModelFacts(
        name=case.model,
        image_size=int(size[0] if isinstance(size, tuple | list) else size),
        embedding_dim=int(open_clip.get_model_config(case.model)["embed_dim"]),
        temperature=TEMPERATURE,
        device=case.device,
        dtype=case.dtype,
        threads=usable_cores(),
    )
    return OpenClipModel(network, _tokens, facts)


def _tokens(texts: list[str]) -> torch.Tensor:
    """Stand in for a tokenizer: int64[K,8], of each text's first bytes."""
    import torch

    length, n_words = SMALL_TEXT["context_length"], SMALL_TEXT["vocab_size"]
    return torch.tensor([list(text.encode().ljust(length))[:length] for text in texts]) % n_words


def feed(url: str, number: int, case: GpuCase) -> None:
    """Write snippets until there is a STOP; a process of its own."""
    redis: Redis = Redis.from_url(url)
    jpegs = [(encode(street(384, 216, seed)), encode(street(384, 384, seed))) for seed in range(8)]
    load = Load(jpegs, is_long=False, most_pictures=2 * MOMENTS)
    while not redis.exists(STOP):
        if redis.xlen(SNIPPETS) < case.snippets_ahead * case.n_workers:
            fields: Any = load.snippet(number).encode()  # Any: redis-py's field type is invariant
            redis.xadd(SNIPPETS, fields)
            number += case.n_feeders
        else:
            time.sleep(0.002)


def label(url: str, number: int, case: GpuCase) -> None:
    """Label snippets for the case's time, and write what was found to RESULTS; a process of its own."""
    configure_logs("bench", "WARNING", "json")
    import torch

    torch.set_num_threads(1 if case.is_small else usable_cores())
    model = as_model(make_network(case), case)
    found = asyncio.run(_label(url, number, model, case))
    Redis.from_url(url).rpush(RESULTS, json.dumps(found))


async def _label(url: str, number: int, model: OpenClipModel, case: GpuCase) -> dict[str, float]:
    redis: AsyncRedis = AsyncRedis.from_url(url)
    settings = ClassifierSettings(batch_pictures=case.batch)
    registry = CollectorRegistry()
    consumer = ConsumerSettings(
        SNIPPETS, CLASSIFIERS, f"bench-{number}", batch_max=settings.batch_snippets, block_ms=50
    )

    def counted() -> tuple[float, float]:
        names = ("clipwatch_classifier_pictures_total", "clipwatch_classifier_forward_seconds_sum")
        pictures, forward_s = (registry.get_sample_value(name) or 0.0 for name in names)
        return pictures, forward_s

    with ThreadPoolExecutor(1) as thread:
        classifier = Classifier(model, settings, ClassifierMetrics(registry), thread)
        await classifier.warm_up()
        await redis.incr(READY)
        while not await redis.exists(GO):
            await asyncio.sleep(0.01)
        stop = asyncio.Event()
        task = asyncio.create_task(Consumer(redis, consumer, classifier.handle).run(stop))
        await asyncio.wait({task}, timeout=SETTLE_S)
        before, started = counted(), clocks()
        await asyncio.wait({task}, timeout=case.measured_s)
        after, ended = counted(), clocks()
        stop.set()
        await task  # raises what ended it
        classifier.close()
    await redis.aclose()
    wall_s = ended.wall_s - started.wall_s
    return {
        "pictures_s": (after[0] - before[0]) / wall_s,
        "forward_share": (after[1] - before[1]) / wall_s,
        "cores": (ended.cpu_s - started.cpu_s) / wall_s,
    }


if __name__ == "__main__":
    role, redis_url, own_number, case_json = sys.argv[1:]
    own_case = GpuCase(**json.loads(case_json))
    (feed if role == "feed" else label)(redis_url, int(own_number), own_case)
