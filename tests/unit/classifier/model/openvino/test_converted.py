"""Reading folders that hold two towers: our own IR, and others' ONNX in the forms that they come in."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from services.classifier.model.openvino import converted
from services.classifier.weights.conversions import MADE_BY, SOURCE_WEIGHTS, converted_folder
from services.classifier.weights.integrity import ChecksumRecord, check_folder, write_sums
from services.classifier.weights.names import ModelReference, local_models, resolve_model
from shared.errors import ConfigError
from tests.unit.classifier.model.openvino.onnx_files import OnnxGraph, OnnxNode, ids, pictures, write_onnx

SIZE, WIDTH, WORDS = 8, 6, 50
RNG = np.random.default_rng(0)
PICTURE_WEIGHTS = RNG.normal(size=(3 * SIZE * SIZE, WIDTH)).astype(np.float32)
WORD_WEIGHTS = RNG.normal(size=(WORDS, WIDTH)).astype(np.float32)
PIXELS = RNG.normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
TOKENS = RNG.integers(1, WORDS, (2, 5))


def image_graph(n: int | str = "n", size: int | str = SIZE) -> OnnxGraph:
    """Return a tower that multiplies the pixels by PICTURE_WEIGHTS."""
    return OnnxGraph(
        {"pixel_values": pictures(n, size)},
        {"image_embeds": (n, WIDTH)},
        [
            OnnxNode("Flatten", "flat", ("pixel_values",), {"axis": 1}),
            OnnxNode("MatMul", "image_embeds", ("flat", "weights")),
        ],
        {"weights": PICTURE_WEIGHTS},
    )


def text_graph(n: int | str = "n", length: int | str = "l") -> OnnxGraph:
    """Return a tower that adds up the WORD_WEIGHTS of a text's tokens."""
    return OnnxGraph(
        {"input_ids": ids(n, length)},
        {"text_embeds": (n, WIDTH)},
        [
            OnnxNode("Gather", "vectors", ("words", "input_ids")),
            OnnxNode("ReduceSum", "text_embeds", ("vectors", "axes"), {"keepdims": 0}),
        ],
        {"words": WORD_WEIGHTS, "axes": np.array([1], np.int64)},
    )


def write_folder(
    folder: Path,
    image: OnnxGraph | None = None,
    text: OnnxGraph | None = None,
    names: Sequence[str] = ("image.onnx", "text.onnx"),
) -> Path:
    write_onnx(folder / names[0], image or image_graph())
    write_onnx(folder / names[1], text or text_graph())
    config = {"model_cfg": {"embed_dim": WIDTH, "vision_cfg": {"image_size": SIZE}, "text_cfg": {}}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "clipwatch.json").write_text(json.dumps({"temperature": 50.0}))
    return folder


def run(model: ov.Model, given: NDArray[np.float32] | NDArray[np.int64]) -> NDArray[np.float32]:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    found: NDArray[np.float32] = ov.Core().compile_model(model, "CPU", settings)(given)[0]
    return found


