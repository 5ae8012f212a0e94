"""Asks NVIDIA's driver for GPU memory and load without a CUDA context. Knows ctypes, no torch.

torch.cuda.mem_get_info makes a context on every GPU that it is asked about, some hundred MB each, which stay for the
life of the process. NVML, which comes with the driver, answers without; so does the driver's version.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

DRIVER = "libcuda.so.1"
# Any: the functions of a C library have no types; tests bring libraries of their own
_OK = 0
_Answer = TypeVar("_Answer", bound=ctypes.Structure)


class _Memory(ctypes.Structure):
    """nvmlMemory_t of nvml.h; bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Rates(ctypes.Structure):
    """nvmlUtilization_t of nvml.h; percent of the driver's last sample, a sixth of a second to a second long."""

    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


def open_library(name: str) -> Any:
    """Return a C library (libcuda.so.1, libnvidia-ml.so.1); None when it is not there."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def driver_cuda(libcuda: Any) -> tuple[int, int] | None:
    """Return the newest CUDA version that the driver speaks; None without a driver."""
    version = ctypes.c_int(0)
    if libcuda is None or libcuda.cuDriverGetVersion(ctypes.byref(version)) != _OK or version.value <= 0:
        return None
    return version.value // 1000, version.value % 1000 // 10  # 12040 is 12.4


def free_bytes(nvml: Any, gpu_ids: list[str]) -> list[int | None]:
    """Return the free memory of the GPUs with these ids (GPU-…, MIG-…); None where NVML does not say."""
    with _initialised(nvml) as library:
        found = [_ask(library, "nvmlDeviceGetMemoryInfo", gpu_id, _Memory()) for gpu_id in gpu_ids]
    return [None if memory is None else int(memory.free) for memory in found]


def busy_share(nvml: Any, gpu_id: str) -> float | None:
    """Return the share of time, 0 to 1, in which a GPU computed for whomever; None where NVML does not say."""
    with _initialised(nvml) as library:
        rates = _ask(library, "nvmlDeviceGetUtilizationRates", gpu_id, _Rates())
    return None if rates is None else float(rates.gpu) / 100


@contextmanager
def _initialised(nvml: Any) -> Iterator[Any]:
    """Give an initialised NVML; None where it cannot be initialised."""
    if nvml is None or nvml.nvmlInit_v2() != _OK:
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _ask(nvml: Any, question: str, gpu_id: str, answer: _Answer) -> _Answer | None:
    """Return the answer to a question about a GPU; None when there is none."""
    if nvml is None:
        return None
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByUUID(gpu_id.encode(), ctypes.byref(handle)) != _OK:
        return None
    if getattr(nvml, question)(handle, ctypes.byref(answer)) != _OK:
        return None
    return answer
