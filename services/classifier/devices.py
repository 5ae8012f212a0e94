"""Which device, number format and threads the model runs with, and why. PURE but for the two readers at the end."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from shared.errors import ConfigError

Dtype = Literal["float32", "bfloat16", "float16"]
# CPUs that multiply bfloat16 natively: Intel AVX512-BF16 and AMX, AMD Zen 4 on, Arm v8.6 (`bf16`)
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True, slots=True)
class Gpu:
    """A visible CUDA device."""

    index: int
    name: str
    has_bf16: bool


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the machine offers this process. `why_no_gpu` explains an empty `gpus`."""

    cores: int
    has_bf16: bool
    gpus: tuple[Gpu, ...] = ()
    why_no_gpu: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen; `why` is for the log."""

    device: str  # cpu, cuda:0, …
    dtype: Dtype
    threads: int
    why: str


def choose(device: str, dtype: str, threads: int, hardware: Hardware) -> Choice:
    """Choose device, number format and threads; raise ConfigError when what is asked for is not there."""
    gpu = _gpu(device, hardware)
    n_threads = threads or hardware.cores
    if gpu is not None:
        chosen: Dtype = "float16" if dtype == "auto" else _dtype(dtype)
        if chosen == "bfloat16" and not gpu.has_bf16:
            raise ConfigError(f"DTYPE=bfloat16: {gpu.name} does not compute it, wanted float16 or float32")
        return Choice(f"cuda:{gpu.index}", chosen, n_threads, f"GPU {gpu.name}, half precision by default")
    if dtype == "float16":
        raise ConfigError("DTYPE=float16: a CPU computes it slowly or not at all, wanted bfloat16 or float32")
    if dtype != "auto":
        return Choice("cpu", _dtype(dtype), n_threads, "as DTYPE says")
    if hardware.has_bf16:
        return Choice("cpu", "bfloat16", n_threads, "this CPU multiplies bfloat16 natively")
    return Choice("cpu", "float32", n_threads, "this CPU has no native bfloat16")


def _gpu(device: str, hardware: Hardware) -> Gpu | None:
    if device == "cpu" or (device == "auto" and not hardware.gpus):
        return None
    if device in ("auto", "cuda") and hardware.gpus:
        return hardware.gpus[0]
    for gpu in hardware.gpus:
        if device == f"cuda:{gpu.index}":
            return gpu
    have = ", ".join(f"cuda:{gpu.index} ({gpu.name})" for gpu in hardware.gpus) or "no GPU"
    why = f" ({hardware.why_no_gpu})" if hardware.why_no_gpu and not hardware.gpus else ""
    raise ConfigError(f"DEVICE={device}: found {have}{why}, wanted that device; DEVICE=cpu works everywhere")


def _dtype(dtype: str) -> Dtype:
    names: dict[str, Dtype] = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}
    return names[dtype]


def usable_cores(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the cores that this process may use: its affinity, and a container's CPU quota (cgroup v2)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        cores = os.cpu_count() or 1
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores
    return cores


def cpu_has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the CPU multiplies bfloat16 natively; unknown counts as no."""
    try:
        with cpuinfo.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() in ("flags", "Features"):
                    return not BF16_FLAGS.isdisjoint(value.split())
    except OSError:
        return False
    return False
