"""The choice of device, number format and threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.classifier.devices import Gpu, Hardware, choose, cpu_has_bf16, usable_cores
from shared.errors import ConfigError

OLD_CPU = Hardware(cores=4, has_bf16=False, why_no_gpu="no CUDA device is visible")
NEW_CPU = Hardware(cores=8, has_bf16=True)
TWO_GPUS = Hardware(8, True, (Gpu(0, "small", has_bf16=False), Gpu(1, "large", has_bf16=True)))


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
        (("cpu", "float16", 0), NEW_CPU, "DTYPE=float16"),
    ],
)
def test_what_is_not_there_is_an_error(wanted: tuple[str, str, int], hardware: Hardware, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(*wanted, hardware)
    assert str(caught.value).startswith(says)


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
