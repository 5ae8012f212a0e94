"""Checks the options of `clipwatch evaluate`: clips, labels, and every fault, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from services.classifier.weights.names import resolve_model
from services.local.config import folder_faults, models_dir
from services.local.evaluation.labelled_clips import LabelledClip, labels_of, read_folder
from services.motion.sources.probe import probe
from shared.contract import DecisionSettings, LabelSet
from shared.errors import ConfigError

FEWEST_CLIPS, FEWEST_GROUPS = 10, 2  # fewer say nothing of a temperature


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What the command line asked for, not checked yet. No labels: take those that are true of some clip."""

    folder: Path
    labels: tuple[str, ...]
    background: tuple[str, ...]
    decision: DecisionSettings
    model: str
    out: Path


@dataclass(frozen=True, slots=True)
class EvaluationPlan:
    """Options without faults. `ignored`: true labels of the folder that were not asked for."""

    options: EvaluateOptions
    clips: tuple[LabelledClip, ...]
    label_set: LabelSet
    ignored: tuple[str, ...]


def check_evaluation(  # noqa: C901  # one clause for each kind of fault, all told at once
    options: EvaluateOptions, calibrates: bool = False, known_faults: Sequence[str] = ()
) -> EvaluationPlan:
    """Return the plan; raise ConfigError with every fault of the options at once, `known_faults` first.

    Too few clips to calibrate on is a fault here already, not only after all of them were classified.
    """
    faults = list(known_faults)
    clips: tuple[LabelledClip, ...] = ()
    try:
        clips = read_folder(options.folder, options.labels)
    except ConfigError as exc:
        faults.extend(exc.faults)
    for clip in clips:
        try:
            probe(clip.path)
        except ConfigError as exc:
            faults.extend(exc.faults)
    true = labels_of(clips)
    labels = options.labels or true
    if clips and not labels:
        faults.append("no labels: no clip names one, and no --label is given")
    elif clips and not any(label in true for label in labels):
        faults.append(
            f"no clip shows {_quoted(labels)}; the folder has {_quoted(true) or 'no labels'}: nothing to find"
        )
    try:
        resolve_model(options.model, models_dir())
    except ConfigError as exc:
        faults.extend(fault.replace("MODEL=", "--model ", 1) for fault in exc.faults)
    faults.extend(folder_faults("--out", options.out))
    label_set = None
    if labels:
        try:
            label_set = LabelSet(labels=labels, background=options.background)
        except ValidationError as exc:
            faults.extend(f"--label, --background: {error['msg']}" for error in exc.errors())
    known = frozenset(labels)
    narrowed = tuple(replace(clip, truth=clip.truth & known) for clip in clips)
    if calibrates and clips and labels:
        useful = [next(iter(clip.truth), "") for clip in narrowed if len(clip.truth) <= 1]
        faults.extend(too_few_faults(useful, "clips with one truth"))
    if faults or label_set is None:
        raise ConfigError(faults)
    return EvaluationPlan(options, narrowed, label_set, tuple(label for label in true if label not in known))


def too_few_faults(groups: Sequence[str], what: str) -> list[str]:
    """Return a fault if there are too few clips, or too few kinds of them, to fit a temperature to."""
    n_kinds = len(set(groups))
    if len(groups) >= FEWEST_CLIPS and n_kinds >= FEWEST_GROUPS:
        return []
    return [
        f"--calibrate: {len(groups)} {what}, of {n_kinds} kinds; wanted at least {FEWEST_CLIPS} clips of "
        f"{FEWEST_GROUPS} kinds (labels, or nothing): add clips"
    ]


def _quoted(labels: Sequence[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels)
