"""One snippet's embeddings to its labels message: cosines, shares, moments, decision. Knows the contract, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shared.contract import AcceptedLabel, LabelsHeader, LabelsMessage, PictureInfo, SnippetMessage
from shared.decisions.decision import Decision, MomentScores, TrackScores, averaged_peaks, decide
from shared.decisions.examples import NO_EXAMPLES, LabelExamples, with_examples
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
    looked: EmbeddedSnippet,
    texts: LabelTexts,
    facts: ModelProperties,
    labelled_at: datetime,
    examples: LabelExamples = NO_EXAMPLES,
) -> LabelsMessage:
    """Return the labels message of one snippet. `examples`: of its camera, for its labels."""
    header = looked.message.header
    decided = decision_of(looked, texts, facts.temperature, examples)
    times, moments, decision = decided.times, decided.moments, decided.decision
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


@dataclass(frozen=True, slots=True)
class SnippetDecision:
    """What a snippet was found to show, and the moments that it follows from."""

    times: tuple[datetime, ...]
    moments: Shares
    decision: Decision


def decision_of(
    looked: EmbeddedSnippet, texts: LabelTexts, temperature: float, examples: LabelExamples = NO_EXAMPLES
) -> SnippetDecision:
    """Decide one snippet by its own label set and settings."""
    header = looked.message.header
    series, moments = moments_of(looked, texts, temperature, examples)
    return SnippetDecision(series.times, moments, decide(series, header.label_set.labels, header.decision))


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
    looked: EmbeddedSnippet, texts: LabelTexts, temperature: float, examples: LabelExamples = NO_EXAMPLES
) -> tuple[MomentScores, Shares]:
    """Return combined_moments of what texts and examples say."""
    said_by_texts = picture_shares(looked.embeddings, texts, temperature)
    return combined_moments(looked, with_examples(said_by_texts, looked.embeddings, examples))


def combined_moments(looked: EmbeddedSnippet, pictures: Shares) -> tuple[MomentScores, Shares]:
    """Return what is decided on, and the moments' shares, from what the pictures score each; moments ascend."""
    infos = looked.message.header.pictures
    moments = [
        (min(infos[index].captured_at for index in indices), indices)
        for indices in deciding_pictures(infos, looked.seen)
    ]
    moments.sort(key=lambda moment: moment[0])
    if not moments:
        nothing = _rows(pictures, [])
        return MomentScores((), nothing.scores, nothing.background), nothing
    parts = [combine(_rows(pictures, indices)) for _, indices in moments]
    combined = Shares(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.background for part in parts]),
    )
    times = tuple(time for time, _ in moments)
    tracks = _tracks(infos, [indices for _, indices in moments], pictures)
    return MomentScores(times, combined.scores, combined.background, tracks), combined


def _tracks(
    infos: tuple[PictureInfo, ...], moments: list[list[int]], pictures: Shares
) -> tuple[TrackScores, ...]:
    """Return what each object scored; nothing where no picture says which object it shows."""
    by_track: dict[int | None, dict[int, list[int]]] = {}
    for moment, indices in enumerate(moments):
        for index in indices:
            by_track.setdefault(infos[index].track, {}).setdefault(moment, []).append(index)
    if not by_track.keys() - {None}:
        return ()
    found: list[TrackScores] = []
    for number in sorted(by_track, key=lambda number: -1 if number is None else number):
        is_shown = np.zeros(len(moments), np.bool_)
        scores = np.zeros((len(moments), pictures.scores.shape[1]), np.float32)
        background = np.zeros_like(scores)
        for moment, indices in by_track[number].items():
            best = combine(_rows(pictures, indices))
            is_shown[moment], scores[moment], background[moment] = True, best.scores[0], best.background[0]
        found.append(TrackScores(number, is_shown, scores, background))
    return tuple(found)


def picture_shares(embeddings: NDArray[np.float32], texts: LabelTexts, temperature: float) -> Shares:
    """Return what the texts alone say of each of float32[P,D]."""
    groups = Groups(texts.n_targets, texts.n_background, texts.rivals, texts.against, texts.shown)
    return shares(temperature * (embeddings @ texts.embeddings.T), groups)


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
