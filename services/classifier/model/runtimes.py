"""Which runtime a process uses: OpenVINO on a CPU, torch on a GPU. Each is imported only where it is used."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass

from services.classifier.devices import nvidia
from services.classifier.devices.choice import why_no_driver
from services.classifier.missing_packages import how_to_install
from services.classifier.model.engine import Engine, PreparedEngine, load
from services.classifier.port import Model
from services.classifier.settings import ClassifierSettings
from services.classifier.weights.names import ModelReference
from shared.errors import ConfigError


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """What can be known of GPUs without importing torch."""

    has_driver: bool  # NVIDIA's
    has_torch: bool
    nvidia_visible_devices: str | None = (
        None  # what the NVIDIA Container Toolkit was asked for; None: it was not
    )


def why_openvino(device: str, facts: GpuFacts) -> str:
    """Return why DEVICE means a CPU here, '' where torch has to look for a GPU; raise ConfigError where it is missing.

    DEVICE=cuda does not need NVIDIA's driver: a torch for AMD's GPUs brings its own.
    """
    if device == "cpu":
        return "DEVICE=cpu"
    if device == "auto" and not facts.has_driver:
        return why_no_driver(facts.nvidia_visible_devices)
    if facts.has_torch:
        return ""
    missing = f"torch, which GPUs need, is not installed here: {how_to_install('gpu')}"
    if device == "auto":
        return missing
    raise ConfigError(f"DEVICE={device}: {missing}; DEVICE=cpu works everywhere")


def gpu_facts() -> GpuFacts:
    """Look for NVIDIA's driver and for torch; imports neither."""
    return GpuFacts(
        nvidia.driver_cuda(nvidia.open_library(nvidia.DRIVER)) is not None,
        importlib.util.find_spec("torch") is not None,
        os.environ.get("NVIDIA_VISIBLE_DEVICES"),
    )


def engine_for(device: str) -> Engine:
    """Return the engine for DEVICE; raise ConfigError where it wants a GPU and torch is not installed."""
    if why := why_openvino(device, gpu_facts()):
        return _openvino(why)
    engine = _open_clip()
    if device == "auto" and not (hardware := engine.probe_hardware()).gpus:
        return _openvino(hardware.why_no_gpu)
    return engine


def load_on_cpu(reference: ModelReference, settings: ClassifierSettings) -> Model:
    """Load a model for a command that needs no GPU."""
    engine = _openvino("DEVICE=cpu")
    return load(reference, settings, PreparedEngine(engine, engine.probe_hardware(), ()), None)


def _openvino(why_no_gpu: str) -> Engine:
    try:
        from services.classifier.model.openvino.engine import OpenVinoEngine  # late: half a second
    except ImportError as exc:
        raise ConfigError(
            f"OpenVINO, which CPUs need, cannot be imported: {exc}: install clipwatch again"
        ) from exc
    return OpenVinoEngine(why_no_gpu)


def _open_clip() -> Engine:
    from services.classifier.model.open_clip import engine  # late: torch takes seconds

    return engine
