"""The service's settings that cannot be right are told before Redis is waited for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from services.classifier.app import check, serve
from services.classifier.model.runtimes import engine_for
from services.classifier.settings import ClassifierSettings
from shared.errors import ConfigError
from shared.runtime import Runtime


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ClassifierSettings:
    """Return settings that want a GPU where torch is not installed, and a model that is none."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else find_spec(name)
    )
    return ClassifierSettings(device="cuda", model=str(tmp_path), redis_url="redis://127.0.0.1:1/0")


async def test_check_tells_both_faults_at_once(settings: ClassifierSettings) -> None:
    device, model = await check(settings)
    assert "DEVICE=cuda: torch, which GPUs need, is not installed here: " in device
    assert "MODEL=" in model


async def test_a_missing_runtime_ends_the_start_while_redis_is_away(settings: ClassifierSettings) -> None:
    runtime = Runtime.__new__(Runtime)  # nothing of it is used yet
    with pytest.raises(ConfigError, match="DEVICE=cuda: torch"):
        await serve(settings, runtime, engine_for)
