"""The adapter to open_clip as the service sees it: the port `Engine`. Import it late: torch takes seconds."""

from __future__ import annotations

from pathlib import Path

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.open_clip.gpus import gpu_busy, gpu_memory, probe_hardware
from services.classifier.model.open_clip.loading import load_model
from services.classifier.model.open_clip.model import OpenClipModel
from services.classifier.weights.names import ModelReference
from shared.errors import ConfigError, Transient

__all__ = ["gpu_busy", "gpu_memory", "load_chosen", "probe_hardware"]


def load_chosen(
    reference: ModelReference,
    choice: DeviceChoice,
    cache_dir: Path | None = None,
    temperature: float | None = None,
) -> OpenClipModel:
    """Load the model; raise ConfigError also when the GPU has no room for it."""
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
    return model
