"""What open_clip is told about a model beside its weights: mean and std, QuickGELU, where its text tower lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.classifier.weights import hub
from services.classifier.weights.families import PIXELS_ARE_MEANT, Pixels, names_pixels, settle_pixels
from services.classifier.weights.names import CONFIG_FILE, ModelReference, own_settings, read_json, repository
from shared.logs import get_logger

log = get_logger(__name__)


def pixels_to_force(
    reference: ModelReference, cache_dir: Path | None
) -> dict[str, Any]:  # Any: open_clip's own settings
    """Return mean and std to force; raise ConfigError where a model's own file names wrong ones."""
    if reference.kind == "open_clip":
        return {}  # open_clip's table has them beside the tag
    folder = reference.folder
    config = (
        read_json(folder / CONFIG_FILE) if folder else hub.model_config(hub.cache_of(cache_dir), reference)
    )
    if own_settings(reference).get(PIXELS_ARE_MEANT) is True and names_pixels(config):
        return {}
    forced = settle_pixels(reference, config, _listed_pixels(reference))
    if forced is not None:
        log.warning(
            "the model's config names no mean and std: those of its family are taken",
            model=reference.name,
            mean=forced.mean,
            std=forced.std,
        )
        return {"mean": forced.mean, "std": forced.std}
    if not names_pixels(config):
        log.warning("the model's config names no mean and std: CLIP's are taken", model=reference.name)
    return {}


def is_listed_quick(reference: ModelReference) -> bool:
    return any(entry.get("quick_gelu", False) for entry in _listed(reference))


def _listed_pixels(reference: ModelReference) -> Pixels | None:
    found = {(tuple(entry["mean"]), tuple(entry["std"])) for entry in _listed(reference)}
    return Pixels(*found.pop()) if len(found) == 1 else None


def _listed(reference: ModelReference) -> list[dict[str, Any]]:  # Any: open_clip's own table
    """Return what open_clip's table says of the weights: of a tag, or of every tag with the same repository."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained

    if reference.kind == "open_clip":
        return [get_pretrained_cfg(reference.architecture, reference.tag)]
    name = repository(reference)[0] if reference.kind == "hub" else ""
    every = [get_pretrained_cfg(*listed) for listed in list_pretrained()] if name else []
    return [entry for entry in every if entry.get("hf_hub", "").startswith(f"{name}/")]


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
