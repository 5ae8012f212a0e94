"""Loads a model for OpenVINO: verifies its files, builds and compiles its towers, compares embeddings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

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
from services.classifier.model.openvino.model_files import built_towers, read_configuration
from services.classifier.model.openvino.rewrites import as_convolutions, without_mvn
from services.classifier.model.openvino.tokens import Tokenize, tokenizer_of
from services.classifier.model.openvino.towers import Towers
from services.classifier.weights import hub, integrity
from services.classifier.weights.files import verify_files
from services.classifier.weights.integrity import (
    GOLDEN_PICTURE,
    GOLDEN_TEXT,
    ChecksumRecord,
    ChecksumResult,
    GoldenEmbeddings,
)
from services.classifier.weights.names import (
    ModelReference,
    own_settings,
)
from services.classifier.weights.preprocessing import Preprocessing
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
    if (pair := converted.find(reference, cache_dir, record)) is not None:
        return _read_pair(reference, pair, record)
    checked = verify_files(reference, cache_dir, record)
    if (pair := converted.find(reference, cache_dir, record)) is not None:  # it was fetched just now
        return _read_pair(reference, pair, record)
    models_dir = hub.cache_of(cache_dir)
    configuration = read_configuration(reference, models_dir)
    towers, weights = built_towers(reference, models_dir, configuration)
    return _ModelSource(
        reference,
        checked,
        towers,
        tokenizer_of(configuration.model_cfg, configuration.words),
        configuration.preprocessing,
        (weights,),
    )


def _read_pair(reference: ModelReference, folder: Path, record: ChecksumRecord) -> _ModelSource:
    """Read a folder whose towers are files of their own: a conversion's, or another's export."""
    checked = integrity.check_folder(reference.name, folder, record)
    located = replace(reference, folder=folder)
    configuration = read_configuration(located, folder)
    return _ModelSource(
        located,
        checked,
        converted.load_pair(folder),
        tokenizer_of(configuration.model_cfg, configuration.words),
        configuration.preprocessing,
        tuple(folder.rglob("*")),
        _int8_tower(folder),
    )


def _int8_tower(folder: Path) -> tuple[ov.Model, Int8Proof] | None:
    """Return a conversion's int8 tower in the form that is fastest here, and its proof."""
    found = converted.load_int8(folder)
    if found is not None and all(lacks(flag) for flag in VNNI_FLAGS):
        as_convolutions(found[0])
    return found


def _exact_golden(parts: ModelParts, size: int, weights: str) -> GoldenEmbeddings:
    """Embed the golden picture and text in float32, the picture decoded and resized by Pillow."""
    with Image.open(GOLDEN_PICTURE) as opened:
        picture = opened.convert("RGB").resize((size, size), FILTERS[parts.interpolation])
    return GoldenEmbeddings(
        weights,
        unit_vectors(parts.image.run(np.asarray(picture)[np.newaxis]))[0],
        unit_vectors(parts.text.run(parts.tokenize([GOLDEN_TEXT])))[0],
    )
