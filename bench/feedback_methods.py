"""Ways to learn from a click, side by side: clipwatch's own, and those that it is compared with. No file, no clock.

Each sees the same events and the same clicks. The baselines are used as published, with one thing added that they do
not have, a click that only says what a picture does *not* show: such a picture is an example of the camera's
background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.feedback_record import SeenEvent, snippet_of
from shared.contract import LabelSet
from shared.decisions.decision import AcceptedRun, decide
from shared.decisions.examples import Example, LabelExamples, for_labels, unrelated_cosine
from shared.decisions.label_texts import LabelTexts
from shared.decisions.labeller import (
    EmbeddedSnippet,
    ModelProperties,
    combined_moments,
    decision_of,
)
from shared.decisions.probabilities import Floats, Groups, Shares, shares
from shared.decisions.teaching import Classroom, Said, lesson_of


@dataclass(frozen=True, slots=True)
class Words:
    """A camera's label set as the model embeds it."""

    label_set: LabelSet
    texts: LabelTexts
    facts: ModelProperties

    @property
    def groups(self) -> Groups:
        texts = self.texts
        return Groups(texts.n_targets, texts.n_background, texts.rivals, texts.against, texts.shown)


class Method(Protocol):
    """Decides events, and learns from what is said of them."""

    def accepted(self, event: SeenEvent, words: Words) -> frozenset[str]:
        """Return the labels that an event is given."""
        ...

    def learn(self, event: SeenEvent, said: Said, words: Words) -> None:
        """Take a click."""
        ...


@dataclass(slots=True)
class NoClicks:
    """What was before; `threshold`: raised by hand."""

    threshold: float = 0.5

    def accepted(self, event: SeenEvent, words: Words) -> frozenset[str]:
        snippet = snippet_of(event, words.label_set, self.threshold)
        return _labels(decision_of(snippet, words.texts, words.facts.temperature).decision.accepted, words)

    def learn(self, event: SeenEvent, said: Said, words: Words) -> None:
        """Learn nothing."""


@dataclass(slots=True)
class OwnExamples:
    """Clipwatch: shared/decisions/examples.py and teaching.py. `unrelated`: of the camera's pictures."""

    unrelated: float
    said: list[Example] = field(default_factory=list)
    _kept: dict[tuple[str, ...], LabelExamples] = field(default_factory=dict)

    def accepted(self, event: SeenEvent, words: Words) -> frozenset[str]:
        decided = decision_of(
            snippet_of(event, words.label_set), words.texts, words.facts.temperature, self._examples(words)
        )
        return _labels(decided.decision.accepted, words)

    def learn(self, event: SeenEvent, said: Said, words: Words) -> None:
        room = Classroom(words.texts, words.facts, tuple(self.said), self.unrelated)
        lesson = lesson_of([snippet_of(event, words.label_set)], room, said)
        self.said += [one.example for one in lesson.pictures]
        self._kept.clear()

    def _examples(self, words: Words) -> LabelExamples:
        labels = words.label_set.labels
        if labels not in self._kept:
            self._kept[labels] = for_labels(self.said, labels, self.unrelated)
        return self._kept[labels]


def unrelated_of(events: Sequence[SeenEvent], n_pictures: int = 300) -> float:
    """Return unrelated_cosine of pictures of a camera's first events, at most two of each."""
    pictures = [(number, row) for number, event in enumerate(events) for row in event.embeddings[::4][:2]]
    pictures = pictures[:n_pictures]
    return unrelated_cosine(np.stack([row for _, row in pictures]), [str(number) for number, _ in pictures])


@dataclass(slots=True)
class _Cache:
    """Clicked pictures and the columns (labels, then background) that they are examples of."""

    pictures: list[Floats] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)  # a label, or "" for the background

    def add(self, event: SeenEvent, said: Said, labels: Sequence[str]) -> None:
        for name in sorted(said.shown & set(labels)) or [""]:
            self.pictures += list(event.embeddings)
            self.classes += [name] * len(event.embeddings)

    def one_hot(self, labels: Sequence[str]) -> NDArray[np.float64]:
        """Return [N, labels + 1]; a label that the camera has not is nothing."""
        columns = [*labels, ""]
        return np.array([[name == column for column in columns] for name in self.classes], np.float64)


