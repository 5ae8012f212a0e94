"""What a model's own files say of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.classifier.model.openvino.model_files import read_configuration
from services.classifier.weights.names import resolve_model


@pytest.mark.parametrize(
    ("name", "is_quick"), [("ViT-B-32/openai", True), ("ViT-B-32/laion2b_s34b_b79k", False)]
)
def test_weights_trained_with_quickgelu_get_towers_with_it(tmp_path: Path, name: str, is_quick: bool) -> None:
    """With the plain one nothing fails, labels are only worse."""
    found = read_configuration(resolve_model(name, tmp_path), tmp_path)
    assert found.model_cfg.get("quick_gelu", False) is is_quick
    assert found.words is None
