"""The index of one model's embeddings: what is left out, and a sample of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from services.recorder.search.vectors import EmbeddedPicture, Picture, PictureFilter, Vectors
from shared.clock import uuid7

START = datetime(2026, 1, 1, tzinfo=UTC)
DIM = 8


def event(number: int) -> str:
    return uuid7(START + timedelta(minutes=number), seed=str(number))


def filled(folder: Path, n: int) -> tuple[Vectors, np.ndarray]:
    """Return an index of `n` events of a picture each, every third of camera yard, and their embeddings."""
    rng = np.random.default_rng(7)
    rows = rng.standard_normal((n, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = Vectors(folder, "model", DIM)
    vectors.append(
        [
            EmbeddedPicture(
                Picture(event(at), 0, 0),
                "gate" if at % 3 else "yard",
                START + timedelta(minutes=at),
                row.astype("<f2").tobytes(),
            )
            for at, row in enumerate(rows)
        ]
    )
    return vectors, rows


def test_a_sample_is_spread_over_all_rows(tmp_path: Path) -> None:
    vectors, rows = filled(tmp_path, 100)
    found = vectors.sample(5)
    assert found.shape == (5, DIM)
    assert found == pytest.approx(rows[[0, 24, 49, 74, 99]], abs=0.01)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=0.01)
    assert len(vectors.sample(500)) == 100


def test_a_sample_is_of_the_cameras_that_are_seen(tmp_path: Path) -> None:
    vectors, rows = filled(tmp_path, 30)
    assert vectors.sample(500, {"yard"}) == pytest.approx(rows[::3], abs=0.01)
    assert vectors.sample(500, set()).shape == (0, DIM)
    assert Vectors(tmp_path / "empty", "model", DIM).sample(5).shape == (0, DIM)


def test_an_event_is_left_out_and_no_other(tmp_path: Path) -> None:
    vectors, rows = filled(tmp_path, 30)
    assert vectors.nearest(rows[4], PictureFilter(), 1) == [Picture(event(4), 0, 0)]
    found = vectors.nearest(rows[4], PictureFilter(but_event=event(4)), 30)
    assert {one.event_id for one in found} == {event(at) for at in range(30)} - {event(4)}
