"""Whatever an event looks like, its own decision follows what was said of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.clock import uuid7
from shared.contract import Column, LabelSet, PictureInfo, SnippetHeader, SnippetMessage
from shared.decisions.examples import Example, for_labels
from shared.decisions.label_texts import LabelTexts
from shared.decisions.labeller import EmbeddedSnippet, decision_of
from shared.decisions.probabilities import Floats
from shared.decisions.teaching import FURTHER_APART, PICTURES_MAX, Classroom, Lesson, Said, lesson_of

LABELS = ("a dog", "a fox", "a person")
DIM = 16
AT = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Facts:
    """A model."""

    name: str = "made up"
    temperature: float = 20.0
    embedding_dim: int = DIM


def words() -> LabelTexts:
    """Return three labels and one other thing, each a direction of its own."""
    n = len(LABELS)
    return LabelTexts(
        (*(Column(text=text, kind="target") for text in LABELS), Column(text="other", kind="other")),
        np.eye(n + 1, DIM, dtype=np.float32),
        n_targets=n,
        n_background=0,
        rivals=~np.eye(n, dtype=np.bool_),
        against=np.ones((n, 1), np.bool_),
        shown=np.ones(1, np.bool_),
    )


TEXTS = words()


def event(pictures: Floats, n_crops: int = 2, *, starts_at: datetime = AT) -> list[EmbeddedSnippet]:
    """Return an event of one snippet with so many crops a moment; float32[N,D] of unit length."""
    infos = tuple(
        PictureInfo(
            moment=index // n_crops,
            kind="crop",
            captured_at=starts_at + timedelta(seconds=0.5 * (index // n_crops)),
            width=64,
            height=64,
        )
        for index in range(len(pictures))
    )
    header = SnippetHeader(
        event_id=uuid7(starts_at),
        snippet=0,
        is_last=True,
        camera="yard",
        event_started_at=starts_at,
        started_at=starts_at,
        ended_at=starts_at + timedelta(seconds=10),
        label_set=LabelSet(labels=LABELS),
        pictures=infos,
    )
    kept = pictures.astype(np.float16).astype(np.float32)  # as it is recorded
    message = SnippetMessage(header, (b"",) * len(pictures), "")
    return [EmbeddedSnippet(message, kept, np.ones(len(pictures), np.bool_))]


def looks(centre: tuple[float, ...], n: int, spread: float, seed: int) -> Floats:
    found = np.random.default_rng(seed).normal(size=(n, DIM)) * spread
    found[:, : len(centre)] += centre
    unit: Floats = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


def accepted(snippets: list[EmbeddedSnippet], examples: list[Example]) -> set[str]:
    taught = for_labels(examples, LABELS, 0.3)
    decision = decision_of(snippets[0], TEXTS, Facts().temperature, taught).decision
    return {LABELS[run.target] for run in decision.accepted}


def learned(lesson: Lesson) -> list[Example]:
    return [one.example for one in lesson.pictures]


@st.composite
def events(draw: st.DrawFn) -> list[EmbeddedSnippet]:
    shares = draw(st.tuples(*[st.floats(0, 1)] * 4))
    n = draw(st.integers(1, 10))
    spread = draw(st.floats(0.0, 0.4))
    return event(
        looks((*shares[:3], shares[3] + 0.05), n, spread, draw(st.integers(0, 99))), draw(st.integers(1, 3))
    )


said_of_events = st.one_of(
    st.just(Said(is_nothing=True)),
    st.sampled_from(LABELS).map(lambda label: Said(not_shown=frozenset({label}))),
    st.sampled_from(LABELS).map(lambda label: Said(shown=frozenset({label}))),
    st.permutations(LABELS).map(
        lambda order: Said(shown=frozenset(order[:1]), not_shown=frozenset(order[1:2]))
    ),
)


@given(events(), said_of_events, st.lists(st.tuples(events(), said_of_events), max_size=2))
@settings(deadline=None)
def test_an_event_is_decided_as_was_said(
    judged: list[EmbeddedSnippet], said: Said, before: list[tuple[list[EmbeddedSnippet], Said]]
) -> None:
    others: list[Example] = []
    for other, what in before:
        others += learned(lesson_of(other, Classroom(TEXTS, Facts(), tuple(others), 0.3), what))
    lesson = lesson_of(judged, Classroom(TEXTS, Facts(), tuple(others), 0.3), said)
    found = accepted(judged, [*others, *learned(lesson)])
    assert len(lesson.pictures) <= PICTURES_MAX
    if not before:
        assert lesson.is_followed
    if lesson.is_followed:
        assert found >= said.shown
        assert not found & (set(LABELS) if said.is_nothing else said.not_shown)


@given(events())
@settings(deadline=None)
def test_what_is_not_asked_for_teaches_nothing(judged: list[EmbeddedSnippet]) -> None:
    said = Said(shown=frozenset({"a kite"}), not_shown=frozenset({"a boat"}))
    assert lesson_of(judged, Classroom(TEXTS, Facts()), said) == Lesson((), is_followed=True)


def test_few_pictures_are_enough_for_many_that_look_alike() -> None:
    flag = event(looks((1, 0, 0.2), 20, 0.02, 1), 1)
    assert accepted(flag, []) == {"a dog"}
    lesson = lesson_of(flag, Classroom(TEXTS, Facts(), unrelated=0.3), Said(not_shown=frozenset({"a dog"})))
    assert len(lesson.pictures) <= 3
    again = event(looks((1, 0, 0.2), 20, 0.02, 2), 1)
    assert accepted(again, learned(lesson)) == set()
    dog = event(looks((1, 0.3, -0.5), 20, 0.02, 3), 1)
    assert accepted(dog, []) == accepted(dog, learned(lesson)) == {"a dog"}


def test_another_name_is_learned_with_the_label_that_was_not_named() -> None:
    fox = event(looks((1, 0.7), 12, 0.05, 4), 1)
    assert accepted(fox, []) == {"a dog"}
    said = Said(shown=frozenset({"a fox"}), not_shown=frozenset({"a dog"}))
    lesson = lesson_of(fox, Classroom(TEXTS, Facts(), unrelated=0.3), said)
    assert lesson.is_followed
    assert accepted(event(looks((1, 0.7), 12, 0.05, 5), 1), learned(lesson)) == {"a fox"}


def test_a_wrong_event_teaches_by_all_that_it_looked_like() -> None:
    rows = [looks((1, 0.2), 6, 0.02, 6), looks((1, 0, 1.0), 6, 0.02, 7), looks((0.3, 0, 0, 1.0), 6, 0.02, 8)]
    machine = event(np.concatenate(rows), 1)
    lesson = lesson_of(
        machine, Classroom(TEXTS, Facts(), unrelated=0.3), Said(not_shown=frozenset({"a dog"}))
    )
    others = [one.embedding for one in learned(lesson)]
    assert {int(one.picture) // 6 for one in lesson.pictures} == {0, 1, 2}, "also those that were no dog"
    apart = 1 - np.stack(others) @ np.stack(others).T + np.eye(len(others))
    assert len(others) < 12
    assert (apart[:, -1] >= FURTHER_APART * 0.7).all(), "what is nearly the same teaches once"
    assert not any(one.is_right for one in learned(lesson))


def test_nothing_at_all_teaches_a_picture_once_for_all_labels() -> None:
    flag = event(np.concatenate([looks((1, 0.8), 6, 0.05, 9), looks((0.2, 0.2, 1.0), 6, 0.05, 10)]), 1)
    lesson = lesson_of(flag, Classroom(TEXTS, Facts(), unrelated=0.3), Said(is_nothing=True))
    assert {one.label for one in learned(lesson)} == {None}
    assert len({(one.snippet, one.picture) for one in lesson.pictures}) == len(lesson.pictures)
