"""What a folder of towers says of its model: open_clip's configuration, or others' brought into its form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from services.classifier.weights.names import CONFIG_FILE, read_json

_TOKENIZER_FOLDERS = ("", "textual")
_PILLOW_RESAMPLE = {2: "bilinear", 3: "bicubic"}


def config_of(folder: Path) -> dict[str, Any]:  # Any: JSON
    """Return what open_clip_config.json says, or would say, of a folder's model; {} where nothing tells."""
    if (folder / CONFIG_FILE).is_file():
        return read_json(folder / CONFIG_FILE)
    if not (folder / "config.json").is_file():
        return {}
    config = read_json(folder / "config.json")
    if "vision_cfg" in config:  # Immich: open_clip's model_cfg
        path = folder / "visual" / "preprocess_cfg.json"
        return {"model_cfg": config, "preprocess_cfg": read_json(path) if path.is_file() else {}}
    return _from_hugging_face(folder, config) if "vision_config" in config else {}


def tokenizer_folder(folder: Path) -> Path | None:
    """Return where a folder's tokenizer.json lies, None where it has none (then CLIP's own words are meant)."""
    for name in _TOKENIZER_FOLDERS:
        if (folder / name / "tokenizer.json").is_file():
            return folder / name
    return None


def _from_hugging_face(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:  # Any: JSON
    text, vision = config.get("text_config") or {}, config["vision_config"] or {}
    is_siglip = str(config.get("model_type", "")).startswith("siglip")
    text_cfg: dict[str, Any] = {
        "context_length": text.get("max_position_embeddings", 64 if is_siglip else 77),
    }
    if tokenizer_folder(folder):
        text_cfg["hf_tokenizer_name"] = str(folder)
        if is_siglip:
            text_cfg["tokenizer_kwargs"] = {"clean": "canonicalize"}
    path = folder / "preprocessor_config.json"
    written = read_json(path) if path.is_file() else {}
    preprocess = {
        "mean": written.get("image_mean"),
        "std": written.get("image_std"),
        "interpolation": _PILLOW_RESAMPLE.get(written.get("resample", 3)),
    }
    return {
        "model_cfg": {"vision_cfg": {"image_size": vision.get("image_size", 224)}, "text_cfg": text_cfg},
        "preprocess_cfg": {name: value for name, value in preprocess.items() if value is not None},
    }
