"""An open_clip model's two towers as OpenVINO graphs, built from its configuration and weights. Knows no torch.

Built are CLIP with plain vision transformers (`ViT-*`), SigLIP and SigLIP2, and `mini` (EfficientNet-Lite0 and BERT).
Everything else is refused, by one line that says how it runs here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from services.classifier.model.openvino.bert import build_bert
from services.classifier.model.openvino.efficientnet import build_efficientnet
from services.classifier.model.openvino.tensors import Array, Tensors, expect
from services.classifier.model.openvino.text import build_text
from services.classifier.model.openvino.vit import build_siglip, build_vit, siglip_shape
from services.classifier.weights.names import read_json
from shared.errors import ConfigError, shortened

# ends of names of what training keeps, and of what only a loss uses
_MEANINGLESS = ("num_batches_tracked", "position_ids", "logit_bias", "attn_mask")


@dataclass(frozen=True, slots=True)
class Towers:
    """A model's graphs.

    image: float32[N,3,S,S], normalised pixels -> float32[N,D], of any length
    text: int64[N,L] token ids -> float32[N,D], of any length
    """

    image: ov.Model
    text: ov.Model
    temperature: float
    image_size: int


def build_towers(
    model_cfg: Mapping[str, Any], weights: Mapping[str, Array], folder: Path | None, name: str = ""
) -> Towers:  # Any: JSON
    """Build the towers of an open_clip `model_cfg`; raise ConfigError, one line, for what cannot be built.

    `folder` holds the config.json of a text tower from Hugging Face; `name` is the model's, for that line.
    `quick_gelu` of the config counts: set it where open_clip's table has the weights as trained with it.
    """
    tensors = Tensors(weights)
    convert = f"where torch is, `clipwatch models convert {name}` makes a folder of it that runs here"
    try:
        size = _image_size(model_cfg)
        image = _image_tower(model_cfg, size, tensors.within("visual"))
        text = _text_tower(model_cfg, folder, tensors)
        temperature = math.exp(tensors.number("logit_scale"))
        if rest := tensors.rest(_MEANINGLESS):
            raise ConfigError(f"the weights' tensor {rest[0]} has no place in it ({len(rest)} have none)")
    except ConfigError as exc:
        raise ConfigError(f"MODEL={name}: cannot be built without torch: {exc}; {convert}") from exc
    except (KeyError, TypeError, ValueError, RuntimeError) as exc:  # numbers that make no network
        said = f"{type(exc).__name__}: {shortened(str(exc), 200)}"
        raise ConfigError(
            f"MODEL={name}: its configuration cannot be built without torch: {said}; {convert}"
        ) from exc
    return Towers(image, text, temperature, size)


def _image_size(model_cfg: Mapping[str, Any]) -> int:  # Any: JSON
    size = model_cfg.get("vision_cfg", {}).get("image_size", 224)
    sides = set(size) if isinstance(size, list | tuple) else {size}
    if len(sides) != 1:
        raise ConfigError(f"vision_cfg.image_size={size}, wanted one number")
    return int(sides.pop())


def _image_tower(model_cfg: Mapping[str, Any], size: int, tensors: Tensors) -> ov.Model:  # Any: JSON
    vision_cfg = model_cfg.get("vision_cfg", {})
    embed_dim = int(model_cfg["embed_dim"])
    if vision_cfg.get("timm_model_name") == "tf_efficientnet_lite0":
        return build_efficientnet(vision_cfg, embed_dim, size, tensors)
    if siglip := siglip_shape(vision_cfg, embed_dim):
        return build_siglip(*siglip, size, tensors.within("trunk"))
    return build_vit(vision_cfg, embed_dim, size, tensors, _is_quick(model_cfg))


def _text_tower(model_cfg: Mapping[str, Any], folder: Path | None, tensors: Tensors) -> ov.Model:  # Any: JSON
    text_cfg = model_cfg.get("text_cfg", {})
    embed_dim = int(model_cfg["embed_dim"])
    if text_cfg.get("hf_model_name"):
        return _hugging_face_tower(text_cfg, embed_dim, folder, tensors)
    own = tensors.within("text")  # of CustomTextCLIP; CLIP's own lie beside the image tower
    return build_text(text_cfg, embed_dim, tensors if own.is_empty() else own, _is_quick(model_cfg))


def _is_quick(model_cfg: Mapping[str, Any]) -> bool:  # Any: JSON
    return bool(model_cfg.get("quick_gelu", False))


def _hugging_face_tower(
    text_cfg: Mapping[str, Any], embed_dim: int, folder: Path | None, tensors: Tensors
) -> ov.Model:  # Any: JSON
    expect("text_cfg", text_cfg, hf_pooler_type="mean_pooler", hf_proj_type=None)
    if folder is None or not (folder / "config.json").is_file():
        raise ConfigError(f"{folder or text_cfg['hf_model_name']}: no config.json of its text tower")
    config = read_json(folder / "config.json")
    expect("config.json", config, hidden_size=embed_dim)
    return build_bert(config, tensors.within("text.transformer"))
