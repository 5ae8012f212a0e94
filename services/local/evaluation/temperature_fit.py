"""Fits the model's temperature to labelled clips, and writes it to the model's settings (`evaluate --calibrate`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.classifier.model.model_settings import write_temperature
from services.classifier.model.temperature import LabelledMoments, fit_temperature, mean_loss
from services.classifier.weights.names import resolve_model
from services.local.config import models_dir
from services.local.evaluation.classification import ClassifiedClips
from services.local.evaluation.decisions import embedded_snippet_of
from services.local.evaluation.plan import too_few_faults
from shared.clock import now_utc
from shared.contract import LabelsMessage
from shared.decisions.labeller import deciding_pictures
from shared.errors import ConfigError
from shared.plurals import plural


@dataclass(frozen=True, slots=True)
class TemperatureFit:
    """A fitted temperature; `loss` is the mean negative log of the true answer's share."""

    before: float
    after: float
    loss_before: float
    loss_after: float
    n_clips: int
    file: Path


def examples_of(classified: ClassifiedClips) -> list[LabelledMoments]:
    """Return what a temperature can be fitted to: the deciding pictures of clips with one true label or none.

    For a clip with nothing in it every background and every other text counts as true.
    """
    n_targets, width = classified.texts.n_targets, len(classified.texts.embeddings)
    names = [column.text for column in classified.texts.columns[:n_targets]]
    examples: list[LabelledMoments] = []
    for clip in classified.clips:
        if len(clip.clip.truth) > 1 or not clip.messages:
            continue
        is_true = np.zeros(width, dtype=np.bool_)
        if clip.clip.truth:
            is_true[names.index(next(iter(clip.clip.truth)))] = True
        else:
            is_true[n_targets:] = True
        shown = np.concatenate(
            [np.ones(width - len(classified.texts.shown), dtype=np.bool_), classified.texts.shown]
        )
        cosines = np.concatenate(
            [_deciding(message) @ classified.texts.embeddings.T for message in clip.messages]
        )
        if len(cosines):
            examples.append(
                LabelledMoments(cosines[:, shown], is_true[shown], next(iter(clip.clip.truth), ""))
            )
    return examples


def _deciding(message: LabelsMessage) -> NDArray[np.float32]:
    snippet = embedded_snippet_of(message)
    chosen = deciding_pictures(message.header.snippet.pictures, snippet.seen)
    return snippet.embeddings[[index for indices in chosen for index in indices]]


def calibrate_temperature(classified: ClassifiedClips, model: str, folder: Path) -> TemperatureFit:
    """Fit the temperature and write it to the model's settings; raise ConfigError when there are too few clips."""
    examples = examples_of(classified)
    if faults := too_few_faults([example.group for example in examples], "clips with motion and one truth"):
        raise ConfigError(faults)
    before = classified.facts.temperature
    after = fit_temperature(examples)
    losses = mean_loss(examples, before), mean_loss(examples, after)
    facts = {
        "fitted_on": f"{plural(len(examples), 'clip')} in {folder.resolve().name}",
        "before": round(before, 3),
        "loss_before": round(losses[0], 4),
        "loss_after": round(losses[1], 4),
    }
    file = write_temperature(
        models_dir(), resolve_model(model, models_dir()).name, after, facts, now_utc().astimezone(UTC)
    )
    return TemperatureFit(before, after, *losses, len(examples), file)
