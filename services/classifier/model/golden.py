"""Checks of a loaded model through its port: its golden embeddings are met, its numbers are finite. Any runtime."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from services.classifier.model.preprocess import PictureRefusal, load_picture, stack
from services.classifier.port import Model
from services.classifier.weights.integrity import (
    GOLDEN_PICTURE,
    GOLDEN_TEXT,
    ChecksumRecord,
    ChecksumResult,
    GoldenEmbeddings,
)
from services.classifier.weights.names import ModelReference
from shared.errors import ConfigError
from shared.logs import get_logger

log = get_logger(__name__)
# Golden embeddings are written with 5 digits in float32; another build of the same weights differs by rounding only.
GOLDEN_TOLERANCE = 0.01


def golden_of(
    reference: ModelReference,
    checked: ChecksumResult,
    record: ChecksumRecord,
    make: Callable[[], GoldenEmbeddings],
) -> GoldenEmbeddings | None:
    """Return the golden embeddings of these weights, None for weights that nothing verifies.

    They are made once, by `make`: in float32, with Pillow and the model's own transform.
    """
    kept = record.golden(reference.name, checked.weights)
    if kept is not None or not checked.is_verified:
        return kept
    made = make()
    record.remember_golden(reference.name, made)
    log.info("golden embeddings are made", model=reference.name)
    return made


def embed_golden(model: Model, weights: str) -> GoldenEmbeddings:
    """Embed the golden picture and text in the way that the service embeds all others."""
    loaded = load_picture(GOLDEN_PICTURE.read_bytes(), model.facts.image_size, model.resize)
    if isinstance(loaded, PictureRefusal):
        raise ConfigError(f"{GOLDEN_PICTURE}: {loaded.detail}: install clipwatch again")
    return GoldenEmbeddings(
        weights, model.embed_pictures(stack([loaded]))[0], model.embed_texts([GOLDEN_TEXT])[0]
    )


def check_model(model: Model, reference: ModelReference, ours: dict[str, Any]) -> None:
    """Raise ConfigError if the folder's own golden embedding is not met, or the weights give no usable numbers."""
    golden = ours.get("golden")
    if golden:
        found = model.embed_texts([str(golden["text"])])[0][: len(golden["embedding_first8"])]
        wanted = np.asarray(golden["embedding_first8"], dtype=np.float32)
        apart = float(np.abs(found - wanted).max())
        if not apart <= GOLDEN_TOLERANCE:
            raise ConfigError(
                f"MODEL={reference.name}: the embedding of '{golden['text']}' is {apart:.3f} off its golden value "
                f"(at most {GOLDEN_TOLERANCE}): the weights in {reference.folder} are corrupt; make the folder anew"
            )
    size = model.facts.image_size
    picture = model.embed_pictures(np.full((1, 3, size, size), 127, dtype=np.uint8))
    if not (np.isfinite(picture).all() and math.isfinite(model.facts.temperature)):
        raise ConfigError(
            f"MODEL={reference.name}: gives numbers that are not finite: the weights are corrupt"
        )
