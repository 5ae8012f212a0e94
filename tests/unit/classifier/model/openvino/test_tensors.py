"""tensors.py reads what safetensors writes, and notices what is missing, misshapen or never taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.classifier.model.openvino.tensors import Tensors, expect, read_safetensors
from shared.errors import ConfigError

RNG = np.random.default_rng(0)


def _written(path: Path, header: dict[str, object], data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_a_file_is_read_as_the_safetensors_package_reads_it(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "a.safetensors"
    arrays: dict[str, NDArray[Any]] = {
        "weight": RNG.normal(size=(3, 5)).astype(np.float32),
        "half": RNG.normal(size=(7,)).astype(np.float16),
        "steps": np.array(12, np.int64),
        "none": np.zeros((0, 4), np.float32),
    }
    save_file(arrays, path, metadata={"format": "pt"})
    found, wanted = read_safetensors(path), load_file(path)
    assert set(found) == set(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_bfloat16_comes_as_float32(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    made = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    save_file({"weight": made}, tmp_path / "a.safetensors")
    found = read_safetensors(tmp_path / "a.safetensors")["weight"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, made.float().numpy())


def test_writing_into_a_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    path = _written(tmp_path / "a.safetensors", {"weight": entry}, b"\0\0\0\0")
    before = path.read_bytes()
    read_safetensors(path)["weight"][0] = 5
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]},
        {"shape": [4], "data_offsets": [0, 4]},
        7,
    ],
)
def test_a_broken_entry_is_one_line(entry: object, tmp_path: Path) -> None:
    path = _written(tmp_path / "a.safetensors", {"weight": entry}, b"\0" * 8)
    with pytest.raises(ConfigError, match=r"a\.safetensors: cannot be read as safetensors"):
        read_safetensors(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0[]", b"\x05\0\0\0\0\0\0\0{"])
def test_a_broken_file_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.safetensors: cannot be read as safetensors"):
        read_safetensors(path)


def test_tensors_are_taken_by_name_and_shape() -> None:
    tensors = Tensors({"a.b.weight": np.zeros((2, 3)), "a.c": np.zeros(4), "scale": np.full((1,), 3.0)})
    inner = tensors.within("a")
    assert not inner.is_empty()
    assert inner.within("c").is_empty()
    assert inner.within("b").take("weight", 2, None).shape == (2, 3)
    assert tensors.rest() == ["a.c", "scale"]
    assert tensors.number("scale") == 3.0
    assert tensors.rest(["c"]) == []


def test_what_is_missing_or_misshapen_is_named() -> None:
    tensors = Tensors({"a.b.weight": np.zeros((2, 3)), "scale": np.zeros(2)}).within("a.b")
    with pytest.raises(ConfigError, match=r"lack the tensor a\.b\.bias, wanted \[2\]"):
        tensors.take("bias", 2)
    with pytest.raises(ConfigError, match=r"a\.b\.weight is \[2, 3\], wanted \[any, 4\]"):
        tensors.take("weight", None, 4)
    with pytest.raises(ConfigError, match=r"a\.b\.weight is \[2, 3\], wanted \[6\]"):
        tensors.take("weight", 6)
    with pytest.raises(ConfigError, match=r"scale is \[2\], wanted \[\]"):
        Tensors({"scale": np.zeros(2)}).number("scale")


def test_a_configuration_that_says_something_else_is_named() -> None:
    expect("vision_cfg", {"pool": "avg"}, pool="avg", bias=None)
    with pytest.raises(ConfigError, match="vision_cfg: pool=max, built is avg"):
        expect("vision_cfg", {"pool": "max"}, pool="avg")
