"""Loads a model for OpenVINO: verifies its files, builds and compiles its towers, compares embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from PIL import Image

from services.classifier.devices.choice import VNNI_FLAGS, DeviceChoice, Dtype, lacks
from services.classifier.model.facts import facts_of
from services.classifier.model.golden import check_model, embed_golden, golden_of
from services.classifier.model.int8_proof import Int8Proof
from services.classifier.model.openvino import converted
from services.classifier.model.openvino.compiled import CompiledTower, one_stream, spread, with_preprocessing
from services.classifier.model.openvino.memory import release
from services.classifier.model.openvino.model import FILTERS, ModelParts, OpenVinoModel, unit_vectors
from services.classifier.model.openvino.rewrites import as_convolutions, without_mvn
from services.classifier.model.openvino.tensors import read_safetensors
from services.classifier.model.openvino.tokens import Tokenize, tokenizer_of
from services.classifier.model.openvino.towers import Towers, build_towers
from services.classifier.weights import hub, integrity
from services.classifier.weights.files import tokenizer_files, verify_files
from services.classifier.weights.integrity import (
    GOLDEN_PICTURE,
    GOLDEN_TEXT,
    ChecksumRecord,
    ChecksumResult,
    GoldenEmbeddings,
)
from services.classifier.weights.names import (
    CONFIG_FILE,
    WEIGHT_SUFFIXES,
    ModelReference,
    own_settings,
    read_json,
)
from services.classifier.weights.preprocessing import Preprocessing, is_listed_quick, preprocessing_of
from services.classifier.weights.tower_configs import config_of, tokenizer_folder
from shared.errors import ConfigError
from shared.logs import get_logger

log = get_logger(__name__)
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


@dataclass(frozen=True, slots=True)
class _ModelSource:
    """What a model's files hold. `reference` names the folder that its settings are in, if it has one."""

    reference: ModelReference
    checked: ChecksumResult
    towers: Towers
    tokenize: Tokenize
    preprocessing: Preprocessing
    files: tuple[Path, ...]  # that the towers' weights are mapped from
    int8: tuple[ov.Model, Int8Proof] | None = None


def load_model(
    reference: ModelReference,
    choice: DeviceChoice,
    cache_dir: Path | None = None,
    temperature: float | None = None,
) -> OpenVinoModel:
    """Load weights and tokenizer; raise ConfigError, one line, when they are missing or broken."""
    record = ChecksumRecord(cache_dir)
    source = _read(reference, cache_dir, record)
    if lacks("avx"):
        for tower in (source.towers.image, source.towers.text, *([source.int8[0]] if source.int8 else [])):
            without_mvn(tower)
    choice = _format(source, choice)
    text = CompiledTower(source.towers.text, one_stream(choice.threads), "f32")

    pixels, threading = source.preprocessing.pixels, spread(choice.threads)
    exact = with_preprocessing(source.towers.image, pixels, threading)

    @cache
    def compiled(dtype: Dtype) -> ModelParts:
        tower = (
            with_preprocessing(source.int8[0], pixels, threading)
            if source.int8 and dtype == "int8"
            else exact
        )
        image = CompiledTower(tower, threading, _PRECISIONS[dtype])
        return ModelParts(image, text, source.tokenize, source.preprocessing.interpolation)

    golden = golden_of(
        reference,
        source.checked,
        record,
        lambda: (
            converted.golden(source.reference, source.checked.weights)
            or _exact_golden(compiled("float32"), source.towers.image_size, source.checked.weights)
        ),
    )
    ours = own_settings(source.reference)
    temperature = temperature or float(ours.get("temperature") or source.towers.temperature)
    facts = facts_of(source.reference, choice, source.towers.image_size, temperature)
    model = OpenVinoModel(compiled(choice.dtype), replace(facts, embedding_dim=text.width))
    check_model(model, source.reference, ours)
    if golden is not None:
        integrity.compare(reference.name, choice.dtype, golden, embed_golden(model, source.checked.weights))
    record.save()
    release(source.files)
    return model


