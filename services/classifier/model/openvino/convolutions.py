"""Rewrites an int8 tower's products as 1x1 convolutions, for x86 CPUs without VNNI.

The same numbers in the same order: a product of tokens [N,T,K] with fixed weights [M,K] is a convolution of a picture
of T x 1 pixels with K channels. OpenVINO 2026.4 has a kernel of its own for int8 convolutions with AVX2, for products
a general one that is hardly faster than float32. Measured on ViT-B-32 (random weights, AVX2, one thread, parts of 4
pictures, in turns within one run, ms CPU an image, median of 7): float32 155, int8 products 154, convolutions 79.
"""

from __future__ import annotations

import openvino as ov
from openvino import opset13 as ops

from services.classifier.model.openvino.layers import integers


def as_convolutions(tower: ov.Model) -> int:
    """Replace the int8 products of an image tower, in place; return how many."""
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
