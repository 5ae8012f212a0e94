"""A model's settings beside its weights, in a small JSON file: today the temperature fitted to labelled clips.

The file lies beside the models, not inside a model's folder: that folder is checked by its checksums, and may be made
anew. Written by `clipwatch evaluate --calibrate`, read at every start. Knows no torch and no weights.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from services.classifier.weights.names import read_json
from shared.errors import ConfigError
from shared.files import write_durably

FOLDER = "settings"
KEPT_OLD = 20  # earlier temperatures that are kept, the newest last


def settings_file(models_dir: Path, name: str) -> Path:
    """Return the settings file of the model called `name`, in which every odd character becomes '-'."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    return models_dir / FOLDER / f"{plain}.json"


def calibrated_temperature(models_dir: Path, name: str) -> float | None:
    """Return the temperature that was fitted for the model, or None; raise ConfigError when the file is broken."""
    path = settings_file(models_dir, name)
    if not path.is_file():
        return None
    found = read_json(path)
    if found.get("model") != name:  # another name that reads the same in letters and dashes
        return None
    value = found.get("temperature")
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= 1000:
        raise ConfigError(f"{path}: temperature={value!r}: wanted a number in 0..1000; or delete the file")
    return float(value)


def write_temperature(
    models_dir: Path, name: str, temperature: float, facts: Mapping[str, Any], at: datetime
) -> Path:
    """Write the fitted temperature and what it was fitted on; earlier ones are kept under `earlier`.

    Raises ConfigError when it cannot be written. `facts` are JSON values (hence Any).
    """
    if not (math.isfinite(temperature) and 0 < temperature <= 1000):
        raise ValueError(f"temperature {temperature} is none")
    path = settings_file(models_dir, name)
    now = {"model": name, "temperature": round(temperature, 3), "fitted_at": at.isoformat(), **facts}
    earlier: list[Any] = []  # Any: JSON values
    if path.is_file():
        before = read_json(path)
        kept = before.pop("earlier", [])
        earlier = [*(kept if isinstance(kept, list) else []), before][-KEPT_OLD:]
    text = json.dumps({**now, "earlier": earlier}, indent=2, ensure_ascii=False) + "\n"
    try:
        write_durably(path, text.encode())
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be written: {exc.strerror}; check the folder MODELS_DIR") from exc
    return path
