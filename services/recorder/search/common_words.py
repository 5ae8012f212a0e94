"""Embeddings of common words, which tell how much a picture fits any words at all. See floor.py.

The classifier embeds them a few at a time, as searches come: on a slow machine the first ones know some of them, and
say nothing of how good a match is until there are enough.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.recorder.search.text_requests import NoClassifier, TextEmbedder, TextsRefused
from shared.contract import LabelSet

_LISTED = """
a person; a car; a truck; a bus; a motorcycle; a bicycle; a train; a boat; an airplane; a dog; a cat; a
bird; a horse; a cow; a sheep; a rabbit; a bear; a fish; a snake; a frog; a spider; an insect; a flower; a
tree; grass; leaves and branches; a fruit; a plate of food; a bottle; a book; a phone; a computer; a ball; a
toy; a hat; an umbrella; a bag; a box; a chair; a table; a lamp; a door; a window; a wall; a house; a fence;
a road; a sign; a statue; a tool; a machine; a face; a hand; the sky; water; snow; the ground; a shadow; an
empty scene; a blurry texture"""
COMMON_WORDS = tuple(" ".join(text.split()) for text in _LISTED.split(";"))
AT_ONCE = 12
SPENT_S = 2.0  # after this a search asks for no more of them
MODELS_MAX = 4


@dataclass(slots=True)
class CommonWords:
    """The embeddings that are known, by model."""

    texts: TextEmbedder
    _known: dict[str, dict[str, NDArray[np.float32]]] = field(default_factory=dict)

    async def of(self, model: str, dim: int) -> NDArray[np.float32]:
        """Return what is known of them, float32[B,D], unit length; learns more within SPENT_S."""
        ends_at = time.monotonic() + SPENT_S
        while time.monotonic() < ends_at:
            missing = [text for text in COMMON_WORDS if text not in self._known.get(model, {})]
            if not missing or not await self._learn(model, tuple(missing[:AT_ONCE])):
                break
        rows = [row for row in self._known.get(model, {}).values() if len(row) == dim]
        return np.stack(rows) if rows else np.zeros((0, dim), np.float32)

    async def _learn(self, model: str, texts: tuple[str, ...]) -> bool:
        try:
            embedded = await self.texts.ask(LabelSet(labels=texts), with_others=False)
        except (NoClassifier, TextsRefused):
            return False
        known = self._known.setdefault(embedded.name, {})
        known.update(zip(texts, embedded.texts.embeddings, strict=True))
        while len(self._known) > MODELS_MAX:
            self._known.pop(next(iter(self._known)))
        return embedded.name == model
