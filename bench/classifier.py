"""How fast the classifier is: against the origin's loop, against the chip, and as a whole worker over Redis.

    python bench/classifier.py [MODEL …] [--snippets N] [--rounds N] [--threads N] [--pictures N] [--dtype NAME]

MODEL is `mini` (in the models' folder), a model folder, or an architecture of open_clip (random weights: they measure
the same); default: `mini` when it is there, ViT-B-32 and ViT-B-32-256. Prints one JSON object a model on stdout.
Sides take turns within one run, so that a busy machine slows them all; times are medians, and each fraction is the
median of what neighbouring turns gave.

    seed_loop_ms_per_frame   the origin's loop: transform, tokenise, encode_image, encode_text, forward; one, float32
    tower_ms_per_image       the bare image tower, batch 32, chosen number format
    worker_ms_per_image      from snippets in Redis to labels in Redis: read, decode, resize, normalise, forward, write
    dtype                    the number format: --dtype is the service's DTYPE
    gemm_gflops              the fastest of GEMM_SHAPES (medians), same number format (int8: float32) and threads
    rss_mb                   of this process after the first, the middle and the last part of the snippets
    *_cpu_ms_per_image       the same work in CPU time of all threads: what a busy machine distorts least
    load                     processes that wanted a core (1 minute's mean, at the start and the end), and the cores

From LONG snippets on, they are small and varied (1 to 6 pictures of 8 sizes, more label sets than are kept) and the
other sides have one turn only: this is for watching the memory. `--pictures 1` bounds what a snippet of either kind
has, so that 10,000 of them end in minutes; `pictures_per_snippet` says what there were on the mean.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import open_clip
import torch
from PIL import Image
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from bench.classifier_load import LABELS_ASKED, MOMENTS, Load, encode, street
from bench.measuring import Spent, clocks, embedded_redis, median_s, per_image, rss_mb
from services.classifier.convert import convert
from services.classifier.devices.choice import (
    DeviceChoice,
    Dtype,
    Hardware,
    choose,
    cpu_has_bf16,
    usable_cores,
)
from services.classifier.metrics import ClassifierMetrics
from services.classifier.model.openvino.loading import load_model
from services.classifier.model.openvino.model import OpenVinoModel
from services.classifier.settings import ClassifierSettings
from services.classifier.snippets import Classifier
from services.classifier.weights.names import resolve_model
from shared.contract import (
    CLASSIFIERS,
    LABELS,
    SNIPPETS,
)
from shared.logs import configure_logs
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Delivery, Outcome
from shared.streams.settings import ConsumerSettings

BATCH = 32
PARTS = 5  # of the snippets, each beside a measurement of the tower
LONG = 1000
# rows, columns, summed: square ones, and what a ViT-B's MLP multiplies for 32 pictures. Which is fastest depends on the
# chip's caches; a tower that beat all of them would show that the yardstick is too short.
GEMM_SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (1600, 3072, 768))


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under measurement, and the same one in float32 for the origin's loop."""

    name: str
    model: OpenVinoModel
    tokenizer: Any  # Any: open_clip has no types
    transform: Any
    seed_network: Any


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the snippets, in ms an image, and the tower right before and after it."""

    worker: Spent
    tower: Spent
    rss_mb: int
    n_images: int


def main() -> int:
    """Run the command line."""
    configure_logs("bench", "WARNING", "json")  # stderr: stdout is for figures
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*")
    parser.add_argument("--snippets", type=int, default=48, help="snippets that the worker labels")
    parser.add_argument("--rounds", type=int, default=5, help="how often each side has its turn")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=2 * MOMENTS, help="pictures of a snippet, at most")
    parser.add_argument("--dtype", default="auto", help="float32, bfloat16, int8; auto: the fastest")
    arguments = parser.parse_args()
    choice = choose("cpu", arguments.dtype, arguments.threads, Hardware(usable_cores(), cpu_has_bf16()))
    for name in arguments.models or default_models():
        print(json.dumps(measure(name, choice, arguments)), flush=True)
    return 0


def default_models() -> list[str]:
    """Return what is measured when nothing is named."""
    has_mini = (ClassifierSettings().models_dir / "mini").is_dir()
    return [*(["mini"] if has_mini else []), "ViT-B-32", "ViT-B-32-256"]


def measure(name: str, choice: DeviceChoice, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the figures of one model."""
    load_before = os.getloadavg()[0]
    subject = make(name, choice)
    facts = subject.model.facts
    choice = replace(choice, dtype=cast(Dtype, facts.dtype), threads=facts.threads)
    torch.set_num_threads(choice.threads)
    is_long = arguments.snippets >= LONG
    flops = flops_of(subject)
    gemms: dict[tuple[int, int, int], list[float]] = {shape: [] for shape in GEMM_SHAPES}
    tower, seed, fractions = [], [], []
    run_tower, run_seed = tower_work(subject), seed_work(subject)
    for shape in GEMM_SHAPES:
        gemm_gflops(choice, shape)
    for work in (run_tower, run_seed):
        work()
    for _ in range(1 if is_long else arguments.rounds):
        for shape in GEMM_SHAPES:
            gemms[shape].append(gemm_gflops(choice, shape))
        tower.append(per_image(run_tower, BATCH))
        fractions.append(flops / tower[-1].wall_s / 1e9 / max(rates[-1] for rates in gemms.values()))
        seed.append(per_image(run_seed, 1))
    del run_seed
    subject = replace(subject, seed_network=None)
    gc.collect()
    parts = asyncio.run(worker_parts(subject, arguments.snippets, is_long, arguments.pictures))
    seed_ms, tower_ms = (1000 * statistics.median(one.wall_s for one in side) for side in (seed, tower))
    worker_ms = 1000 * statistics.median(part.worker.wall_s for part in parts)
    return {
        "model": subject.name,
        "dtype": subject.model.facts.dtype,
        "why": subject.model.facts.why,
        "threads": choice.threads,
        "seed_loop_ms_per_frame": round(seed_ms, 2),
        "tower_ms_per_image": round(tower_ms, 2),
        "worker_ms_per_image": round(worker_ms, 2),
        "gemm_gflops": round(max(statistics.median(rates) for rates in gemms.values()), 1),
        "tower_fraction_of_gemm": round(statistics.median(fractions), 3),
        "worker_fraction_of_tower": fraction([(part.tower.wall_s, part.worker.wall_s) for part in parts]),
        "speedup_over_seed_loop": round(seed_ms / worker_ms, 1),
        "rss_mb": [parts[at].rss_mb for at in (0, len(parts) // 2, -1)],
        "gflop_per_image": round(flops / 1e9, 2),
        "seed_loop_cpu_ms_per_frame": cpu_ms(seed),
        "tower_cpu_ms_per_image": cpu_ms(tower),
        "worker_cpu_ms_per_image": cpu_ms([part.worker for part in parts]),
        "worker_fraction_of_tower_cpu": fraction([(part.tower.cpu_s, part.worker.cpu_s) for part in parts]),
        "snippets": arguments.snippets,
        "pictures_per_snippet": round(sum(part.n_images for part in parts) / arguments.snippets, 2),
        "load": [round(load_before, 1), round(os.getloadavg()[0], 1), os.cpu_count()],
    }


def fraction(pairs: list[tuple[float, float]]) -> float:
    """Return the median of the ratios of what was measured side by side."""
    return round(statistics.median(one / other for one, other in pairs), 3)


def cpu_ms(side: list[Spent]) -> float:
    """Return the median CPU time in ms."""
    return round(1000 * statistics.median(spent.cpu_s for spent in side), 2)


def make(name: str, choice: DeviceChoice) -> Subject:
    """Load a model folder, or one that is made of an architecture with random weights."""
    folder = ClassifierSettings().models_dir / name if name == "mini" else Path(name)
    if folder.is_dir():
        return subject_of(folder, choice)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        config = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": {}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        weights = open_clip.create_model(name).state_dict()
        contiguous = {key: tensor.contiguous() for key, tensor in weights.items()}
        save_file(contiguous, folder / "open_clip_model.safetensors")
        if choice.takes_int8:
            convert(str(folder), folder)
        return replace(subject_of(folder, choice, folder), name=name)


def subject_of(folder: Path, choice: DeviceChoice, models_dir: Path | None = None) -> Subject:
    model = load_model(resolve_model(str(folder), Path()), choice, models_dir)
    source = f"local-dir:{folder}"
    seed_network, _, transform = open_clip.create_model_and_transforms(source)
    seed_network.eval()
    return Subject(model.facts.name, model, open_clip.get_tokenizer(source), transform, seed_network)


# -- the sides


def gemm_gflops(choice: DeviceChoice, shape: tuple[int, int, int]) -> float:
    """Return GFLOP/s of inputs times a layer's weights, the way a network multiplies them."""
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(choice.dtype, torch.float32)
    rows, columns, summed = shape
    inputs, weights = torch.randn(rows, summed).to(dtype), torch.randn(columns, summed).to(dtype)
    with torch.inference_mode():
        return 2 * rows * columns * summed / median_s(lambda: torch.mm(inputs, weights.T), 3) / 1e9


def flops_of(subject: Subject) -> float:
    pictures = torch.zeros(1, 3, subject.model.facts.image_size, subject.model.facts.image_size)
    counter = FlopCounterMode(display=False)
    with counter:  # with gradients: the counter does not see into the fused attention of inference
        subject.seed_network.encode_image(pictures)
    return float(counter.get_total_flops())


def tower_work(subject: Subject) -> Callable[[], object]:
    """Return the bare tower with its normalisation: nothing before and nothing after."""
    size = subject.model.facts.image_size
    batch = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), dtype=np.uint8)
    return partial(subject.model.parts.image.run, batch)


