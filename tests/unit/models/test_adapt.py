"""models/adapt.py on the offline model's own image tower: no package of pictures, no network."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from services.local.config import models_dir

MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture(scope="module")
def adapt() -> Iterator[ModuleType]:
    """The script, which imports its neighbours by their bare names."""
    sys.path.insert(0, str(MODELS))
    yield importlib.import_module("adapt")
    sys.path.remove(str(MODELS))


@pytest.fixture
def trunk() -> Any:  # Any: timm has no types
    folder = models_dir() / "mini"
    assert folder.is_dir(), f"{folder} is not there: make install"
    torch.set_num_threads(1)
    return open_clip.create_model(f"local-dir:{folder}").visual.trunk.eval()


def pictures(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 255, (n, 224, 224, 3), dtype=np.uint8)


def test_the_kept_stages_and_the_later_ones_are_the_whole_tower(adapt: ModuleType, trunk: Any) -> None:
    seen = pictures(2)
    batch = torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        apart = adapt.Later(trunk)(adapt.earlier(trunk, seen))
        torch.testing.assert_close(apart, trunk(batch), rtol=1e-3, atol=1e-4)


class OneLesson:
    """The same lesson again and again: what the tower gave, a little changed."""

    def __init__(self, kept: torch.Tensor, taught: torch.Tensor) -> None:
        self.kept, self.taught = kept, taught

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.kept, self.taught

    def loss(self, found: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        return (found - taught).square().mean()


def test_it_learns_and_writes_what_changed_alone(adapt: ModuleType, trunk: Any) -> None:
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    with torch.no_grad():
        kept = adapt.earlier(trunk, pictures(2))
        taught = adapt.Later(trunk)(kept) * 1.2
        lesson = OneLesson(kept, taught)
        first = float(lesson.loss(adapt.Later(trunk)(kept), taught))
    adapt.adapt(trunk, lesson, minutes=0.05, rate=3e-4)
    with torch.no_grad():
        assert float(lesson.loss(adapt.Later(trunk)(kept), taught)) < 0.8 * first
    changed = adapt.changed(trunk)
    moved = {name for name, old in before.items() if not torch.equal(old, trunk.state_dict()[name])}
    assert moved
    assert moved <= set(changed)  # BatchNorm's statistics, and all before the fourth stage, stay
    assert {tensor.dtype for tensor in changed.values()} == {torch.float16}


def test_the_last_version_is_sharp_for_half_of_the_pictures(adapt: ModuleType) -> None:
    rng = np.random.default_rng(0)
    sharp = [adapt.camera(adapt.N_CAMERAS - 1, rng) is None for _ in range(400)]
    assert sum(sharp) == pytest.approx(200, abs=40)
    assert all(adapt.camera(0, rng) is not None for _ in range(50))