def assert_is_right(folder: Path) -> None:
    towers = converted.load_pair(folder)
    assert towers.image_size == SIZE
    np.testing.assert_allclose(
        run(towers.image, PIXELS), PIXELS.reshape(3, -1) @ PICTURE_WEIGHTS, rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(run(towers.text, TOKENS), WORD_WEIGHTS[TOKENS].sum(1), rtol=1e-4, atol=1e-4)
    for model, shape in ((towers.image, f"[?,3,{SIZE},{SIZE}]"), (towers.text, "[?,?]")):
        assert str(model.input(0).get_partial_shape()) == shape
        assert len(model.inputs) == len(model.outputs) == 1


@pytest.mark.parametrize(
    "names",
    [
        ("image.onnx", "text.onnx"),
        ("vision_model.onnx", "text_model.onnx"),
        ("onnx/vision_model.onnx", "onnx/text_model.onnx"),
        ("visual/model.onnx", "textual/model.onnx"),
    ],
)
def test_an_onnx_pair_is_read_under_the_usual_names(tmp_path: Path, names: Sequence[str]) -> None:
    assert_is_right(write_folder(tmp_path, names=names))


def test_an_ir_pair_is_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    for name in ("image", "text"):
        ov.save_model(ov.Core().read_model(folder / f"{name}.onnx"), folder / f"{name}.xml", False)
        (folder / f"{name}.onnx").unlink()
    assert_is_right(folder)
    assert converted.load_pair(folder).temperature == 50.0


def test_a_fixed_batch_becomes_any_number(tmp_path: Path) -> None:
    assert_is_right(write_folder(tmp_path, image_graph(n=4), text_graph(n=1)))


def test_a_batch_of_one_inside_of_the_graph_is_run_for_each_picture(tmp_path: Path) -> None:
    graph = image_graph(n=1)
    flat = OnnxNode("Reshape", "flat", ("pixel_values", "shape"))
    shape = {"shape": np.array([1, 3 * SIZE * SIZE], np.int64)}
    graph = replace(graph, nodes=[flat, graph.nodes[1]], constants={**graph.constants, **shape})
    assert_is_right(write_folder(tmp_path, graph))


def test_pictures_of_any_size_get_the_size_of_the_config(tmp_path: Path) -> None:
    assert_is_right(write_folder(tmp_path, image_graph(size="size")))


def test_tokens_in_int32_are_given_so(tmp_path: Path) -> None:
    graph = text_graph()
    assert_is_right(
        write_folder(
            tmp_path,
            text=replace(
                graph,
                inputs={"text": ids("n", "l", True)},
                nodes=[replace(graph.nodes[0], inputs=("words", "text")), graph.nodes[1]],
            ),
        )
    )


def test_filling_is_masked_where_the_tower_takes_a_mask(tmp_path: Path) -> None:
    graph = text_graph()
    masked = [
        OnnxNode("Cast", "seen", ("attention_mask",), {"to": 1}),
        OnnxNode("Unsqueeze", "mask", ("seen", "last")),
        graph.nodes[0],
        OnnxNode("Mul", "kept", ("vectors", "mask")),
        OnnxNode("ReduceSum", "text_embeds", ("kept", "axes"), {"keepdims": 0}),
    ]
    inputs = {"attention_mask": ids("n", "l"), **graph.inputs}
    constants = {**graph.constants, "last": np.array([2], np.int64)}
    folder = write_folder(tmp_path, text=replace(graph, inputs=inputs, nodes=masked, constants=constants))
    write_tokenizer(folder, pad="<pad>", end="<end>")
    padded = np.concatenate([TOKENS, np.zeros((2, 3), np.int64)], axis=1)
    found = run(converted.load_pair(folder).text, padded)
    np.testing.assert_allclose(found, WORD_WEIGHTS[TOKENS].sum(1), rtol=1e-4, atol=1e-4)
    write_tokenizer(folder, pad="<end>", end="<end>")  # the mask would hide the end itself
    found = run(converted.load_pair(folder).text, padded)
    np.testing.assert_allclose(found, WORD_WEIGHTS[padded].sum(1), rtol=1e-4, atol=1e-4)


def write_tokenizer(folder: Path, pad: str, end: str) -> None:
    from tokenizers import Tokenizer, models

    words = {"<pad>": 0, "<end>": 1, "dog": 2}
    Tokenizer(models.WordLevel(words, unk_token="<end>")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": pad, "eos_token": end}))


def test_of_several_outputs_the_embedding_is_taken(tmp_path: Path) -> None:
    graph = image_graph()
    outputs = {
        "last_hidden_state": ("n", 3, SIZE, SIZE),
        "pooler_output": ("n", 3 * SIZE * SIZE),
        **graph.outputs,
    }
    extra = [
        OnnxNode("Identity", "last_hidden_state", ("pixel_values",)),
        OnnxNode("Flatten", "pooler_output", ("pixel_values",), {"axis": 1}),
    ]
    assert_is_right(write_folder(tmp_path, replace(graph, outputs=outputs, nodes=[*extra, *graph.nodes])))


def test_outputs_that_leave_a_doubt_are_refused(tmp_path: Path) -> None:
    graph = image_graph()
    nodes = [
        *graph.nodes[:1],
        OnnxNode("MatMul", "one", ("flat", "weights")),
        OnnxNode("Neg", "other", ("one",)),
    ]
    folder = write_folder(
        tmp_path, replace(graph, outputs={"one": ("n", WIDTH), "other": ("n", WIDTH)}, nodes=nodes)
    )
    with pytest.raises(
        ConfigError, match=r"image.onnx: gives one .*, other .*, wanted one embedding \[N,D\]"
    ):
        converted.load_pair(folder)


def test_one_tower_is_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "text.onnx").unlink()
    with pytest.raises(ConfigError, match=r"holds one tower, image.onnx; wanted text.onnx as well"):
        converted.load_pair(folder)
    with pytest.raises(ConfigError, match=r"MODEL=.*: holds one tower, image.onnx"):
        resolve_model(str(folder), tmp_path)


def test_towers_of_two_models_are_refused(tmp_path: Path) -> None:
    graph = text_graph()
    words = {**graph.constants, "words": WORD_WEIGHTS[:, :4].copy()}
    folder = write_folder(tmp_path, text=replace(graph, constants=words, outputs={"text_embeds": ("n", 4)}))
    with pytest.raises(ConfigError, match=r"gives 6 numbers a picture, text\.onnx 4 a text"):
        converted.load_pair(folder)
    folder = write_folder(tmp_path / "b")
    config = {"model_cfg": {"vision_cfg": {"image_size": 16}}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(
        ConfigError, match="takes pictures of 8 px, but the model's config says image_size 16"
    ):
        converted.load_pair(folder)


def test_a_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "owner/words"
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"no tokenizer.json, wanted that of owner/words beside the towers"):
        converted.load_pair(folder)


def test_an_ir_of_another_version_is_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    for name in ("image", "text"):
        ov.save_model(ov.Core().read_model(folder / f"{name}.onnx"), folder / f"{name}.xml", False)
    path = folder / "image.xml"
    text = re.sub(r'(<net [^>]*version=)"11"', r'\1"14"', path.read_text())
    path.write_text(re.sub(r'("OpenVINO Runtime" value=)"[\d.]+', r'\1"2031.2.0', text))
    said = r"IR version 14, written by OpenVINO 2031\.2\.0, cannot be read by OpenVINO 20"
    with pytest.raises(ConfigError, match=said) as caught:
        converted.load_pair(folder)
    assert "models convert" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_one_line(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    path = folder / "image.onnx"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ConfigError, match=r"image.onnx: cannot be read by OpenVINO"):
        converted.load_pair(folder)


def test_checksums_hold_for_towers_in_subfolders(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, names=("onnx/vision_model.onnx", "onnx/text_model.onnx"))
    write_sums(folder)
    assert "onnx/text_model.onnx" in (folder / "SHA256SUMS").read_text()
    assert check_folder("m", folder, ChecksumRecord(None)).is_verified
    path = folder / "onnx" / "text_model.onnx"
    path.write_bytes(path.read_bytes().replace(b"vectors", b"vectorz"))
    with pytest.raises(ConfigError, match=r"text_model.onnx: sha256 .* the file is corrupt"):
        check_folder("m", folder, ChecksumRecord(None))


def test_a_folder_of_towers_is_a_model(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "towers")
    (folder / "open_clip_config.json").unlink()
    assert local_models(tmp_path) == ("towers",)
    assert converted.find(resolve_model("towers", tmp_path), tmp_path) == folder


def written_conversion(models_dir: Path, name: str, source: str) -> Path:
    folder = write_folder(converted_folder(models_dir, name))
    ours = {"source": name, SOURCE_WEIGHTS: source, MADE_BY: {}, "temperature": 50.0}
    (folder / "clipwatch.json").write_text(json.dumps(ours))
    write_sums(folder)
    return folder


def test_a_whole_conversion_stands_for_its_model(tmp_path: Path) -> None:
    reference = ModelReference("hf-hub:owner/name", "hub")
    assert converted.find(reference, tmp_path) is None
    folder = written_conversion(tmp_path, reference.name, "abc")
    assert converted.find(reference, tmp_path) == folder


def test_a_conversion_of_other_weights_is_not_used(tmp_path: Path) -> None:
    reference = ModelReference("hf-hub:owner/name", "hub")
    snapshot = tmp_path / "models--owner--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--owner--name" / "refs").mkdir()
    (tmp_path / "models--owner--name" / "refs" / "main").write_text("abc")
    (snapshot / "open_clip_model.safetensors").write_bytes(b"new weights")
    folder = written_conversion(tmp_path, reference.name, "other")
    assert converted.find(reference, tmp_path) is None
    from services.classifier.weights import hub, integrity

    right = integrity.check_cache("m", hub.cached_files(tmp_path, reference), ChecksumRecord(None)).weights
    ours = json.loads((folder / "clipwatch.json").read_text()) | {SOURCE_WEIGHTS: right}
    (folder / "clipwatch.json").write_text(json.dumps(ours))
    assert converted.find(reference, tmp_path) == folder


