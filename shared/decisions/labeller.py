"""One snippet's embeddings to its labels message: cosines, shares, moments, decision. Knows the contract, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.contract import AcceptedLabel, LabelsHeader, LabelsMessage, PictureInfo, SnippetMessage
from shared.decisions.decision import Decision, MomentScores, averaged_peaks, decide
from shared.decisions.label_texts import LabelTexts
from shared.decisions.probabilities import Floats, Groups, Shares, combine, shares


class ModelProperties(Protocol):
    """What a decision needs to know of the model."""

    @property
    def name(self) -> str:
        """Its name, as it is recorded."""
        ...

    @property
    def temperature(self) -> float:
        """What cosines are multiplied by."""
        ...

    @property
    def embedding_dim(self) -> int:
        """Numbers in an embedding."""
        ...


@dataclass(frozen=True, slots=True)
class EmbeddedSnippet:
    """A snippet whose pictures were embedded: float32[P,D] in the header's order, zeros where `seen` is False."""

    message: SnippetMessage
    embeddings: NDArray[np.float32]
    seen: NDArray[np.bool_]


def label(
    looked: EmbeddedSnippet, texts: LabelTexts, facts: ModelProperties, labelled_at: datetime
) -> LabelsMessage:
    """Return the labels message of one snippet."""
    header = looked.message.header
    times, moments = moments_of(looked, texts, facts.temperature)
    series = MomentScores(times, moments.scores, moments.background)
    decision = decide(series, header.label_set.labels, header.decision)
    n_named = texts.n_targets + texts.n_background
    behind = averaged_peaks(
        times, moments.probabilities[:, texts.n_targets : n_named], header.decision.window_s
    )
    peaks = (*decision.peaks, *behind)
    return LabelsMessage(
        LabelsHeader(
            snippet=header,
            media_id=looked.message.media_id,
            model=facts.name,
            columns=texts.columns,
            moments=times,
            accepted=_accepted(decision, header.label_set.labels, times),
            peaks={
                column.text: min(1.0, peak)
                for column, peak in zip(texts.columns[:n_named], peaks, strict=True)
            },
            reason=decision.reason,
            embedding_dim=facts.embedding_dim,
            labelled_at=labelled_at,
        ),
        probabilities=moments.probabilities.astype("<f2").tobytes(),
        embeddings=looked.embeddings.astype("<f2").tobytes(),
        scores=_singles(decision.scores),
        backgrounds=_singles(decision.backgrounds),
    )


def _singles(averages: Floats) -> bytes:
    """Return float32[M,T] as bytes; a mean of shares may end a hair above 1."""
    return np.minimum(averages, 1.0).astype("<f4").tobytes()


def _accepted(
    decision: Decision, labels: tuple[str, ...], times: tuple[datetime, ...]
) -> tuple[AcceptedLabel, ...]:
    return tuple(
        AcceptedLabel(
            label=labels[item.target],
            probability=item.probability,
            started_at=times[item.first],
            ended_at=times[item.last],
        )
        for item in decision.accepted
    )


def moments_of(
    looked: EmbeddedSnippet, texts: LabelTexts, temperature: float
) -> tuple[tuple[datetime, ...], Shares]:
    """Return the moments' times, ascending, and their shares."""
    groups = Groups(texts.n_targets, texts.n_background, texts.rivals, texts.against, texts.shown)
    pictures = shares(temperature * (looked.embeddings @ texts.embeddings.T), groups)
    parts: list[tuple[datetime, Shares]] = []
    for indices in deciding_pictures(looked.message.header.pictures, looked.seen):
        time = min(looked.message.header.pictures[index].captured_at for index in indices)
        parts.append((time, combine(_rows(pictures, indices))))
    parts.sort(key=lambda part: part[0])
    if not parts:
        return (), _rows(pictures, [])
    return tuple(time for time, _ in parts), Shares(
        np.concatenate([part.probabilities for _, part in parts]),
        np.concatenate([part.scores for _, part in parts]),
        np.concatenate([part.background for _, part in parts]),
    )


def deciding_pictures(pictures: tuple[PictureInfo, ...], seen: NDArray[np.bool_]) -> list[list[int]]:
    """Return for each moment the pictures that decide it: its crops; its frames only where it has no crop.

    A whole frame shows what stands still as well: parked cars in it are no car that moves.
    """
    by_moment: dict[int, dict[str, list[int]]] = {}
    for index, picture in enumerate(pictures):
        if seen[index]:
            by_moment.setdefault(picture.moment, {}).setdefault(picture.kind, []).append(index)
    return [kinds.get("crop") or kinds["frame"] for _, kinds in sorted(by_moment.items())]


def _rows(of: Shares, indices: list[int]) -> Shares:
    return Shares(of.probabilities[indices], of.scores[indices], of.background[indices])
