"""Settings from the environment: every fault at once, none of which shows a secret."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, SecretStr, field_validator

from shared.errors import ConfigError
from shared.settings import CameraSettings, ServiceSettings, load_settings, read_settings


class Example(ServiceSettings):
    batch: Annotated[int, Field(ge=1, le=64)] = 8
    pause_s: Annotated[float, Field(gt=0)] = 1
    device: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    sizes: tuple[int, ...] = ()
    api_key: Annotated[SecretStr, Field(min_length=8)] = SecretStr("12345678")
    database_url: SecretStr = SecretStr("sqlite://")
    is_fast: bool = False

    @field_validator("database_url")
    @classmethod
    def _known(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("sqlite", "mysql")):
            raise ValueError("wanted mysql+aiomysql:// or sqlite+aiosqlite:///")
        return value


def faults(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings(Example)
    return list(caught.value.faults)


def test_names_are_capitals_and_empty_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH", "3")
    monkeypatch.setenv("PAUSE_S", "")
    monkeypatch.setenv("SIZES", "[1, 2]")
    loaded = load_settings(Example)
    assert (loaded.batch, loaded.pause_s, loaded.sizes) == (3, 1, (1, 2))


def test_every_fault_is_told_at_once_found_and_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(
        monkeypatch,
        BATCH="65",
        PAUSE_S="0",
        DEVICE="gpu",
        IS_FAST="perhaps",
        HTTP_PORT="70000",
        LOG_LEVEL="LOUD",
        DRAIN_S="nan",
        INSTANCE="a b",
        PARENT_PID="-1",
        CONNECT_S="soon",
    ) == [
        "environment: INSTANCE=a b: must be text that matches ^[A-Za-z0-9_.-]{0,64}$",
        "environment: HTTP_PORT=70000: must be 0..65535",
        "environment: LOG_LEVEL=LOUD: must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'",
        "environment: DRAIN_S=nan: must be more than 0 and at most 600",
        "environment: CONNECT_S=soon: must be more than 0 and at most 600",
        "environment: PARENT_PID=-1: must be at least 0",
        "environment: BATCH=65: must be 1..64",
        "environment: PAUSE_S=0: must be more than 0",
        "environment: DEVICE=gpu: must be 'auto' or at least 0",
        "environment: IS_FAST=perhaps: must be true or false",
    ]


def test_no_fault_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    told = faults(
        monkeypatch, API_KEY="S3cr3t", DATABASE_URL="postgres S3cr3t", HTTP_PORT="rtsp://u:S3cr3t@h/"
    )
    assert len(told) == 3
    assert "environment: DATABASE_URL: wanted mysql+aiomysql:// or sqlite+aiosqlite:///" in told
    assert "S3cr3t" not in "\n".join(told)


def test_a_list_that_is_not_json_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(monkeypatch, SIZES="[1,") == [
        'environment: SIZES: is not JSON, wanted a list like ["a", "b"]'
    ]
    assert faults(monkeypatch, SIZES='["x"]') == ["environment: SIZES.0=x: must be a whole number"]


def test_secrets_do_not_show_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:S3cr3t@h/0")
    assert "S3cr3t" not in repr(load_settings(CameraSettings))


def test_settings_with_faults_have_the_defaults_in_their_place() -> None:
    environment = {"HTTP_PORT": "no", "DRAIN_S": "-1", "LOG_LEVEL": "DEBUG", "CONNECT_S": ""}
    settings, faults = read_settings(CameraSettings, environment)
    assert [fault.partition(":")[2].partition("=")[0].strip() for fault in faults] == ["HTTP_PORT", "DRAIN_S"]
    assert settings is not None
    assert (settings.http_port, settings.drain_s, settings.log_level) == (0, 20, "DEBUG")
