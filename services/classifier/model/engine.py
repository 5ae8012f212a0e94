"""The port `Engine` to a runtime, and the choice of device for it: which GPU, which number format, how many threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from services.classifier.devices.choice import DeviceChoice, Gpu, Hardware, candidates, choose_format
from services.classifier.model.model_settings import calibrated_temperature
from services.classifier.port import Model
from services.classifier.settings import ClassifierSettings
from services.classifier.weights.names import ModelReference
from shared.logs import get_logger

log = get_logger(__name__)


class Engine(Protocol):
    """Loads models and knows the GPUs: one implementation a runtime: openvino/engine.py, open_clip/engine.py."""

    def probe_hardware(self) -> Hardware:
        """Return what this machine offers; must not occupy memory on any GPU."""
        ...

    def load_chosen(
        self,
        reference: ModelReference,
        choice: DeviceChoice,
        cache_dir: Path | None = None,
        temperature: float | None = None,
    ) -> Model:
        """Load a model on the chosen device; called, as the model is used, in one thread."""
        ...

    def gpu_memory(self, device: str) -> tuple[int, int] | None:
        """Return the bytes that are free on a GPU in use, and that it has; None on a CPU. Any thread may ask."""
        ...

    def gpu_busy(self, gpu_id: str) -> float | None:
        """Return the share of time in which a GPU computed; None without an id, or when it is not told."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedEngine:
    """What is ready before Redis is asked for a lease: the model on a CPU, else the GPUs to choose from."""

    engine: Engine
    hardware: Hardware
    gpus: tuple[Gpu, ...]
    model: Model | None = None


def prepare(
    make_engine: Callable[[str], Engine], reference: ModelReference, settings: ClassifierSettings
) -> PreparedEngine:
    """Make the engine for DEVICE and look for GPUs; without one, load the model on the CPU already."""
    engine = make_engine(settings.device)
    hardware = engine.probe_hardware()
    gpus = candidates(settings.device, hardware)
    if not gpus and settings.device == "auto":
        log.info("no GPU, using the CPU", why=hardware.why_no_gpu)
    prepared = PreparedEngine(engine, hardware, gpus)
    return prepared if gpus else replace(prepared, model=load(reference, settings, prepared, None))


def load(
    reference: ModelReference, settings: ClassifierSettings, prepared: PreparedEngine, gpu: Gpu | None
) -> Model:
    """Return the model, loaded on `gpu`, or on the CPU when that is None."""
    if prepared.model is not None:
        return prepared.model
    choice = choose_format(gpu, settings.dtype, settings.threads, prepared.hardware)
    choice = replace(choice, is_compiled=settings.compile == "on")
    temperature = settings.temperature or calibrated_temperature(settings.models_dir, reference.name)
    model = prepared.engine.load_chosen(reference, choice, settings.models_dir, temperature)
    facts = model.facts
    log.info(
        "model is loaded",
        model=facts.name,
        device=facts.device,
        dtype=facts.dtype,
        threads=facts.threads,
        why=facts.why,
        is_compiled=choice.is_compiled,
        image_size=facts.image_size,
        temperature=round(facts.temperature, 2),
    )
    return model