def test_a_conversion_that_was_broken_off_never_counts(tmp_path: Path) -> None:
    reference = ModelReference("hf-hub:owner/name", "hub")
    folder = written_conversion(tmp_path, reference.name, "abc")
    (folder / "SHA256SUMS").unlink()
    assert converted.find(reference, tmp_path) is None
    with pytest.raises(
        ConfigError, match="a conversion that was broken off: delete it, and run `clipwatch models"
    ):
        converted.find(resolve_model(str(folder), tmp_path), tmp_path)


def test_immichs_folder_says_its_configuration(tmp_path: Path) -> None:
    from services.classifier.weights.tower_configs import config_of

    folder = write_folder(tmp_path, names=("visual/model.onnx", "textual/model.onnx"))
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    (folder / "open_clip_config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "visual" / "preprocess_cfg.json").write_text(json.dumps({"mean": [0.5, 0.5, 0.5]}))
    assert config_of(folder) == {"model_cfg": config, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
    assert_is_right(folder)


def test_hugging_faces_folder_says_its_configuration(tmp_path: Path) -> None:
    from services.classifier.weights.tower_configs import config_of

    folder = write_folder(tmp_path, names=("onnx/vision_model.onnx", "onnx/text_model.onnx"))
    (folder / "open_clip_config.json").unlink()
    config = {"model_type": "clip", "text_config": {}, "vision_config": {"image_size": SIZE}}
    (folder / "config.json").write_text(json.dumps(config))
    pixels = {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1], "resample": 2}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    assert config_of(folder)["preprocess_cfg"] == {
        "mean": [0.1, 0.2, 0.3],
        "std": [1, 1, 1],
        "interpolation": "bilinear",
    }
    assert config_of(folder)["model_cfg"]["text_cfg"]["context_length"] == 77
    assert_is_right(folder)
