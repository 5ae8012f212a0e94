"""How a model wants its pictures: mean, std, interpolation; and whether its layers use QuickGELU. Knows no runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.classifier.weights.families import PIXELS_ARE_MEANT, Pixels, names_pixels, settle_pixels
from services.classifier.weights.names import ModelReference, listed_tags, own_settings
from shared.logs import get_logger

log = get_logger(__name__)
# open_clip's, for a folder or repository whose config names none
CLIP_PIXELS = Pixels((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How pictures are squashed to the model's size and normalised."""

    pixels: Pixels
    interpolation: str  # bicubic or bilinear


def preprocessing_of(
    reference: ModelReference, config: Mapping[str, Any]
) -> Preprocessing:  # Any: open_clip_config.json
    """Return what a model wants; raise ConfigError where its own file names wrong mean or std."""
    forced = pixels_to_force(reference, config)
    if reference.kind == "open_clip":
        (entry,) = listed_tags(reference)
        written = {"mean": entry.mean, "std": entry.std, "interpolation": entry.interpolation}
    else:
        written = config.get("preprocess_cfg") or {}
    pixels = forced or Pixels(
        _triple(written.get("mean", CLIP_PIXELS.mean)), _triple(written.get("std", CLIP_PIXELS.std))
    )
    return Preprocessing(pixels, "bilinear" if written.get("interpolation") == "bilinear" else "bicubic")


def pixels_to_force(
    reference: ModelReference, config: Mapping[str, Any]
) -> Pixels | None:  # Any: open_clip_config.json
    """Return mean and std to force, None where the model's own count; raise ConfigError where its file's are wrong."""
    if reference.kind == "open_clip":
        return None  # open_clip's table has them beside the tag
    if own_settings(reference).get(PIXELS_ARE_MEANT) is True and names_pixels(config):
        return None
    forced = settle_pixels(reference, config, _listed_pixels(reference))
    if forced is not None:
        log.warning(
            "the model's config names no mean and std: those of its family are taken",
            model=reference.name,
            mean=forced.mean,
            std=forced.std,
        )
    elif not names_pixels(config):
        log.warning("the model's config names no mean and std: CLIP's are taken", model=reference.name)
    return forced


def is_listed_quick(reference: ModelReference) -> bool:
    """Tell whether open_clip's table says that weights were trained with QuickGELU, as OpenAI's were."""
    return any(entry.is_quick for entry in listed_tags(reference))


def _listed_pixels(reference: ModelReference) -> Pixels | None:
    found = {(entry.mean, entry.std) for entry in listed_tags(reference)}
    return Pixels(*map(_triple, found.pop())) if len(found) == 1 else None


def _triple(value: object) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, list | tuple) else [value] * 3
    return float(red), float(green), float(blue)  # type: ignore[arg-type]  # JSON's numbers
