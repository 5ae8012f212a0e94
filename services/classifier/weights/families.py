"""Families of models: their mean and std, their tokenizers, and their weights' licences. Never imports torch.

open_clip fills in CLIP's mean and std where a folder's config names none, and takes CLIP's tokenizer where none is
named. For a SigLIP model both are wrong, and nothing fails: the labels are only worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.classifier.weights.names import ModelReference
from shared.errors import ConfigError

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Pixels:
    """Mean and standard deviation that normalise RGB in 0..1."""

    mean: Triple
    std: Triple


_HALF = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_AS_IS = Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
# Part of the image tower's name in timm, and the pixels of every model that open_clip 3.3 lists with such a tower
_TOWERS: tuple[tuple[str, str, Pixels], ...] = (
    ("_siglip_", "SigLIP", _HALF),
    ("vit_pe_core_", "Perception Encoder", _HALF),
    ("fastvit_mci0", "MobileCLIP", _AS_IS),
    ("fastvit_mci1", "MobileCLIP", _AS_IS),
    ("fastvit_mci2", "MobileCLIP", _AS_IS),
    ("vit_base_mci_", "MobileCLIP", _AS_IS),
)
_TOLERANCE = 1e-3
PIXELS_ARE_MEANT = "preprocess_is_meant"  # in clipwatch.json: the config's mean and std differ on purpose


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence of weights. `is_restricted`: commercial use is forbidden, or the text says under what conditions."""

    name: str
    is_restricted: bool = False


_APPLE = Licence("Apple's own, research only", is_restricted=True)
_NC = Licence("CC-BY-NC-4.0", is_restricted=True)
# What a repository's owner and name begin with; the first that fits counts. A reminder only: what counts is the
# model's own card, and it can change.
_LICENCES: tuple[tuple[str, Licence], ...] = (
    ("apple/", _APPLE),
    ("timm/MobileCLIP", _APPLE),
    ("visheratin/nllb", _NC),
    ("laion/CLIP", Licence("MIT")),
    ("laion/CoCa", Licence("MIT")),
    ("timm/ViT-", Licence("Apache-2.0")),
    ("timm/PE-Core", Licence("Apache-2.0")),
)


def family_of(model_config: Mapping[str, Any]) -> tuple[str, Pixels] | None:  # Any: JSON
    """Return family and pixels of an open_clip `model_cfg`; None if its tower does not tell."""
    tower = str(model_config.get("vision_cfg", {}).get("timm_model_name", ""))
    for part, family, pixels in _TOWERS:
        if part in tower:
            return family, pixels
    return None


def licence_of(repository: str) -> Licence | None:
    """Return what is known of the licence of a repository's weights; None: read its model card."""
    if ".metaclip" in repository:
        return _NC
    if ".openai" in repository:
        return Licence("MIT")
    return next((licence for start, licence in _LICENCES if repository.startswith(start)), None)


def settle_pixels(
    reference: ModelReference,
    config: Mapping[str, Any],  # Any: JSON
    listed: Pixels | None = None,
) -> Pixels | None:
    """Return the pixels to force on a model whose open_clip_config.json names none, None where the file is right.

    `listed` are those that open_clip's own table has for the same repository. Raises ConfigError, all faults at once,
    where the file contradicts them, or its model's family.
    """
    known = family_of(config.get("model_cfg", {}))
    wanted, whose = (listed, "open_clip's table") if listed else (known[1], known[0]) if known else (None, "")
    faults = _words(reference, config) if known and known[0] == "SigLIP" else []
    written = config.get("preprocess_cfg") or {}
    forced: Pixels | None = None
    if wanted is not None:
        for name, value in (("mean", wanted.mean), ("std", wanted.std)):
            found = written.get(name)
            if found is None:
                forced = wanted
            elif not _is_near(found, value):
                faults.append(
                    f"MODEL={reference.name}: open_clip_config.json: preprocess_cfg.{name}={_shown(found)}: wanted "
                    f"{_shown(value)} ({whose}): correct it, or set {PIXELS_ARE_MEANT} to true in clipwatch.json"
                )
    if faults:
        raise ConfigError(faults)
    return forced


def names_pixels(config: Mapping[str, Any]) -> bool:  # Any: JSON
    """Tell whether an open_clip_config.json says what mean and std its model wants."""
    written = config.get("preprocess_cfg") or {}
    return "mean" in written and "std" in written


def _words(reference: ModelReference, config: Mapping[str, Any]) -> list[str]:
    text = config.get("model_cfg", {}).get("text_cfg", {})
    start = f"MODEL={reference.name}: open_clip_config.json: model_cfg.text_cfg"
    faults = []
    if not text.get("hf_tokenizer_name"):
        faults.append(
            f"{start}.hf_tokenizer_name is missing: a SigLIP model wants its own tokenizer, not CLIP's: name it, and "
            "put tokenizer.json and tokenizer_config.json beside the config"
        )
    if not text.get("context_length"):
        faults.append(
            f"{start}.context_length is missing: CLIP's 77 would be taken, wanted what the weights were trained with "
            "(64 for most SigLIP models): add it"
        )
    return faults


def _is_near(found: object, wanted: Triple) -> bool:
    values = [found] * 3 if isinstance(found, int | float) else found
    if not isinstance(values, list | tuple) or len(values) != 3:
        return False
    return all(
        isinstance(value, int | float) and abs(value - part) <= _TOLERANCE
        for value, part in zip(values, wanted, strict=True)
    )


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, list | tuple) else str(value)
