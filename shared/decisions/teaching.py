"""Which pictures of an event become examples when somebody says what it shows. Pure: no clock, no database.

Pictures that carry a label that is not shown become examples against it, the one that carries it most first, until no
moment of the event carries it; then those of its other pictures that differ most, since the same thing comes again in
another pose and light. Of a label that is shown the pictures that come nearest to it become examples for it, until the
event is accepted. Taking the verdict back takes back these examples and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from shared.decisions.decision import leave_threshold
from shared.decisions.examples import Example, LabelExamples, for_labels, with_examples
from shared.decisions.label_texts import LabelTexts
from shared.decisions.labeller import (
    EmbeddedSnippet,
    ModelProperties,
    deciding_pictures,
    decision_of,
    picture_shares,
)
from shared.decisions.probabilities import Floats

PICTURES_MAX = (
    24  # examples of one verdict; an event of a minute has 64 pictures and more, most of them alike
)
FURTHER_MAX = 8  # pictures of a wrong event, after those that it takes to put it right
FURTHER_APART = 0.1  # from each other, as a part of unrelated pictures: others say nothing new
FIRST = 3  # of a label that is shown, even where the decision follows without any: so it stays


@dataclass(frozen=True, slots=True)
class Said:
    """What an event shows, as somebody says. `is_nothing`: none of all labels, also those of other days."""

    shown: frozenset[str] = frozenset()
    not_shown: frozenset[str] = frozenset()
    is_nothing: bool = False


@dataclass(frozen=True, slots=True)
class TaughtPicture:
    """A picture that becomes an example: numbers of its snippet and of itself, in the order given."""

    snippet: int
    picture: int
    example: Example


@dataclass(frozen=True, slots=True)
class Lesson:
    """The examples of one verdict; `is_followed`: with them the event is decided as was said."""

    pictures: tuple[TaughtPicture, ...]
    is_followed: bool


@dataclass(frozen=True, slots=True)
class Classroom:
    """What a verdict is judged by: the words of the camera's labels, and its examples of other verdicts."""

    texts: LabelTexts
    facts: ModelProperties
    others: tuple[Example, ...] = ()
    unrelated: float = 0.6


@dataclass(slots=True)
class _Event:
    snippets: Sequence[EmbeddedSnippet]
    room: Classroom
    chosen: list[TaughtPicture] = field(default_factory=list)

    @property
    def labels(self) -> tuple[str, ...]:
        return self.snippets[0].message.header.label_set.labels

    def examples(self) -> LabelExamples:
        own = tuple(one.example for one in self.chosen)
        return for_labels((*self.room.others, *own), self.labels, self.room.unrelated)

    def scores(self, label: str, examples: LabelExamples) -> list[Floats]:
        """Return what each picture of each snippet scores for `label`."""
        column, room = self.labels.index(label), self.room
        return [
            with_examples(
                picture_shares(one.embeddings, room.texts, room.facts.temperature), one.embeddings, examples
            ).scores[:, column]
            for one in self.snippets
        ]

    def is_accepted(self, number: int, label: str, examples: LabelExamples) -> bool:
        decision = decision_of(self.snippets[number], self.room.texts, self.room.facts.temperature, examples)
        return any(self.labels[run.target] == label for run in decision.decision.accepted)

    def add(self, number: int, index: int, label: str | None, *, is_right: bool) -> bool:
        """Make a picture an example; False when it is one already, or there are enough."""
        key = (number, index, label)
        if len(self.chosen) >= PICTURES_MAX or key in {
            (one.snippet, one.picture, one.example.label) for one in self.chosen
        }:
            return False
        header = self.snippets[number].message.header
        vector = (
            self.snippets[number].embeddings[index].astype(np.float16).astype(np.float32)
        )  # as it is kept
        self.chosen.append(TaughtPicture(number, index, Example(header.event_id, label, is_right, vector)))
        return True


