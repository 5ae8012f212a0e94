"""A moving thing is in the record while it moves: one row, made with its first snippet, that grows in place."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from bench.growing import Told, appearances, follow, start_demo, wait_for_classifier

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]


def grown(told: list[Told]) -> list[Told]:
    """Return all that was told of an event that was told open with one snippet, and later with more."""
    for one in told:
        same = [other for other in told if other.event["id"] == one.event["id"]]
        if same[0].event["n_snippets"] == 1 and same[-1].event["n_snippets"] > 1:
            return same
    return []


@pytest.mark.slow  # shorter: test_watching.py in the browser
def test_an_event_appears_with_its_first_snippet_and_grows_in_place(data_dir: Path) -> None:
    process, page = start_demo(data_dir)
    told: list[Told] = []
    try:
        wait_for_classifier(page, 200)
        for one in follow(page, 150):
            told.append(one)
            if grown(told):
                break
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    same = grown(told)
    assert same, f"no event grew: {[(one.event['id'], one.event['n_snippets']) for one in told]}"
    first, last = same[0].event, same[-1].event
    assert first["is_open"], "the row was there before the event had ended"
    assert [one.event["n_snippets"] for one in same] == sorted(one.event["n_snippets"] for one in same)
    assert first["started_at"] == last["started_at"]
    assert first["ended_at"] < last["ended_at"]
    assert first["updated_at"] < last["updated_at"]
    assert last["motion_peak"] >= first["motion_peak"]
    assert (last["probability"] or 0) >= (first["probability"] or 0)
    seen = [one for one in appearances(told, data_dir / "clipwatch.db") if one.event_id == first["id"]]
    assert [one.snippet for one in seen][:2] == [0, 1]
    assert all(one.labelled_at <= one.told_at for one in seen)
    assert seen[0].told_at < seen[1].told_at
