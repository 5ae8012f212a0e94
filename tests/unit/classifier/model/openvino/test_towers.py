"""Towers that are built without torch give what open_clip's give, for weights of which each one counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from services.classifier.model.openvino.tensors import read_safetensors
from services.classifier.model.openvino.towers import Towers, build_towers
from shared.errors import ConfigError

MINI = Path(sys.prefix) / "share" / "clipwatch" / "models" / "mini"
# of the largest number in a vector; float32 alone, in another order, comes to 1e-6 for twelve layers
LARGEST_DIFFERENCE = 1e-5
# as it is used on every CPU: AMX and the like would take bfloat16
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}

Weights = dict[str, NDArray[Any]]


def _run(model: ov.Model, given: NDArray[Any]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = ov.Core().compile_model(model, "CPU", FLOAT32)(given)[0]
    return found


def _assert_same(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    assert float(np.min((found * wanted).sum(axis=1) / lengths)) >= 0.9999
    assert float(np.abs(found - wanted).max()) <= LARGEST_DIFFERENCE * float(np.abs(wanted).max())


def _assert_as_open_clip(towers: Towers, network: Any, ids: NDArray[np.int64]) -> None:
    """Compare both towers with open_clip's for three random pictures and the given token ids."""
    import torch

    size = towers.image_size
    pixels = np.random.default_rng(1).normal(size=(3, 3, size, size)).astype(np.float32)
    with torch.inference_mode():
        pictures = network.encode_image(torch.from_numpy(pixels)).numpy()
        texts = network.encode_text(torch.from_numpy(ids)).numpy()
    assert np.ptp(pictures, axis=0).max() > 0.01  # pictures differ
    assert np.ptp(texts, axis=0).max() > 0.01
    _assert_same(_run(towers.image, pixels), pictures)
    _assert_same(_run(towers.text, ids), texts)
    assert towers.temperature == pytest.approx(float(network.logit_scale.detach().exp()), rel=1e-6)


def _config(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    return found


@pytest.fixture(scope="module")
def mini() -> Weights:
    return read_safetensors(MINI / "open_clip_model.safetensors")


@pytest.mark.model
def test_mini_is_open_clips(mini: Weights) -> None:
    import open_clip

    network = open_clip.create_model(f"local-dir:{MINI}")
    network.eval()
    ids = np.random.default_rng(2).integers(1000, 30_000, (4, 64))
    for row, length in enumerate((64, 3, 9, 40)):
        ids[row, length:] = 0
    towers = build_towers(_config(MINI), mini, MINI, "mini")
    _assert_as_open_clip(towers, network, ids)
    # filling changes nothing: what asks for less of it is answered sooner
    _assert_same(_run(towers.text, ids[1:, :40]), _run(towers.text, ids[1:]))


def _refusal(config: Mapping[str, Any], weights: Weights, folder: Path | None = MINI) -> str:
    with pytest.raises(ConfigError) as caught:
        build_towers(config, weights, folder, "mini")
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("MODEL=mini: cannot be built without torch: ")
    assert "`clipwatch models convert mini`" in said
    return said


@pytest.mark.model
def test_each_tensor_of_mini_is_needed(mini: Weights) -> None:
    names = [name for name in mini if not name.endswith("num_batches_tracked")]
    for name in names:
        assert f"lack the tensor {name}," in _refusal(
            _config(MINI), {k: v for k, v in mini.items() if k != name}
        )


@pytest.mark.model
def test_a_tensor_without_a_place_is_named(mini: Weights) -> None:
    odd = mini | {"visual.trunk.blocks.6.1.conv_dw.weight": np.zeros((1, 1, 3, 3), np.float32)}
    assert "tensor visual.trunk.blocks.6.1.conv_dw.weight has no place" in _refusal(_config(MINI), odd)


@pytest.mark.model
@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("vision_cfg", {"timm_model_name": "resnet50"}, "timm_model_name=resnet50"),
        ("vision_cfg", {"timm_pool": "max"}, "timm_pool=max"),
        ("vision_cfg", {"timm_proj": "linear"}, "timm_proj=linear"),
        ("vision_cfg", {"image_size": [224, 256]}, "image_size=[224, 256]"),
        ("text_cfg", {"hf_pooler_type": "cls_pooler"}, "hf_pooler_type=cls_pooler"),
        ("text_cfg", {"hf_proj_type": "mlp"}, "hf_proj_type=mlp"),
    ],
)
def test_another_kind_of_mini_is_refused(
    part: str, change: dict[str, object], said: str, mini: Weights
) -> None:
    config = _config(MINI)
    assert said in _refusal(config | {part: config[part] | change}, mini)


@pytest.mark.model
def test_another_kind_of_bert_is_refused(mini: Weights, tmp_path: Path) -> None:
    assert "no config.json of its text tower" in _refusal(_config(MINI), mini, tmp_path)
    assert "no config.json of its text tower" in _refusal(_config(MINI), mini, None)
    config = json.loads((MINI / "config.json").read_text())
    for change in ({"hidden_act": "relu"}, {"model_type": "roberta"}, {"hidden_size": 768}):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        name, value = next(iter(change.items()))
        assert f"config.json: {name}={value}" in _refusal(_config(MINI), mini, tmp_path)
