"""EfficientNet-Lite0 as timm's tf_efficientnet_lite0 has it, with open_clip's head: the image tower of `mini`.

Batch norms are folded into the convolutions before them (Jacob et al. 2018, 3.2). Channels are the weights' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from services.classifier.model.openvino import layers
from services.classifier.model.openvino.tensors import Tensors, expect

_EPSILON = 1e-3  # of batch norms from TensorFlow
# Of each stage: its blocks, and the stride of the first
_STAGES = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))


def build_efficientnet(
    vision_cfg: Mapping[str, Any], embed_dim: int, size: int, tensors: Tensors
) -> ov.Model:  # Any: JSON
    """Build the tower; raise ConfigError where its head is another."""
    expect("vision_cfg", vision_cfg, timm_pool="avg", timm_proj="mlp")
    pixels = layers.pictures(size)
    trunk = tensors.within("trunk")
    x = _relu6(_convolved(pixels, trunk, "conv_stem", "bn1", stride=2))
    for stage, (n_blocks, stride) in enumerate(_STAGES):
        for number in range(n_blocks):
            block = trunk.within(f"blocks.{stage}.{number}")
            x = _block(x, block, stride if number == 0 else 1, is_wide=stage > 0)
    x = _relu6(_convolved(x, trunk, "conv_head", "bn2"))
    x = ops.reduce_mean(x, layers.integers(2, 3))
    n_features = _channels(x)
    head = tensors.within("head.mlp")
    x = layers.gelu(layers.linear(x, head.within("fc1"), n_features, 2 * embed_dim))
    has_bias = bool(vision_cfg.get("timm_proj_bias", False))
    x = layers.linear(x, head.within("fc2"), 2 * embed_dim, embed_dim, has_bias)
    return layers.model(x, pixels, "image")


def _block(x: ov.Node, block: Tensors, stride: int, is_wide: bool) -> ov.Node:
    """Return a block's output: 1x1 if it is wide, depthwise, 1x1 without activation; added to x of as many channels."""
    if is_wide:
        wide = _relu6(_convolved(x, block, "conv_pw", "bn1"))
        wide = _relu6(_convolved(wide, block, "conv_dw", "bn2", stride))
        change = _convolved(wide, block, "conv_pwl", "bn3")
    else:
        wide = _relu6(_convolved(x, block, "conv_dw", "bn1", stride))
        change = _convolved(wide, block, "conv_pw", "bn2")
    return ops.add(change, x) if _channels(change) == _channels(x) else change


def _convolved(x: ov.Node, tensors: Tensors, conv: str, norm: str, stride: int = 1) -> ov.Node:
    """Return a convolution and the batch norm after it as one; a depthwise one by its weight's shape."""
    n_in = _channels(x)
    is_depthwise = conv == "conv_dw"
    n_first, n_second = (n_in, 1) if is_depthwise else (None, n_in)
    weight = tensors.within(conv).take("weight", n_first, n_second, None, None)
    n_out = len(weight)
    own = tensors.within(norm)
    gain, shift, mean, variance = (
        layers.float32(own.take(name, n_out)) for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(variance + _EPSILON)
    folded = layers.float32(weight) * scale[:, None, None, None]
    # TensorFlow's filling, more of it below and right of the picture
    options: dict[str, Any] = {"auto_pad": "same_upper"}  # Any: as the operations want them
    strides, none = [stride, stride], [0, 0]
    if is_depthwise:
        groups = layers.constant(folded[:, None])
        x = ops.group_convolution(x, groups, strides, none, none, [1, 1], **options)
    else:
        x = ops.convolution(x, layers.constant(folded), strides, none, none, [1, 1], **options)
    return ops.add(x, layers.constant((shift - mean * scale).reshape(1, -1, 1, 1)))


def _relu6(x: ov.Node) -> ov.Node:
    return ops.clamp(x, 0.0, 6.0)


def _channels(x: ov.Node) -> int:
    return int(x.get_output_partial_shape(0)[1].get_length())
