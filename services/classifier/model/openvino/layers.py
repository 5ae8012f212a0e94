"""Layers of networks as OpenVINO operations over numpy weights. Knows no model and no configuration.

Float32 weights are shared with the graph, not copied; so keep them as they are for as long as the graph lives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from services.classifier.model.openvino.tensors import Array, Tensors

Activation = Callable[[ov.Node], ov.Node]


def constant(array: Array) -> ov.Node:
    """Return an array as a float32 constant: its own memory where it has that format already and may be shared."""
    values = np.ascontiguousarray(array, np.float32)
    return ops.constant(values, shared_memory=bool(values.flags.writeable))


def integers(*numbers: int) -> ov.Node:
    """Return int64 numbers, as shapes and axes want them."""
    return ops.constant(np.array(numbers, np.int64))


def linear(x: ov.Node, tensors: Tensors, n_in: int, n_out: int, has_bias: bool = True) -> ov.Node:
    """Return x W^T + b for `weight` float[n_out,n_in] and `bias` float[n_out]."""
    bias = tensors.take("bias", n_out) if has_bias else None
    return affine(x, tensors.take("weight", n_out, n_in), bias)


def affine(x: ov.Node, weight: Array, bias: Array | None) -> ov.Node:
    product = ops.matmul(x, constant(weight), transpose_a=False, transpose_b=True)
    return product if bias is None else ops.add(product, constant(bias))


def layer_norm(x: ov.Node, tensors: Tensors, width: int, epsilon: float) -> ov.Node:
    """Normalise over the last axis."""
    normal = ops.mvn(x, integers(-1), normalize_variance=True, eps=epsilon, eps_mode="inside_sqrt")
    scaled = ops.multiply(normal, constant(tensors.take("weight", width)))
    return ops.add(scaled, constant(tensors.take("bias", width)))


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention's heads: their number, and the width of all of them together."""

    number: int
    width: int

    def split(self, x: ov.Node) -> ov.Node:
        """Return float[N,L,width] as float[N,heads,L,width / heads]."""
        shape = integers(0, 0, self.number, self.width // self.number)
        return ops.transpose(ops.reshape(x, shape, special_zero=True), integers(0, 2, 1, 3))

    def attend(
        self,
        query: ov.Node,
        key: ov.Node,
        value: ov.Node,
        mask: ov.Node | None = None,
        is_causal: bool = False,
    ) -> ov.Node:
        """Return what float[N,L,width] each lead to: float[N,L,width]; `mask` is bool[N,1,1,L], true: look at it.

        Three products for query, key and value: of one product OpenVINO 2026.4 fuses neither the scale nor the split
        into what comes before and after (two more passes a layer).
        """
        parts = [self.split(query), self.split(key), self.split(value)]
        attended = ops.scaled_dot_product_attention(*parts, attention_mask=mask, causal=is_causal)
        together = ops.transpose(attended, integers(0, 2, 1, 3))
        return ops.reshape(together, integers(0, 0, self.width), special_zero=True)


def gelu(x: ov.Node) -> ov.Node:
    return ops.gelu(x, approximation_mode="erf")


def gelu_tanh(x: ov.Node) -> ov.Node:
    return ops.gelu(x, approximation_mode="tanh")


def quick_gelu(x: ov.Node) -> ov.Node:
    """Return x sigmoid(1.702 x), as OpenAI's CLIP has it."""
    return ops.swish(x, ops.constant(np.float32(1.702)))


def pictures(size: int) -> ov.Node:
    """Return the input of an image tower: float32[N,3,size,size]."""
    return ops.parameter([-1, 3, size, size], np.float32, name="pixels")


def token_ids(length: int = -1) -> ov.Node:
    """Return the input of a text tower: int64[N,length], any length if it is -1."""
    return ops.parameter([-1, length], np.int64, name="token_ids")


def for_each(row: ov.Node, given: ov.Node) -> ov.Node:
    """Return float[1,1,width] as float[N,1,width], N as in `given`."""
    number = ops.slice(ops.shape_of(given), integers(0), integers(1), integers(1))
    width = row.get_output_partial_shape(0)[2].get_length()
    return ops.broadcast(row, ops.concat([number, integers(1, width)], 0))


def first_row(x: ov.Node) -> ov.Node:
    """Return the first row of float[N,L,width] as float[N,1,width]."""
    return ops.slice(x, integers(0), integers(1), integers(1), integers(1))


def project(x: ov.Node, weight: Array) -> ov.Node:
    """Return x W for float[n_in,n_out]."""
    return ops.matmul(x, constant(weight), transpose_a=False, transpose_b=False)


def embedded(ids: ov.Node, words: Array, positions: Array) -> ov.Node:
    """Return float[N,L,width]: the rows of `words` that `ids` name, with those of `positions` in order added."""
    length = ops.slice(ops.shape_of(ids), integers(1), integers(2), integers(1))
    row = ops.slice(constant(positions), integers(0), length, integers(1), integers(0))
    return ops.add(ops.gather(constant(words), ids, integers(0)), row)


def model(output: ov.Node, given: ov.Node, name: str) -> ov.Model:
    output.output(0).set_names({"embedding"})
    given.output(0).set_names({given.get_friendly_name()})
    return ov.Model([output], [given], name)


def float32(array: Array) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)
