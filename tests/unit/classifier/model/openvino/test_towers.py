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

from services.classifier.model.openvino import layers
from services.classifier.model.openvino.tensors import Tensors, read_safetensors
from services.classifier.model.openvino.towers import Towers, build_towers
from services.classifier.model.openvino.transformer import TIMM, Shape
from services.classifier.model.openvino.vit import build_siglip, siglip_shape
from services.classifier.weights.names import architecture_config, architectures
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
    for name in names[::3]:  # of every layer; all of them take 9 s
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


VIT = {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 12, "vocab_size": 100, "width": 32, "heads": 2, "layers": 2}
# like CLIP, like CLIPA, like SigLIP's text tower, and what else a plain configuration may say
PLAIN: dict[str, dict[str, Any]] = {
    "clip": {"vision_cfg": VIT, "text_cfg": TEXT},
    "quick gelu": {"vision_cfg": VIT, "text_cfg": TEXT, "quick_gelu": True},
    "custom text": {"vision_cfg": VIT, "text_cfg": TEXT, "custom_text": True},
    "average": {
        "vision_cfg": VIT | {"pool_type": "avg", "no_ln_pre": True, "mlp_ratio": 3.0},
        "text_cfg": TEXT | {"pool_type": "first", "mlp_ratio": 2.0},
    },
    "clipa": {
        "vision_cfg": VIT | {"pool_type": "avg", "final_ln_after_pool": True, "no_ln_pre": True},
        "text_cfg": TEXT | {"pool_type": "last", "no_causal_mask": True},
    },
    "siglip's text": {
        "custom_text": True,
        "init_logit_bias": -10,
        "vision_cfg": VIT | {"norm_kwargs": {"eps": 1e-2}, "act_kwargs": {"approximate": "tanh"}},
        "text_cfg": TEXT
        | {
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-2},
            "act_kwargs": {"approximate": "tanh"},
        },
    },
    "scaled, end of text": {
        "vision_cfg": VIT | {"ls_init_value": 0.1},
        "text_cfg": TEXT | {"ls_init_value": 0.1, "pool_type": "eos", "eos_id": 99},
    },
    "no projection": {"vision_cfg": VIT, "text_cfg": TEXT | {"width": 48, "proj_type": "none"}},
}


def _random_network(config: Mapping[str, Any]) -> Any:  # Any: open_clip has no types
    """Return open_clip's model of a configuration, every parameter random: none of them is 0 or 1 by its kind."""
    from open_clip.model import CLIP, CustomTextCLIP

    options = dict(config)
    network = (CustomTextCLIP if options.pop("custom_text", False) else CLIP)(**options)
    _randomise(network)
    return network


def _randomise(network: Any) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name == "logit_scale":
                parameter.fill_(3.25)
            elif parameter.ndim < 2 and name.endswith(("weight", "gamma")):
                parameter.uniform_(0.5, 1.5, generator=generator)
            else:
                n_in = parameter[0].numel() if parameter.ndim > 1 else 4
                parameter.normal_(0, n_in**-0.5, generator=generator)
    network.eval()


def _weights(network: Any) -> Weights:
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def _ids(length: int, n_words: int) -> NDArray[np.int64]:
    """Return token ids as CLIP's tokenizer makes them: the highest ends a text, zeros fill it up."""
    ids = np.random.default_rng(3).integers(1, n_words - 1, (5, length))
    for row, at in zip(ids, (length - 1, 3, 1, length // 2, 5), strict=True):
        row[at] = n_words - 1
        row[at + 1 :] = 0
    ids[4, 2] = n_words - 1  # a text that names the end of texts: the first one counts
    return ids


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_model_is_open_clips(name: str) -> None:
    config = {"embed_dim": 48} | PLAIN[name]
    network = _random_network(config)
    towers = build_towers(config, _weights(network), None, name)
    _assert_as_open_clip(towers, network, _ids(12, 100))


@pytest.mark.parametrize("name", ["clip", "siglip's text", "scaled, end of text"])
def test_each_tensor_of_a_plain_model_is_needed(name: str) -> None:
    config = {"embed_dim": 48} | PLAIN[name]
    weights = _weights(_random_network(config))
    for tensor in [tensor for tensor in weights if tensor != "logit_bias"]:
        rest = {k: v for k, v in weights.items() if k != tensor}
        with pytest.raises(ConfigError, match=rf"lack the tensor {tensor.replace('.', '[.]')},"):
            build_towers(config, rest, None, "mini")


def test_weights_that_may_not_be_written_are_taken_too() -> None:
    config = {"embed_dim": 48} | PLAIN["clip"]
    network = _random_network(config)
    weights = {
        name: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for name, a in _weights(network).items()
    }
    _assert_as_open_clip(build_towers(config, weights, None), network, _ids(12, 100))


def test_half_precision_weights_are_used_in_float32() -> None:
    config = {"embed_dim": 48} | PLAIN["clip"]
    network = _random_network(config).half().float()
    halves = {name: array.astype(np.float16) for name, array in _weights(network).items()}
    _assert_as_open_clip(build_towers(config, halves, None), network, _ids(12, 100))


def test_a_text_that_looks_back_only_may_be_cut_after_its_end() -> None:
    config = {"embed_dim": 48} | PLAIN["clip"]
    towers = build_towers(config, _weights(_random_network(config)), None)
    ids = _ids(12, 100)[1:3]
    _assert_same(_run(towers.text, ids[:, :4]), _run(towers.text, ids))


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("vision_cfg", {"attentional_pool": True}, "vision_cfg: attentional_pool=True"),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}, "vision_cfg: layers=[3, 4, 6, 3]"),
        ("vision_cfg", {"qk_norm": True}, "vision_cfg: qk_norm=True"),
        ("vision_cfg", {"timm_model_name": "convnext_base"}, "vision_cfg: timm_model_name=convnext_base"),
        ("vision_cfg", {"act_kwargs": {"inplace": True}}, "act_kwargs={'inplace': True}"),
        ("vision_cfg", {"pool_type": "none"}, "pool_type=none"),
        ("vision_cfg", {"image_size": 40}, "visual.positional_embedding is [17, 64], wanted [26, 64]"),
        ("text_cfg", {"embed_cls": True}, "text_cfg: embed_cls=True"),
        ("text_cfg", {"pool_type": "none"}, "text_cfg: pool_type=none"),
        ("text_cfg", {"proj_type": "mlp"}, "text_cfg: proj_type=mlp"),
        ("text_cfg", {"context_length": 13}, "positional_embedding is [12, 32], wanted [13, 32]"),
        ("text_cfg", {"layers": 1}, "tensor transformer.resblocks.1."),
    ],
)
def test_what_is_not_plain_is_refused(part: str, change: dict[str, object], said: str) -> None:
    config = {"embed_dim": 48} | PLAIN["clip"]
    weights = _weights(_random_network(config))
    assert said in _refusal(config | {part: config[part] | change}, weights, None)


