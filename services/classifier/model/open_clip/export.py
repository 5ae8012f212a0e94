"""Gives an open_clip network's two towers as modules of torch, for what converts them. In float32 on the CPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.open_clip.loading import create_network
from services.classifier.weights.names import ModelReference


@dataclass(frozen=True, slots=True)
class TorchTower:
    """A tower, an input that it can be traced with, and what it gives: float32[N,D] for an array."""

    module: Any  # Any: open_clip has no types
    example: torch.Tensor
    run: Callable[[NDArray[Any]], NDArray[np.float32]]  # Any: pixels or token ids


@dataclass(frozen=True, slots=True)
class TorchTowers:
    """Both towers, and what multiplies cosines before the softmax."""

    image: TorchTower
    text: TorchTower
    image_size: int
    temperature: float


class _Encoder(torch.nn.Module):
    """One of a network's two methods as a module."""

    def __init__(self, network: Any, method: str) -> None:  # Any: open_clip has no types
        super().__init__()
        self._network = network
        self._method = method

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = getattr(self._network, self._method)(inputs)
        return found


def torch_towers(reference: ModelReference, models_dir: Path | None) -> TorchTowers:
    """Load a model by open_clip; raise ConfigError, one line, where that fails."""
    choice = DeviceChoice("cpu", "float32", torch.get_num_threads(), "")
    network, tokenizer = create_network(reference, choice, models_dir)
    network.to(torch.float32)
    size = network.visual.preprocess_cfg["size"]
    side = int(size[0] if isinstance(size, tuple | list) else size)
    return TorchTowers(
        _tower(_Encoder(network, "encode_image"), torch.zeros(2, 3, side, side)),
        _tower(_Encoder(network, "encode_text"), tokenizer(["a dog", "a red car"])),
        side,
        float(network.logit_scale.detach().exp()),
    )


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Let torch run its plain operations for the block: its attention's fast path is another graph at each call."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _tower(module: _Encoder, example: torch.Tensor) -> TorchTower:
    @torch.inference_mode()
    def run(inputs: NDArray[Any]) -> NDArray[np.float32]:  # Any: pixels or token ids
        found: NDArray[np.float32] = module(torch.from_numpy(inputs)).numpy()
        return found

    return TorchTower(module.eval(), example, run)
