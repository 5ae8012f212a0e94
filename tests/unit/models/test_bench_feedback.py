"""The feedback bench's tables on a camera made up of three directions: no picture, no model."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench.feedback_record import REAL, VISITOR, CameraRecord, SeenEvent, in_order
from shared.contract import Column, LabelSet
from shared.decisions.label_texts import LabelTexts

MODELS = Path(__file__).resolve().parents[3] / "models"
DIM = 16
DIRECTIONS = {"a dog": 0, "a fox": 1, "a lawn": 2}
OFFSETS = (0.0, 0.5, 1.0)


class Facts:
    """A model."""

    name = "made up"
    temperature = 20.0
    embedding_dim = DIM


class Bank:
    """Each text a direction of its own."""

    def get(self, label_set: LabelSet) -> LabelTexts:
        n = len(label_set.labels)
        texts = [*label_set.labels, *label_set.background]
        kinds = ["target"] * n + ["background"] * len(label_set.background)
        columns = [{"text": text, "kind": kind} for text, kind in zip(texts, kinds, strict=True)]
        return LabelTexts(
            tuple(Column.model_validate(one) for one in (*columns, {"text": "other", "kind": "other"})),
            np.eye(DIM, dtype=np.float32)[[DIRECTIONS[text] for text in texts]],
            n_targets=n,
            n_background=len(label_set.background),
            rivals=~np.eye(n, dtype=np.bool_),
            against=np.ones((n, 0), np.bool_),
            shown=np.ones(0, np.bool_),
        )


class Embedding:
    """What a measurement needs of a model and its words."""

    model = type("Model", (), {"facts": Facts()})()
    bank = Bank()


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The bench, which imports modules of models/ by their bare names."""
    sys.path.insert(0, str(MODELS))
    yield importlib.import_module("bench.feedback")
    sys.path.remove(str(MODELS))


def camera() -> CameraRecord:
    """Four days of dogs, of a flag that is taken for one, and of foxes that look much like dogs."""
    rng = np.random.default_rng(4)

    def looks(kind: str, day: int, hour: int, own: int, shown: str = "", name: str = "") -> SeenEvent:
        rows = rng.normal(size=(len(OFFSETS), DIM)) * 0.03
        rows[:, 0] += 1
        rows[:, own] += 0.8
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        true = frozenset({shown} if shown else ())
        return SeenEvent(kind, day * 86400 + hour * 3600.0, true, name, OFFSETS, rows.astype(np.float32))

    events = []
    for day in range(4):
        for hour in (1, 9, 17):
            events.append(looks(REAL, day, hour, 5, "a dog"))
            events.append(looks("flag", day, hour + 1, 6))
            events.append(looks(VISITOR, day, hour + 2, 7, name="a fox"))
    return CameraRecord("yard", ("a dog",), ("a lawn",), {}, in_order(events))


def test_the_bars_of_a_camera_that_is_easy_are_met(bench: ModuleType) -> None:
    found = bench.Measurement(Embedding()).bars([camera()])
    assert found["gone"] == 1.0
    assert found["recall"] == [1.0, 1.0]
    assert found["named_right"] == 1.0
    assert found["named_right_without"] == 0.0


def test_bars_say_what_is_not_learned(bench: ModuleType) -> None:
    found = bench.Measurement(Embedding()).bars([camera()], lambda _: bench.NoClicks())
    assert found["gone"] == 0.0
    assert found["named_right"] == 0.0


def test_the_curve_has_a_row_for_each_method_and_number_of_clicks(bench: ModuleType) -> None:
    rows = list(bench.Measurement(Embedding()).curve([camera()]))
    assert len(rows) == 3 + len(bench.METHODS) * len(bench.CLICKS)
    first, last_of_own = rows[0], rows[2 + len(bench.CLICKS)]
    assert (first["method"], first["false_alarms"], first["recall"]) == ("no clicks", 6, 1.0)
    assert (last_of_own["method"], last_of_own["clicks"]) == ("clipwatch", 30)
    assert (last_of_own["false_alarms"], last_of_own["recall"]) == (0, 1.0)


def test_a_user_who_errs_is_counted_beside_one_who_does_not(bench: ModuleType) -> None:
    found = bench.Measurement(Embedding()).errs([camera()])
    assert found["errors_without"] == 6
    assert found["errors_with_clicks"] == 0


def test_the_speed_is_of_as_many_examples_as_a_camera_may_have(bench: ModuleType) -> None:
    found = bench.speed(n_pictures=2, n_examples=30, dim=8)
    assert found["examples"] == 30
