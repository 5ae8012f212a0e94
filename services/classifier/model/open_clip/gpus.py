"""What this machine offers torch: cores, GPUs and their memory; and which faults are the device's."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch

from services.classifier.devices import nvidia
from services.classifier.devices.choice import (
    CudaFacts,
    Gpu,
    Hardware,
    cpu_has_bf16,
    gpu_id,
    host_id,
    usable_cores,
    why_no_gpu,
)
from services.classifier.port import DeviceLost
from shared.errors import Transient, shortened

NVML = "libnvidia-ml.so.1"


def probe_hardware() -> Hardware:
    """Return what this machine offers."""
    gpus = _gpus()
    return Hardware(usable_cores(), cpu_has_bf16(), gpus, "" if gpus else _why_none())


def _gpus() -> tuple[Gpu, ...]:
    """Return the visible GPUs. Nothing here makes a CUDA context: see nvidia.py."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # why there is none is said by why_no_gpu
        if not torch.cuda.is_available():
            return ()
    host = host_id()
    found = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        uuid = getattr(facts, "uuid", None)  # torch builds differ in what they tell
        pci = [getattr(facts, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
        known = [number for number in pci if number is not None]
        name = gpu_id(host, None if uuid is None else str(uuid), known, index)
        found.append(Gpu(index, facts.name, facts.major >= 8, name, facts.total_memory))  # 8.0: Ampere
    free = nvidia.free_bytes(nvidia.open_library(NVML), [gpu.id for gpu in found])
    return tuple(replace(gpu, free_bytes=n_bytes) for gpu, n_bytes in zip(found, free, strict=True))


def _why_none() -> str:
    if torch.version.hip is not None:
        return "this torch is built for ROCm, and sees no GPU of its kind"
    said = ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's gap
    except (AssertionError, RuntimeError) as exc:
        said = shortened(str(exc), 200)
    facts = CudaFacts(
        torch_cuda=torch.version.cuda,
        driver_cuda=nvidia.driver_cuda(nvidia.open_library(nvidia.DRIVER)),
        cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        nvidia_visible_devices=os.environ.get("NVIDIA_VISIBLE_DEVICES"),
        said=said,
    )
    return why_no_gpu(facts)


def gpu_memory(device: str) -> tuple[int, int] | None:
    """Return the free and the total bytes of a GPU in use; None on a CPU, or when the GPU fails.

    Any thread may ask. On a GPU that is not in use it would make a CUDA context.
    """
    if device == "cpu":
        return None
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:  # the next forward says what is wrong
        return None
    return int(free), int(total)


def gpu_busy(gpu_id: str) -> float | None:
    """Return the share of time in which a GPU computed for any process; None without an id or an answer."""
    return nvidia.busy_share(nvidia.open_library(NVML), gpu_id) if gpu_id else None


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the device's faults as the port's errors; else the snippet would become a dead letter."""
    try:
        yield
    except RuntimeError as exc:
        said = shortened(str(exc), 200)
        if isinstance(exc, torch.OutOfMemoryError) or "out of memory" in said:
            raise Transient(f"the device is out of memory: {said}") from exc
        # cuBLAS' and cuDNN's errors are plain RuntimeErrors
        if isinstance(exc, torch.AcceleratorError) or said.startswith("CUDA error"):
            raise DeviceLost(said) from exc
        raise
