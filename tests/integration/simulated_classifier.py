"""The classifier with GPUs that are not there: everything of the service but the model, which sees colours.

Variables of the environment: SIMULATED_GPUS, the ids of the GPUs that this process sees, in its numbering;
SIMULATED_LOSS=1, the GPU answers no more once a picture is not black; SIMULATED_PICTURE_MS, how long it takes for one.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.classifier.app import SERVICE, check, serve
from services.classifier.devices.choice import DeviceChoice, Gpu, Hardware
from services.classifier.model.engine import Engine
from services.classifier.port import DeviceLost
from services.classifier.settings import ClassifierSettings
from services.classifier.weights.names import ModelReference
from shared.runtime import run
from tests.unit.classifier.makers import ColourModel

GIB = 2**30


class LosingModel(ColourModel):
    """Loses its device at the first picture that is not blank."""

    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        if pictures.any():
            raise DeviceLost("CUDA error: unspecified launch failure")
        return super().embed_pictures(pictures)


class WaitingModel(ColourModel):
    """Takes its time, in which the process has nothing to do."""

    def __init__(self, picture_ms: float) -> None:
        super().__init__()
        self._picture_s = picture_ms / 1000

    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(self._picture_s * len(pictures))
        return super().embed_pictures(pictures)


class SimulatedEngine:
    """Loads the colour model on any device."""

    def __init__(self, gpu_ids: list[str]) -> None:
        self._gpus = tuple(
            Gpu(index, "Simulated 1", has_bf16=True, id=gpu_id, total_bytes=16 * GIB, free_bytes=12 * GIB)
            for index, gpu_id in enumerate(gpu_ids)
        )

    def probe_hardware(self) -> Hardware:
        return Hardware(2, False, self._gpus, "" if self._gpus else "none is simulated")

    def load_chosen(
        self,
        reference: ModelReference,
        choice: DeviceChoice,
        cache_dir: Path | None = None,
        temperature: float | None = None,
    ) -> ColourModel:
        picture_ms = float(os.environ.get("SIMULATED_PICTURE_MS", "0"))
        model = LosingModel() if os.environ.get("SIMULATED_LOSS") else WaitingModel(picture_ms)
        model.facts = replace(model.facts, device=choice.device, dtype=choice.dtype)
        return model

    def gpu_memory(self, device: str) -> tuple[int, int] | None:
        return None if device == "cpu" else (11 * GIB, 16 * GIB)

    def gpu_busy(self, gpu_id: str) -> float | None:
        return 0.25 if gpu_id else None


def engine(_device: str) -> Engine:
    return SimulatedEngine(os.environ.get("SIMULATED_GPUS", "").split())


if __name__ == "__main__":
    run(SERVICE, ClassifierSettings, partial(serve, engine=engine), check)
