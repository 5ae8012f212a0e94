"""What NVIDIA's driver tells without a CUDA context. Knows ctypes, and nothing of torch.

torch.cuda.mem_get_info makes a context on every GPU that it is asked about, some hundred MB each, which stay for the
life of the process. NVML, which comes with the driver, answers without; so does the driver's version.
"""

from __future__ import annotations

import ctypes
from typing import Any

# Any: the functions of a C library have no types; tests bring libraries of their own
_OK = 0


class _Memory(ctypes.Structure):
    """nvmlMemory_t of nvml.h; bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


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
    """Return the free memory of the GPUs with these ids (GPU-…, MIG-…); None where NVML does not tell."""
    if nvml is None or nvml.nvmlInit_v2() != _OK:
        return [None] * len(gpu_ids)
    try:
        return [_free(nvml, gpu_id) for gpu_id in gpu_ids]
    finally:
        nvml.nvmlShutdown()


def _free(nvml: Any, gpu_id: str) -> int | None:
    handle, memory = ctypes.c_void_p(), _Memory()
    if nvml.nvmlDeviceGetHandleByUUID(gpu_id.encode(), ctypes.byref(handle)) != _OK:
        return None
    if nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != _OK:
        return None
    return int(memory.free)