def seed_work(subject: Subject) -> Callable[[], object]:
    """Return what the origin did for every frame: PIL, transform, tokenise, both encoders, forward (both again)."""
    frame = Image.fromarray(street(1280, 720, 0))
    texts = [*LABELS_ASKED.labels, *LABELS_ASKED.background]

    def one_frame() -> None:
        with torch.no_grad():
            picture = subject.transform(frame).unsqueeze(0)
            words = subject.tokenizer(texts)
            subject.seed_network.encode_image(picture)
            subject.seed_network.encode_text(words)
            subject.seed_network(picture, words)

    return one_frame


async def worker_parts(subject: Subject, n_snippets: int, is_long: bool, most_pictures: int) -> list[Part]:
    """Run the whole worker over the snippets in PARTS, the bare tower before and after each."""
    settings = ClassifierSettings()
    sides = [384, 384, 384, 320, 256, 224, 160, 96] if is_long else [384] * 8
    jpegs = [
        (encode(street(side, side * 9 // 16, seed)), encode(street(side, side, seed)))
        for seed, side in enumerate(sides)
    ]
    load = Load(jpegs, is_long, most_pictures)
    run_tower = tower_work(subject)
    n_part = max(1, n_snippets // PARTS)
    with embedded_redis() as url, ThreadPoolExecutor(1) as thread:
        redis: Redis = Redis.from_url(url)
        classifier = Classifier(subject.model, settings, ClassifierMetrics(CollectorRegistry()), thread)
        await classifier.warm_up()
        loop = asyncio.get_running_loop()

        async def tower() -> Spent:
            return await loop.run_in_executor(thread, per_image, run_tower, BATCH)

        parts = []
        before = await tower()
        for part in range(PARTS):
            spent = Spent(0, 0)
            n_images = 0
            for first in range(part * n_part, (part + 1) * n_part, LONG):  # no more at once: Redis holds them
                last = min(first + LONG, (part + 1) * n_part)
                n_images += await publish(redis, load, range(first, last))
                started = clocks()
                await label_all(redis, classifier, settings)
                now = clocks()
                spent = Spent(
                    spent.wall_s + now.wall_s - started.wall_s, spent.cpu_s + now.cpu_s - started.cpu_s
                )
            after = await tower()
            beside = Spent((before.wall_s + after.wall_s) / 2, (before.cpu_s + after.cpu_s) / 2)
            parts.append(
                Part(Spent(spent.wall_s / n_images, spent.cpu_s / n_images), beside, rss_mb(), n_images)
            )
            before = after
            print(f"part {part + 1} of {PARTS}: RSS {rss_mb()} MB", file=sys.stderr, flush=True)
        classifier.close()
        await redis.aclose()
    return parts


async def publish(redis: Redis, load: Load, numbers: range) -> int:
    """Write snippets to Redis and return how many pictures they have."""
    n_pictures = 0
    for number in numbers:
        message = load.snippet(number)
        n_pictures += len(message.pictures)
        # Any: redis-py's field type is invariant
        fields: Any = message.encode()
        await redis.xadd(SNIPPETS, fields)
    return n_pictures


async def label_all(redis: Redis, classifier: Classifier, settings: ClassifierSettings) -> None:
    """Run the service's own consumer until every snippet in the stream has its labels."""
    stop, all_handled = asyncio.Event(), asyncio.Event()
    wanted = int(await redis.xlen(SNIPPETS))
    n_handled = 0

    async def handle(deliveries: Sequence[Delivery]) -> list[Outcome]:
        nonlocal n_handled
        outcomes = await classifier.handle(deliveries)
        n_handled += len(deliveries)
        if n_handled >= wanted:
            all_handled.set()
        return outcomes

    block = ConsumerSettings(SNIPPETS, CLASSIFIERS, "bench", batch_max=settings.batch_snippets, block_ms=50)
    task = asyncio.create_task(Consumer(redis, block, handle).run(stop))
    handled = asyncio.create_task(all_handled.wait())
    await asyncio.wait({task, handled}, return_when=asyncio.FIRST_COMPLETED)
    handled.cancel()
    # asking from the start cost more CPU than decoding: 100 times a second, for seconds a batch on a busy machine
    while not task.done() and int(await redis.xlen(SNIPPETS)):
        await asyncio.sleep(0.005)
    stop.set()
    await task
    await redis.delete(LABELS)


if __name__ == "__main__":
    sys.exit(main())
