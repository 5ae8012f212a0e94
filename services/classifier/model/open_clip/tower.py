"""Prepares a network for inference: number format and memory order."""

from __future__ import annotations

from typing import Any

import torch

from services.classifier.devices.choice import Dtype
from services.classifier.model.open_clip.model import DTYPES


def prepare_network(network: Any, dtype: Dtype) -> None:  # Any: open_clip has no types
    """Prepare a network for inference: no dropout, no gradients, number format and memory order of its image tower."""
    network.eval()
    network.requires_grad_(False)
    # The image tower alone goes to low precision: texts are embedded once, and their error would be in every picture's.
    network.visual.to(dtype=DTYPES[dtype])
    if any(isinstance(module, torch.nn.Conv2d) for module in network.visual.modules()):
        network.visual.to(memory_format=torch.channels_last)