@dataclass(slots=True)
class TipAdapter:
    """Training-free Tip-Adapter (Zhang et al., ECCV 2022, arXiv 2207.09519): alpha exp(-beta (1 - f F')) L, in logits.

    alpha 1 and beta 5.5 are the paper's; its logits are 100 times cosines, here the model's temperature times cosines.
    """

    alpha: float = 1.0
    beta: float = 5.5
    _cache: _Cache = field(default_factory=_Cache)

    def accepted(self, event: SeenEvent, words: Words) -> frozenset[str]:
        logits = words.facts.temperature * (event.embeddings @ words.texts.embeddings.T).astype(np.float64)
        if self._cache.pictures:
            likeness = np.exp(-self.beta * (1 - event.embeddings @ np.stack(self._cache.pictures).T))
            logits = _added(
                logits, self.alpha * likeness @ self._cache.one_hot(words.label_set.labels), words
            )
        return _decided(event, shares(logits, words.groups), words)

    def learn(self, event: SeenEvent, said: Said, words: Words) -> None:
        self._cache.add(event, said, words.label_set.labels)


@dataclass(slots=True)
class GaussianDiscriminant:
    """GDA (Wang et al., ICLR 2024, arXiv 2402.04087): logits of Gaussian classes that share a covariance, added.

    The precision is D ((N - 1) S + tr(S) I)^-1 as published. A class without a picture is given by its text, as its one
    shot; the paper has pictures of every class. `alpha` is searched there on a validation set, here on tuning cameras.
    """

    alpha: float = 1.0
    _cache: _Cache = field(default_factory=_Cache)
    _fitted: dict[tuple[str, ...], tuple[NDArray[np.float64], NDArray[np.float64]]] = field(
        default_factory=dict
    )

    def accepted(self, event: SeenEvent, words: Words) -> frozenset[str]:
        logits = words.facts.temperature * (event.embeddings @ words.texts.embeddings.T).astype(np.float64)
        if self._cache.pictures:
            labels = words.label_set.labels
            if labels not in self._fitted:
                self._fitted[labels] = self._fit(words)
            weights, bias = self._fitted[labels]
            logits = _added(logits, self.alpha * (event.embeddings @ weights.T + bias), words)
        return _decided(event, shares(logits, words.groups), words)

    def learn(self, event: SeenEvent, said: Said, words: Words) -> None:
        self._cache.add(event, said, words.label_set.labels)
        self._fitted.clear()

    def _fit(self, words: Words) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return W [labels + 1, D] and b [labels + 1]."""
        pictures = np.stack(self._cache.pictures).astype(np.float64)
        one_hot = self._cache.one_hot(words.label_set.labels)
        n_targets, n_background = words.texts.n_targets, words.texts.n_background
        texts = words.texts.embeddings.astype(np.float64)
        means = [*texts[:n_targets], texts[n_targets : n_targets + n_background].mean(axis=0)]
        centred = []
        for column in range(one_hot.shape[1]):
            own = pictures[one_hot[:, column] > 0]
            if len(own):
                means[column] = own.mean(axis=0)
                centred.append(own - means[column])
        rows = np.concatenate(centred) if centred else np.zeros((1, pictures.shape[1]))
        n, dim = rows.shape
        covariance = rows.T @ rows / max(n - 1, 1)
        if np.trace(covariance) <= 0:
            return np.zeros((len(means), dim)), np.zeros(len(means))
        precision = dim * np.linalg.inv((n - 1) * covariance + np.trace(covariance) * np.eye(dim))
        centres = np.stack(means)
        weights = centres @ precision
        return weights, np.log(1 / len(means)) - (weights * centres).sum(axis=1) / 2


def _added(logits: NDArray[np.float64], more: NDArray[np.float64], words: Words) -> NDArray[np.float64]:
    """Add [N, labels + 1] to the logits of labels and, its last column, to those of every background text."""
    n_targets, n_background = words.texts.n_targets, words.texts.n_background
    found = logits.copy()
    found[:, :n_targets] += more[:, :-1]
    found[:, n_targets : n_targets + n_background] += more[:, -1:]
    return found


def _decided(event: SeenEvent, pictures: Shares, words: Words) -> frozenset[str]:
    snippet: EmbeddedSnippet = snippet_of(event, words.label_set)
    header = snippet.message.header
    series, _ = combined_moments(snippet, pictures)
    return _labels(decide(series, header.label_set.labels, header.decision).accepted, words)


def _labels(accepted: Sequence[AcceptedRun], words: Words) -> frozenset[str]:
    return frozenset(words.label_set.labels[run.target] for run in accepted)
