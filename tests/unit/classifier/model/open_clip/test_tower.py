"""Batch norms folded into convolutions, and left where that would change the answer."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.open_clip.loading import load_model
from services.classifier.model.open_clip.model import OpenClipModel
from services.classifier.model.open_clip.tower import fold_norms
from services.classifier.weights.names import resolve_model
from tests.unit.classifier.makers import make_tiny_model

FLOAT32 = DeviceChoice("cpu", "float32", 2, "test")


def loaded(folder: Path, choice: DeviceChoice = FLOAT32) -> OpenClipModel:
    return load_model(resolve_model(str(folder), folder.parent), choice)


def test_batch_norms_are_folded_and_the_embeddings_stay(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "conv", "conv")
    ours = loaded(folder)
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in theirs.visual.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in ours.network.visual.modules())
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, found = theirs.encode_image(batch), ours.network.encode_image(batch)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


class _Twice(torch.nn.Module):
    """Uses a convolution's output before its norm as well: nothing may be folded into it."""

    image_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.norm.running_mean = torch.tensor([1.0, -2.0, 3.0, -4.0])

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        seen: torch.Tensor = self.conv(pictures)
        answer: torch.Tensor = (seen.relu() + self.norm(seen)).flatten(1)
        return answer


def test_a_norm_whose_folding_would_change_the_answer_stays() -> None:
    tower = _Twice().eval()
    weight = tower.conv.weight
    assert fold_norms(tower) == 0
    assert isinstance(tower.norm, torch.nn.BatchNorm2d)
    assert tower.conv.weight is weight
