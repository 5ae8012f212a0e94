"""How fast the classifier is: against the origin's loop, against the chip, and as a whole worker over Redis.

    python bench/classifier.py [MODEL …] [--snippets N] [--threads N]

MODEL is an architecture of open_clip (random weights: they measure the same) or a model folder; default: the offline
model `mini` when it is there, ViT-B-32 and ViT-B-32-256. Prints one JSON object a model on stdout: medians; what is
compared is measured in turns within one run, so that a busy machine slows both sides.

    seed_loop_ms_per_frame   the origin's loop: transform, tokenise, encode_image, encode_text, forward; one, float32
    tower_ms_per_image       the bare image tower, batch 32, chosen number format
    worker_ms_per_image      from snippets in Redis to labels in Redis: read, decode, resize, normalise, forward, write
    gemm_gflops              a square matrix product in the same number format and with the same threads
    rss_mb                   of this process (both networks in it), after the first, the middle and the last fifth
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import simplejpeg
import torch
from PIL import Image
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from torch.utils.flop_counter import FlopCounterMode

from services.classifier.app import Classifier, ClassifierMetrics
from services.classifier.devices import Choice, choose
from services.classifier.model import ModelFacts
from services.classifier.openclip import OpenClipModel, load_model, probe_hardware, settle
from services.classifier.process import keep_memory, tune
from services.classifier.references import resolve_model
from services.classifier.settings import ClassifierSettings
from services.local.redis_server import prepare_redis
from shared.clock import uuid7
from shared.contract import (
    CLASSIFIERS,
    LABELS,
    SNIPPETS,
    Box,
    LabelSet,
    PictureInfo,
    SnippetHeader,
    SnippetMessage,
)
from shared.logs import configure_logs
from shared.streams import Consumer, ConsumerSettings

BATCH = 32
MOMENTS = 12
LABELS_ASKED = LabelSet(labels=("a person", "a dog", "a car", "a bicycle"), background=("an empty street",))
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model under measurement, and the same one in float32 for the origin's loop."""

    name: str
    model: OpenClipModel
    network: Any  # Any: open_clip has no types
    tokenizer: Any
    transform: Any
    seed_network: Any


def main() -> int:
    """Run the command line."""
    tune()
    configure_logs("bench", "WARNING", "json")  # stderr: stdout is for figures
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*")
    parser.add_argument("--snippets", type=int, default=48, help="snippets that the worker labels")
    parser.add_argument("--rounds", type=int, default=7, help="how often each side has its turn")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    choice = choose("auto", "auto", arguments.threads, probe_hardware())
    for name in arguments.models or default_models():
        print(json.dumps(measure(name, choice, arguments)), flush=True)
    return 0


def default_models() -> list[str]:
    mini = ClassifierSettings().models_dir / "mini"
    return [*([str(mini)] if mini.is_dir() else []), "ViT-B-32", "ViT-B-32-256"]


def measure(name: str, choice: Choice, arguments: argparse.Namespace) -> dict[str, object]:
    """Return the figures of one model."""
    subject = make(name, choice)
    keep_memory()
    torch.set_num_threads(choice.threads)
    gemm, tower, seed = [], [], []
    flops = flops_of(subject)
    for _ in range(arguments.rounds):
        gemm.append(gemm_gflops(choice))
        tower.append(tower_ms(subject))
        seed.append(seed_loop_ms(subject))
    worker, side_tower, rss = asyncio.run(worker_ms(subject, arguments.snippets))
    tower_ms_per_image, gemm_gflops_ = statistics.median(tower), statistics.median(gemm)
    return {
        "model": subject.name,
        "dtype": choice.dtype,
        "threads": choice.threads,
        "seed_loop_ms_per_frame": round(statistics.median(seed), 2),
        "tower_ms_per_image": round(tower_ms_per_image, 2),
        "worker_ms_per_image": round(worker, 2),
        "gflop_per_image": round(flops / 1e9, 2),
        "gemm_gflops": round(gemm_gflops_),
        "tower_fraction_of_gemm": round(flops / 1e6 / tower_ms_per_image / gemm_gflops_, 3),
        "worker_fraction_of_tower": round(side_tower / worker, 3),
        "speedup_over_seed_loop": round(statistics.median(seed) / worker, 1),
        "rss_mb": rss,
    }


