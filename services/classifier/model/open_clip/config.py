"""What open_clip is told about a model beside its weights: its name, mean and std, where its text tower lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.classifier.weights import hub
from services.classifier.weights.names import CONFIG_FILE, ModelReference, read_json
from services.classifier.weights.preprocessing import pixels_to_force


def source_of(reference: ModelReference, cache_dir: Path | None) -> tuple[str, str | None]:
    """Return the name that open_clip knows a model by, and its tag."""
    if reference.folder:
        return f"local-dir:{reference.folder}", None
    if reference.revision:  # open_clip has no revisions, but reads the cache's folder of one
        files = hub.snapshot(hub.cache_of(cache_dir), reference)
        return f"local-dir:{files[0].parent if files else ''}", None
    return reference.architecture or reference.name, reference.tag or None


def forced_preprocessing(
    reference: ModelReference, cache_dir: Path | None
) -> dict[str, Any]:  # Any: open_clip's own settings
    """Return what to force: never a centre crop, which drops 44 % of a 16:9 frame's width; mean and std where wrong."""
    folder = reference.folder
    config = (
        read_json(folder / CONFIG_FILE) if folder else hub.model_config(hub.cache_of(cache_dir), reference)
    )
    forced = pixels_to_force(reference, config)
    pixels = {"mean": forced.mean, "std": forced.std} if forced else {}
    return {"resize_mode": "squash"} | pixels


def moved_text_config(reference: ModelReference) -> dict[str, Any]:  # Any: open_clip's own settings
    """Point a text tower that is named by the folder's old path at the folder's present one."""
    if reference.folder is None:
        return {}
    config = read_json(reference.folder / CONFIG_FILE)
    text = dict(config.get("model_cfg", {}).get("text_cfg", {}))
    named = text.get("hf_model_name")
    if not named or not (reference.folder / "config.json").is_file() or Path(named) == reference.folder:
        return {}
    here = str(reference.folder)
    return {
        "text_cfg": text | {"hf_model_name": here, "hf_tokenizer_name": here, "hf_model_pretrained": False}
    }
