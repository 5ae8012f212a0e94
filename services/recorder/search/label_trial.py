"""What label settings say of the pictures of one moment, before they are saved: of what is before a camera now.

The classifier embeds pictures and texts; the scores are its own (shared/decisions). One moment accepts nothing: a
label needs `min_moments` of them, which the answer leaves to its reader. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from services.recorder.record.label_history import LabelSettings
from services.recorder.search.camera_examples import ExamplesNow
from services.recorder.search.picture_requests import PictureEmbedder
from services.recorder.search.text_requests import NoClassifier, TextEmbedder
from shared.contract import Column, LabelText
from shared.decisions.examples import with_examples
from shared.decisions.labeller import picture_shares
from shared.decisions.probabilities import combine

MAX_TRIAL_PICTURES = 4


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label in one moment. `is_carried`: it reaches the threshold, and beats what is always in view by the margin."""

    label: LabelText
    score: float
    background: float
    is_carried: bool


@dataclass(frozen=True, slots=True)
class ColumnShare:
    """The softmax share of a text that is no label; kind `other` pools what nobody named."""

    column: Column
    probability: float


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """In the order of the settings."""

    model: str
    labels: tuple[LabelScore, ...]
    rest: tuple[ColumnShare, ...]


@dataclass(frozen=True, slots=True)
class LabelTrial:
    """Asks the classifier about label settings of a camera that are not saved yet. What people said of the camera's
    pictures counts as it does in a decision."""

    texts: TextEmbedder
    pictures: PictureEmbedder
    examples: ExamplesNow

    async def look(self, camera: str, settings: LabelSettings, pictures: Sequence[bytes]) -> TrialOutcome:
        """Return what the settings say of JPEGs of one moment: crops of what moves, or the whole frame.

        Raises NoClassifier, TextsRefused or PicturesRefused.
        """
        embedded = await self.texts.ask(settings.label_set, with_others=True)
        seen = await self.pictures.ask(pictures)
        if (seen.model, seen.embeddings.shape[1]) != (embedded.name, embedded.embedding_dim):
            raise NoClassifier(f"two classifiers with different models answer: {embedded.name}, {seen.model}")
        texts = embedded.texts
        known = await self.examples(camera, embedded.name)
        examples = await asyncio.to_thread(known.prepared, settings.label_set.labels)
        by_words = picture_shares(seen.embeddings, texts, embedded.temperature)
        moment = combine(with_examples(by_words, seen.embeddings, examples))
        decision = settings.decision
        scores, behind, shares = moment.scores[0], moment.background[0], moment.probabilities[0]
        labels = tuple(
            LabelScore(
                label,
                float(score),
                float(background),
                bool(score >= decision.threshold and score >= background + decision.margin),
            )
            for label, score, background in zip(settings.label_set.labels, scores, behind, strict=True)
        )
        rest = zip(texts.columns[texts.n_targets :], shares[texts.n_targets :], strict=True)
        return TrialOutcome(
            embedded.name, labels, tuple(ColumnShare(column, float(share)) for column, share in rest)
        )
