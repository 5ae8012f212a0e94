"""What the feedback bench draws, on a place of our own: no package of pictures, no network."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

MODELS = Path(__file__).resolve().parents[3] / "models"


@pytest.fixture(scope="module")
def drawing() -> Iterator[ModuleType]:
    """The bench's module, which imports those of models/ by their bare names."""
    sys.path.insert(0, str(MODELS))
    yield importlib.import_module("bench.feedback_pictures")
    sys.path.remove(str(MODELS))


@pytest.mark.parametrize("look", ["any_flag", "any_shadow"])
@pytest.mark.parametrize("hour", [5.5, 13.0])
def test_an_event_is_crops_of_what_moves(drawing: ModuleType, look: str, hour: float) -> None:
    place = importlib.import_module("pictures").Place("lawn", None, np.full((480, 640, 3), 120, np.uint8))
    rng = np.random.default_rng(1)
    camera = drawing.camera_at(place, rng)
    light = drawing.light_at(camera, hour, 0.5, rng)
    where = drawing.Whereabouts(320, 240, spread_px=10, side_px=(80, 120), px_s=40)
    made = drawing.event_pictures(camera, getattr(drawing, look)(rng), where, light, rng)
    times = [t_s for t_s, _ in made]
    assert 4 <= len(made) <= 8
    assert times == sorted(times)
    for _, picture in made:
        assert picture.shape == (224, 224, 3)
        assert picture.std() > 4, "something is in it"


def test_the_same_seed_draws_the_same(drawing: ModuleType) -> None:
    def cloth(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        found: np.ndarray = drawing.any_flag(rng)(rng)(0.5)
        return found

    assert np.array_equal(cloth(3), cloth(3))
    assert not np.array_equal(cloth(3), cloth(4))


@pytest.mark.usefixtures("drawing")
def test_things_are_dealt_out_by_hand_or_by_a_hash() -> None:
    things = importlib.import_module("bench.feedback_things")
    by_hand = things.BY_HAND
    assert not set(by_hand["tuning"]) & set(by_hand["judged"])
    for side, identities in by_hand.items():
        assert {things.side_of(identity) for identity in identities} == {side}
    assert {things.side_of(f"thing {number}") for number in range(20)} == {"tuning", "judged"}


@pytest.mark.usefixtures("drawing")
def test_what_trained_the_model_is_not_held_out() -> None:
    things = importlib.import_module("bench.feedback_things")
    sources = importlib.import_module("sources")
    for concept, identities in sources.VALIDATION.items():
        assert not any(things.is_held_out(identity, concept) for identity in identities)
    for identities in things.BY_HAND.values():
        assert all(things.is_held_out(identity, "dog") for identity in identities)
