"""From the command line to an evaluation: which words and settings count, and what is made of what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from services.local.config import OFFLINE_MODEL, load_run_config
from services.local.evaluate import EvaluateWish, Look, Plan, calibrate, judge, threshold_curve
from services.local.evaluation import Evaluation
from services.local.scores import reliability
from shared.contract import DecisionSettings
from shared.errors import ConfigError


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Options as they were given; None and empty: not given."""

    folder: Path
    labels: tuple[str, ...]
    background: tuple[str, ...]
    threshold: float | None
    camera: str | None
    config: Path
    model: str | None
    out: Path


def wish_of(asked: CommandLine) -> EvaluateWish:
    """Return the wish: what is given counts, then the camera's own, then defaults; raise ConfigError."""
    labels, background, model = asked.labels, asked.background, asked.model
    decision = DecisionSettings()
    if asked.camera is not None:
        loaded = load_run_config(asked.config)
        found = [camera for camera in loaded.cameras.cameras if camera.id == asked.camera]
        if not found:
            known = ", ".join(camera.id for camera in loaded.cameras.cameras)
            raise ConfigError(f"--camera {asked.camera}: not in {asked.config}, wanted one of: {known}")
        labels = labels or found[0].labels
        background = background or found[0].background
        model = model or loaded.settings.model
        decision = DecisionSettings(
            threshold=found[0].threshold,
            leave_threshold=found[0].leave_threshold,
            margin=found[0].margin,
            window_s=found[0].window_s,
            min_moments=found[0].min_moments,
        )
    if asked.threshold is not None:
        try:
            decision = DecisionSettings.model_validate(
                {**decision.model_dump(), "threshold": asked.threshold}
            )
        except ValidationError as exc:
            raise ConfigError(f"--threshold {asked.threshold}: wanted a number in 0..1") from exc
    return EvaluateWish(asked.folder, labels, background, decision, model or OFFLINE_MODEL, asked.out)


def evaluation_of(plan: Plan, look: Look, wanted_precision: float, is_calibrating: bool) -> Evaluation:
    """Judge what was seen; with `is_calibrating`, fit the temperature first and keep it in the model's settings."""
    labels, decision = plan.label_set.labels, plan.wish.decision
    calibration = calibrate(look, plan.wish.model, plan.wish.folder) if is_calibrating else None
    temperature = calibration.after if calibration else look.facts.temperature
    before = reliability(judge(look, decision), labels)[1] if calibration else None
    notes = []
    if plan.ignored:
        notes.append(f"true but not asked for, counted as nothing: {', '.join(plan.ignored)}")
    return Evaluation(
        model=look.facts.name,
        temperature=temperature,
        threshold=decision.threshold,
        labels=labels,
        background=plan.label_set.background,
        wanted_precision=wanted_precision,
        clips=judge(look, decision, temperature),
        curves=threshold_curve(look, decision, labels, temperature),
        calibration=calibration,
        ece_before=before,
        notes=tuple(notes),
    )
