"""Blocks of a transformer with the norm first, as open_clip's and timm's towers have them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import openvino as ov
from openvino import opset13 as ops

from services.classifier.model.openvino import layers
from services.classifier.model.openvino.layers import Activation, Heads
from services.classifier.model.openvino.tensors import Array, Tensors
from shared.errors import ConfigError

Rows = Callable[[ov.Node], ov.Node]  # float[N,L,width] -> float[N,1,width]


@dataclass(frozen=True, slots=True)
class Names:
    """Names of a block's tensors; `qkv` holds weight and bias of query, key and value, one below the other."""

    blocks: str
    norms: tuple[str, str]
    qkv: tuple[str, str]
    out: str
    inner: tuple[str, str]
    scales: tuple[str, str]


OPEN_CLIP = Names(
    "transformer.resblocks",
    ("ln_1", "ln_2"),
    ("attn.in_proj_weight", "attn.in_proj_bias"),
    "attn.out_proj",
    ("mlp.c_fc", "mlp.c_proj"),
    ("ls_1.gamma", "ls_2.gamma"),
)
TIMM = Names(
    "blocks",
    ("norm1", "norm2"),
    ("attn.qkv.weight", "attn.qkv.bias"),
    "attn.proj",
    ("mlp.fc1", "mlp.fc2"),
    ("ls1.gamma", "ls2.gamma"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a transformer and what its layers are made of."""

    width: int
    n_layers: int
    n_heads: int
    n_inner: int  # width between the two products of a block's MLP
    epsilon: float
    activation: Activation
    names: Names
    is_causal: bool = False  # a row looks at itself and those before it
    has_scales: bool = False  # a factor for each channel of what a block adds


def transform(x: ov.Node, tensors: Tensors, shape: Shape, rows: Rows | None = None) -> ov.Node:
    """Return float[N,L,width] after all blocks; with `rows`, only those of the last block: float[N,1,width].

    Where one row is used of the last block, its others need keys and values alone: 10 of 12 parts of a block's
    products are saved, 7 % of a tower of 12 blocks.
    """
    for number in range(shape.n_layers):
        block = tensors.within(f"{shape.names.blocks}.{number}")
        is_last = number == shape.n_layers - 1
        x = _block(x, block, shape, rows if is_last else None)
    return x


def _block(x: ov.Node, tensors: Tensors, shape: Shape, rows: Rows | None) -> ov.Node:
    names = shape.names
    width = shape.width
    normal = layers.layer_norm(x, tensors.within(names.norms[0]), width, shape.epsilon)
    weights = parts_of(tensors.take(names.qkv[0], 3 * width, width))
    biases = parts_of(tensors.take(names.qkv[1], 3 * width))
    inputs = [normal, normal, normal]
    if rows is not None:
        x, inputs[0] = rows(x), rows(normal)
    query, key, value = map(layers.affine, inputs, weights, biases)
    change = Heads(shape.n_heads, width).attend(query, key, value, is_causal=shape.is_causal)
    change = layers.linear(change, tensors.within(names.out), width, width)
    x = ops.add(x, _scaled(change, tensors, shape, 0))
    normal = layers.layer_norm(x, tensors.within(names.norms[1]), width, shape.epsilon)
    change = mlp(normal, [tensors.within(name) for name in names.inner], shape)
    return ops.add(x, _scaled(change, tensors, shape, 1))


def mlp(x: ov.Node, tensors: Iterable[Tensors], shape: Shape) -> ov.Node:
    """Return the second product of the activation of the first."""
    first, second = tensors
    inner = shape.activation(layers.linear(x, first, shape.width, shape.n_inner))
    return layers.linear(inner, second, shape.n_inner, shape.width)


def parts_of(array: Array, number: int = 3) -> list[Array]:
    """Return an array in equal parts, one below the other, without copying."""
    length = len(array) // number
    return [array[at * length : (at + 1) * length] for at in range(number)]


def _scaled(change: ov.Node, tensors: Tensors, shape: Shape, which: int) -> ov.Node:
    if not shape.has_scales:
        return change
    return ops.multiply(change, layers.constant(tensors.take(shape.names.scales[which], shape.width)))


def shape_of(
    where: str, config: Mapping[str, Any], width: int, n_heads: int, is_quick: bool
) -> Shape:  # Any: JSON
    """Return what open_clip makes of a vision_cfg or text_cfg with its own transformer."""
    options, norms = config.get("act_kwargs") or {}, config.get("norm_kwargs") or {}
    unknown = [*(set(options) - {"approximate"}), *(set(norms) - {"eps"}), *(options if is_quick else ())]
    if unknown or options.get("approximate", "none") not in ("none", "tanh"):
        raise ConfigError(f"{where}: act_kwargs={options}, norm_kwargs={norms} are not known here")
    n_layers = config.get("layers", 12)
    if not isinstance(n_layers, int):
        raise ConfigError(f"{where}: layers={n_layers}, a ResNet's, is not known here")
    plain = layers.gelu_tanh if options.get("approximate") == "tanh" else layers.gelu
    return Shape(
        width,
        n_layers=n_layers,
        n_heads=n_heads,
        n_inner=int(width * float(config.get("mlp_ratio", 4.0))),
        epsilon=float(norms.get("eps", 1e-5)),
        activation=layers.quick_gelu if is_quick else plain,
        names=OPEN_CLIP,
        has_scales=config.get("ls_init_value") is not None,
    )
