"""Vision transformers (Dosovitskiy et al. 2020): open_clip's own, with a class token, and timm's of SigLIP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import openvino as ov
from openvino import opset13 as ops

from services.classifier.model.openvino import layers
from services.classifier.model.openvino.layers import Heads
from services.classifier.model.openvino.tensors import Tensors, expect, refuse_others
from services.classifier.model.openvino.transformer import (
    TIMM,
    Shape,
    mlp,
    parts_of,
    shape_of,
    transform,
)
from shared.errors import ConfigError

# of a vision_cfg: what is built, and what changes nothing once a model is trained
_KNOWN = frozenset(
    {"image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size", "ls_init_value", "no_ln_pre"}
    | {"pool_type", "final_ln_after_pool", "norm_kwargs", "act_kwargs", "patch_dropout", "pos_embed_type"}
    | {"attn_pooler_heads", "attn_pooler_queries"}
)
_SIGLIP = re.compile(r"vit_(?P<size>base|large|so400m|giantopt)_patch(?P<patch>\d+)_siglip_\d+")
# width, layers, heads, width between an MLP's products (timm, vision_transformer)
_SIGLIP_SIZES = {
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "so400m": (1152, 27, 16, 4304),
    "giantopt": (1536, 40, 16, 6144),
}
# where timm takes GELU by tanh; the others serve SigLIP 1 and 2 with the plain one
_SIGLIP_TANH = ("vit_base_patch32", "vit_large_patch16_siglip_512", "vit_so400m_patch16", "vit_giantopt")


def build_vit(
    vision_cfg: Mapping[str, Any], embed_dim: int, size: int, tensors: Tensors, is_quick: bool
) -> ov.Model:  # Any: JSON
    """Build open_clip's VisionTransformer; raise ConfigError for what a vision_cfg asks for beyond a plain one."""
    refuse_others("vision_cfg", vision_cfg, _KNOWN)
    width = int(vision_cfg.get("width", 768))
    shape = shape_of(
        "vision_cfg", vision_cfg, width, width // int(vision_cfg.get("head_width", 64)), is_quick
    )
    pool = vision_cfg.get("pool_type", "tok")
    if pool not in ("tok", "avg"):
        raise ConfigError(f"vision_cfg: pool_type={pool}, built are tok and avg")
    pixels = layers.pictures(size)
    patch = int(vision_cfg.get("patch_size", 16))
    x = _patches(pixels, tensors.within("conv1"), width, patch, has_bias=False)
    first = layers.constant(tensors.take("class_embedding", width).reshape(1, 1, width))
    x = ops.concat([layers.for_each(first, pixels), x], 1)
    n_tokens = (size // patch) ** 2 + 1
    x = ops.add(x, layers.constant(tensors.take("positional_embedding", n_tokens, width)[None]))
    if not vision_cfg.get("no_ln_pre", False):
        x = layers.layer_norm(x, tensors.within("ln_pre"), width, shape.epsilon)
    is_token = pool == "tok"
    x = transform(x, tensors, shape, rows=layers.first_row if is_token else None)
    norm = tensors.within("ln_post")
    if is_token:  # a norm is each row's own: it is the same before and after
        x = layers.layer_norm(ops.squeeze(x, layers.integers(1)), norm, width, shape.epsilon)
    elif vision_cfg.get("final_ln_after_pool", False):
        x = layers.layer_norm(_mean_of_patches(x), norm, width, shape.epsilon)
    else:
        x = _mean_of_patches(layers.layer_norm(x, norm, width, shape.epsilon))
    return layers.model(layers.project(x, tensors.take("proj", width, embed_dim)), pixels, "image")


def siglip_shape(vision_cfg: Mapping[str, Any], embed_dim: int) -> tuple[Shape, int] | None:  # Any: JSON
    """Return shape and patch side of timm's tower for SigLIP of that name; None if it is another tower."""
    found = _SIGLIP.fullmatch(str(vision_cfg.get("timm_model_name")))
    if found is None:
        return None
    width, n_layers, n_heads, n_inner = _SIGLIP_SIZES[found["size"]]
    expect("vision_cfg", vision_cfg, timm_pool="map", timm_proj="none")
    expect("model_cfg", {"embed_dim": embed_dim}, embed_dim=width)
    activation = layers.gelu_tanh if found[0].startswith(_SIGLIP_TANH) else layers.gelu
    return Shape(width, n_layers, n_heads, n_inner, 1e-6, activation, TIMM), int(found["patch"])


def build_siglip(shape: Shape, patch: int, size: int, tensors: Tensors) -> ov.Model:
    """Build timm's VisionTransformer without class token, with a pool that asks by a latent query."""
    pixels = layers.pictures(size)
    width = shape.width
    x = _patches(pixels, tensors.within("patch_embed.proj"), width, patch, has_bias=True)
    x = ops.add(x, layers.constant(tensors.take("pos_embed", 1, (size // patch) ** 2, width)))
    x = transform(x, tensors, shape)
    x = layers.layer_norm(x, tensors.within("norm"), width, shape.epsilon)
    pool = tensors.within("attn_pool")
    latent = layers.for_each(layers.constant(pool.take("latent", 1, 1, width)), pixels)
    query = layers.linear(latent, pool.within("q"), width, width)
    weights = parts_of(pool.take("kv.weight", 2 * width, width), 2)
    biases = parts_of(pool.take("kv.bias", 2 * width), 2)
    key, value = (layers.affine(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))
    x = Heads(shape.n_heads, width).attend(query, key, value)
    x = ops.squeeze(layers.linear(x, pool.within("proj"), width, width), layers.integers(1))
    normal = layers.layer_norm(x, pool.within("norm"), width, shape.epsilon)
    x = ops.add(x, mlp(normal, [pool.within(name) for name in shape.names.inner], shape))
    return layers.model(x, pixels, "image")


def _patches(pixels: ov.Node, tensors: Tensors, width: int, side: int, has_bias: bool) -> ov.Node:
    """Return float[N,patches,width]: a product for each square of a picture, row by row."""
    weight = layers.constant(tensors.take("weight", width, 3, side, side))
    x = ops.convolution(pixels, weight, [side, side], [0, 0], [0, 0], [1, 1])
    x = ops.transpose(
        ops.reshape(x, layers.integers(0, width, -1), special_zero=True), layers.integers(0, 2, 1)
    )
    return ops.add(x, layers.constant(tensors.take("bias", width))) if has_bias else x


def _mean_of_patches(x: ov.Node) -> ov.Node:
    patches = ops.slice(
        x, layers.integers(1), layers.integers(2**31 - 1), layers.integers(1), layers.integers(1)
    )
    return ops.reduce_mean(patches, layers.integers(1))
