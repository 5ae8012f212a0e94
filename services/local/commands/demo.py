"""The options of `clipwatch demo`; tasks/service_runs.py does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.local.commands.command_line import FaultList, run_until_signal


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Play the samples once, print what was recorded, and end.")
    ] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="What to look for, instead of the demo's labels.")
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option("--background", help="What is always in view.")
    ] = None,
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Where everything is kept.")] = Path(
        "data/demo"
    ),
    page_port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65535, help="Of the page; 8080 or the next free one, which is then kept."
        ),
    ] = None,
) -> None:
    """Play the sample videos as cameras, and show what is found, live.

    Example: [bold]clipwatch demo --label 'a person with a bag' --label 'a bicycle'[/bold]
    """
    from services.local.config import folder_faults
    from services.local.run_settings import ListenAddress
    from services.local.tasks.demo import DemoOptions, camera_document
    from services.local.tasks.service_runs import show_demo
    from shared.cameras import parse_cameras

    options = DemoOptions(tuple(label or ()), tuple(background or ()), once)
    faults = FaultList(folder_faults("--data-dir", data_dir))
    faults.unless(lambda: parse_cameras(camera_document(options), "demo", data_dir, {}))
    faults.raise_if_any()
    sys.exit(
        run_until_signal(
            lambda stop: show_demo(options, data_dir.resolve(), ListenAddress(port=page_port), stop)
        )
    )
