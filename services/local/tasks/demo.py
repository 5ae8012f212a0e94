"""`clipwatch demo`: the sample videos as cameras, through the whole pipeline, with the offline model."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from services.local.run_settings import OFFLINE_MODEL
from shared.cameras import CameraFile, parse_cameras
from shared.errors import ConfigError

SAMPLES = Path(__file__).resolve().parents[3] / "samples"
PLACE = {"latitude": 52.52, "longitude": 13.405}  # for the weather; the samples' own places are not known


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line asked for. Empty labels or background: the demo's own."""

    labels: tuple[str, ...] = ()
    background: tuple[str, ...] = ()
    is_once: bool = False


LABELS = ("a pedestrian", "a bicycle", "a car", "a dog")
BACKGROUND = ("an empty street", "grass")


def camera_document(
    options: DemoOptions, now: datetime | None = None
) -> dict[str, Any]:  # Any: a YAML document
    """Return the demo's camera file; raise ConfigError when the samples are not where the repository keeps them."""
    samples = sorted(SAMPLES.glob("*.mp4"))
    if not samples:
        raise ConfigError(f"{SAMPLES}: holds no sample videos; run the demo from a full checkout")
    once = {"loop": False, "starts_at": now.isoformat()} if options.is_once and now else {"loop": True}
    return {
        # for the commands that look for the demo's page and users by --config
        "settings": {"model": OFFLINE_MODEL, "data_dir": "."},
        "defaults": {
            **PLACE,
            "labels": list(options.labels or LABELS),
            "background": list(options.background or BACKGROUND),
        },
        "cameras": [
            {"id": sample.stem, "url": sample.as_uri(), "pace": "realtime", **once} for sample in samples
        ],
    }


def write_camera_file(path: Path, options: DemoOptions, now: datetime) -> CameraFile:
    """Write the demo's camera file, which its user may open and edit while the demo runs, and return it.

    Raises ConfigError when the samples are not where the repository keeps them.
    """
    document = camera_document(options, now)
    cameras = parse_cameras(document, path.name, path.parent, {})
    with path.open("w", encoding="utf-8") as file:
        file.write(
            "# The demo's cameras. Labels and background may be edited while it runs: the next snippet uses them.\n"
        )
        YAML().dump(document, file)
    return cameras
