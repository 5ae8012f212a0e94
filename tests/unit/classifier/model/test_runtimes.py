"""Which runtime a process uses, and what it says where torch is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from services.classifier.model.runtimes import GpuFacts, why_openvino
from shared.errors import ConfigError


@pytest.mark.parametrize(
    ("device", "facts", "says"),
    [
        ("cpu", GpuFacts(has_driver=True, has_torch=True), "DEVICE=cpu"),
        ("auto", GpuFacts(has_driver=False, has_torch=True), "there is no NVIDIA driver here"),
        ("auto", GpuFacts(False, True, "void"), "NVIDIA_VISIBLE_DEVICES=void keeps GPUs out"),
        (
            "auto",
            GpuFacts(has_driver=True, has_torch=False),
            "torch, which GPUs need, is not installed here: ",
        ),
    ],
)
def test_a_cpu_is_used_and_the_log_says_why(device: str, facts: GpuFacts, says: str) -> None:
    assert why_openvino(device, facts).startswith(says)


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:1"])
def test_torch_looks_for_a_gpu_where_there_may_be_one(device: str) -> None:
    assert why_openvino(device, GpuFacts(has_driver=True, has_torch=True)) == ""


@pytest.mark.parametrize("has_driver", [True, False])
def test_a_gpu_without_torch_is_one_line_with_the_command(has_driver: bool) -> None:
    with pytest.raises(ConfigError, match=r"DEVICE=cuda:0: torch.*make install GPU=1|docker-compose.gpu.yml"):
        why_openvino("cuda:0", GpuFacts(has_driver, has_torch=False))


def test_a_cpu_is_served_without_torch() -> None:
    code = (
        "import sys; from services.classifier.model.runtimes import engine_for; engine_for('cpu').probe_hardware();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'open_clip', 'transformers', 'huggingface_hub')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
