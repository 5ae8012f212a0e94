"""What the service would answer for each clip at other thresholds and temperatures. PURE: no service, no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.local.evaluation.classification import ClassifiedClip, ClassifiedClips
from services.local.evaluation.metrics import ClipAnswer, Counts, ThresholdCounts, counts_of
from shared.contract import DecisionSettings, LabelsMessage, SnippetMessage
from shared.decisions.decision import MomentScores, averaged_peaks, decide
from shared.decisions.label_texts import LabelTexts
from shared.decisions.labeller import EmbeddedSnippet, moments_of
from shared.quality.thresholds import THRESHOLDS


@dataclass(frozen=True, slots=True)
class _SnippetSeries:
    """The moments of one snippet at some temperature."""

    series: MomentScores
    background_peaks: tuple[float, ...]


def decide_clips(
    classified: ClassifiedClips, decision: DecisionSettings, temperature: float | None = None
) -> tuple[ClipAnswer, ...]:
    """Return what the service would have answered for each clip with this decision and temperature."""
    series = _series_of(classified, temperature, decision.window_s)
    return tuple(
        _answer(clip, parts, classified.texts, decision)
        for clip, parts in zip(classified.clips, series, strict=True)
    )


def threshold_curve(
    classified: ClassifiedClips,
    decision: DecisionSettings,
    labels: Sequence[str],
    temperature: float | None = None,
) -> dict[str, tuple[ThresholdCounts, ...]]:
    """Return what thresholds would have given, for each label and, under '', for all together.

    The leave threshold follows (0.8 x threshold) unless it is set, and is never above the threshold.
    """
    series = _series_of(classified, temperature, decision.window_s)
    curves: dict[str, list[ThresholdCounts]] = {name: [] for name in ("", *labels)}
    for threshold in THRESHOLDS:
        at_threshold = decision.model_copy(update={"threshold": threshold})
        clips = [
            _answer(clip, parts, classified.texts, at_threshold)
            for clip, parts in zip(classified.clips, series, strict=True)
        ]
        total = Counts()
        for name in labels:
            counts = counts_of(name, clips)
            curves[name].append(ThresholdCounts(threshold, counts))
            total += counts
        curves[""].append(ThresholdCounts(threshold, total))
    return {name: tuple(curve) for name, curve in curves.items()}


def _series_of(
    classified: ClassifiedClips, temperature: float | None, window_s: float
) -> list[list[_SnippetSeries]]:
    temperature = classified.facts.temperature if temperature is None else temperature
    texts = classified.texts
    background = slice(texts.n_targets, texts.n_targets + texts.n_background)

    def snippet_series(message: LabelsMessage) -> _SnippetSeries:
        series, moments = moments_of(embedded_snippet_of(message), texts, temperature)
        background_peaks = averaged_peaks(series.times, moments.probabilities[:, background], window_s)
        return _SnippetSeries(series, background_peaks)

    return [[snippet_series(message) for message in clip.messages] for clip in classified.clips]


def _answer(
    clip: ClassifiedClip, snippets: list[_SnippetSeries], label_texts: LabelTexts, decision: DecisionSettings
) -> ClipAnswer:
    texts = [column.text for column in label_texts.columns]
    labels = texts[: label_texts.n_targets]
    peaks: dict[str, float] = {}
    accepted: dict[str, float] = {}
    for snippet in snippets:
        found = decide(snippet.series, labels, decision)
        for text, peak in zip(texts, (*found.peaks, *snippet.background_peaks), strict=False):
            peaks[text] = max(min(1.0, peak), peaks.get(text, 0.0))
        for item in found.accepted:
            accepted[labels[item.target]] = max(item.probability, accepted.get(labels[item.target], 0.0))
    best_first = tuple(sorted(accepted, key=lambda text: (-accepted[text], text)))
    return ClipAnswer(clip.clip.name, clip.clip.truth, best_first, peaks, has_motion=bool(clip.messages))


def embedded_snippet_of(message: LabelsMessage) -> EmbeddedSnippet:
    """Return what the classifier saw of a snippet; a picture that it could not decode is a row of zeros there."""
    header = message.header.snippet
    rows = np.frombuffer(message.embeddings, "<f2").reshape(len(header.pictures), -1).astype(np.float32)
    message_without_pictures = SnippetMessage(header, (b"",) * len(header.pictures), message.header.media_id)
    return EmbeddedSnippet(message_without_pictures, rows, np.linalg.norm(rows, axis=1) > 0)
