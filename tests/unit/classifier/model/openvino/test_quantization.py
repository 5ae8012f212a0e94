"""int8 by nncf: used where it proves itself, in fewer layers where all are too many, else not at all."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from services.classifier.model.int8_proof import LEAST_COSINE, NO_PRODUCTS, LabelEmbeddings
from services.classifier.model.openvino.quantization import Quantization, QuantizationSamples, quantize
from services.classifier.model.openvino.sources import runner

SIZE, WIDTH, DIM = 8, 32, 16
N_PRODUCTS = 4
RNG = np.random.default_rng(0)
LABELS = LabelEmbeddings(np.eye(DIM, dtype=np.float32)[:8], 5.0)


def tower(outlier: float = 1.0, n_outliers: int = 1) -> ov.Model:
    """Return a tower of N_PRODUCTS products of tokens, and one of the pooled vector.

    In the first `n_outliers` products one token is `outlier` times as large as the others: no scale fits both.
    """
    rng = np.random.default_rng(1)
    pixels = ops.parameter([-1, 3, SIZE, SIZE], np.float32, name="pixels")
    x = ops.reshape(pixels, ops.constant(np.array([0, 12, 16], np.int64)), special_zero=True)
    scale = np.ones((1, 12, 1), np.float32)
    scale[0, 0] = outlier
    n_in = 16
    for number in range(N_PRODUCTS):
        weight = (rng.normal(size=(n_in, WIDTH)) / np.sqrt(n_in)).astype(np.float32)
        given = ops.multiply(x, ops.constant(scale)) if number < n_outliers else x
        product = ops.matmul(given, ops.constant(weight), False, False, name=f"product{number}")
        if number < n_outliers:
            product = ops.divide(product, ops.constant(scale))
        x = product if number == 0 else ops.add(x, ops.multiply(product, ops.constant(np.float32(0.3))))
        n_in = WIDTH
    pooled = ops.reduce_mean(x, ops.constant(np.array([1], np.int64)))
    last = ops.matmul(pooled, ops.constant(rng.normal(size=(WIDTH, DIM)).astype(np.float32)), False, False)
    return ov.Model([last], [pixels], "tower")


def samples() -> QuantizationSamples:
    pictures: NDArray[np.float32] = RNG.normal(size=(12, 3, SIZE, SIZE)).astype(np.float32)
    return QuantizationSamples(pictures, pictures[:6])


def quantized(model: ov.Model) -> Quantization:
    return quantize(model, samples(), LABELS)


def test_all_products_are_in_int8_where_that_is_near_enough() -> None:
    model = tower()
    given = samples()
    found = quantize(model, given, LABELS)
    assert found.tower is not None
    assert (found.proof.n_int8, found.proof.n_products, found.proof.n_pictures) == (4, 4, 6)
    assert found.proof.cosine >= LEAST_COSINE
    before, after = runner(model)(given.judged), runner(found.tower)(given.judged)
    cosines = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert float(cosines.min()) == pytest.approx(found.proof.cosine, abs=1e-5)
    assert float(cosines.min()) < 1 - 1e-7  # it is another tower
    assert count(found.tower, "FakeQuantize") > 0
    assert count(model, "FakeQuantize") == 0


def count(model: ov.Model, kind: str) -> int:
    return sum(op.get_type_name() == kind for op in model.get_ops())


def test_products_that_lose_most_stay_in_float32() -> None:
    found = quantized(tower(outlier=300.0, n_outliers=1))
    assert found.tower is not None
    assert found.proof.n_int8 == 3  # 0.85 of 4
    first = next(op for op in found.tower.get_ops() if op.get_friendly_name() == "product0")
    assert first.input_value(1).get_node().get_type_name() == "Constant"


def test_int8_that_fails_the_bar_is_not_used() -> None:
    found = quantized(tower(outlier=300.0, n_outliers=N_PRODUCTS))
    assert found.tower is None
    assert found.proof.n_int8 == 2
    assert found.proof.cosine < LEAST_COSINE


def test_a_tower_without_products_of_tokens_stays_as_it_is() -> None:
    pixels = ops.parameter([-1, 3, SIZE, SIZE], np.float32)
    flat = ops.reshape(pixels, ops.constant(np.array([0, -1], np.int64)), special_zero=True)
    weight = RNG.normal(size=(3 * SIZE * SIZE, DIM)).astype(np.float32)
    model = ov.Model([ops.matmul(flat, ops.constant(weight), False, False)], [pixels], "flat")
    assert quantized(model) == Quantization(None, NO_PRODUCTS)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    quantized(tower())
    assert capfd.readouterr().out == ""
