"""The options of `clipwatch calibrate`; tasks/camera_calibration.py does the work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.local.commands.command_line import EXIT_FAILED, CameraConfig, fail, run_until_signal
from shared.terminal_text import say

if TYPE_CHECKING:
    from services.local.tasks.camera_calibration import CameraCalibration


def calibrate(
    camera: Annotated[str, typer.Argument(help="The camera's id, or a URL or video file.")],
    seconds: Annotated[float, typer.Option("--seconds", help="How long to watch, 5..3600.")] = 60,
    out: Annotated[
        Path | None, typer.Option("--out", help="The picture, .png or .jpg; default calibration-CAMERA.png.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Save the proposal to the camera file.")] = False,
    config: CameraConfig = Path("clipwatch.yml"),
) -> None:
    """Watch a camera, propose its motion settings, and draw a picture that shows why.

    Example: [bold]clipwatch calibrate gate --seconds 120 --write[/bold]
    """
    from services.local.tasks.camera_calibration import (
        CalibrateOptions,
        CalibrationFailed,
        calibrate_camera,
        default_picture,
        lines_of,
    )
    from services.local.tasks.screen import progress_bar

    options = CalibrateOptions(camera, seconds, out or default_picture(camera), config, write)

    async def work(stop: asyncio.Event) -> CameraCalibration:
        return await asyncio.to_thread(calibrate_camera, options, stop, progress)

    try:
        with progress_bar() as progress:
            calibration = run_until_signal(work)
    except CalibrationFailed as exc:
        fail([str(exc)], EXIT_FAILED)
    for line in lines_of(calibration, camera, config):
        say(line)
