"""From the command line to an evaluation: which words and settings count, and what is made of what was seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from services.local.config import OFFLINE_MODEL, load_run_config
from services.local.evaluation.classification import (
    EvaluateWish,
    Look,
    Plan,
    calibrate,
    judge,
    threshold_curve,
)
from services.local.evaluation.metrics import reliability
from services.local.evaluation.results import Evaluation
from shared.cameras import Camera
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


def wish_of(asked: CommandLine) -> tuple[EvaluateWish, list[str]]:
    """Return the wish, and what is wrong with it: what is given counts, then the camera's own, then defaults."""
    faults: list[str] = []
    labels, background, model = asked.labels, asked.background, asked.model
    decision = DecisionSettings()
    if asked.camera is not None:
        try:
            camera, usual_model = _camera(asked.config, asked.camera)
        except ConfigError as exc:
            faults.extend(exc.faults)
        else:
            labels, background = labels or camera.labels, background or camera.background
            model, decision = model or usual_model, camera.decision
    if asked.threshold is not None:
        try:
            decision = DecisionSettings.model_validate(
                {**decision.model_dump(), "threshold": asked.threshold}
            )
        except ValidationError:
            faults.append(f"--threshold {asked.threshold}: wanted a number in 0..1")
    wish = EvaluateWish(asked.folder, labels, background, decision, model or OFFLINE_MODEL, asked.out)
    return wish, faults


def _camera(config: Path, wanted: str) -> tuple[Camera, str]:
    """Return the camera and the configuration's model."""
    loaded = load_run_config(config)
    found = [camera for camera in loaded.cameras.cameras if camera.id == wanted]
    if not found:
        known = ", ".join(camera.id for camera in loaded.cameras.cameras)
        raise ConfigError(f"--camera {wanted}: not in {config}, wanted one of: {known}")
    return found[0], loaded.settings.model


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
