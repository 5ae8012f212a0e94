"""The classifier as processes with simulated GPUs: which one each uses is agreed, logged and exported."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from services.classifier.devices.leases import LEASES
from shared.contract import LABELS, SNIPPETS
from tests.integration.gpu_rig import LIMIT_S, Replica, replicas, send
from tests.servers import RedisServer, wait_until

TWO = "GPU-a GPU-b"
GIB = 2**30

pytestmark = [pytest.mark.redis, pytest.mark.e2e]


Start = Callable[..., Replica]


@pytest.fixture
def start(redis_url: str, tmp_path: Path) -> Iterator[Start]:
    model = tmp_path / "model"  # only named: the simulated engine loads nothing
    model.mkdir()
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (model / name).write_text("{}")
    common = {"REDIS_URL": redis_url, "MODEL": f"local-dir:{model}"}
    with replicas("tests.integration.simulated_classifier", tmp_path, common) as start_replica:
        yield lambda gpus, **environment: start_replica(SIMULATED_GPUS=gpus, **environment)


def test_replicas_spread_label_and_give_their_gpus_back(redis_server: RedisServer, start: Start) -> None:
    first = [start(TWO), start(TWO)]
    used = [replica.line("using a GPU") for replica in first]
    assert sorted((line["device"], line["id"]) for line in used) == [("cuda:0", "GPU-a"), ("cuda:1", "GPU-b")]
    assert {(line["name"], line["memory_gb"], line["free_gb"]) for line in used} == {
        ("Simulated 1", 16.0, 12.0)
    }
    for replica, line in zip(first, used, strict=True):
        replica.line("ready")
        device = f'device="{line["device"]}",dtype="float16",name="Simulated 1"'
        assert replica.metrics() == {
            f"clipwatch_classifier_device_info{{{device}}}": 1.0,
            "clipwatch_classifier_gpu_replicas": 1.0,
            'clipwatch_classifier_gpu_memory_bytes{state="used"}': 5.0 * GIB,
            'clipwatch_classifier_gpu_memory_bytes{state="free"}': 11.0 * GIB,
            "clipwatch_classifier_gpu_busy_ratio": 0.25,
        }
    redis: Redis = redis_server.client()
    send(redis, 6)
    wait_until(lambda: redis.xlen(LABELS) == 6, LIMIT_S, "six labels")
    third = start(TWO)
    assert third.line("using a GPU")["replicas"] == 2
    shared = third.line(
        "the GPU is shared: each replica loads the model and slows the others; one for each GPU is meant"
    )
    assert (shared["level"], shared["gpu"], shared["replicas"]) == ("warning", "GPU-a", 2)
    for replica in (*first, third):
        replica.process.send_signal(signal.SIGTERM)
    assert [replica.process.wait(timeout=LIMIT_S) for replica in (*first, third)] == [0, 0, 0]
    assert redis.exists(LEASES) == 0
    redis.close()


def test_a_pinned_replica_registers_and_the_others_avoid_its_gpu(start: Start) -> None:
    assert start(TWO, DEVICE="cuda:0").line("using a GPU")["id"] == "GPU-a"
    assert start("GPU-a GPU-c", DEVICE="auto").line("using a GPU")["id"] == "GPU-c"


def test_without_a_gpu_auto_takes_the_cpu_and_says_why(redis_server: RedisServer, start: Start) -> None:
    replica = start("")
    assert replica.line("no GPU, using the CPU")["why"] == "none is simulated"
    replica.line("ready")
    found = replica.metrics()
    assert found['clipwatch_classifier_device_info{device="cpu",dtype="float32",name="CPU"}'] == 1.0
    assert found["clipwatch_classifier_gpu_replicas"] == 0.0
    redis: Redis = redis_server.client()
    assert redis.exists(LEASES) == 0
    redis.close()


@pytest.mark.parametrize(
    ("gpus", "device", "says"),
    [
        ("", "cuda", "classifier: DEVICE=cuda: found no GPU (none is simulated), wanted that device"),
        (
            TWO,
            "cuda:2",
            "classifier: DEVICE=cuda:2: found cuda:0 (Simulated 1), cuda:1 (Simulated 1), wanted",
        ),
    ],
)
def test_a_gpu_that_is_not_there_stops_the_start(start: Start, gpus: str, device: str, says: str) -> None:
    replica = start(gpus, DEVICE=device)
    assert replica.process.wait(timeout=LIMIT_S) == 2
    assert says in replica.output.read_text()
    assert "Traceback" not in replica.output.read_text()


def test_a_lost_gpu_ends_the_process_and_no_snippet_dies_of_it(
    redis_server: RedisServer, start: Start
) -> None:
    redis: Redis = redis_server.client()
    send(redis, 4)
    broken = start("GPU-a", SIMULATED_LOSS="1")
    assert broken.process.wait(timeout=LIMIT_S) == 1
    assert [line["event"] for line in broken.lines() if line["level"] == "error"] == [
        "the device is lost, stopping",
        "failed",
    ]
    assert redis.exists(LEASES, f"{SNIPPETS}:dead") == 0
    start("GPU-a", INSTANCE="another").line("ready")
    wait_until(lambda: redis.xlen(LABELS) == 4, LIMIT_S, "four labels")
    assert redis.exists(f"{SNIPPETS}:dead") == 0
    redis.close()
