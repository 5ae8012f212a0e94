"""The options of `clipwatch labels`; tasks/camera_labels.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.local.commands.command_line import Background, CameraConfig, Label, Threshold
from shared.terminal_text import say


def labels(
    camera: Annotated[str, typer.Argument(help="The camera's id.")],
    label: Label = None,
    background: Background = None,
    threshold: Threshold = None,
    config: CameraConfig = Path("clipwatch.yml"),
) -> None:
    """Show a camera's labels, or change them in the file; what runs takes them with its next snippet.

    Example: [bold]clipwatch labels gate --label 'a cyclist' --label 'a dog' --threshold 0.6[/bold]
    """
    from services.local.tasks.camera_labels import LabelOptions, set_or_show

    options = LabelOptions(camera, tuple(label or ()), tuple(background or ()), threshold)
    for line in set_or_show(options, config):
        say(line)
