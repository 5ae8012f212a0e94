"""Turns words into text embeddings: templates, the distractors, and the label sets that were used last.

Knows the model's port, not torch; the caller runs it where the model may be used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.classifier.port import Model
from services.classifier.weights.names import ModelReference
from services.classifier.words.taxonomy import are_kin, is_rival
from shared.contract import Column, LabelSet
from shared.decisions.label_texts import LabelTexts

# Radford et al. 2021 (CLIP), 3.1.4: averaging the embeddings of several wordings; these are for small, blurred pictures
CLIP_TEMPLATES = (
    "{}",
    "a photo of {}",
    "a blurry photo of {}",
    "a low resolution photo of {}",
    "a surveillance camera picture of {}",
)
# What moves before cameras without being asked for. Left out where it is a kind of the label, or the label of it.
THINGS = (
    "a person",
    "a car",
    "a truck",
    "a bus",
    "a motorcycle",
    "a bicycle",
    "a train",
    "a boat",
    "a dog",
    "a cat",
    "a bird",
    "a horse",
    "a cow",
    "an insect",
)
# What is there when nothing is; stands in for a background that the user did not name.
SCENES = (
    "an empty scene",
    "an empty place with nothing in it",
    "the ground",
    "grass",
    "a wall",
    "leaves and branches",
    "a shadow",
    "a blurry texture",
)
OTHER = "other"


class LabelBank:
    """Embeds label sets, and keeps the last `capacity` of them; a label set is embedded once."""

    def __init__(
        self,
        model: Model,
        capacity: int,
        with_distractors: bool = True,
        on_embedded: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._on_embedded = on_embedded
        self._capacity = capacity
        self._with_distractors = with_distractors
        self._kept: OrderedDict[tuple[str, LabelSet], LabelTexts] = OrderedDict()

    def get(self, label_set: LabelSet) -> LabelTexts:
        """Return the embedded label set."""
        return self.known(label_set) or self.keep(
            label_set, embed_labels(self._model, self.wording(label_set))
        )

    def known(self, label_set: LabelSet) -> LabelTexts | None:
        """Return the embedded label set when it is kept, else None."""
        key = (self._model.facts.name, label_set)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def wording(self, label_set: LabelSet) -> tuple[str, ...]:
        """Return the texts that a label set is embedded by: targets, backgrounds, others."""
        return (*label_set.labels, *label_set.background, *self._others(label_set))

    def keep(self, label_set: LabelSet, embeddings: NDArray[np.float32]) -> LabelTexts:
        """Return the label set with the embeddings of its wording, float32[T+B+O,D], and keep it."""
        found = self._made(label_set, embeddings)
        self._kept[(self._model.facts.name, label_set)] = found
        self._on_embedded()
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return found

    def _made(self, label_set: LabelSet, embeddings: NDArray[np.float32]) -> LabelTexts:
        targets, background = label_set.labels, label_set.background
        others = self._others(label_set)
        return LabelTexts(
            columns=(
                *(Column(text=text, kind="target") for text in targets),
                *(Column(text=text, kind="background") for text in background),
                Column(text=OTHER, kind="other"),
            ),
            embeddings=embeddings,
            n_targets=len(targets),
            n_background=len(background),
            rivals=np.array([[is_rival(t, u) for u in targets] for t in targets], dtype=np.bool_),
            against=_table([[not are_kin(t, o) for o in others] for t in targets], len(targets), len(others)),
            shown=np.array([not any(are_kin(t, o) for t in targets) for o in others], dtype=np.bool_),
        )

    def _others(self, label_set: LabelSet) -> tuple[str, ...]:
        named = {text.casefold() for text in (*label_set.labels, *label_set.background)}
        bank = self._model.facts.distractors
        things = () if not self._with_distractors else THINGS if bank is None else bank
        scenes = SCENES if self._with_distractors or not label_set.background else ()
        return tuple(text for text in (*things, *scenes) if text.casefold() not in named)


def embed_labels(model: Model, texts: tuple[str, ...]) -> NDArray[np.float32]:
    """Return float32[K,D] of unit length: for each text the mean over the model's templates."""
    templates = model.facts.templates
    written = [template.replace("{}", text) for text in texts for template in templates]
    vectors = model.embed_texts(written).reshape(len(texts), len(templates), -1).mean(axis=1)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def templates_for(reference: ModelReference) -> tuple[str, ...]:
    """Return the templates of a model that brings none: several for CLIP's like, the bare text for a folder's model."""
    return ("{}",) if reference.kind == "folder" else CLIP_TEMPLATES


def _table(rows: list[list[bool]], n_rows: int, n_columns: int) -> NDArray[np.bool_]:
    return np.array(rows, dtype=np.bool_).reshape(n_rows, n_columns)
