"""Which events a target wants."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from services.recorder.notify.filters import Filter
from services.recorder.record.values import Detection, Event

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
