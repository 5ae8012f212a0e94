"""NVIDIA's driver is asked as its headers say; the libraries here are made of the same C types."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from services.classifier.devices.nvidia import busy_share, driver_cuda, free_bytes, open_library

NOT_FOUND = 6  # NVML_ERROR_NOT_FOUND of nvml.h
GIB = 2**30


class Libcuda:
    def __init__(self, version: int, code: int = 0) -> None:
        self.version, self.code = version, code

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802 - the library's name; Any: a C pointer
        version._obj.value = self.version
        return self.code


class Nvml:
    """GPUs by id with their free bytes; counts how often it is open."""

    def __init__(self, free: dict[bytes, int], init_code: int = 0) -> None:
        self.free, self.init_code = free, init_code
        self.n_open = 0

    def nvmlInit_v2(self) -> int:  # noqa: N802
        self.n_open += self.init_code == 0
        return self.init_code

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.n_open -= 1
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:  # noqa: N802
        if uuid not in self.free:
            return NOT_FOUND
        handle._obj.value = 1 + list(self.free).index(uuid)
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p, memory: Any) -> int:  # noqa: N802
        free = list(self.free.values())[(handle.value or 0) - 1]
        if free < 0:
            return NOT_FOUND
        # unsigned long long total, free, used: written as C would, not by the names of our structure
        raw = (ctypes.c_ulonglong * 3).from_buffer(memory._obj)
        raw[:] = [48 * GIB, free, 48 * GIB - free]
        return 0

    def nvmlDeviceGetUtilizationRates(self, handle: ctypes.c_void_p, rates: Any) -> int:  # noqa: N802
        if list(self.free.values())[(handle.value or 0) - 1] < 0:
            return NOT_FOUND
        raw = (ctypes.c_uint * 2).from_buffer(rates._obj)  # unsigned int gpu, memory
        raw[:] = [10 * (handle.value or 0), 99]
        return 0


@pytest.mark.parametrize(
    ("libcuda", "version"),
    [
        (None, None),
        (Libcuda(13000), (13, 0)),
        (Libcuda(12040), (12, 4)),
        (Libcuda(0), None),
        (Libcuda(13000, code=100), None),
    ],
)
def test_the_drivers_cuda_version(libcuda: Libcuda | None, version: tuple[int, int] | None) -> None:
    assert driver_cuda(libcuda) == version


def test_free_memory_is_told_by_id_and_unknown_where_it_is_not_told() -> None:
    nvml = Nvml({b"GPU-a": 3 * GIB, b"GPU-b": 0, b"GPU-broken": -1})
    found = free_bytes(nvml, ["GPU-b", "GPU-a", "GPU-broken", "host/0000:3b:00"])
    assert found == [0, 3 * GIB, None, None]
    assert nvml.n_open == 0


def test_how_busy_a_gpu_is_is_told_by_id() -> None:
    nvml = Nvml({b"GPU-a": 1, b"GPU-b": 1, b"GPU-broken": -1})
    found = [busy_share(nvml, gpu_id) for gpu_id in ("GPU-b", "GPU-a", "GPU-broken", "GPU-gone")]
    assert found == [0.2, 0.1, None, None]
    assert nvml.n_open == 0


def test_without_nvml_nothing_is_known() -> None:
    nvml = Nvml({b"GPU-a": 1}, init_code=9)
    assert busy_share(None, "GPU-a") is busy_share(nvml, "GPU-a") is None
    assert free_bytes(None, ["GPU-a"]) == free_bytes(nvml, ["GPU-a"]) == [None]
    assert nvml.n_open == 0


def test_a_library_that_is_not_there_is_none() -> None:
    assert open_library("libclipwatch-is-not-there.so.1") is None
