"""The bare image tower on a GPU, the service's adapter around it, and a matrix product to hold them against."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu_worker import GpuCase, as_model, make_network
from services.classifier.model.open_clip.model import DTYPES

GEMM_SIDE = 8192
TURNS = 3
TURN_S = 0.3


def tower(case: GpuCase, batches: tuple[int, ...]) -> Iterator[dict[str, object]]:
    """Measure the bare tower and the adapter at each batch size, and a matrix product in turns with them."""
    network = make_network(case)
    gflop = gflop_of(network)
    model = as_model(network, case)
    size, dtype = model.facts.image_size, DTYPES[case.dtype]
    gemm = gemm_work(case, 128 if case.is_small else GEMM_SIDE)
    for batch in batches:
        reset_peak(case.device)
        pixels = torch.rand(batch, 3, size, size, device=case.device).to(dtype)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        pictures = (
            torch.randint(0, 255, (batch, size, size, 3), dtype=torch.uint8).numpy().transpose(0, 3, 1, 2)
        )
        gemms, bare, adapter = [], [], []
        for _ in range(TURNS):
            gemms.append(gemm.flop * calls_s(gemm.run, case))
            bare.append(batch * calls_s(partial(_encode, network, pixels), case))
            adapter.append(batch * calls_s(partial(model.embed_pictures, pictures), case))
        shares = [gflop * 1e9 * rate / most for rate, most in zip(bare, gemms, strict=True)]
        yield {
            "part": "tower",
            "model": case.model,
            "dtype": case.dtype,
            "batch": batch,
            "tower_pictures_s": round(statistics.median(bare), 1),
            "adapter_pictures_s": round(statistics.median(adapter), 1),
            "adapter_of_tower": round(
                statistics.median(one / other for one, other in zip(adapter, bare, strict=True)), 3
            ),
            "gemm_tflops": round(statistics.median(gemms) / 1e12, 2),
            "tower_of_gemm": round(statistics.median(shares), 3),
            "gflop_per_picture": round(gflop, 2),
            "memory_mb": peak_mb(case.device),
        }


@torch.inference_mode()
def _encode(network: Any, pixels: torch.Tensor) -> object:  # Any: open_clip has no types
    return network.encode_image(pixels)


@dataclass(frozen=True, slots=True)
class GemmWork:
    """A matrix product, and its floating point operations."""

    run: Callable[[], object]
    flop: float


def gemm_work(case: GpuCase, side: int) -> GemmWork:
    one, other, out = (torch.randn(side, side, device=case.device).to(DTYPES[case.dtype]) for _ in range(3))
    return GemmWork(lambda: torch.mm(one, other, out=out), 2.0 * side**3)


def gflop_of(network: Any) -> float:  # Any: open_clip has no types
    """Return the operations of the image tower for one picture, in 1e9; on the CPU, in float32."""
    size = network.visual.image_size
    side = size[0] if isinstance(size, tuple | list) else size
    counter = FlopCounterMode(display=False)
    network.requires_grad_(True)  # the counter does not see into what inference fuses
    with counter, sdpa_kernel(SDPBackend.MATH):
        network.encode_image(torch.zeros(1, 3, side, side))
    network.requires_grad_(False)
    return float(counter.get_total_flops()) / 1e9


def calls_s(work: Callable[[], object], case: GpuCase) -> float:
    """Return how often a second `work` runs, the GPU's own time included; for about TURN_S."""
    turn_s = 0.02 if case.is_small else TURN_S
    work()
    synchronize(case.device)
    started = time.perf_counter()
    work()
    synchronize(case.device)
    n_calls = max(1, min(2000, int(turn_s / (time.perf_counter() - started))))
    started = time.perf_counter()
    for _ in range(n_calls):
        work()
    synchronize(case.device)
    return n_calls / (time.perf_counter() - started)


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def reset_peak(device: str) -> None:
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mb(device: str) -> int:
    return 0 if device == "cpu" else round(torch.cuda.max_memory_reserved(device) / 2**20)
