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


OTHERS = ["0.0.0.0", "::", "192.168.1.20", "recorder"]
TOKEN = "0123456789abcdef"


class Numbers(ServiceSettings):
    serves_metrics_only = True


@pytest.mark.parametrize("host", OTHERS)
def test_beyond_this_machine_a_token_is_needed(host: str) -> None:
    fault = Example(http_host=host).listening_fault()
    assert fault is not None
    assert f"HTTP_HOST={host}" in fault
    assert "API_TOKEN" in fault
    assert "16" in fault
    assert Example(http_host=host, metrics_token=SecretStr(TOKEN)).listening_fault() is not None
    assert Example(http_host=host, api_token=SecretStr(TOKEN)).listening_fault() is None
    assert Example(http_host=host).listening_fault(has_login=True) is None
    assert Numbers(http_host=host).listening_fault() is not None
    assert Numbers(http_host=host, metrics_token=SecretStr(TOKEN)).listening_fault() is None


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.7"])
def test_on_this_machine_no_token_is_needed(host: str) -> None:
    assert Example(http_host=host).listening_fault() is None


@pytest.mark.parametrize("name", ["API_TOKEN", "METRICS_TOKEN"])
def test_a_token_has_16_characters_and_is_not_shown(name: str) -> None:
    _, found = read_settings(Example, {name: "hunter2hunter2h"})
    assert len(found) == 1
    assert name in found[0]
    assert "16" in found[0]
    assert "hunter2" not in found[0]


@pytest.mark.parametrize(
    "names", ["*", "a.example,*", "a.example:80", "http://a.example", "*.example", "a b"]
)
def test_allowed_hosts_are_names(names: str) -> None:
    _, found = read_settings(Example, {"ALLOWED_HOSTS": names})
    assert len(found) == 1
    assert "ALLOWED_HOSTS" in found[0]


@pytest.mark.parametrize("proxies", ["proxy", "10.0.0.7/8", "*", "10.0.0.256"])
def test_trusted_proxies_are_addresses_and_networks(proxies: str) -> None:
    _, found = read_settings(Example, {"TRUSTED_PROXIES": proxies})
    assert len(found) == 1
    assert "TRUSTED_PROXIES" in found[0]


def test_names_and_proxies_are_taken_as_they_are_listed() -> None:
    environment = {"ALLOWED_HOSTS": "Cam.example.org, recorder", "TRUSTED_PROXIES": "10.0.0.7, fd00::/8"}
    settings, found = read_settings(Example, environment)
    assert settings is not None
    assert not found
    trust = settings.network_trust
    assert trust.knows("cam.example.org:8443")
    assert trust.knows("recorder")
    assert not trust.knows("evil.example")
    assert trust.is_proxy("fd00::7")
    assert not trust.is_proxy("10.0.0.8")
