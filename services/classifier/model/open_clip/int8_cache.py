"""Remembers a quantization beside the speed file: a later start makes the layers again and checks a few pictures.

Knows int8.py, and no model.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.classifier.model.open_clip import int8
from services.classifier.model.open_clip.int8 import LayerInputs, Quantization, QuantizationRecipe, requantize
from services.classifier.weights.integrity import hash_file
from shared.files import write_durably

_FOUND = ("cosine", "shift", "n_int8", "n_products", "n_pictures")  # of a Proof: plain numbers
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class QuantizationSamples:
    """What a quantization is judged by: pictures, and words whose embeddings are the labels."""

    pictures: torch.Tensor
    words: Sequence[str]
    temperature: float


class QuantizationCache:
    """The file with one quantization, be it a refusal. In a folder that cannot be written nothing is remembered.

    It holds for weights (a checksum of their files), a CPU, torch and the source of int8.py: `made_by`.
    """

    def __init__(self, path: Path, made_by: Sequence[str]) -> None:
        self._path = path
        self._made_by = [*made_by, hash_file(Path(int8.__file__))]

    def read(
        self, tower: Any, samples: QuantizationSamples
    ) -> Quantization | None:  # Any: open_clip has no types
        """Return the quantization of this float32 tower; None if none fits these samples, or holds."""
        try:
            with np.load(self._path, allow_pickle=False) as found:
                about = json.loads(str(found["about"]))
                if about["question"] != self._checksum(samples):
                    return None
                inputs = {
                    name: LayerInputs(torch.from_numpy(found[f"{number}"]), bool(is_skewed))
                    for number, (name, is_skewed) in enumerate(about["layers"])
                }
                recipe = QuantizationRecipe(inputs, torch.from_numpy(found["features"]))
            quantization = Quantization(None, **about["found"], recipe=recipe)
            is_near = bool(about["is_near"])
        except _UNREADABLE:  # none yet, or broken: quantize again, and write it anew
            return None
        if not is_near:
            return quantization
        made = requantize(tower, samples.pictures, recipe)
        return None if made is None else replace(quantization, tower=made)

    def write(self, samples: QuantizationSamples, quantization: Quantization) -> None:
        """Write the file."""
        recipe = quantization.recipe
        if recipe is None:
            return
        about = {
            "question": self._checksum(samples),
            "is_near": quantization.tower is not None,
            "found": {name: getattr(quantization, name) for name in _FOUND},
            "layers": [(name, inputs.is_skewed) for name, inputs in recipe.inputs.items()],
        }
        arrays: dict[str, Any] = {  # Any: numpy takes them for its other parameters
            str(number): one.largest.numpy() for number, one in enumerate(recipe.inputs.values())
        }
        packed = io.BytesIO()
        np.savez(packed, about=json.dumps(about), features=recipe.features.numpy(), **arrays)
        with contextlib.suppress(OSError):  # quantizing again at the next start is all it costs
            write_durably(self._path, packed.getvalue())

    def _checksum(self, samples: QuantizationSamples) -> str:
        """Return a digest that changes when another result may be right."""
        beside = [self._made_by, list(samples.words), samples.temperature]
        digest = hashlib.sha256(json.dumps(beside).encode())
        digest.update(samples.pictures.contiguous().numpy().tobytes())
        return digest.hexdigest()
