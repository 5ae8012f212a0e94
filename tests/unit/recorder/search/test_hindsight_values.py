"""An outcome counts by camera and label, lists events of each, and says in words what changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.search.hindsight_values import (
    SHOWN_EACH,
    SHOWN_LIMIT,
    SHOWN_MAX,
    EventComparison,
    HindsightRequest,
    LabelProbability,
    Outcome,
    asked_of,
    request_faults,
    summary_of,
)
from shared.contract import DecisionSettings

AT = datetime(2026, 1, 2, tzinfo=UTC)
_ids = count()


def compared(camera: str, recorded: str, hindsight: str) -> EventComparison:
    """Return an event whose labels are named by letters."""
    sides = [tuple(LabelProbability(f"a {letter}", 0.5) for letter in text) for text in (recorded, hindsight)]
    return EventComparison(f"{next(_ids)}", camera, AT, None, *sides)


def outcome_of(*events: tuple[str, str, str, int]) -> Outcome:
    outcome = Outcome()
    for camera, recorded, hindsight, n in events:
        for _ in range(n):
            outcome.add(compared(camera, recorded, hindsight))
    return outcome


@pytest.mark.parametrize(
    ("outcome", "present", "past"),
    [
        (
            outcome_of(("gate", "c", "f", 40), ("yard", "c", "f", 1), ("yard", "c", "c", 1)),
            "41 events on 2 cameras lose 'a c', 41 gain 'a f'",
            "41 events on 2 cameras lost 'a c', 41 gained 'a f'",
        ),
        (
            outcome_of(("gate", "", "f", 1)),
            "1 event on 1 camera gains 'a f'",
            "1 event on 1 camera gained 'a f'",
        ),
        (
            outcome_of(("gate", "c", "", 1), ("gate", "", "f", 1200), ("yard", "d", "f", 1)),
            "1 event on 1 camera loses 'a c', 1 loses 'a d', 1,201 on 2 cameras gain 'a f'",
            "1 event on 1 camera lost 'a c', 1 lost 'a d', 1,201 on 2 cameras gained 'a f'",
        ),
        (
            outcome_of(("gate", "abcdefg", "h", 1)),
            "1 event on 1 camera loses 'a a', 1 loses 'a b', 1 loses 'a c', 1 loses 'a d', 1 loses 'a e', "
            "1 loses 'a f', and 2 more labels change",
            "1 event on 1 camera lost 'a a', 1 lost 'a b', 1 lost 'a c', 1 lost 'a d', 1 lost 'a e', "
            "1 lost 'a f', and 2 more labels change",
        ),
        (
            outcome_of(("gate", "c", "c", 3)),
            "no event changes its labels",
            "no event changed its labels",
        ),
    ],
)
def test_an_outcome_in_words(outcome: Outcome, present: str, past: str) -> None:
    assert summary_of(outcome) == present
    assert summary_of(outcome, is_done=True) == past


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["gate", "yard"]), st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc"))
    )
)


@given(EVENTS)
def test_counts_add_up(events: list[tuple[str, set[str], set[str]]]) -> None:
    outcome = outcome_of(*((camera, "".join(a), "".join(b), 1) for camera, a, b in events))
    assert outcome.n_events == len(events)
    assert outcome.n_changed == sum(a != b for _, a, b in events)
    for label, of in outcome.labels.items():
        assert of.recorded == sum(label[-1] in a for _, a, _ in events)
        assert of.hindsight - of.recorded == of.gained - of.lost
    assert len(outcome.shown) == outcome.n_changed


def test_a_busy_camera_does_not_crowd_out_the_pictures_of_the_others() -> None:
    outcome = outcome_of(("gate", "", "f", SHOWN_MAX + 50), ("yard", "c", "", 9), ("gate", "d", "", 1))
    shown = [(one.camera, *sorted(one.gained), *sorted(one.lost)) for one in outcome.shown]
    assert shown.count(("gate", "a f")) == SHOWN_MAX
    assert shown.count(("yard", "a c")) == SHOWN_EACH
    assert shown.count(("gate", "a d")) == 1
    many = outcome_of(*((f"cam{n}", "", "f", SHOWN_EACH) for n in range(SHOWN_LIMIT)))
    assert len(many.shown) == SHOWN_LIMIT


def test_a_threshold_beside_all_settings_of_a_decision_is_a_fault() -> None:
    request = HindsightRequest(
        labels=("a dog",),
        background=None,
        threshold=0.7,
        since=datetime(2026, 6, 1, tzinfo=UTC),
        until=datetime(2026, 6, 2, tzinfo=UTC),
        decision=DecisionSettings(),
    )
    assert len(request_faults(request)) == 1
    assert request_faults(replace(request, threshold=None)) == []
    assert asked_of(replace(request, threshold=None))["decision"] == DecisionSettings().model_dump()
