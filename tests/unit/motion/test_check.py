"""`python -m services.motion --check`: everything that is wrong, in one round."""

from __future__ import annotations

import asyncio
from pathlib import Path

from services.motion.app import check
from services.motion.settings import MotionServiceSettings
from tests.unit.motion.videos import scene, write_video


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


def test_what_cannot_be_shared_by_leases_is_told(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", scene(20))
    file = tmp_path / "cameras.yml"
    file.write_text(
        f"cameras: [{{id: once, url: {video}, labels: [x], loop: false}}, {{id: live, url: {video}, labels: [x]}}]"
    )
    settings = MotionServiceSettings(
        data_dir=tmp_path, cameras_file=file, exit_when_done=False, camera_leases=True, camera_handover_s=11
    )
    handover, recordings = asyncio.run(check(settings))
    assert handover.startswith("CAMERA_HANDOVER_S=11: leaves 9 s of DRAIN_S=20 ")
    assert recordings.startswith(f"{file}: once: recordings that are read once")
    within = settings.model_copy(update={"camera_handover_s": 10.0})
    assert list(asyncio.run(check(within))) == [recordings]
    alone = settings.model_copy(update={"camera_leases": False})
    assert list(asyncio.run(check(alone))) == []