@pytest.mark.parametrize("is_tanh", [False, True])
def test_siglips_image_tower_is_timms(is_tanh: bool) -> None:
    import torch
    from timm.models.vision_transformer import VisionTransformer

    activation = "gelu_tanh" if is_tanh else "gelu"
    trunk = VisionTransformer(
        img_size=32,
        patch_size=8,
        num_classes=0,
        global_pool="map",
        embed_dim=48,
        depth=2,
        num_heads=4,
        mlp_ratio=3.7362,
        class_token=False,
        act_layer=activation,
    )
    _randomise(trunk)
    shape = Shape(48, 2, 4, 179, 1e-6, layers.gelu_tanh if is_tanh else layers.gelu, TIMM)
    tensors = Tensors(_weights(trunk))
    model = build_siglip(shape, 8, 32, tensors)
    assert tensors.rest() == []
    pixels = np.random.default_rng(1).normal(size=(3, 3, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        wanted = trunk(torch.from_numpy(pixels)).numpy()
    _assert_same(_run(model, pixels), wanted)


def _siglip_names() -> list[str]:
    configs = [architecture_config(name) for name in architectures() if "SigLIP" in name]
    return sorted({config["vision_cfg"].get("timm_model_name", "") for config in configs})


@pytest.mark.parametrize("name", [name for name in _siglip_names() if "siglip" in name])
def test_sizes_of_siglips_towers_are_timms(name: str) -> None:
    import timm
    import torch

    with torch.device("meta"):
        trunk: Any = timm.create_model(name, num_classes=0, global_pool="map")  # Any: torch's attributes
    found = siglip_shape({"timm_model_name": name, "timm_pool": "map", "timm_proj": "none"}, trunk.embed_dim)
    assert found is not None
    shape, patch = found
    block = trunk.blocks[0]
    assert shape.width == trunk.embed_dim
    assert shape.n_layers == len(trunk.blocks)
    assert shape.n_heads == block.attn.num_heads == trunk.attn_pool.num_heads
    assert shape.n_inner == block.mlp.fc1.out_features == trunk.attn_pool.mlp.fc1.out_features
    assert shape.epsilon == block.norm1.eps == trunk.norm.eps == trunk.attn_pool.norm.eps
    is_tanh = type(block.mlp.act).__name__ == "GELUTanh"
    assert is_tanh == (type(trunk.attn_pool.mlp.act).__name__ == "GELUTanh")
    assert shape.activation is (layers.gelu_tanh if is_tanh else layers.gelu)
    assert patch == trunk.patch_embed.patch_size[0]


def test_every_other_siglip_of_open_clip_is_refused_by_name() -> None:
    for name in _siglip_names():
        if "siglip" not in name:
            assert siglip_shape({"timm_model_name": name}, 768) is None


@pytest.mark.timeout(400)
@pytest.mark.slow  # real sizes: up to a minute each
@pytest.mark.parametrize("architecture", ["ViT-B-32-256", "ViT-B-16-SigLIP2-256"])
def test_real_sizes_are_open_clips(architecture: str) -> None:
    config = architecture_config(architecture)
    network = _random_network(config)
    text = config["text_cfg"]
    towers = build_towers(config, _weights(network), None, architecture)
    _assert_as_open_clip(towers, network, _ids(text["context_length"], text["vocab_size"]))


@pytest.mark.parametrize(
    "change", [{"embed_dim": None}, {"embed_dim": 0}, {"vision_cfg": VIT | {"patch_size": 0}}]
)
def test_a_configuration_of_no_network_is_one_line(change: dict[str, object]) -> None:
    config = {"embed_dim": 48} | PLAIN["clip"]
    weights = _weights(_random_network(config))
    with pytest.raises(ConfigError, match=r"MODEL=tiny: .*`clipwatch models convert tiny`") as caught:
        build_towers(config | change, weights, None, "tiny")
    assert "\n" not in str(caught.value)
