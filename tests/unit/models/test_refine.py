"""models/refine.py without pictures: a bridge goes on from another's weights, and bridges are averaged."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture(scope="module")
def refine() -> Iterator[ModuleType]:
    """The script, which imports its neighbours by their bare names."""
    sys.path.insert(0, str(MODELS))
    yield importlib.import_module("refine")
    sys.path.remove(str(MODELS))


def bridge(refine: ModuleType, seed: int) -> Any:  # Any: of a script that is no package
    """Return a bridge of its own weights, standardised by its own features."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    mean, deviation = (torch.rand(1280, generator=generator) + offset for offset in (0.0, 0.5))
    return refine.Bridge(refine.SETTINGS, mean, deviation).eval()


def features() -> torch.Tensor:
    return torch.rand(16, 1280, generator=torch.Generator().manual_seed(9)) * 3


def test_a_bridge_goes_on_where_another_stopped_though_it_standardises_by_other_features(
    refine: ModuleType,
) -> None:
    known, other = bridge(refine, 1), bridge(refine, 2)
    with torch.inference_mode():
        before = (other(features()) * known(features())).sum(1)
        other.take(known.state())
        after = (other(features()) * known(features())).sum(1)
    assert before.max() < 0.9
    assert after.min() > 0.9999  # as well as half precision keeps it


def test_an_average_lies_between_and_one_of_equals_is_the_same(refine: ModuleType) -> None:
    one, other = bridge(refine, 1), bridge(refine, 1)
    with torch.no_grad():
        other.layers[1].bias += 0.2
    mean = refine.averaged([one, other])
    torch.testing.assert_close(mean.layers[1].bias, one.layers[1].bias + 0.1)
    torch.testing.assert_close(mean.layers[0].weight, one.layers[0].weight)
    with torch.inference_mode():
        torch.testing.assert_close(refine.averaged([one, one, one])(features()), one(features()))
