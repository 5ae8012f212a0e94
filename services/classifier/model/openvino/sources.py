"""Reads the model that is to be converted: its towers without torch where that can be, else by open_clip and torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from services.classifier.missing_packages import how_to_install
from services.classifier.model.openvino.converted import load_pair
from services.classifier.model.openvino.model_files import (
    ModelConfiguration,
    built_towers,
    read_configuration,
)
from services.classifier.model.openvino.tokens import Tokenize, tokenizer_of
from services.classifier.model.openvino.towers import Towers
from services.classifier.weights import hub
from services.classifier.weights.files import verify_files
from services.classifier.weights.integrity import ChecksumRecord, ChecksumResult
from services.classifier.weights.names import ModelReference
from services.classifier.weights.preprocessing import Preprocessing
from services.classifier.weights.tower_pairs import has_towers
from shared.errors import ConfigError

Run = Callable[[NDArray[Any]], NDArray[np.float32]]  # Any: pixels or token ids
EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
_AT_ONCE = 4  # pictures or texts: bounds what their activations occupy


@dataclass(frozen=True, slots=True)
class ConversionSource:
    """A model's towers, and what its conversion has to say beside them."""

    towers: Towers
    run_image: Run  # what the conversion is compared with
    run_text: Run
    tokenize: Tokenize
    tokenizer: Path | None  # the folder with its tokenizer.json; None: CLIP's own words
    model_cfg: Mapping[str, Any]  # Any: JSON
    preprocessing: Preprocessing
    checked: ChecksumResult
    read_by: str


def read_source(reference: ModelReference, models_dir: Path) -> ConversionSource:
    """Read a model's files; raise ConfigError, one line, where that takes packages that are not installed."""
    checked = verify_files(reference, models_dir, ChecksumRecord(models_dir))
    configuration = read_configuration(reference, models_dir)
    model_cfg = configuration.model_cfg
    tokenize = tokenizer_of(model_cfg, configuration.words)
    towers, run_image, run_text, read_by = _towers(reference, models_dir, configuration)
    return ConversionSource(
        towers,
        run_image,
        run_text,
        tokenize,
        configuration.words if model_cfg.get("text_cfg", {}).get("hf_tokenizer_name") else None,
        model_cfg,
        configuration.preprocessing,
        checked,
        read_by,
    )


def runner(tower: ov.Model) -> Run:
    """Return what runs a tower, in the number formats that it has."""
    compiled = ov.Core().compile_model(tower, "CPU", EXACT)

    def run(inputs: NDArray[Any]) -> NDArray[np.float32]:  # Any: pixels or token ids
        parts = [compiled(inputs[at : at + _AT_ONCE])[0] for at in range(0, len(inputs), _AT_ONCE)]
        found: NDArray[np.float32] = np.concatenate(parts)
        return found

    return run


def _towers(
    reference: ModelReference, models_dir: Path, configuration: ModelConfiguration
) -> tuple[Towers, Run, Run, str]:
    try:
        towers, read_by = _built(reference, models_dir, configuration)
    except ConfigError as exc:
        if importlib.util.find_spec("torch") is None:
            raise ConfigError(
                [f"{fault}; torch is not installed: {how_to_install('gpu')}" for fault in exc.faults]
            ) from exc
        return _traced(reference, models_dir)
    return towers, runner(towers.image), runner(towers.text), read_by


def _built(
    reference: ModelReference, models_dir: Path, configuration: ModelConfiguration
) -> tuple[Towers, str]:
    folder = reference.folder or hub.snapshot_folder(models_dir, reference)
    if folder is not None and has_towers(folder):
        return load_pair(folder), "its own towers"
    return built_towers(reference, models_dir, configuration)[0], "without torch"


def _traced(reference: ModelReference, models_dir: Path) -> tuple[Towers, Run, Run, str]:
    from services.classifier.model.open_clip.export import torch_towers, tracing  # late: it imports torch

    found = torch_towers(reference, models_dir)
    size = found.image_size
    length = found.text.example.shape[1]
    with tracing():
        image = ov.convert_model(
            found.image.module, example_input=found.image.example, input=[-1, 3, size, size]
        )
        text = ov.convert_model(found.text.module, example_input=found.text.example, input=[-1, length])
    return Towers(image, text, found.temperature, size), found.image.run, found.text.run, "by torch"
