"""The fitted temperature in its file: kept, read again, told when broken, and used by a model that is loaded."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.classifier.model.model_settings import calibrated_temperature, settings_file, write_temperature
from services.classifier.model.runtimes import load_on_cpu
from services.classifier.settings import ClassifierSettings
from services.classifier.weights.names import resolve_model
from shared.errors import ConfigError

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
NAME = "ViT-B-32-256/datacomp_s34b_b86k"


def test_a_written_temperature_is_read_again(tmp_path: Path) -> None:
    assert calibrated_temperature(tmp_path, NAME) is None
    write_temperature(tmp_path, NAME, 31.25, {"fitted_on": "40 clips"}, AT)
    assert calibrated_temperature(tmp_path, NAME) == 31.25


def test_names_that_differ_in_odd_characters_share_nothing(tmp_path: Path) -> None:
    write_temperature(tmp_path, "a/b", 20.0, {}, AT)
    assert settings_file(tmp_path, "a/b") == settings_file(tmp_path, "a:b")
    assert calibrated_temperature(tmp_path, "a:b") is None


def test_earlier_temperatures_are_kept_and_bounded(tmp_path: Path) -> None:
    for number in range(1, 30):
        write_temperature(tmp_path, "mini", float(number), {}, AT)
    document = json.loads(settings_file(tmp_path, "mini").read_text())
    assert document["temperature"] == 29
    assert [old["temperature"] for old in document["earlier"]] == list(range(9, 29))
    assert list(settings_file(tmp_path, "mini").parent.iterdir()) == [settings_file(tmp_path, "mini")]


@pytest.mark.parametrize("value", ['"warm"', "0", "-3", "true", "null", "5000"])
def test_a_temperature_that_is_none_is_one_fault(tmp_path: Path, value: str) -> None:
    path = write_temperature(tmp_path, "mini", 20.0, {}, AT)
    path.write_text(f'{{"model": "mini", "temperature": {value}}}')
    with pytest.raises(ConfigError, match=r"wanted a number in 0\.\.1000"):
        calibrated_temperature(tmp_path, "mini")


def test_a_folder_that_cannot_be_written_is_one_fault(tmp_path: Path) -> None:
    (tmp_path / "settings").write_text("a file where a folder belongs")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_temperature(tmp_path, "mini", 20.0, {}, AT)


def test_a_model_starts_with_its_fitted_temperature_unless_another_is_set(
    tiny_folder: Path, tmp_path: Path
) -> None:
    reference = resolve_model(f"local-dir:{tiny_folder}", tmp_path)
    write_temperature(tmp_path, reference.name, 33.0, {}, AT)
    settings = ClassifierSettings(models_dir=tmp_path, redis_url="redis://localhost")
    assert load_on_cpu(reference, settings).facts.temperature == 33.0
    set_anew = settings.model_copy(update={"temperature": 7.0})
    assert load_on_cpu(reference, set_anew).facts.temperature == 7.0
