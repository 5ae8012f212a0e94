"""Where `clipwatch models convert` puts a model's towers, and whether they are all there.

A conversion is written beside its place and renamed, with clipwatch.json first and its list of checksums last: so what
has the list is whole, and what has neither list nor its right name was broken off.
"""

from __future__ import annotations

import re
from pathlib import Path

from services.classifier.weights.integrity import SUMS_FILE
from services.classifier.weights.names import OURS_FILE, read_json
from shared.errors import ConfigError

FOLDER = "converted"
# in clipwatch.json
MADE_BY = "made_by"  # clipwatch's and OpenVINO's versions
GOLDEN = "golden_embeddings"  # of the golden picture and text, by the source in float32
SOURCE = "source"  # the name of the model that was converted
SOURCE_WEIGHTS = "source_weights"  # the checksum of the weights that were converted


def converted_folder(models_dir: Path, name: str) -> Path:
    """Return where the conversion of a model lies; odd characters of its name become '-'."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    return models_dir / FOLDER / plain


def is_converted(models_dir: Path, name: str) -> bool:
    """Tell whether a model's conversion is there, all of it."""
    folder = converted_folder(models_dir, name)
    return (folder / SUMS_FILE).is_file() and _source_of(folder) == name


def converted_models(models_dir: Path) -> tuple[str, ...]:
    """Return the names of the models whose conversions are there, all of each."""
    found = (_source_of(path.parent) for path in sorted((models_dir / FOLDER).glob(f"*/{SUMS_FILE}")))
    return tuple(name for name in found if name and is_converted(models_dir, name))


def half_written(folder: Path) -> str:
    """Return a line about a conversion that was broken off, '' for any other folder."""
    if (folder / SUMS_FILE).is_file() or not (folder / OURS_FILE).is_file():
        return ""
    ours = read_json(folder / OURS_FILE)
    if MADE_BY not in ours:
        return ""
    name = ours.get(SOURCE, "NAME")
    return f"{folder}: a conversion that was broken off: delete it, and run `clipwatch models convert {name}`"


def _source_of(folder: Path) -> str:
    try:
        return str(read_json(folder / OURS_FILE).get(SOURCE, ""))
    except ConfigError:
        return ""
