"""Fixtures of the classifier's unit tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.classifier.makers import make_tiny_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with random weights, loaded in a moment."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", name="tiny", temperature=20.0)
