"""The notify file: what is read, and that every fault is named at once and no secret shown."""

from __future__ import annotations

from datetime import time, timedelta
from pathlib import Path

import pytest

from services.recorder.notify.file import load_notify
from shared.errors import ConfigError

GOOD = """
page: http://page.lan:8080/
targets:
  - name: home
    mqtt: {host: broker.lan, user: clipwatch, password: "${MQTT_PASSWORD}"}
  - name: night
    webhook: {url: "${HOOK_URL}", secret: "${HOOK_SECRET}", when: end, cooldown_s: 300}
    labels: [a pedestrian]
    between: ["22:00", "06:00"]
    zone: Europe/Berlin
"""
SECRETS = {"MQTT_PASSWORD": "p4ss", "HOOK_URL": "https://hook.lan/x/t0ken", "HOOK_SECRET": "s" * 24}


def test_secrets_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "notify.yml"
    path.write_text(GOOD)
    file = load_notify(path, SECRETS)
    home, night = file.targets
    assert file.page == "http://page.lan:8080"
    assert home.mqtt is not None
    assert home.mqtt.password.get_secret_value() == "p4ss"
    assert night.webhook is not None
    assert night.webhook.url.get_secret_value() == "https://hook.lan/x/t0ken"
    assert night.filter.between == (time(22), time(6))
    assert not any(secret in repr(file) for secret in SECRETS.values())


def test_all_faults_are_told_at_once_and_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "notify.yml"
    path.write_text(
        """
pages: x
give_up_h: -1
targets:
  - name: Home
    mqtt: {host: broker.lan, port: 99999, password: "${NOT_SET}"}
  - name: both
    mqtt: {host: broker.lan}
    webhook: {url: "ftp://t0ken", secret: "tooshort"}
    zone: Europe/Nowhere
    between: ["25:00", "06:00"]
  - name: none
  - just a text
"""
    )
    with pytest.raises(ConfigError) as refused:
        load_notify(path, {})
    said = str(refused.value)
    for part in (
        "'pages' is not known; did you mean 'page'?",
        "give_up_h=-1",
        "target 'Home': ${NOT_SET} is not set",
        "target 'Home': name",
        "target 'Home': mqtt.port",
        "target 'both': webhook.url",
        "target 'both': webhook.secret",
        "target 'both': zone",
        "target 'both': between",
        "target 'none': wanted one of 'mqtt:' and 'webhook:'",
        "target number 4",
    ):
        assert part in said, said
    assert "t0ken" not in said
    assert "tooshort" not in said


def test_names_are_unique(tmp_path: Path) -> None:
    path = tmp_path / "notify.yml"
    path.write_text("targets:\n" + "  - {name: a, mqtt: {host: h}}\n" * 2)
    with pytest.raises(ConfigError, match="is used twice"):
        load_notify(path, {})


@pytest.mark.parametrize(
    ("said", "lasts"),
    [
        ("", timedelta(days=7)),
        ("links_for: 12h", timedelta(hours=12)),
        ("links_for: 365d", timedelta(days=365)),
        ("links_for: off", None),
        ('links_for: "off"', None),
    ],
)
def test_links_open_for_as_long_as_a_target_says(tmp_path: Path, said: str, lasts: timedelta | None) -> None:
    path = tmp_path / "notify.yml"
    path.write_text(f"targets:\n  - name: home\n    mqtt: {{host: broker.lan}}\n    {said}\n")
    assert load_notify(path, {}).targets[0].links_for == lasts


@pytest.mark.parametrize(
    "said", ["0d", "366d", "8761h", "7", "7 days", "1.5d", "true", "-1d", "9999d", "[7d]"]
)
def test_no_other_time_is_taken_for_links(tmp_path: Path, said: str) -> None:
    path = tmp_path / "notify.yml"
    path.write_text(f"targets:\n  - name: home\n    mqtt: {{host: broker.lan}}\n    links_for: {said}\n")
    with pytest.raises(ConfigError, match=r"links_for.*must be a time such as 7d or 12h"):
        load_notify(path, {})
