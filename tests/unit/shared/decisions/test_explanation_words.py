"""The sentences, as they are read aloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import DecisionSettings
from shared.decisions.evidence import Rival
from shared.decisions.explaining import DecidingMoment, LabelExplanation, SnippetExplanation
from shared.decisions.explanation_words import event_sentence, sentence, threshold_reason
from tests.unit.classifier.makers import NOON

LIMITS = SnippetExplanation(DecisionSettings(), 8, 0.5, 0.4, 2, (), is_evident=True)
SHORT = replace(LIMITS, n_moments=1, threshold=0.75, needed=1)
MOMENTS = tuple(DecidingMoment(n, NOON + timedelta(seconds=n), 0.4, 0.1) for n in range(3))
DOG = LabelExplanation(
    "a dog",
    is_accepted=True,
    lacks="",
    peak=0.81,
    peaked_at=NOON,
    background=0.12,
    started_at=NOON,
    ended_at=NOON + timedelta(seconds=2.5),
    n_moments=6,
    n_own=5,
    rival=None,
    deciding=MOMENTS,
    is_of_crops=True,
)
LOW = replace(DOG, is_accepted=False, lacks="threshold", peak=0.44, started_at=None, ended_at=None)
CAT = Rival("a cat", "target", 0.3)


@pytest.mark.parametrize(
    ("one", "limits", "said"),
    [
        (
            DOG,
            LIMITS,
            "'a dog' was accepted: for 2.5 s its score stayed above 0.40 and reached 0.81, wanted 0.50.",
        ),
        (
            replace(DOG, ended_at=NOON, n_moments=1),
            SHORT,
            "'a dog' was accepted: in one moment its score reached 0.81, wanted 0.75 (more than 0.50, since the clip "
            "has only 1 moment).",
        ),
        (
            replace(DOG, started_at=None, ended_at=None),
            LIMITS,
            "'a dog' was accepted: its score reached 0.81, wanted 0.50.",
        ),
        (
            replace(DOG, is_accepted_without=False),
            LIMITS,
            "'a dog' was accepted: for 2.5 s its score stayed above 0.40 and reached 0.81, wanted 0.50; without the "
            "verdicts on similar pictures it would not have been.",
        ),
        (LOW, LIMITS, "'a dog' was not accepted: its best score was 0.44, wanted 0.50."),
        (
            replace(LOW, rival=CAT),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50; 'a cat' fitted the same crops better.",
        ),
        (
            replace(LOW, rival=replace(CAT, is_better_in_all=False)),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50; 'a cat' fitted some of the same crops "
            "better.",
        ),
        (
            replace(LOW, rival=replace(CAT, is_better=False, is_better_in_all=False)),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50.",
        ),
        (
            replace(LOW, rival=replace(CAT, took=None)),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50; 'a cat' had a larger share of the same "
            "moments.",
        ),
        (
            replace(LOW, rival=CAT, deciding=MOMENTS[:1], is_of_crops=False),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50; 'a cat' fitted the same picture better.",
        ),
        (
            replace(LOW, rival=Rival("", "background", 0.5)),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50; the background fitted the same crops "
            "better.",
        ),
        (
            replace(LOW, rival=Rival("a lawn", "background", 0.5)),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50; the background 'a lawn' fitted the same "
            "crops better.",
        ),
        (
            replace(LOW, rival=Rival("", "other", 0.5)),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50; something that no label names fitted the "
            "same crops better.",
        ),
        (
            replace(LOW, peak=0.4991),
            LIMITS,
            "'a dog' was not accepted: its best score was just under 0.50, wanted 0.50.",
        ),
        (
            replace(LOW, lacks="background", peak=0.61, background=0.58),
            LIMITS,
            "'a dog' was not accepted: its score reached 0.61, but the background had 0.58 at the same time; a label "
            "must exceed it by 0.05.",
        ),
        (
            replace(LOW, lacks="moments", peak=0.55, n_own=1),
            LIMITS,
            "'a dog' was not accepted: its score reached 0.55, wanted 0.50, but only 1 moment reached 0.40 by itself, "
            "wanted 2.",
        ),
        (
            replace(LOW, lacks="moments", peak=0.55, n_own=0),
            LIMITS,
            "'a dog' was not accepted: its score reached 0.55, wanted 0.50, but no moment reached 0.40 by itself, "
            "wanted 2.",
        ),
        (
            replace(LOW, lacks="moments", peak=0.55, n_own=2),
            replace(LIMITS, needed=3),
            "'a dog' was not accepted: its score reached 0.55, wanted 0.50, but only 2 moments reached 0.40 by "
            "themselves, wanted 3.",
        ),
        (
            replace(LOW, lacks="moments", peak=0.55, n_own=None),
            LIMITS,
            "'a dog' was not accepted: its score reached 0.55, wanted 0.50, but too few moments reached 0.40 by "
            "themselves, wanted 2.",
        ),
        (
            replace(LOW, is_accepted_without=True),
            LIMITS,
            "'a dog' was not accepted: its best score was 0.44, wanted 0.50; without the verdicts on similar pictures "
            "it would have been.",
        ),
    ],
)
def test_a_label_s_sentence(one: LabelExplanation, limits: SnippetExplanation, said: str) -> None:
    assert sentence(one, limits) == said


def test_an_event_s_sentence_is_its_best_label_s() -> None:
    fox = replace(LOW, label="a fox", peak=0.2)
    assert event_sentence([(DOG, LIMITS), (fox, LIMITS)]) == sentence(DOG, LIMITS)
    assert event_sentence([(LOW, LIMITS)]) == sentence(LOW, LIMITS)
    assert event_sentence([(replace(LOW, rival=CAT), LIMITS), (fox, LIMITS)]) == (
        "No label was accepted; 'a dog' came nearest: its best score was 0.44, wanted 0.50; "
        "'a cat' fitted the same crops better."
    )


def test_the_threshold_s_reason_is_that_the_snippet_is_short() -> None:
    assert threshold_reason(LIMITS) == ""
    assert threshold_reason(SHORT) == "raised from 0.50, since the clip has 1 moment and 2 are wanted"


@given(st.floats(0.01, 0.99), st.floats(0, 0.2))
def test_two_numbers_never_read_as_if_the_decision_were_another(threshold: float, under: float) -> None:
    peak = threshold - under - 1e-9
    limits = replace(LIMITS, threshold=threshold)
    said = sentence(replace(LOW, peak=peak), limits)
    best, wanted = said.removesuffix(".").split("was not accepted: its best score was ")[1].split(", wanted ")
    assert best == f"just under {wanted}" or float(best) < float(wanted)


@given(st.floats(0.3, 1.0), st.floats(0, 0.3), st.floats(1e-4, 0.3))
def test_a_background_that_came_too_near_reads_so(peak: float, margin: float, nearer: float) -> None:
    settings = DecisionSettings(margin=margin)
    near = replace(LOW, lacks="background", peak=peak, background=peak - margin + nearer)
    said = sentence(near, replace(LIMITS, settings=settings)).split()
    label, behind = (float(said[said.index(word) + 1].rstrip(",")) for word in ("reached", "had"))
    assert label - behind < margin
