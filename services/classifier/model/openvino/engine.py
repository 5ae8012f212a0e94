"""The adapter to OpenVINO as the service sees it: the port `Engine`, on CPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.classifier.devices.choice import DeviceChoice, Hardware, cpu_has_bf16, lacks, usable_cores
from services.classifier.model.openvino.loading import load_model
from services.classifier.model.openvino.model import OpenVinoModel
from services.classifier.weights.names import ModelReference
from shared.errors import ConfigError, Transient
from shared.logs import get_logger

log = get_logger(__name__)


class OpenVinoEngine:
    """Loads models on the CPU. `why_no_gpu` says for the log why none is used."""

    def __init__(self, why_no_gpu: str = "", lacks: Callable[[str], bool] = lacks) -> None:
        self._why_no_gpu = why_no_gpu
        self._lacks = lacks

    def probe_hardware(self) -> Hardware:
        """Return what this machine offers: its cores."""
        return Hardware(usable_cores(), cpu_has_bf16(), why_no_gpu=self._why_no_gpu)

    def load_chosen(
        self,
        reference: ModelReference,
        choice: DeviceChoice,
        cache_dir: Path | None = None,
        temperature: float | None = None,
    ) -> OpenVinoModel:
        """Load a model; raise ConfigError also when there is no room for it."""
        if self._lacks(
            "avx2"
        ):  # by ONEDNN_MAX_CPU_ISA, ms CPU a picture of mini: AVX 31, SSE4.1 46, AVX2 20 and 17
            log.warning("this CPU has no AVX2: a picture takes half as long again, or more")
        try:
            return load_model(reference, choice, cache_dir, temperature)
        except Transient as exc:
            raise ConfigError(
                f"MODEL={reference.name}: {exc}: free some, start fewer replicas, or choose a smaller model"
            ) from exc

    def gpu_memory(self, device: str) -> tuple[int, int] | None:  # noqa: ARG002  # as the port has it
        """Return None: there is no GPU."""
        return None

    def gpu_busy(self, gpu_id: str) -> float | None:  # noqa: ARG002  # as the port has it
        """Return None: there is no GPU."""
        return None
