"""The port to a CLIP-like model. Knows numpy, and nothing of torch, Redis or messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.errors import Transient


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a loaded model. `temperature` multiplies cosines before the softmax."""

    name: str
    image_size: int
    embedding_dim: int
    temperature: float
    templates: tuple[str, ...] = ("{}",)
    distractors: tuple[str, ...] | None = None  # None: the built-in bank of prompts.py
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    why: str = ""  # this device, number format and threads


class DeviceLost(Transient):
    """The device answers no more: every later call fails, too. The process has to end; no picture is at fault."""


class Model(Protocol):
    """One loaded model. `resize` may be called from any thread; the others from one thread at a time.

    The others raise Transient when the device has no memory, DeviceLost when it is broken.
    """

    @property
    def facts(self) -> ModelFacts:
        """What is known of it."""
        ...

    def resize(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return uint8[H,W,3] as uint8[S,S,3], squashed and antialiased as the model's own transform does it."""
        ...

    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32[N,D] of unit length for uint8[N,3,S,S], RGB."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32[K,D] of unit length for K texts."""
        ...
