"""What this machine offers torch, and which faults are the device's."""

from __future__ import annotations

import pytest
import torch

from services.classifier.model.open_clip.gpus import gpu_busy, gpu_memory, probe_hardware, translated
from services.classifier.port import DeviceLost
from shared.errors import Transient


def test_the_hardware_of_this_machine_is_known_or_it_is_said_why_not() -> None:
    hardware = probe_hardware()
    assert hardware.cores >= 1
    assert bool(hardware.gpus) != bool(hardware.why_no_gpu)
    assert len({gpu.id for gpu in hardware.gpus}) == len(hardware.gpus)
    assert not any(" " in gpu.id for gpu in hardware.gpus)


def test_a_cpu_has_no_gpu_memory_and_no_gpu_that_works() -> None:
    assert gpu_memory("cpu") is None
    assert gpu_busy("") is None


@pytest.mark.parametrize(
    ("error", "becomes", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), Transient, "the device is out of memory"),
        (RuntimeError("CUDA error: out of memory"), Transient, "the device is out of memory"),
        (torch.AcceleratorError("an illegal memory access"), DeviceLost, "an illegal memory access"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), DeviceLost, "CUDA error: CUBLAS"),
        (RuntimeError("shapes do not fit"), RuntimeError, "shapes do not fit"),
    ],
)
def test_faults_of_the_device_are_told_from_those_of_an_item(
    error: RuntimeError, becomes: type[Exception], says: str
) -> None:
    with pytest.raises(becomes, match=f"^{says}") as caught, translated():
        raise error
    assert type(caught.value) is becomes