def _format(source: _ModelSource, choice: DeviceChoice) -> DeviceChoice:
    """Return the choice with int8 where the model has it proved and DTYPE allows it."""
    if source.int8 and choice.takes_int8:
        return replace(choice, dtype="int8", why=f"{choice.why}; int8 {source.int8[1]}")
    if choice.dtype != "int8":
        return choice
    name = source.reference.name
    log.warning(
        f"no int8 tower that was proved is here, going on in float32: `clipwatch models convert {name}` makes one",
        model=name,
    )
    return replace(choice, dtype="float32", why=f"{choice.why}; but float32, since no int8 tower was proved")


def _read(reference: ModelReference, cache_dir: Path | None, record: ChecksumRecord) -> _ModelSource:
    models_dir = hub.cache_of(cache_dir)
    if (pair := converted.find(reference, cache_dir, record)) is not None:
        return _read_pair(reference, pair, record)
    checked = verify_files(reference, cache_dir, record)
    if (pair := converted.find(reference, cache_dir, record)) is not None:  # it was fetched just now
        return _read_pair(reference, pair, record)
    folder = reference.folder
    config = read_json(folder / CONFIG_FILE) if folder else hub.model_config(models_dir, reference)
    model_cfg: dict[str, Any] = dict(config.get("model_cfg", {}))  # Any: JSON
    if is_listed_quick(reference):  # with the plain one nothing fails, labels are only worse
        model_cfg["quick_gelu"] = True
    files = tuple(folder.iterdir()) if folder else hub.cached_files(models_dir, reference)
    weights = _weights(reference, files)
    towers = build_towers(model_cfg, read_safetensors(weights), folder, reference.name)
    words = folder
    if folder is None:
        _, found = tokenizer_files(reference, models_dir)
        words = next((path.parent for path in found if path.name == "tokenizer.json"), None)
    return _ModelSource(
        reference,
        checked,
        towers,
        tokenizer_of(model_cfg, words),
        preprocessing_of(reference, config),
        (weights,),
    )


def _read_pair(reference: ModelReference, folder: Path, record: ChecksumRecord) -> _ModelSource:
    """Read a folder whose towers are files of their own: a conversion's, or another's export."""
    checked = integrity.check_folder(reference.name, folder, record)
    config = config_of(folder)
    model_cfg = config.get("model_cfg", {})
    located = replace(reference, folder=folder)
    return _ModelSource(
        located,
        checked,
        converted.load_pair(folder),
        tokenizer_of(model_cfg, tokenizer_folder(folder)),
        preprocessing_of(located, config),
        tuple(folder.rglob("*")),
        _int8_tower(folder),
    )


def _int8_tower(folder: Path) -> tuple[ov.Model, Int8Proof] | None:
    """Return a conversion's int8 tower in the form that is fastest here, and its proof."""
    found = converted.load_int8(folder)
    if found is not None and all(lacks(flag) for flag in VNNI_FLAGS):
        as_convolutions(found[0])
    return found


def _weights(reference: ModelReference, files: tuple[Path, ...]) -> Path:
    """Return the file with the weights; raise ConfigError where only torch can read it."""
    found = sorted(path for path in files if path.suffix in WEIGHT_SUFFIXES)
    safe = [path for path in found if path.suffix == ".safetensors"]
    if not safe:
        raise ConfigError(
            f"MODEL={reference.name}: {found[0].name if found else 'its weights'} can be read by torch alone, wanted "
            f"safetensors; where torch is, `clipwatch models convert {reference.name}` makes a folder that runs here"
        )
    return next((path for path in safe if path.name == hub.WEIGHTS[0]), safe[0])


def _exact_golden(parts: ModelParts, size: int, weights: str) -> GoldenEmbeddings:
    """Embed the golden picture and text in float32, the picture decoded and resized by Pillow."""
    with Image.open(GOLDEN_PICTURE) as opened:
        picture = opened.convert("RGB").resize((size, size), FILTERS[parts.interpolation])
    return GoldenEmbeddings(
        weights,
        unit_vectors(parts.image.run(np.asarray(picture)[np.newaxis]))[0],
        unit_vectors(parts.text.run(parts.tokenize([GOLDEN_TEXT])))[0],
    )
