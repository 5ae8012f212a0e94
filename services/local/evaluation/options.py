"""The options of `clipwatch evaluate`: what is given on the command line, else the camera's own, else defaults."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from services.local.config import load_run_config
from services.local.evaluation.plan import EvaluateOptions
from services.local.run_settings import OFFLINE_MODEL
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


def options_of(given: CommandLine) -> tuple[EvaluateOptions, list[str]]:
    """Return the options and their faults: what is given counts, then the camera's own, then defaults."""
    faults: list[str] = []
    labels, background, model = given.labels, given.background, given.model
    decision = DecisionSettings()
    if given.camera is not None:
        try:
            camera, usual_model = _camera(given.config, given.camera)
        except ConfigError as exc:
            faults.extend(exc.faults)
        else:
            labels, background = labels or camera.labels, background or camera.background
            model, decision = model or usual_model, camera.decision
    if given.threshold is not None:
        try:
            decision = DecisionSettings.model_validate(
                {**decision.model_dump(), "threshold": given.threshold}
            )
        except ValidationError:
            faults.append(f"--threshold {given.threshold}: wanted a number in 0..1")
    options = EvaluateOptions(given.folder, labels, background, decision, model or OFFLINE_MODEL, given.out)
    return options, faults


def _camera(config: Path, wanted: str) -> tuple[Camera, str]:
    """Return the camera and the configuration's model."""
    loaded = load_run_config(config)
    found = [camera for camera in loaded.cameras.cameras if camera.id == wanted]
    if not found:
        known = ", ".join(camera.id for camera in loaded.cameras.cameras)
        raise ConfigError(f"--camera {wanted}: not in {config}, wanted one of: {known}")
    return found[0], loaded.settings.model
