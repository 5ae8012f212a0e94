"""The adapter to open_clip as the service sees it: the port `Engine`. Import it late: torch takes seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from services.classifier.devices.choice import DeviceChoice, choose
from services.classifier.model.model_settings import calibrated_temperature
from services.classifier.model.open_clip.gpus import gpu_busy, gpu_memory, probe_hardware
from services.classifier.model.open_clip.loading import load_model
from services.classifier.model.open_clip.model import OpenClipModel
from services.classifier.model.speed_trial import speed_trials
from services.classifier.weights.names import ModelReference
from shared.errors import ConfigError, Transient
from shared.logs import get_logger

__all__ = ["gpu_busy", "gpu_memory", "load", "load_chosen", "probe_hardware"]
log = get_logger(__name__)


def load(
    reference: ModelReference,
    wanted: tuple[str, str, int],
    cache_dir: Path | None = None,
    temperature: float | None = None,
) -> OpenClipModel:
    """Choose device, number format and threads (`wanted`: DEVICE, DTYPE, THREADS), load, and log the choice."""
    hardware = probe_hardware()
    choice = choose(*wanted, hardware)
    choice = replace(choice, trials=speed_trials(choice, *wanted[1:], hardware))
    return load_chosen(reference, choice, cache_dir, temperature)


def load_chosen(
    reference: ModelReference,
    choice: DeviceChoice,
    cache_dir: Path | None = None,
    temperature: float | None = None,
) -> OpenClipModel:
    """Load the model and log the choice; raise ConfigError also when the GPU has no room for it."""
    if temperature is None and cache_dir is not None:
        temperature = calibrated_temperature(cache_dir, reference.name)
    try:
        model = load_model(reference, choice, cache_dir, temperature)
    except (RuntimeError, Transient) as exc:  # while there is no context it is no OutOfMemoryError
        if "out of memory" not in str(exc):
            raise
        raise ConfigError(
            f"MODEL={reference.name}: {choice.device} has no memory left for it; stop what else uses that GPU, start "
            "fewer replicas, or choose another GPU with DEVICE=cuda:N"
        ) from exc
    if choice.is_compiled:
        model.compile_tower()
    log.info(
        "model is loaded",
        model=model.facts.name,
        device=choice.device,
        dtype=model.facts.dtype,
        threads=model.facts.threads,
        why=model.facts.why,
        is_compiled=choice.is_compiled,
        image_size=model.facts.image_size,
        temperature=round(model.facts.temperature, 2),
    )
    return model