def make(name: str, choice: Choice) -> Subject:
    """Load a model folder, or make an architecture with random weights."""
    if Path(name).is_dir():
        model = load_model(resolve_model(name, Path()), choice)
        source = f"local-dir:{name}"
        seed_network, _, transform = open_clip.create_model_and_transforms(source)
        seed_network.eval()
        return Subject(
            model.facts.name, model, model.network, open_clip.get_tokenizer(source), transform, seed_network
        )
    torch.manual_seed(0)
    seed_network, _, transform = open_clip.create_model_and_transforms(name)
    seed_network.eval()
    network = open_clip.create_model(name)
    settle(network, choice.dtype)
    size = network.visual.image_size
    facts = ModelFacts(
        name=name,
        image_size=int(size[0] if isinstance(size, tuple) else size),
        embedding_dim=int(open_clip.get_model_config(name)["embed_dim"]),
        temperature=100.0,
        device=choice.device,
        dtype=choice.dtype,
        threads=choice.threads,
    )
    tokenizer = open_clip.get_tokenizer(name)
    return Subject(
        name, OpenClipModel(network, tokenizer, facts), network, tokenizer, transform, seed_network
    )


# -- the sides


def gemm_gflops(choice: Choice, side: int = 2048) -> float:
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(choice.dtype, torch.float32)
    a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
    with torch.inference_mode():
        return 2 * side**3 / median_s(lambda: torch.mm(a, b), 3) / 1e9


def flops_of(subject: Subject) -> float:
    pictures = torch.zeros(1, 3, subject.model.facts.image_size, subject.model.facts.image_size)
    counter = FlopCounterMode(display=False)
    with counter:  # with gradients: the counter does not see into the fused attention of inference
        subject.seed_network.encode_image(pictures)
    return float(counter.get_total_flops())


def tower_ms(subject: Subject) -> float:
    """The bare tower: input of its own number format, nothing before and nothing after."""
    size = subject.model.facts.image_size
    dtype = next(subject.network.visual.parameters()).dtype
    batch = torch.rand(BATCH, 3, size, size).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        return 1000 * median_s(lambda: subject.network.encode_image(batch), 2) / BATCH


def seed_loop_ms(subject: Subject) -> float:
    """What the origin did for every frame: PIL, transform, tokenise, both encoders, then forward (both once more)."""
    frame = Image.fromarray(street(1280, 720, 0))
    texts = [*LABELS_ASKED.labels, *LABELS_ASKED.background]

    def one_frame() -> None:
        with torch.no_grad():
            picture = subject.transform(frame).unsqueeze(0)
            words = subject.tokenizer(texts)
            subject.seed_network.encode_image(picture)
            subject.seed_network.encode_text(words)
            subject.seed_network(picture, words)

    return 1000 * median_s(one_frame, 1)


