"""`clipwatch analyze` as a user runs it: real video, real model, real Redis, the three services as processes."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.conftest import SAMPLES, STREET_WORDS, Answer, clipwatch, cut, decoded_frames

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]
FIELDS = [
    "event_id", "camera", "started_at", "ended_at", "start_s", "end_s", "label", "probability", "labels", "accepted",
    "snippets", "model",
]  # fmt: skip


PEOPLE_WORDS = (
    "--label", "a pedestrian", "--label", "a dog", "--label", "a horse", "--background", "an empty street",
)  # fmt: skip


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    folder = tmp_path_factory.mktemp("street")
    return clipwatch("analyze", SAMPLES / "street.mp4", *STREET_WORDS, "--json", "--out", "kept", cwd=folder)


@pytest.fixture(scope="module")
def people_5s(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cut(SAMPLES / "people-walking.mp4", tmp_path_factory.mktemp("cut") / "people walking.mp4", 5)


@pytest.fixture(scope="module")
def people(people_15s: Path, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    folder = tmp_path_factory.mktemp("people")
    return clipwatch("analyze", people_15s, *PEOPLE_WORDS, "--json", "--out", "kept", cwd=folder)


def test_pedestrians_are_found_and_named(people: Answer) -> None:
    assert people.code == 0, people.err
    assert people.events
    assert {event["label"] for event in people.events} == {"a pedestrian"}
    assert {label for event in people.events for label in event["accepted"]} == {"a pedestrian"}


@pytest.mark.slow  # shorter: pedestrians are found and named
def test_bicycle_and_car_are_found_and_named(street: Answer) -> None:
    assert street.code == 0, street.err
    assert {"a bicycle", "a car"} <= {label for event in street.events for label in event["accepted"]}


def test_every_event_has_every_field(people: Answer) -> None:
    for event in people.events:
        assert list(event) == FIELDS
        assert event["camera"] == "people walking"
        assert set(event["labels"]) == {"a pedestrian", "a dog", "a horse", "an empty street"}
        assert all(0 <= peak <= 1 for peak in event["labels"].values())
        assert event["probability"] == pytest.approx(event["labels"]["a pedestrian"], abs=1e-3)
        assert event["model"] == "mini"
        length_s = (_time(event["ended_at"]) - _time(event["started_at"])).total_seconds()
        assert event["end_s"] - event["start_s"] == pytest.approx(length_s, abs=0.01)
        assert 0 <= event["start_s"] < event["end_s"] <= 15.1


def test_clips_decode_and_cover_the_event(people: Answer) -> None:
    for event in people.events:
        snippets = event["snippets"]
        assert snippets[0]["start_s"] <= event["start_s"]
        assert snippets[-1]["end_s"] >= event["end_s"] - 0.11
        for snippet in snippets:
            n_frames = decoded_frames(Path(snippet["path"]))
            assert n_frames == pytest.approx(10 * (snippet["end_s"] - snippet["start_s"]), abs=2)
            assert Path(snippet["thumbnail"]).read_bytes()[:2] == b"\xff\xd8"
        for before, after in itertools.pairwise(snippets):
            assert after["start_s"] <= before["end_s"] + 0.11


def test_nothing_but_json_on_stdout_and_nothing_half_written(people: Answer) -> None:
    folder = Path(people.events[0]["snippets"][0]["path"]).parents[1]
    kept = {path.resolve() for path in folder.rglob("*") if path.is_file()}
    named = {
        Path(s[key]) for event in people.events for s in event["snippets"] for key in ("path", "thumbnail")
    }
    assert kept == named
    assert "Traceback" not in people.err


@pytest.mark.slow  # shorter: test_motion_service.py reads a file twice
def test_ids_are_the_same_when_it_is_analysed_again(people: Answer, people_15s: Path, tmp_path: Path) -> None:
    again = clipwatch("analyze", people_15s, *PEOPLE_WORDS, "--json", cwd=tmp_path)
    assert [(e["event_id"], len(e["snippets"])) for e in again.events] == [
        (e["event_id"], len(e["snippets"])) for e in people.events
    ]


@pytest.mark.slow  # shorter: test_analysis.py, and the JSON of a whole run above
def test_all_shows_what_was_not_accepted(people_5s: Path, tmp_path: Path) -> None:
    words = ("--label", "a horse", "--background", "a person walking", "--background", "an empty street")
    hidden = clipwatch("analyze", people_5s, *words, "--json", "--threshold", "0.9", cwd=tmp_path)
    assert (hidden.code, hidden.out) == (0, "")
    shown = clipwatch("analyze", people_5s, *words, "--json", "--threshold", "0.9", "--all", cwd=tmp_path)
    assert shown.events
    assert all(e["label"] is None and e["probability"] is None and e["accepted"] == [] for e in shown.events)


@pytest.mark.slow  # shorter: test_analysis.py, and the JSON of a whole run above
def test_without_json_there_is_a_table_for_people(people_5s: Path, tmp_path: Path) -> None:
    answer = clipwatch("analyze", people_5s, "--label", "a pedestrian", cwd=tmp_path)
    assert answer.code == 0, answer.err
    assert "people walking" in answer.out
    assert "a pedestrian" in answer.out
    assert "1 event recorded (a pedestrian 1)" in answer.out
    assert list((tmp_path / "clipwatch-events").rglob("*.mp4"))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
