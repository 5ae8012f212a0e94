"""mini as the service runs it on a CPU, in the place of training's towers: what is measured is what ships."""

import functools
import hashlib
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tower import BATCH, Array, Towers

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.openvino.engine import OpenVinoEngine
from services.classifier.port import Model
from services.classifier.weights.names import resolve_model


class ServiceTowers(Towers):
    """Gives the service's embeddings as features; the head passes them on."""

    def __init__(self, cache: Path, folder: Path) -> None:
        """Load an assembled folder; it has to stay, since each process loads the service's model from it."""
        super().__init__(cache, folder)
        self.model.visual.head = nn.Identity()
        self._folder = folder.resolve()

    def digest(self) -> str:
        """Name the weights of both towers and the bridge."""
        data = (self._folder / "open_clip_model.safetensors").read_bytes()
        return f"{hashlib.sha256(data).hexdigest()[:12]}-openvino"

    def features(self, pictures: Array) -> torch.Tensor:
        """Give float32[N,384] of length 1 for uint8[N,224,224,3] RGB."""
        model = loaded(self._folder, os.getpid())
        parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
        return torch.from_numpy(
            np.concatenate([model.embed_pictures(p.transpose(0, 3, 1, 2)) for p in parts])
        )

    def texts(self, texts: list[str]) -> torch.Tensor:
        """Give float32[N,384] of length 1."""
        return torch.from_numpy(loaded(self._folder, os.getpid()).embed_texts(texts))


@functools.cache
def loaded(folder: Path, _process: int) -> Model:
    """Load the service's model, anew in a forked process."""
    choice = DeviceChoice("cpu", "float32", torch.get_num_threads(), "")
    return OpenVinoEngine().load_chosen(resolve_model(str(folder), folder.parent), choice)
