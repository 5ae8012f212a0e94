"""What a model's own files hold, for whoever loads or converts it: configuration, tokenizer's folder, towers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.classifier.model.openvino.tensors import read_safetensors
from services.classifier.model.openvino.towers import Towers, build_towers
from services.classifier.weights import hub
from services.classifier.weights.files import tokenizer_files
from services.classifier.weights.names import WEIGHT_SUFFIXES, ModelReference
from services.classifier.weights.preprocessing import Preprocessing, is_listed_quick, preprocessing_of
from services.classifier.weights.tower_configs import config_of, tokenizer_folder
from shared.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelConfiguration:
    """What is said of a model beside its weights. `words`: the folder of its tokenizer.json, if it has one."""

    model_cfg: Mapping[str, Any]  # Any: JSON
    preprocessing: Preprocessing
    words: Path | None


def read_configuration(reference: ModelReference, models_dir: Path) -> ModelConfiguration:
    """Read a model's configuration; raise ConfigError, one line, where it cannot be right."""
    if folder := reference.folder:
        config, words = config_of(folder), tokenizer_folder(folder)
    else:
        config = hub.model_config(models_dir, reference)
        _, files = tokenizer_files(reference, models_dir)
        words = next((path.parent for path in files if path.name == "tokenizer.json"), None)
    model_cfg: dict[str, Any] = dict(config.get("model_cfg", {}))  # Any: JSON
    if is_listed_quick(reference):  # with the plain one nothing fails, labels are only worse
        model_cfg["quick_gelu"] = True
    return ModelConfiguration(model_cfg, preprocessing_of(reference, config), words)


def built_towers(
    reference: ModelReference, models_dir: Path, configuration: ModelConfiguration
) -> tuple[Towers, Path]:
    """Return the towers of a model's safetensors, and that file; raise ConfigError, one line, where it has none."""
    folder = reference.folder
    files = tuple(folder.iterdir()) if folder else hub.cached_files(models_dir, reference)
    found = sorted(path for path in files if path.suffix in WEIGHT_SUFFIXES)
    safe = [path for path in found if path.suffix == ".safetensors"]
    if not safe:
        raise ConfigError(
            f"MODEL={reference.name}: {found[0].name if found else 'its weights'} can be read by torch alone, wanted "
            f"safetensors; where torch is, `clipwatch models convert {reference.name}` makes a folder that runs here"
        )
    weights = next((path for path in safe if path.name == hub.WEIGHTS[0]), safe[0])
    tensors = read_safetensors(weights)
    return build_towers(configuration.model_cfg, tensors, folder, reference.name), weights