def lesson_of(snippets: Sequence[EmbeddedSnippet], room: Classroom, said: Said) -> Lesson:
    """Return the examples that follow from what was said of an event; labels that are not asked for teach nothing yet.

    `snippets`: the event's, with the embeddings and the label set that it is decided by; all have the same label set.
    """
    event = _Event(snippets, room)
    not_shown = set(event.labels) - said.shown if said.is_nothing else said.not_shown
    follows = [_is_not_shown(event, label, said) for label in sorted(not_shown & set(event.labels))]
    _add_further(event)
    follows += [_is_shown(event, label) for label in sorted(said.shown & set(event.labels))]
    return Lesson(tuple(event.chosen), all(follows))


def _is_not_shown(event: _Event, label: str, said: Said) -> bool:
    while True:
        scores = event.scores(label, event.examples())
        best: tuple[float, int, int] | None = None
        for number, snippet in enumerate(event.snippets):
            header = snippet.message.header
            for indices in deciding_pictures(header.pictures, snippet.seen):
                index = max(indices, key=lambda index: scores[number][index])
                found = float(scores[number][index])
                if found >= leave_threshold(header.decision) and (best is None or found > best[0]):
                    best = (found, number, index)
        if best is None:
            return True
        if not event.add(best[1], best[2], None if said.is_nothing else label, is_right=False):
            return False


def _add_further(event: _Event) -> None:
    """Let other pictures say what those that were chosen say, the most different first."""
    deciding = [
        (number, index)
        for number, snippet in enumerate(event.snippets)
        for indices in deciding_pictures(snippet.message.header.pictures, snippet.seen)
        for index in indices
    ]
    for label in dict.fromkeys(one.example.label for one in event.chosen):
        own = np.stack([one.example.embedding for one in event.chosen if one.example.label == label])
        vectors = np.stack([event.snippets[number].embeddings[index] for number, index in deciding])
        nearest = (vectors @ own.T).max(axis=1)
        for _ in range(FURTHER_MAX):
            at = int(nearest.argmin())
            if 1.0 - nearest[at] < FURTHER_APART * (1.0 - event.room.unrelated):
                break
            event.add(*deciding[at], label, is_right=False)
            nearest = np.maximum(nearest, vectors @ vectors[at])


def _is_shown(event: _Event, label: str) -> bool:
    ranked = _ranked(event, label)
    for number, index in ranked[:FIRST]:
        event.add(number, index, label, is_right=True)
    while True:
        examples = event.examples()
        if any(event.is_accepted(number, label, examples) for number in range(len(event.snippets))):
            return True
        if not any(event.add(number, index, label, is_right=True) for number, index in ranked):
            return False


def _ranked(event: _Event, label: str) -> list[tuple[int, int]]:
    """Return the pictures that may decide: those of the snippet that comes nearest first, one of each moment first."""
    scores = event.scores(label, event.examples())
    order: list[tuple[float, int, int, float, int]] = []
    for number, snippet in enumerate(event.snippets):
        moments = deciding_pictures(snippet.message.header.pictures, snippet.seen)
        nearest = max((float(scores[number][index]) for one in moments for index in one), default=0.0)
        for indices in moments:
            by_score = sorted(indices, key=lambda index: -scores[number][index])
            order += [
                (-nearest, number, rank, -float(scores[number][index]), index)
                for rank, index in enumerate(by_score)
            ]
    return [(number, index) for _, number, _, _, index in sorted(order)]


def newest_and_most_different(embeddings: Floats, limit: int) -> list[int]:
    """Return which `limit` of float32[N,D], newest first, stay: half of them the newest, the others by their distance.

    Of the others the one farthest from all that stay comes next, so that what is rare is not crowded out.
    """
    n = len(embeddings)
    if n <= limit:
        return list(range(n))
    kept = list(range(limit - limit // 2))
    nearest = (embeddings @ embeddings[kept].T).max(axis=1)
    while len(kept) < limit:
        nearest[kept] = np.inf
        index = int(nearest.argmin())
        kept.append(index)
        nearest = np.maximum(nearest, embeddings @ embeddings[index])
    return sorted(kept)
