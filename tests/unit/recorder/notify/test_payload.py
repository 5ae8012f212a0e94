"""Events in JSON."""

from __future__ import annotations

from services.recorder.notify.payload import event_json
from tests.unit.recorder.notify.test_filters import event


def test_addresses_are_absolute_when_the_page_is_known() -> None:
    said = event_json(event(("a dog", 0.6)), "http://page.lan:8080", {"gate": "Front gate"}.__getitem__)
    assert said["urls"]["clip"] == f"http://page.lan:8080/media/2026/07/01/{'a' * 32}.mp4"
    assert said["urls"]["thumbnail"] is None
    assert (said["camera"], said["camera_name"]) == ("gate", "Front gate")
    assert said["labels"] == [{"label": "a dog", "probability": 0.6}]
