"""`python -m services.motion --check`: everything that is wrong, in one round."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.motion.app import check
from services.motion.settings import MotionServiceSettings


def test_folder_cameras_and_recordings_are_told_together(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yml"
    file.write_text(
        "cameras: [{id: gate, url: gate.mp4, labels: [], enabled: true}, {id: yard, url: yard.mp4, labels: [x]}]"
    )
    settings = MotionServiceSettings(data_dir=file / "data", cameras_file=file)
    faults = list(asyncio.run(check(settings)))
    assert faults[0].startswith("DATA_DIR=")
    assert [fault.partition(": /")[0] for fault in faults[1:]] == [
        "cameras.yml: camera 'gate': labels: is empty, wanted at least one label",
        "cameras.yml: camera 'gate': url",
        "cameras.yml: camera 'yard': url",
    ]