async def worker_ms(subject: Subject, n_snippets: int) -> tuple[float, float, list[int]]:
    """Return ms per image of the whole worker, of the bare tower measured right beside it, and the RSS in MB."""
    settings = ClassifierSettings()
    jpegs = [(encode(street(384, 216, seed)), encode(street(384, 384, seed))) for seed in range(8)]
    with embedded_redis() as url, ThreadPoolExecutor(1) as thread:
        redis: Redis = Redis.from_url(url)
        classifier = Classifier(subject.model, settings, ClassifierMetrics(CollectorRegistry()), thread)
        await classifier.warm_up()
        loop = asyncio.get_running_loop()
        worker, tower, rss = [], [], []
        n_rounds = 5
        for number in range(n_rounds):
            await publish(redis, jpegs, max(1, n_snippets // n_rounds), number)
            tower.append(await loop.run_in_executor(thread, tower_ms, subject))
            started = time.perf_counter()
            n_done = await label_all(redis, classifier, settings)
            worker.append((time.perf_counter() - started) * 1000 / (n_done * MOMENTS * 2))
            rss.append(rss_mb())
        classifier.close()
        await redis.aclose()
    return statistics.median(worker), statistics.median(tower), [rss[0], rss[n_rounds // 2], rss[-1]]


async def publish(redis: Redis, jpegs: list[tuple[bytes, bytes]], n_snippets: int, round_number: int) -> None:
    for number in range(n_snippets):
        infos: list[PictureInfo] = []
        pictures: list[bytes] = []
        for moment in range(MOMENTS):
            at = NOON + timedelta(seconds=moment * 0.8)
            frame, crop = jpegs[(number + moment) % len(jpegs)]
            infos.append(PictureInfo(moment=moment, kind="frame", captured_at=at, width=384, height=216))
            infos.append(
                PictureInfo(
                    moment=moment,
                    kind="crop",
                    captured_at=at,
                    width=384,
                    height=384,
                    box=Box(x=0, y=0, w=0.5, h=0.9),
                )
            )
            pictures += [frame, crop]
        header = SnippetHeader(
            event_id=uuid7(NOON, seed=f"{round_number}.{number}"),
            snippet=0,
            is_last=True,
            camera=f"camera-{number % 4}",
            event_started_at=NOON,
            started_at=NOON,
            ended_at=NOON + timedelta(seconds=10),
            label_set=LABELS_ASKED,
            pictures=tuple(infos),
        )
        fields: Any = SnippetMessage(
            header, tuple(pictures)
        ).encode()  # Any: redis-py's field type is invariant
        await redis.xadd(SNIPPETS, fields)


async def label_all(redis: Redis, classifier: Classifier, settings: ClassifierSettings) -> int:
    """Run the service's own consumer until the stream is empty; return how many snippets it labelled."""
    stop = asyncio.Event()
    consumer = Consumer(
        redis,
        ConsumerSettings(SNIPPETS, CLASSIFIERS, "bench", batch_max=settings.batch_snippets, block_ms=50),
        classifier.handle,
    )
    wanted = int(await redis.xlen(SNIPPETS))
    task = asyncio.create_task(consumer.run(stop))
    while int(await redis.xlen(LABELS)) < wanted:
        if task.done():
            task.result()
        await asyncio.sleep(0.01)
    stop.set()
    await task
    await redis.delete(LABELS)
    return wanted


# -- what is measured with


def median_s(work: Callable[[], object], n_times: int) -> float:
    work()
    times = []
    for _ in range(n_times):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def street(width: int, height: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Soft shapes with fine noise: decodes and compresses about as a camera's picture does."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 255, (9, 16, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(soft) + rng.normal(0, 6, (height, width, 1)), 0, 255).astype(np.uint8)


def encode(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture), 88, "RGB", "420"))


def rss_mb() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return round(pages * resource.getpagesize() / 2**20)
    except OSError:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@contextmanager
def embedded_redis() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        server = prepare_redis(Path(folder))
        process = subprocess.Popen(server.argv, stdout=subprocess.DEVNULL)
        try:
            wait_for(server.url)
            yield server.url
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str, limit_s: float = 20) -> None:
    from redis import Redis as Client
    from redis.exceptions import RedisError

    ends_at = time.monotonic() + limit_s
    while True:
        try:
            Client.from_url(url).ping()
            return
        except RedisError:
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.05)


if __name__ == "__main__":
    # the service sets this before torch is loaded; here it is loaded already, so the script begins anew
    if "OMP_WAIT_POLICY" not in os.environ:
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        os.execve(sys.executable, [sys.executable, *sys.argv], environment)  # noqa: S606 - our own script
    sys.exit(main())
