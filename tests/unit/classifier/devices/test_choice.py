"""The choice of device, number format and threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.classifier.devices.choice import (
    CudaFacts,
    Gpu,
    Hardware,
    candidates,
    choose,
    choose_format,
    cpu_has_bf16,
    gpu_id,
    host_id,
    lacks,
    pick,
    usable_cores,
    why_no_gpu,
)
from shared.errors import ConfigError

OLD_CPU = Hardware(cores=4, has_bf16=False, why_no_gpu="no CUDA device is visible")
NEW_CPU = Hardware(cores=8, has_bf16=True)
TWO_GPUS = Hardware(8, True, (Gpu(0, "small", False, "GPU-a"), Gpu(1, "large", True, "GPU-b")))
GIB = 2**30


@pytest.mark.parametrize(
    ("wanted", "hardware", "chosen"),
    [
        (("auto", "auto", 0), OLD_CPU, ("cpu", "float32", 4)),
        (("auto", "auto", 0), NEW_CPU, ("cpu", "bfloat16", 8)),
        (("cpu", "float32", 3), NEW_CPU, ("cpu", "float32", 3)),
        (("auto", "auto", 0), TWO_GPUS, ("cuda:0", "float16", 8)),
        (("cuda:1", "bfloat16", 0), TWO_GPUS, ("cuda:1", "bfloat16", 8)),
        (("cpu", "auto", 1), TWO_GPUS, ("cpu", "bfloat16", 1)),
    ],
)
def test_what_is_chosen(
    wanted: tuple[str, str, int], hardware: Hardware, chosen: tuple[str, str, int]
) -> None:
    found = choose(*wanted, hardware)
    assert (found.device, found.dtype, found.threads) == chosen
    assert found.why


@pytest.mark.parametrize(
    ("wanted", "hardware", "says"),
    [
        (("cuda", "auto", 0), OLD_CPU, "DEVICE=cuda: found no GPU (no CUDA device is visible)"),
        (("cuda:2", "auto", 0), TWO_GPUS, "DEVICE=cuda:2: found cuda:0 (small), cuda:1 (large)"),
        (("cuda:0", "bfloat16", 0), TWO_GPUS, "DTYPE=bfloat16: small does not compute it"),
        (("cuda:0", "int8", 0), TWO_GPUS, "DTYPE=int8: for CPUs only"),
        (("cpu", "float16", 0), NEW_CPU, "DTYPE=float16"),
    ],
)
def test_what_is_not_there_is_an_error(wanted: tuple[str, str, int], hardware: Hardware, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(*wanted, hardware)
    assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
    ("free_gib", "order"),
    [
        ((None, None, None), [0, 1, 2]),
        ((10, 40, 20), [1, 2, 0]),
        ((20.3, 20.9, 21.5), [0, 1, 2]),  # the same 2 GiB step: noise
        ((0.2, None, 3), [2, 0, 1]),
    ],
)
def test_candidates_with_more_free_memory_come_first(
    free_gib: tuple[float | None, ...], order: list[int]
) -> None:
    gpus = tuple(
        Gpu(index, "simulated", True, f"GPU-{index}", 48 * GIB, None if free is None else int(free * GIB))
        for index, free in enumerate(free_gib)
    )
    hardware = Hardware(8, True, gpus)
    assert [gpu.index for gpu in candidates("auto", hardware)] == order
    assert candidates("cuda", hardware) == candidates("auto", hardware)
    assert [gpu.index for gpu in candidates("cuda:2", hardware)] == [2]
    assert candidates("cpu", hardware) == ()
    assert choose("cuda", "auto", 0, hardware).device == f"cuda:{order[0]}"


def test_int8_is_taken_where_nothing_else_is_wanted() -> None:
    wanted = {dtype: choose("cpu", dtype, 0, NEW_CPU).takes_int8 for dtype in ("auto", "int8", "float32")}
    assert wanted == {"auto": True, "int8": True, "float32": False}


def test_a_gpu_that_was_claimed_is_the_device_whatever_comes_first() -> None:
    choice = choose_format(TWO_GPUS.gpus[1], "auto", 0, TWO_GPUS)
    assert (choice.device, choice.dtype) == ("cuda:1", "float16")


def test_the_least_used_gpu_is_picked_and_the_first_of_equals() -> None:
    assert pick(["a", "b", "c"], {}) == "a"
    assert pick(["a", "b", "c"], {"a": 1}) == "b"
    assert pick(["a", "b", "c"], {"a": 2, "b": 3, "c": 1, "not visible": 0}) == "c"


def test_a_gpus_id_is_the_same_for_all_who_see_it_and_for_no_other() -> None:
    uuid = "8f5a1f3e-0d5c-4a49-9d3a-0c1f5b1f6f2a"
    assert gpu_id("host", uuid, [0, 0x3B, 0], 0) == gpu_id("other", f"GPU-{uuid}", [], 3) == f"GPU-{uuid}"
    assert gpu_id("host", None, [0, 0x3B, 0], 0) == gpu_id("host", None, [0, 0x3B, 0], 5) == "host/0000:3b:00"
    assert gpu_id("host", None, [], 1) == "host/1"
    assert gpu_id("host", None, [], 1) != gpu_id("other", None, [], 1)


def test_a_host_is_named_by_its_boot_which_containers_share(tmp_path: Path) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("0b6f6a1c-6b6e-4a9a-8f44-9d0d4b1c7c11\n")
    assert host_id(boot_id) == "0b6f6a1c-6b6e-4a9a-8f44-9d0d4b1c7c11"
    boot_id.write_text("\n")
    assert host_id(boot_id) == host_id(tmp_path / "missing") != ""


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (CudaFacts(None, (13, 0)), "this torch is built for CPUs only: install"),
        (
            CudaFacts("13.0", None, nvidia_visible_devices="void"),
            "NVIDIA_VISIBLE_DEVICES=void keeps GPUs out",
        ),
        (CudaFacts("13.0", None, nvidia_visible_devices=""), "NVIDIA_VISIBLE_DEVICES= keeps GPUs out"),
        (CudaFacts("13.0", None), "there is no NVIDIA driver here: install it"),
        (
            CudaFacts("13.0", (12, 4)),
            "the NVIDIA driver is too old: it speaks CUDA 12.4, this torch needs 13.0: update it",
        ),
        (CudaFacts("13.2", (13, 0), "7"), "CUDA_VISIBLE_DEVICES=7 hides every GPU"),
        (CudaFacts("13.0", (13, 0), None, "none"), "NVIDIA_VISIBLE_DEVICES=none gives this container"),
        # CDI sets void in containers that have their GPUs all the same
        (CudaFacts("13.0", (13, 0), None, "void", "unknown error"), "unknown error"),
        (CudaFacts("13.0", (13, 0)), "no CUDA device is visible"),
    ],
)
def test_why_there_is_no_gpu_is_said_with_what_to_do(facts: CudaFacts, says: str) -> None:
    assert why_no_gpu(facts).startswith(says)


def test_a_containers_quota_bounds_the_cores(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000\n")
    assert usable_cores(quota) == 1
    quota.write_text("max 100000\n")
    assert usable_cores(quota) == usable_cores(tmp_path / "missing")


@pytest.mark.parametrize(
    ("line", "is_native"),
    [
        ("flags\t: fpu avx512_bf16 sse", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t: fpu avx2", False),
        ("", False),
    ],
)
def test_native_bfloat16_is_read_from_the_cpus_flags(tmp_path: Path, line: str, is_native: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n")
    assert cpu_has_bf16(cpuinfo) is is_native
    assert cpu_has_bf16(tmp_path / "missing") is False


@pytest.mark.parametrize(
    ("line", "is_old"),
    [
        ("flags\t: sse2 sse4_2 avx", True),
        ("flags\t: sse2 avx avx2", False),
        ("Features\t: asimd", False),
        ("", False),
    ],
)
def test_an_x86_cpu_without_avx2_is_known(tmp_path: Path, line: str, is_old: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\n{line}\n")
    assert lacks("avx2", cpuinfo) is is_old
