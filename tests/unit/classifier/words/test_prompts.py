"""Label sets and their embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from services.classifier.port import ModelFacts
from services.classifier.words.prompts import SCENES, LabelBank, embed_labels
from shared.contract import LabelSet
from tests.unit.classifier.makers import ColourModel

PERSON = LabelSet(labels=("a person",), background=("an empty street",))


class Bank(ColourModel):
    """A colour model with a bank of distractors of its own."""

    def __init__(self, *distractors: str) -> None:
        super().__init__()
        self.facts = ModelFacts("bank", 16, 4, 20.0, distractors=distractors)


def test_a_label_set_is_embedded_once() -> None:
    model = ColourModel()
    bank = LabelBank(model, 4)
    first = bank.get(PERSON)
    n_texts = model.n_texts
    assert bank.get(LabelSet(labels=("a person",), background=("an empty street",))) is first
    assert model.n_texts == n_texts


def test_the_label_set_used_longest_ago_is_let_go() -> None:
    model = ColourModel()
    bank = LabelBank(model, 2)
    sets = [LabelSet(labels=(text,)) for text in ("a person", "a dog", "a cat")]
    for one in sets:
        bank.get(one)
    n_texts = model.n_texts
    bank.get(sets[1])
    assert model.n_texts == n_texts
    bank.get(sets[0])
    assert model.n_texts > n_texts


def test_columns_are_targets_backgrounds_and_one_other() -> None:
    texts = LabelBank(ColourModel(), 4).get(PERSON)
    assert [(column.text, column.kind) for column in texts.columns] == [
        ("a person", "target"),
        ("an empty street", "background"),
        ("other", "other"),
    ]


def test_without_a_background_the_built_in_one_counts_as_other() -> None:
    for is_on in (True, False):
        texts = LabelBank(ColourModel(), 4, with_distractors=is_on).get(LabelSet(labels=("a person",)))
        assert [column.kind for column in texts.columns] == ["target", "other"]
        assert len(texts.embeddings) == 1 + len(SCENES)


def test_a_distractor_that_is_a_kind_of_a_label_competes_with_the_other_labels_only() -> None:
    bank = LabelBank(Bank("a dog", "a boat"), 4)
    texts = bank.get(LabelSet(labels=("a puppy", "a person"), background=("an empty street",)))
    n_scenes = len(texts.shown) - 2
    assert texts.against[:, :2].tolist() == [[False, True], [True, True]]
    assert texts.shown.tolist() == [False, True] + [True] * n_scenes


def test_a_distractor_that_the_user_named_is_not_there_twice() -> None:
    texts = LabelBank(Bank("a dog", "a boat"), 4).get(LabelSet(labels=("A dog",), background=("a boat",)))
    assert len(texts.embeddings) == 2 + len(texts.shown)
    assert not any("dog" in column.text for column in texts.columns[1:])


def test_templates_are_averaged_in_embedding_space() -> None:
    class Templated(ColourModel):
        def __init__(self) -> None:
            super().__init__()
            self.facts = ModelFacts("t", 16, 4, 20.0, templates=("{}", "x {}"))

    vector = embed_labels(Templated(), ("a person",))[0]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert vector[3] == pytest.approx(vector[0], abs=0.1)
