"""Writes a model's two towers as OpenVINO's IR, compared with their source, and one in int8 if it proves itself.

Everything of a folder but its list of checksums, which convert.py writes last.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from PIL import Image

from services.classifier.model.int8_proof import WORDS, Int8Proof, LabelEmbeddings, verdict
from services.classifier.model.openvino.quantization import QuantizationSamples, quantize
from services.classifier.model.openvino.sources import ConversionSource, read_source, runner
from services.classifier.model.sample_pictures import calibration_pictures, normalised, sample_pictures
from services.classifier.weights.conversions import GOLDEN, MADE_BY, SOURCE, SOURCE_WEIGHTS
from services.classifier.weights.integrity import GOLDEN_PICTURE, GOLDEN_TEXT
from services.classifier.weights.names import CONFIG_FILE, OURS_FILE, ModelReference, own_settings
from services.classifier.weights.tower_pairs import INT8_FILE
from services.classifier.words.prompts import templates_for
from shared.errors import ConfigError

LEAST_COSINE = 0.9999  # of a picture or text, between the conversion and its source
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
Tell = Callable[[str], None]


def convert(reference: ModelReference, models_dir: Path, folder: Path, with_int8: bool, tell: Tell) -> None:
    """Write a model's conversion into an empty folder; raise ConfigError, one line, where it cannot be right."""
    source = read_source(reference, models_dir)
    tell(f"{reference.name}: read {source.read_by}")
    size = source.towers.image_size
    ours = _settings(reference, source)
    _write_json(folder / OURS_FILE, ours)  # first: what is broken off is known by it
    pictures = normalised(sample_pictures(), size, source.preprocessing)
    tokens = source.tokenize([*WORDS, GOLDEN_TEXT])
    image, text = source.run_image(pictures), source.run_text(tokens)
    formats = {
        "image": _save(source.towers.image, folder / "image.xml", pictures, image),
        "text": _save(source.towers.text, folder / "text.xml", tokens, text),
    }
    tell(f"{reference.name}: weights are kept in {formats['image']} (image), {formats['text']} (text)")
    _write_json(folder / CONFIG_FILE, _config(source))
    for name in _TOKENIZER_FILES if source.tokenizer else ():
        if (source.tokenizer / name).is_file():  # type: ignore[operator]
            shutil.copyfile(source.tokenizer / name, folder / name)  # type: ignore[operator]
    ours |= {"formats": formats, GOLDEN: _golden(source)}
    if with_int8:
        labels = LabelEmbeddings(_units(text[:-1]), float(ours["temperature"]))
        proof = _save_int8(source, folder / INT8_FILE, pictures, labels)
        tell(f"{reference.name}: {verdict(proof)}")
        ours["int8"] = proof.as_json()
    _write_json(folder / OURS_FILE, ours)


def _save(tower: ov.Model, path: Path, inputs: NDArray[Any], wanted: NDArray[np.float32]) -> str:
    """Write a tower with weights in float16 if it stays near enough to its source, else in float32."""
    cosine = float("nan")
    for name, is_half in (("float16", True), ("float32", False)):
        ov.save_model(tower, path, compress_to_fp16=is_half)
        found = runner(ov.Core().read_model(path))(inputs)
        cosine = float((_units(found) * _units(wanted)).sum(1).min())
        if cosine >= LEAST_COSINE:
            return name
    raise ConfigError(
        f"{path.stem} tower: the conversion's embeddings have a cosine of {cosine:.5f} with their source's, wanted at "
        f"least {LEAST_COSINE}: OpenVINO {ov.get_version().split('-')[0]} does not run this model rightly"
    )


def _save_int8(
    source: ConversionSource, path: Path, pictures: NDArray[np.float32], labels: LabelEmbeddings
) -> Int8Proof:
    measured = normalised(calibration_pictures(), source.towers.image_size, source.preprocessing)
    found = quantize(source.towers.image, QuantizationSamples(measured, pictures), labels)
    if found.tower is not None:
        ov.save_model(found.tower, path, compress_to_fp16=False)
    return found.proof


def _settings(reference: ModelReference, source: ConversionSource) -> dict[str, Any]:  # Any: JSON
    """Return clipwatch.json: the source's own, and what no longer stands beside its name."""
    own = own_settings(reference)
    temperature = float(own.get("temperature") or source.towers.temperature)
    return {
        "name": reference.name,
        "templates": list(templates_for(reference)),
        **own,
        "temperature": temperature,
        SOURCE: reference.name,
        SOURCE_WEIGHTS: source.checked.weights,
        MADE_BY: {"openvino": ov.get_version().split("-")[0], "read": source.read_by},
    }


def _config(source: ConversionSource) -> dict[str, Any]:  # Any: JSON
    preprocessing = source.preprocessing
    vision = dict(source.model_cfg.get("vision_cfg", {})) | {"image_size": source.towers.image_size}
    return {
        "model_cfg": {**source.model_cfg, "vision_cfg": vision},
        "preprocess_cfg": {
            "mean": list(preprocessing.pixels.mean),
            "std": list(preprocessing.pixels.std),
            "interpolation": preprocessing.interpolation,
            "resize_mode": "squash",
        },
    }


def _golden(source: ConversionSource) -> dict[str, list[float]]:
    with Image.open(GOLDEN_PICTURE) as opened:
        pixels = normalised([opened.convert("RGB")], source.towers.image_size, source.preprocessing)
    found = (source.run_image(pixels), source.run_text(source.tokenize([GOLDEN_TEXT])))
    picture, text = ([round(float(value), 6) for value in _units(one)[0]] for one in found)
    return {"picture": picture, "text": text}


def _units(features: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit


def _write_json(path: Path, value: dict[str, Any]) -> None:  # Any: JSON
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
