"""What verdicts answer: the last one counts, and only what was asked is drawn."""

from __future__ import annotations

import pytest

from shared.quality.answers import StandingVerdict, UnitAnswer, is_missed, is_right


def said(
    kind: str, label: str | None = None, *recorded: str, at: float = 1.0, drawn_with: float | None = None
) -> StandingVerdict:
    drawn_at = None if drawn_with is None else at - 0.5
    return StandingVerdict(kind, label, frozenset(recorded), at, drawn_with, drawn_at)


@pytest.mark.parametrize(
    ("verdict", "value"),
    [
        (said("right", None, "a dog"), True),
        (said("right", "a dog", "a dog", "a cat"), True),
        (said("right", "a cat", "a dog", "a cat"), None),
        (said("wrong", None, "a dog", "a cat"), False),
        (said("wrong", "a cat", "a dog", "a cat"), None),
        (said("is", "a fox", "a dog"), False),
        (said("is", "a dog"), True),
        (said("is", "a fox", "a cat"), None),
        (said("nothing", None, "a dog"), False),
        (said("missed", "a fox", "a dog"), None),
        (said("missed", "a dog"), True),
    ],
)
def test_a_verdict_says_whether_a_label_is_right(verdict: StandingVerdict, value: bool | None) -> None:
    found = is_right([verdict], "a dog")
    assert found == (None if value is None else UnitAnswer(1.0, None, value))


def test_the_last_verdict_counts_and_the_first_says_how_it_was_drawn() -> None:
    drawn = said("right", "a dog", "a dog", drawn_with=0.25)
    assert is_right([drawn, said("wrong", None, "a dog", at=2.0)], "a dog") == UnitAnswer(
        1.0, 0.25, False, 0.5
    )
    own = said("wrong", None, "a dog", at=0.5)
    assert is_right([own, drawn], "a dog") == UnitAnswer(0.5, None, True)


def test_what_was_drawn_for_another_question_was_not_drawn_for_this_one() -> None:
    # the event got its label after somebody was asked what was missed, or lost it after somebody was asked about it
    assert is_right([said("nothing", drawn_with=0.1)], "a dog") == UnitAnswer(1.0, None, False)
    assert is_right([said("missed", "a dog", drawn_with=0.1)], "a dog") == UnitAnswer(1.0, None, True)
    lost = [said("right", "a dog", "a dog", drawn_with=0.1)]
    assert is_missed(lost, "a dog") == is_missed(lost, None) == UnitAnswer(1.0, None, True)


@pytest.mark.parametrize("kind", ["wrong", "nothing", "is"])
def test_every_way_to_deny_a_label_answers_whether_it_is_right(kind: str) -> None:
    label = {"wrong": "a dog", "is": "a fox"}.get(kind)
    asked = [said(kind, label, "a dog", drawn_with=0.1)]
    assert is_right(asked, "a dog") == UnitAnswer(1.0, 0.1, False, 0.5)


def test_a_label_that_is_wrong_says_nothing_of_what_is_missed_beside_it() -> None:
    gone = [said("wrong", None, "a dog")]
    assert is_missed(gone, None) is None
    assert is_missed(gone, "a fox") is None
    assert is_missed(gone, "a dog") == UnitAnswer(1.0, None, False)
    assert is_missed([said("is", "a fox", "a dog")], "a fox") == UnitAnswer(1.0, None, True)
    assert is_missed([said("right", "a dog", "a dog")], "a fox") is None
    looked = [*gone, said("nothing", at=2.0, drawn_with=0.2)]
    assert is_missed(looked, "a fox") == UnitAnswer(2.0, 0.2, False, 1.5)


def test_who_names_what_was_missed_denies_the_other_labels() -> None:
    looked = [said("missed", "a dog", drawn_with=0.2), said("missed", "a cat", at=1.1, drawn_with=0.2)]
    assert is_missed(looked, "a dog") == UnitAnswer(1.0, 0.2, True, 0.5)
    assert is_missed(looked, "a fox") == UnitAnswer(1.0, 0.2, False, 0.5)
    assert is_missed(looked, None) == UnitAnswer(1.0, 0.2, True, 0.5)
    assert is_missed([*looked, said("nothing", at=3.0)], None) == UnitAnswer(1.0, 0.2, False, 0.5)
    assert is_missed([], None) is None
