"""Makes an image tower in int8 by nncf: as many of its products as prove themselves. At conversion only.

In int8 are products of tokens with fixed weights. The patch embedding, attention's own products and what comes after
pooling stay in float32: 4 % of the multiplications of ViT-B-32. So do convolutions, whose int8 was broken (`mini`).

What decides whether ViT-B-32 passes (random weights, AVX2 without VNNI, 2026-11-30; lowest cosine of a picture):
  nncf's defaults                                                            0.99656
  weights in half the range, since AVX2 adds products in saturated int16     0.99769
  and ranges from the least to the largest number seen, not from means       0.99816
  and measured on quarters of the pictures as well, not on pictures alone    0.99951
  and the last projection, of one vector a picture, in float32               0.99978
  and half of what is large in inputs multiplied into weights, not 95 %      0.99983
Attention in int8, the patch embedding in int8 and bias correction change nothing in the fifth digit.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from services.classifier.model.int8_proof import NO_PRODUCTS, Int8Proof, LabelEmbeddings, prove
from services.classifier.model.openvino.sources import EXACT, runner
from shared.errors import ConfigError
from shared.logs import get_logger

log = get_logger(__name__)
SHARES = (1.0, 0.85, 0.7, 0.5)  # of the products: with less in int8 there is no gain worth an error
# What of large inputs is multiplied into the weights. With nncf's 0.95, half the products of a trained transformer
# (mini's text tower, all-MiniLM-L6-v2) in int8 have a lowest cosine of 0.9955, with 0.5 they have 0.9997.
SMOOTHED = 0.5
_AT_ONCE = 4  # pictures: bounds what their activations occupy


@dataclass(frozen=True, slots=True)
class QuantizationSamples:
    """Pictures, float32[N,3,S,S] normalised: those that ranges are measured on, and those that are judged."""

    measured: NDArray[np.float32]
    judged: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quantization:
    """The result of quantize(). `tower` is None if its answers moved too far, or there was nothing to replace."""

    tower: ov.Model | None
    proof: Int8Proof


def quantize(tower: ov.Model, samples: QuantizationSamples, labels: LabelEmbeddings) -> Quantization:
    """Return a copy of a float32 tower with as many int8 products as keep its answers near enough on real pictures.

    First all products are replaced, then without those that lose most: SHARES.
    """
    products = _products(tower)
    if not products:
        return Quantization(None, NO_PRODUCTS)
    before = runner(tower)(samples.judged)
    kept: list[str] = []  # in float32, those that lose most first
    proof = NO_PRODUCTS
    for share in SHARES:
        n_int8 = round(share * len(products))
        quantized = _quantized(tower, samples.measured, kept[: len(products) - n_int8])
        proof = prove(before, runner(quantized)(samples.judged), labels, n_int8, len(products))
        if proof.is_near:
            return Quantization(quantized, proof)
        log.info("int8 is not near enough", found=str(proof))
        if not kept:
            losses = _losses(quantized, products, samples.measured[: len(samples.judged)])
            kept = sorted(losses, key=losses.__getitem__, reverse=True)
    return Quantization(None, proof)


def _products(tower: ov.Model) -> list[str]:
    """Return the names of the products of tokens, [N,T,K], with fixed weights."""
    return [
        op.get_friendly_name()
        for op in tower.get_ordered_ops()
        if op.get_type_name() == "MatMul"
        and _is_fixed(op.input_value(1).get_node())
        and op.input_value(0).get_partial_shape().rank.get_max_length() == 3
    ]


def _is_fixed(op: ov.Node) -> bool:
    kind = op.get_type_name()
    return bool(kind == "Constant" or (kind == "Convert" and _is_fixed(op.input_value(0).get_node())))


def _quantized(tower: ov.Model, pictures: NDArray[np.float32], kept: Sequence[str]) -> ov.Model:
    try:
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet
    except ImportError as exc:
        raise ConfigError(f"nncf cannot be imported: {exc}") from exc

    nncf.set_log_level(logging.ERROR)
    others = [
        op.get_friendly_name()
        for op in tower.get_ops()
        if op.get_type_name() == "MatMul" and op.get_friendly_name() not in set(_products(tower))
    ]
    ignored = nncf.IgnoredScope(
        names=[*kept, *others],
        types=["Convolution", "GroupConvolution", "ScaledDotProductAttention"],
        validate=False,
    )
    advanced = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.ENABLE,
        disable_bias_correction=True,
        activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=SMOOTHED),
    )
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars have no switch
        quantized: ov.Model = nncf.quantize(
            tower.clone(),
            nncf.Dataset([picture[np.newaxis] for picture in pictures]),
            subset_size=len(pictures),
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.PERFORMANCE,
            ignored_scope=ignored,
            advanced_parameters=advanced,
        )
    return quantized


def _losses(quantized: ov.Model, products: Sequence[str], pictures: NDArray[np.float32]) -> dict[str, float]:
    """Return how much each product moves by its inputs' int8 alone, relative to its size, on the same inputs."""
    probed = quantized.clone()
    names: list[str] = []
    results = []
    for op in probed.get_ordered_ops():
        rounded = op.input_value(0).get_node() if op.get_friendly_name() in products else None
        if rounded is None or rounded.get_type_name() != "FakeQuantize":
            continue
        exact = ops.matmul(
            rounded.input_value(0),
            op.input_value(1),
            op.get_attributes()["transpose_a"],
            op.get_attributes()["transpose_b"],
        )
        names.append(op.get_friendly_name())
        moved = ops.subtract(op.output(0), exact)
        results += [ops.result(_energy(moved)), ops.result(_energy(exact))]
    compiled = ov.Core().compile_model(ov.Model(results, probed.get_parameters()), "CPU", EXACT)
    total = np.zeros(len(results))
    for at in range(0, len(pictures), _AT_ONCE):
        found: Any = compiled(pictures[at : at + _AT_ONCE])  # Any: openvino's own mapping
        total += [float(found[number]) for number in range(len(results))]
    return {name: float(np.sqrt(total[2 * n] / max(total[2 * n + 1], 1e-30))) for n, name in enumerate(names)}


def _energy(x: ov.Node) -> ov.Node:
    axes = ops.constant(np.arange(3, dtype=np.int64))
    return ops.reduce_sum(ops.multiply(x, x), axes)
