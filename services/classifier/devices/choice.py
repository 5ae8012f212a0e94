"""Which device, number format and threads the model runs with, and why. PURE but for the readers at the end."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from shared.errors import ConfigError

Dtype = Literal["float32", "bfloat16", "float16", "int8"]
# CPUs that multiply bfloat16 natively: Intel AVX512-BF16 and AMX, AMD Zen 4 on, Arm v8.6 (`bf16`)
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
# x86 CPUs that add products of int8 in one instruction: Intel from Cascade Lake and Alder Lake on, AMD Zen 4 on
VNNI_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})
# Free memory decides between GPUs that are used alike, in steps: a few hundred MB more or less are noise.
MEMORY_STEP_BYTES = 2 * 2**30
_SHOWN = 80  # characters of somebody's environment variable in a message


@dataclass(frozen=True, slots=True)
class Gpu:
    """A visible CUDA device. `index` is this process's numbering; `id` is the same for every process that sees it."""

    index: int
    name: str
    has_bf16: bool
    id: str  # see gpu_id
    total_bytes: int = 0
    free_bytes: int | None = None  # None: not known


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the machine offers this process. `why_no_gpu` explains an empty `gpus`."""

    cores: int
    has_bf16: bool
    gpus: tuple[Gpu, ...] = ()
    why_no_gpu: str = ""


@dataclass(frozen=True, slots=True)
class CudaFacts:
    """What is known about why a process sees no GPU. Environment variables that are not set are None."""

    torch_cuda: str | None  # the CUDA version that torch was built for, '13.0'; None: built without
    driver_cuda: tuple[int, int] | None  # the newest CUDA version that the driver speaks; None: no driver
    cuda_visible_devices: str | None = None
    nvidia_visible_devices: str | None = None  # what the NVIDIA Container Toolkit was asked for
    said: str = ""  # torch's own words


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """Device, number format and threads; `why` is for the log."""

    device: str  # cpu, cuda:0, …
    dtype: Dtype
    threads: int
    why: str
    is_compiled: bool = False  # by torch.compile, at the first forward; on a GPU
    takes_int8: bool = False  # where the model has a tower in int8 that was proved


def choose(device: str, dtype: str, threads: int, hardware: Hardware) -> DeviceChoice:
    """Choose device, number format and threads for a process that shares its GPUs with no other.

    Raises ConfigError when what is asked for is not there.
    """
    gpus = candidates(device, hardware)
    return choose_format(gpus[0] if gpus else None, dtype, threads, hardware)


def candidates(device: str, hardware: Hardware) -> tuple[Gpu, ...]:
    """Return the GPUs that DEVICE allows, best first; none: the CPU. Raise ConfigError if it is missing."""
    if device == "cpu" or (device == "auto" and not hardware.gpus):
        return ()
    allowed = [gpu for gpu in hardware.gpus if device in ("auto", "cuda", f"cuda:{gpu.index}")]
    if allowed:
        return tuple(
            sorted(allowed, key=lambda gpu: (-((gpu.free_bytes or 0) // MEMORY_STEP_BYTES), gpu.index))
        )
    have = ", ".join(f"cuda:{gpu.index} ({gpu.name})" for gpu in hardware.gpus) or "no GPU"
    why = f" ({hardware.why_no_gpu})" if hardware.why_no_gpu and not hardware.gpus else ""
    raise ConfigError(f"DEVICE={device}: found {have}{why}, wanted that device; DEVICE=cpu works everywhere")


def pick(gpu_ids: Sequence[str], replicas: Mapping[str, int]) -> str:
    """Return the id of the least used GPU, the first of several; `replicas` counts the processes on each.

    The script CLAIM of leases.py does the same inside Redis; a test compares the two.
    """
    return min(gpu_ids, key=lambda gpu_id: replicas.get(gpu_id, 0))


def choose_format(gpu: Gpu | None, dtype: str, threads: int, hardware: Hardware) -> DeviceChoice:
    """Choose number format and threads for a GPU, or for the CPU; raise ConfigError when DTYPE does not fit it."""
    n_threads = threads or hardware.cores
    if gpu is not None:
        chosen: Dtype = "float16" if dtype == "auto" else _dtype(dtype)
        if chosen == "int8":
            raise ConfigError("DTYPE=int8: for CPUs only, wanted float16, bfloat16 or float32 on a GPU")
        if chosen == "bfloat16" and not gpu.has_bf16:
            raise ConfigError(f"DTYPE=bfloat16: {gpu.name} does not compute it, wanted float16 or float32")
        return DeviceChoice(
            f"cuda:{gpu.index}", chosen, n_threads, f"GPU {gpu.name}, half precision by default"
        )
    if dtype == "float16":
        raise ConfigError("DTYPE=float16: a CPU computes it slowly or not at all, wanted bfloat16 or float32")
    if dtype != "auto":
        return DeviceChoice("cpu", _dtype(dtype), n_threads, "as DTYPE says", takes_int8=dtype == "int8")
    chosen, why = ("bfloat16", "multiplies") if hardware.has_bf16 else ("float32", "does not multiply")
    return DeviceChoice(
        "cpu", _dtype(chosen), n_threads, f"this CPU {why} bfloat16 natively", takes_int8=True
    )


def gpu_id(host: str, uuid: str | None, pci: Sequence[int], index: int) -> str:
    """Return a name without spaces for a GPU, the same in containers that number GPUs differently.

    The UUID is unique in the world; the PCI address (domain, bus, device) on its host; the index only among processes
    that see the same GPUs, and is the last resort.
    """
    if uuid:
        return f"GPU-{uuid.removeprefix('GPU-')}"
    if len(pci) == 3:
        return "{}/{:04x}:{:02x}:{:02x}".format(host, *pci)
    return f"{host}/{index}"


def why_no_gpu(facts: CudaFacts) -> str:
    """Return the first known cause that fits for seeing no GPU, and what to do about it."""
    if facts.torch_cuda is None:
        return "this torch is built for CPUs only: install the build that requirements/gpu.txt pins"
    container, visible = facts.nvidia_visible_devices, facts.cuda_visible_devices
    if facts.driver_cuda is None:
        return why_no_driver(container)
    # Within a major version any driver does (NVIDIA, CUDA Compatibility, 'Minor Version Compatibility')
    if facts.driver_cuda[0] < int(facts.torch_cuda.split(".")[0]):
        speaks = "{}.{}".format(*facts.driver_cuda)
        return f"the NVIDIA driver is too old: it speaks CUDA {speaks}, this torch needs {facts.torch_cuda}: update it"
    if visible is not None:
        return (
            f"CUDA_VISIBLE_DEVICES={visible[:_SHOWN]} hides every GPU: unset it, or name GPUs that are there"
        )
    if container == "none":
        return "NVIDIA_VISIBLE_DEVICES=none gives this container the driver and no GPU: wanted all, or their UUIDs"
    return facts.said or "no CUDA device is visible"


def why_no_driver(nvidia_visible_devices: str | None) -> str:
    """Say why there is no NVIDIA driver, and what to do about it."""
    if nvidia_visible_devices in ("", "void"):
        return (
            f"NVIDIA_VISIBLE_DEVICES={nvidia_visible_devices} keeps GPUs out of this container: "
            "start it with docker-compose.gpu.yml"
        )
    return (
        "there is no NVIDIA driver here: install it, and in a container also the NVIDIA Container Toolkit "
        "on the host, and start with docker-compose.gpu.yml"
    )


def _dtype(dtype: str) -> Dtype:
    names: dict[str, Dtype] = {name: name for name in get_args(Dtype)}
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
    return not BF16_FLAGS.isdisjoint(cpu_flags(cpuinfo))


def lacks(flag: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether this is an x86 CPU that cannot do what `flag` names, such as avx2; unknown counts as no."""
    flags = cpu_flags(cpuinfo)
    return "sse2" in flags and flag not in flags


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the names of what the CPU can do, as Linux gives them; none where nothing tells."""
    with contextlib.suppress(OSError), cpuinfo.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(value.split())
    return frozenset()


def host_id(boot_id: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Return a name of this host, without spaces, that its containers share: the kernel's boot id, else its name.

    /etc/machine-id is no such name: a container has none, or that of its image.
    """
    try:
        return boot_id.read_text(encoding="ascii").strip() or socket.gethostname()
    except (OSError, ValueError):
        return socket.gethostname()
