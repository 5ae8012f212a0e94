"""Who is told of what: the notify file, filters, signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from services.recorder.notify.file import load_notify, signing_key
from services.recorder.notify.filters import Filter
from services.recorder.notify.payload import event_json
from services.recorder.notify.webhook import signature
from services.recorder.record.values import Detection, Event
from shared.errors import ConfigError

START = datetime(2026, 7, 1, 21, 30, tzinfo=UTC)  # 23:30 in Berlin


def event(*labels: tuple[str, float], camera: str = "gate", started_at: datetime = START) -> Event:
    found = tuple(Detection(label, p, started_at, started_at, 0) for label, p in labels)
    best = found[0] if found else None
    return Event(
        id="0197c4b0-0000-7000-8000-000000000000",
        camera=camera,
        started_at=started_at,
        ended_at=started_at,
        is_open=True,
        is_accepted=bool(found),
        label=best.label if best else None,
        probability=best.probability if best else None,
        n_snippets=1,
        motion_peak=0.5,
        clip_name="2026/07/01/" + "a" * 32 + ".mp4",
        thumbnail_name=None,
        latitude=None,
        longitude=None,
        created_at=started_at,
        updated_at=started_at,
        is_protected=False,
        detections=found,
    )


def matched(wanted: Filter, said: Event) -> str | None:
    match = wanted.match(said)
    return match.label if match else None


def test_an_empty_filter_takes_the_likeliest_label() -> None:
    assert matched(Filter(), event(("a dog", 0.6), ("a cat", 0.8))) == "a cat"
    assert matched(Filter(), event()) is None


def test_each_part_of_a_filter_can_turn_an_event_down() -> None:
    said = event(("a dog", 0.6), ("a cat", 0.8))
    assert matched(Filter(cameras=("yard",)), said) is None
    assert matched(Filter(labels=("a dog",)), said) == "a dog"
    assert matched(Filter(labels=("a dog",), probability=0.61), said) is None
    assert matched(Filter(probability=0.8), said) == "a cat"


@pytest.mark.parametrize(
    ("first", "last", "zone", "is_wanted"),
    [
        (time(22), time(6), "Europe/Berlin", True),  # 23:30 there, over midnight
        (time(22), time(6), "UTC", False),  # 21:30
        (time(21), time(21, 30), "UTC", False),  # the end does not belong to it
        (time(21, 30), time(22), "UTC", True),  # the beginning does
    ],
)
def test_time_of_day_is_that_of_the_zone(first: time, last: time, zone: str, is_wanted: bool) -> None:
    wanted = Filter(between=(first, last), zone=ZoneInfo(zone))
    assert (wanted.match(event(("a dog", 0.9))) is not None) is is_wanted


def test_the_signature_is_that_of_standard_webhooks() -> None:
    # the example of the specification's own verification libraries
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    said = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert said == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_without_prefix_is_taken_as_it_is() -> None:
    wanted = hmac.new(b"a plain secret text", b"id.1.{}", hashlib.sha256).digest()
    said = signature(signing_key("a plain secret text"), "id", "1", b"{}")
    assert said == "v1," + base64.b64encode(wanted).decode()


def test_addresses_are_absolute_when_the_page_is_known() -> None:
    said = event_json(event(("a dog", 0.6)), "http://page.lan:8080")
    assert said["urls"]["clip"] == f"http://page.lan:8080/media/2026/07/01/{'a' * 32}.mp4"
    assert said["urls"]["thumbnail"] is None
    assert said["labels"] == [{"label": "a dog", "probability": 0.6}]


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
