"""A kept proof: found again for the same question only, checked on pictures, and never believed if broken."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.open_clip.int8 import Int8Linear, LabelEmbeddings, Quantization, quantize
from services.classifier.model.open_clip.int8_cache import QuantizationCache, QuantizationSamples
from services.classifier.model.open_clip.loading import load_model
from services.classifier.weights.names import ModelReference

MADE_BY = ("weights", "cpu", "torch")
FLOAT32 = DeviceChoice("cpu", "float32", 2, "test")


@dataclass(frozen=True, slots=True)
class Case:
    """The tiny model's image tower, its proof in int8, the question to that, and the file where it is kept."""

    tower: Any  # Any: open_clip has no types
    question: QuantizationSamples
    proof: Quantization
    path: Path

    def kept(self, *made_by: str) -> QuantizationCache:
        return QuantizationCache(self.path, made_by or MADE_BY)

    def read(self) -> Quantization | None:
        return self.kept().read(self.tower, self.question)


@pytest.fixture
def case(tiny_folder: Path, tmp_path: Path) -> Case:
    torch.manual_seed(1)
    tower = load_model(ModelReference("tiny", "folder", folder=tiny_folder), FLOAT32).network.visual
    pictures = torch.randn(8, 3, 32, 32)
    texts = torch.nn.functional.normalize(torch.randn(12, 32), dim=-1)
    made = Case(
        tower,
        QuantizationSamples(pictures, ["a dog", "a street"], 20.0),
        quantize(tower, pictures, LabelEmbeddings(texts, 20.0)),
        tmp_path / "speed" / "tiny.int8.npz",
    )
    made.kept().write(made.question, made.proof)
    return made


def rewritten(path: Path, about: dict[str, object] | None = None, **arrays: np.ndarray[Any, Any]) -> None:
    """Change some of what a file says; the rest stays."""
    with np.load(path) as found:
        value = {name: found[name] for name in found.files} | arrays
    value["about"] = np.array(json.dumps(json.loads(str(value["about"])) | (about or {})))
    with path.open("wb") as file:
        np.savez(file, **value)


def test_a_later_start_gets_the_same_tower_in_a_copy(case: Case) -> None:
    before = case.tower(case.question.pictures)
    again = case.read()
    assert again is not None
    assert str(again) == str(case.proof)
    assert torch.equal(again.tower(case.question.pictures), case.proof.tower(case.question.pictures))
    layers = [
        [name for name, module in tower.named_modules() if isinstance(module, Int8Linear)]
        for tower in (again.tower, case.proof.tower)
    ]
    assert layers[0] == layers[1]
    assert torch.equal(case.tower(case.question.pictures), before)
    assert [path.name for path in case.path.parent.iterdir()] == ["tiny.int8.npz"]


def test_layers_that_stayed_in_float32_stay_so(case: Case) -> None:
    assert case.proof.recipe is not None
    some = dict(list(case.proof.recipe.inputs.items())[2:5])
    recipe = replace(case.proof.recipe, inputs=some)
    case.kept().write(case.question, replace(case.proof, n_int8=len(some), recipe=recipe))
    again = case.read()
    assert again is not None
    found = {name for name, module in again.tower.named_modules() if isinstance(module, Int8Linear)}
    assert found == set(some)


def test_a_refusal_is_kept_too(case: Case) -> None:
    refused = replace(case.proof, tower=None, cosine=math.nan)
    case.kept().write(case.question, refused)
    again = case.read()
    assert again is not None
    assert again.tower is None
    assert str(again) == str(refused)


@pytest.mark.parametrize("place", range(len(MADE_BY)))
def test_another_cpu_torch_or_weights_ask_for_another_proof(case: Case, place: int) -> None:
    made_by = list(MADE_BY)
    made_by[place] = "another"
    assert case.kept(*made_by).read(case.tower, case.question) is None


@pytest.mark.parametrize(
    "changed",
    [
        lambda asked: replace(asked, pictures=asked.pictures + 1),
        lambda asked: replace(asked, words=["a dog", "a road"]),
        lambda asked: replace(asked, temperature=100.0),
    ],
)
def test_another_question_asks_for_another_proof(
    case: Case, changed: Callable[[QuantizationSamples], QuantizationSamples]
) -> None:
    assert case.kept().read(case.tower, changed(case.question)) is None


def test_a_tower_that_answers_otherwise_is_not_what_was_proved(case: Case) -> None:
    case.tower.transformer.resblocks[0].mlp.c_fc.weight.mul_(-1)
    assert case.read() is None


@pytest.mark.parametrize("cut", [0, 10, 300, -1])
def test_a_file_that_was_cut_off_is_none(case: Case, cut: int) -> None:
    case.path.write_bytes(case.path.read_bytes()[:cut])
    assert case.read() is None


@pytest.mark.parametrize(
    ("about", "arrays"),
    [
        ({"question": "another"}, {}),
        ({"layers": [["transformer.resblocks.7.mlp.c_fc", False]]}, {}),
        ({"layers": [["transformer.resblocks.0.ln_1", False]]}, {}),
        ({"layers": 3}, {}),
        ({"found": {"cosine": 1.0}}, {}),
        ({}, {"0": np.ones(5, dtype=np.float32)}),
        ({}, {"0": np.full(64, math.nan, dtype=np.float32)}),
        ({}, {"features": np.ones((1, 32), dtype=np.float32)}),
        ({}, {"features": np.array([{}], dtype=object)}),
    ],
)
def test_a_file_with_other_things_in_it_is_none(
    case: Case, about: dict[str, object], arrays: dict[str, np.ndarray[Any, Any]]
) -> None:
    rewritten(case.path)
    assert case.read() is not None  # the file as it was, written this way
    rewritten(case.path, about, **arrays)
    assert case.read() is None


def test_a_folder_that_cannot_be_made_keeps_nothing(case: Case, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = QuantizationCache(tmp_path / "file" / "speed" / "tiny.int8.npz", MADE_BY)
    kept.write(case.question, case.proof)
    assert kept.read(case.tower, case.question) is None
