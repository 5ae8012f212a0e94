"""Which files of a folder or repository are its towers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.classifier.weights import hub
from services.classifier.weights.integrity import ChecksumRecord, check_cache
from services.classifier.weights.names import resolve_model
from services.classifier.weights.tower_pairs import tower_files, wanted_files
from shared.errors import ConfigError


def test_of_a_repository_only_the_towers_and_small_files_are_wanted() -> None:
    names = [
        "README.md",
        "config.json",
        "model.safetensors",
        "onnx/model.onnx",
        "onnx/text_model.onnx",
        "onnx/text_model_quantized.onnx",
        "onnx/vision_model.onnx",
        "onnx/vision_model.onnx_data",
        "preprocessor_config.json",
        "tokenizer.json",
    ]
    assert wanted_files(names) == (
        "config.json",
        "onnx/text_model.onnx",
        "onnx/vision_model.onnx",
        "onnx/vision_model.onnx_data",
        "preprocessor_config.json",
        "tokenizer.json",
    )
    assert wanted_files(["image.xml", "image.bin", "text.xml", "text.bin", "other.bin"]) == (
        "image.bin",
        "image.xml",
        "text.bin",
        "text.xml",
    )
    assert wanted_files(["config.json", "open_clip_model.safetensors"]) == ()


def test_an_ir_without_its_weights_is_one_line(tmp_path: Path) -> None:
    for name in ("image.xml", "image.bin", "text.xml"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"text\.bin: not there, wanted beside text\.xml"):
        tower_files(tmp_path)


def test_one_tower_beside_weights_is_of_no_interest(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").touch()
    (tmp_path / "open_clip_model.safetensors").touch()
    assert tower_files(tmp_path) is None


def test_a_cached_repository_with_towers_is_a_model(tmp_path: Path) -> None:
    root = tmp_path / "models--owner--towers"
    folder = root / "snapshots" / "abc"
    (folder / "onnx").mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("abc")
    for name in ("onnx/vision_model.onnx", "onnx/text_model.onnx", "onnx/text_model_fp16.onnx"):
        (folder / name).write_bytes(name.encode())
    (folder / "config.json").write_text(json.dumps({"vision_config": {"image_size": 8}}))
    reference = resolve_model("hf-hub:owner/towers", tmp_path)
    assert hub.is_here(reference, tmp_path)
    assert hub.present(tmp_path) == ("hf-hub:owner/towers",)
    files = hub.cached_files(tmp_path, reference)
    assert [path.name for path in files] == ["config.json", "text_model.onnx", "vision_model.onnx"]
    assert hub.model_config(tmp_path, reference)["model_cfg"]["vision_cfg"] == {"image_size": 8}
    assert check_cache("towers", files, ChecksumRecord(None)).n_files == 3
