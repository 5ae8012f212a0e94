"""The classifier on real GPUs, as many as the machine has; skipped where there is none. bench/gpu.py runs them too."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from redis import Redis

from bench.gpu_worker import GpuCase, as_model, make_network
from services.classifier.devices.choice import Dtype, Gpu
from services.classifier.devices.leases import LEASES
from services.classifier.model.open_clip.gpus import probe_hardware
from shared.contract import LABELS, SNIPPETS
from tests.integration.gpu_rig import LIMIT_S, ROOT, StartReplica, replicas, send
from tests.servers import RedisServer, wait_until
from tests.unit.classifier.makers import make_tiny_model

SMALL = GpuCase("ViT-B-32", "float32", "cuda:0", is_small=True)
Pictures = np.ndarray[Any, np.dtype[np.uint8]]

pytestmark = [
    pytest.mark.redis,
    pytest.mark.e2e,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU"),
]


@pytest.fixture
def gpus() -> tuple[Gpu, ...]:
    return probe_hardware().gpus


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[StartReplica]:
    model = make_tiny_model(tmp_path / "model")
    common = {"REDIS_URL": redis_url, "MODEL": f"local-dir:{model}", "MODELS_DIR": str(tmp_path)}
    with replicas("services.classifier", tmp_path, common) as start_replica:
        yield start_replica


@pytest.fixture
def pictures() -> Pictures:
    return np.random.default_rng(0).integers(0, 255, (512, 3, 32, 32), dtype=np.uint8)


def test_replicas_spread_label_and_give_their_gpus_back(
    gpus: tuple[Gpu, ...], redis_server: RedisServer, start: StartReplica
) -> None:
    by_id = {gpu.id: gpu for gpu in gpus}
    n_alone = min(2, len(gpus))
    some = [start() for _ in range(n_alone)]
    used = [replica.line("using a GPU") for replica in some]
    assert len({line["id"] for line in used}) == n_alone
    for replica, line in zip(some, used, strict=True):
        replica.line("ready")
        gpu = by_id[line["id"]]
        assert (line["device"], line["name"], line["replicas"]) == (f"cuda:{gpu.index}", gpu.name, 1)
        assert line["memory_gb"] == round(gpu.total_bytes / 2**30, 1)
        assert 0 < line["free_gb"] <= line["memory_gb"]
        found = replica.metrics()
        device = f'device="{line["device"]}",dtype="float16",name="{gpu.name}"'
        assert found[f"clipwatch_classifier_device_info{{{device}}}"] == 1.0
        assert found["clipwatch_classifier_gpu_replicas"] == 1.0
        states = [
            found[f'clipwatch_classifier_gpu_memory_bytes{{state="{state}"}}'] for state in ("used", "free")
        ]
        assert min(states) > 0
        assert sum(states) == pytest.approx(gpu.total_bytes, rel=0.02)
        busy = found["clipwatch_classifier_gpu_busy_ratio"]
        assert math.isnan(busy) or 0 <= busy <= 1  # a driver may not tell
    redis: Redis = redis_server.client()
    send(redis, 6)
    wait_until(lambda: redis.xlen(LABELS) == 6, LIMIT_S, "six labels")
    more = [start() for _ in range(len(gpus) - n_alone + 1)]  # one more than there are GPUs
    for replica in more:
        replica.line("ready")
    assert max(replica.line("using a GPU")["replicas"] for replica in more) == 2
    for replica in (*some, *more):
        replica.process.send_signal(signal.SIGTERM)
    assert {replica.process.wait(timeout=LIMIT_S) for replica in (*some, *more)} == {0}
    assert redis.exists(LEASES, f"{SNIPPETS}:dead") == 0
    redis.close()


@pytest.mark.parametrize("is_hidden", [False, True], ids=["one too many", "hidden"])
def test_a_gpu_that_is_not_there_stops_the_start(
    is_hidden: bool, gpus: tuple[Gpu, ...], start: StartReplica
) -> None:
    if is_hidden:
        replica = start(DEVICE="cuda", CUDA_VISIBLE_DEVICES="")
        says = "classifier: DEVICE=cuda: found no GPU (CUDA_VISIBLE_DEVICES= hides every GPU"
    else:
        replica = start(DEVICE=f"cuda:{len(gpus)}")
        says = f"classifier: DEVICE=cuda:{len(gpus)}: found cuda:0 ({gpus[0].name})"
    assert replica.process.wait(timeout=LIMIT_S) == 2
    assert says in replica.output.read_text()
    assert "Traceback" not in replica.output.read_text()


@pytest.mark.parametrize(("dtype", "least"), [("float32", 0.9999), ("float16", 0.999), ("bfloat16", 0.99)])
def test_a_gpu_gives_the_embeddings_of_a_cpu(
    dtype: Dtype, least: float, gpus: tuple[Gpu, ...], pictures: Pictures
) -> None:
    if dtype == "bfloat16" and not gpus[0].has_bf16:
        pytest.skip(f"{gpus[0].name} does not compute it")
    cases = (replace(SMALL, device="cpu"), replace(SMALL, dtype=dtype))
    one, other = (as_model(make_network(case), case).embed_pictures(pictures) for case in cases)
    assert (one * other).sum(axis=1).min() > least


def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same(pictures: Pictures) -> None:
    model = as_model(make_network(SMALL), SMALL)
    many = np.concatenate([pictures] * 16)
    whole = model.embed_pictures(many)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    room = torch.cuda.memory_reserved(0) + 2**26
    try:
        torch.cuda.set_per_process_memory_fraction(room / total, 0)
        torch.cuda.reset_peak_memory_stats(0)
        parts = model.embed_pictures(many)
        assert torch.cuda.max_memory_reserved(0) <= room
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
    assert (whole * parts).sum(axis=1).min() > 0.9999


LOSE = """
import torch
from bench.gpu_worker import GpuCase, as_model, make_network
from services.classifier.port import DeviceLost
import numpy as np

case = GpuCase("ViT-B-32", "float16", "cuda:0", is_small=True)
network = make_network(case)
network.encode_image = lambda batch: batch[torch.tensor([len(batch)], device=batch.device)]  # out of bounds
try:
    as_model(network, case).embed_pictures(np.zeros((4, 3, 32, 32), np.uint8))
except DeviceLost as exc:
    print("lost:", exc)
"""


def test_a_fault_on_the_gpu_is_the_devices_and_no_pictures() -> None:
    """In a process of its own: after such a fault no call to the GPU works."""
    done = subprocess.run(
        [sys.executable, "-c", LOSE], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.stdout.startswith("lost: CUDA error"), done.stderr[-2000:]
