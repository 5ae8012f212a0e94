"""Products in int8 as convolutions, and norms in plain operations: the same numbers, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from openvino import opset13 as ops

from services.classifier.model.int8_proof import LabelEmbeddings
from services.classifier.model.openvino.layers import affine, integers
from services.classifier.model.openvino.quantization import QuantizationSamples, quantize
from services.classifier.model.openvino.rewrites import as_convolutions, without_mvn
from services.classifier.model.openvino.sources import runner

SIZE, WIDTH, DIM = 8, 32, 16
LABELS = LabelEmbeddings(np.eye(DIM, dtype=np.float32)[:8], 5.0)


def tower() -> ov.Model:
    """Return a tower of three products of tokens, the last one wider, and one of the pooled vector."""
    rng = np.random.default_rng(1)

    def weights(n_out: int, n_in: int) -> NDArray[np.float32]:
        return np.asarray(rng.normal(size=(n_out, n_in)) / np.sqrt(n_in), np.float32)

    pixels = ops.parameter([-1, 3, SIZE, SIZE], np.float32, name="pixels")
    x = ops.reshape(pixels, integers(0, 12, 16), special_zero=True)
    for n_in, n_out in ((16, WIDTH), (WIDTH, WIDTH), (WIDTH, 2 * WIDTH)):
        x = ops.gelu(affine(x, weights(n_out, n_in), rng.normal(size=n_out).astype(np.float32)), "erf")
    pooled = ops.reduce_mean(x, integers(1))
    return ov.Model([affine(pooled, weights(DIM, 2 * WIDTH), None)], [pixels], "tower")


def pictures(n: int = 12) -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(size=(n, 3, SIZE, SIZE)).astype(np.float32)


@pytest.fixture(scope="module")
def int8() -> ov.Model:
    found = quantize(tower(), QuantizationSamples(pictures(), pictures()[:6]), LABELS)
    assert found.tower is not None
    assert found.proof.n_int8 == 3
    return found.tower


def kinds(model: ov.Model) -> list[str]:
    return [op.get_type_name() for op in model.get_ordered_ops()]


def test_int8_products_become_convolutions_that_answer_alike(int8: ov.Model) -> None:
    rewritten = int8.clone()
    assert as_convolutions(rewritten) == 3
    assert (kinds(rewritten).count("Convolution"), kinds(rewritten).count("MatMul")) == (3, 1)
    before, after = runner(int8)(pictures(5)), runner(rewritten)(pictures(5))
    # a number on the edge between two codes may fall on the other side: 1 of 255 of one input
    assert np.abs(before - after).max() <= 0.01 * np.abs(before).max()
    cosines = (before * after).sum(1) / np.linalg.norm(before, axis=1) / np.linalg.norm(after, axis=1)
    assert cosines.min() > 0.9999


def test_they_are_computed_in_int8(int8: ov.Model) -> None:
    rewritten = int8.clone()
    as_convolutions(rewritten)
    compiled = ov.Core().compile_model(rewritten, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    run = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    found = [
        str(one["runtimePrecision"].astype(str))
        for one in run
        if one["layerType"].astype(str) == "Convolution"
    ]
    assert len(found) == 3
    assert all(precision in ("i8", "u8") for precision in found)


def test_a_float32_tower_stays_as_it_is() -> None:
    model = tower()
    before = kinds(model)
    assert as_convolutions(model) == 0
    assert kinds(model) == before


@pytest.mark.parametrize(("axes", "n_replaced"), [((-1,), 1), ((2,), 1), ((1,), 0), ((1, 2), 0)])
def test_norms_over_the_last_axis_become_plain_operations(axes: tuple[int, ...], n_replaced: int) -> None:
    x = ops.parameter([-1, 5, 16], np.float32)
    norm = ops.mvn(x, integers(*axes), normalize_variance=True, eps=1e-5, eps_mode="inside_sqrt")
    model = ov.Model([norm], [x], "norm")
    given = np.random.default_rng(3).normal(3.0, 2.0, size=(4, 5, 16)).astype(np.float32)
    before = runner(model)(given)
    assert without_mvn(model) == n_replaced
    assert kinds(model).count("MVN") == 1 - n_replaced
    assert np.allclose(runner(model)(given), before, atol=1e-5)
