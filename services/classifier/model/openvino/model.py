"""A model's two towers behind the port: pictures and texts in, unit vectors out. On CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.classifier.model.openvino.compiled import CompiledTower
from services.classifier.model.openvino.tokens import Tokenize
from services.classifier.port import ModelFacts

TEXTS_AT_ONCE = 64  # bounds what their activations occupy
# in a product: for fewer OpenVINO keeps weights in one more order, 49 MB for ViT-B-32 (see compiled.py)
LEAST_TOKENS = 16
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True, slots=True)
class ModelParts:
    """What a loaded model is made of."""

    image: CompiledTower
    text: CompiledTower
    tokenize: Tokenize
    interpolation: str  # bicubic or bilinear


class OpenVinoModel:
    """A loaded model on OpenVINO; see the port in port.py."""

    def __init__(self, parts: ModelParts, facts: ModelFacts) -> None:
        self.parts = parts
        self._facts = facts
        self._filter = FILTERS[parts.interpolation]
        self._may_be_cut = _may_be_cut(parts)

    @property
    def facts(self) -> ModelFacts:
        """What is known of it."""
        return self._facts

    def resize(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Squash uint8[H,W,3] to uint8[S,S,3], by Pillow as the models' own transforms do it."""
        size = self._facts.image_size
        if picture.shape[:2] == (size, size):
            return picture
        return np.asarray(Image.fromarray(picture).resize((size, size), self._filter))

    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32[N,D] of unit length for uint8[N,3,S,S], RGB; no copy is made of channels-last memory."""
        return unit_vectors(self.parts.image.run(pictures.transpose(0, 2, 3, 1)))

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32[K,D] of unit length for K texts."""
        ids = self.parts.tokenize(texts)
        lengths = lengths_of(ids) if self._may_be_cut else np.full(len(ids), ids.shape[1])
        order = np.argsort(lengths, kind="stable")  # texts of one length side by side
        found = np.empty((len(ids), self.parts.text.width), np.float32)
        for at in range(0, len(order), TEXTS_AT_ONCE):
            rows = order[at : at + TEXTS_AT_ONCE]
            length = max(int(lengths[rows[-1]]), -(-LEAST_TOKENS // len(rows)))
            found[rows] = self.parts.text.run(ids[rows, :length])
        return unit_vectors(found)


def lengths_of(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many ids of each row are left without the zeros at its end, one at least."""
    places = np.arange(1, ids.shape[1] + 1)
    longest: NDArray[np.int64] = np.where(ids != 0, places, 1).max(axis=1)
    return longest


def _may_be_cut(parts: ModelParts) -> bool:
    """Tell whether a text without the zeros that fill it up is embedded as with them: most of a CLIP's work.

    A tower that looks back only, or has a mask, does not see them; SigLIP's does.
    """
    ids = parts.tokenize(["a dog"])
    short = ids[:, : max(int(lengths_of(ids)[0]), LEAST_TOKENS)]
    if parts.text.is_fixed_length or short.shape == ids.shape:
        return False
    whole, cut = (unit_vectors(parts.text.run(one)) for one in (ids, short))
    return bool(np.allclose(whole, cut, atol=1e-4))


def unit_vectors(features: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: NDArray[np.float32] = features / np.maximum(lengths, np.float32(1e-12))
    return unit
