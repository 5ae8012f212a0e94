"""Rewrites towers for x86 CPUs on which OpenVINO 2026.4 has no kernel for an operation, or a slow one. Same numbers."""

from __future__ import annotations

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from services.classifier.model.openvino.layers import integers


def as_convolutions(tower: ov.Model) -> int:
    """Replace the int8 products of an image tower by 1x1 convolutions, in place; return how many. For want of VNNI.

    A product of tokens [N,T,K] with fixed weights [M,K] is a convolution of a picture of T x 1 pixels with K channels.
    For int8 convolutions there is an AVX2 kernel, for products a general one that is hardly faster than float32.
    Measured on ViT-B-32 (random weights, AVX2, one thread, parts of 4 pictures, in turns within one run, ms CPU an
    image, median of 7): float32 155, int8 products 154, convolutions 79.
    """
    products = [op for op in tower.get_ordered_ops() if _is_int8_product(op)]
    for product in products:
        tokens, weights = product.input_value(0), product.input_value(1)
        # [N,T,K] -> [N,K,T,1], channels last in memory, as the kernel wants them
        picture = ops.transpose(ops.unsqueeze(tokens, integers(2)), integers(0, 3, 1, 2))
        kernel = ops.unsqueeze(weights, integers(2, 3))
        convolved = ops.convolution(picture, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        found = ops.squeeze(ops.transpose(convolved, integers(0, 2, 3, 1)), integers(2))
        found.set_friendly_name(product.get_friendly_name())
        product.output(0).replace(found.output(0))
    tower.validate_nodes_and_infer_types()
    return len(products)


def _is_int8_product(op: ov.Node) -> bool:
    if op.get_type_name() != "MatMul":
        return False
    tokens, weights = op.input_value(0), op.input_value(1)
    options = op.get_attributes()
    return bool(
        tokens.get_node().get_type_name() == "FakeQuantize"
        and tokens.get_partial_shape().rank.get_max_length() == 3
        and weights.get_partial_shape().is_static
        and weights.get_partial_shape().rank.get_max_length() == 2
        and options["transpose_b"]
        and not options["transpose_a"]
    )


def without_mvn(tower: ov.Model) -> int:
    """Replace normalisation over the last axis by plain operations, in place; return how many. For want of AVX.

    Without AVX the kernel for MVN is missing, and compiling fails. Means are products with 1/K: reductions would be put
    together to MVN again.
    """
    norms = [op for op in tower.get_ordered_ops() if _is_mvn_of_last_axis(op)]
    for norm in norms:
        x = norm.input_value(0)
        width = x.get_partial_shape()[-1].get_length()
        share = ops.constant(np.full((width, 1), 1 / width, np.float32))
        centred = ops.subtract(x, ops.matmul(x, share, False, False))
        variance = ops.matmul(ops.multiply(centred, centred), share, False, False)
        epsilon = ops.constant(np.float32(norm.get_attributes()["eps"]))
        found = ops.divide(centred, ops.sqrt(ops.add(variance, epsilon)))
        found.set_friendly_name(norm.get_friendly_name())
        norm.output(0).replace(found.output(0))
    tower.validate_nodes_and_infer_types()
    return len(norms)


def _is_mvn_of_last_axis(op: ov.Node) -> bool:
    if op.get_type_name() != "MVN":
        return False
    options, shape = op.get_attributes(), op.input_value(0).get_partial_shape()
    axes = op.input_value(1).get_node()
    if axes.get_type_name() != "Constant" or shape.rank.is_dynamic or shape[-1].is_dynamic:
        return False
    last = shape.rank.get_length() - 1
    return bool(
        options["normalize_variance"]
        and options["eps_mode"].lower() == "inside_sqrt"
        and axes.get_vector().tolist() in ([-1], [last])
    )
