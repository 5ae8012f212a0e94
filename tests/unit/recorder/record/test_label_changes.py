"""What was changed about an event's labels follows from the answers that were replaced."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from services.recorder.record.relabels import label_changes

START = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class PastAnswer:
    snippet: int
    accepted: str
    hour: int
    made_by: str | None = "ada"
    kind: str | None = "words"

    @property
    def replaced_at(self) -> datetime:
        return START + timedelta(hours=self.hour)


def said(*labels: str) -> str:
    return json.dumps([{"label": label, "probability": 0.9 - 0.1 * n} for n, label in enumerate(labels)])


def changes(past: list[PastAnswer], now: dict[int, str]) -> list[tuple[int, str | None, Any, Any]]:
    found = label_changes(cast("Any", past), now)  # Any: rows
    return [
        ((one.changed_at - START) // timedelta(hours=1), one.made_by, one.before, one.after) for one in found
    ]


def test_without_past_answers_nothing_changed() -> None:
    assert changes([], {0: said("a dog")}) == []


def test_one_change_leads_from_what_was_to_what_is() -> None:
    past = [PastAnswer(0, said("a dog", "a cat"), 1)]
    assert changes(past, {0: said("a fox")}) == [(1, "ada", ("a dog", "a cat"), ("a fox",))]


def test_changes_follow_each_other_and_each_says_who() -> None:
    past = [PastAnswer(0, said("a dog"), 1), PastAnswer(0, said("a cat"), 2, "bob")]
    assert changes(past, {0: said()}) == [
        (1, "ada", ("a dog",), ("a cat",)),
        (2, "bob", ("a cat",), ()),
    ]


def test_a_change_of_some_snippets_leaves_the_labels_of_the_others() -> None:
    past = [PastAnswer(1, said("a cat"), 1), PastAnswer(0, said("a dog"), 2)]
    now = {0: said("a fox"), 1: said("a fox"), 2: said("a bird")}
    assert changes(past, now) == [
        (1, "ada", ("a bird", "a cat", "a dog"), ("a bird", "a dog", "a fox")),
        (2, "ada", ("a bird", "a dog", "a fox"), ("a bird", "a fox")),
    ]


def test_what_changes_no_label_of_the_event_is_left_out() -> None:
    past = [PastAnswer(0, said("a dog"), 1), PastAnswer(1, said("a cat"), 2)]
    assert changes(past, {0: said("a dog"), 1: said("a cat")}) == []
    assert changes([PastAnswer(0, said(), 1)], {0: said("a dog"), 1: said("a dog")}) == []
