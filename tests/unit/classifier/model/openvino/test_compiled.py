"""Towers on several streams, and what a lack of memory becomes."""

from __future__ import annotations

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from services.classifier.model.openvino.compiled import (
    CompiledTower,
    Threading,
    spread,
    translated,
    with_preprocessing,
)
from services.classifier.weights.families import Pixels
from shared.errors import Transient


def sums(side: int = 4) -> ov.Model:
    """Return an image tower whose embedding is the sum of each channel."""
    pixels = ops.parameter([-1, 3, side, side], np.float32)
    return ov.Model([ops.reduce_sum(pixels, ops.constant(np.array([2, 3])))], [pixels])


@pytest.mark.parametrize(
    ("threads", "streams"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 1), (6, 3), (7, 1), (8, 4), (16, 4)]
)
def test_every_stream_has_the_same_number_of_threads(threads: int, streams: int) -> None:
    assert spread(threads) == Threading(threads, streams)


def test_pictures_are_normalised_before_the_tower() -> None:
    pixels = Pixels((0.1, 0.2, 0.3), (0.5, 0.25, 1.0))
    tower = CompiledTower(with_preprocessing(sums(), pixels, Threading(2, 2)), Threading(2, 2), "f32")
    pictures = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3), dtype=np.uint8)
    wanted = ((pictures / 255 - pixels.mean) / pixels.std).sum(axis=(1, 2))
    assert np.allclose(tower.run(pictures), wanted, atol=1e-4)


def test_a_read_only_batch_is_taken() -> None:
    batch = np.ones((3, 3, 4, 4), np.float32)
    batch.flags.writeable = False
    assert CompiledTower(sums(), Threading(1, 1), "f32").run(batch).tolist() == [[16.0] * 3] * 3


@pytest.mark.parametrize(
    "fault", [MemoryError(), RuntimeError("Exception from src/x.cpp:1:\nstd::bad_alloc")]
)
def test_a_lack_of_memory_is_no_picture_s_fault(fault: Exception) -> None:
    with pytest.raises(Transient, match="out of memory"), translated():
        raise fault


def test_other_faults_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shape"), translated():
        raise RuntimeError("shape mismatch")


def test_a_batch_of_another_shape_is_an_error_and_the_next_one_works() -> None:
    tower = CompiledTower(sums(), Threading(2, 2), "f32")
    with pytest.raises(RuntimeError):
        tower.run(np.ones((5, 3, 4, 5), np.float32))
    assert tower.run(np.ones((5, 3, 4, 4), np.float32)).shape == (5, 3)
