"""The options of `clipwatch check`; config.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shared.plurals import plural
from shared.terminal_text import say


def check(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration to read.")] = Path(
        "clipwatch.yml"
    ),
) -> None:
    """Read the whole configuration and print every fault with file, camera and field; exit 2 if there is one.

    Example: [bold]clipwatch check --config clipwatch.yml[/bold]
    """
    from services.local.config import load_run_config

    loaded = load_run_config(config)
    n_cameras = plural(len(loaded.cameras.cameras), "camera")
    say(f"{config}: fine: {n_cameras}, model {loaded.settings.model}")
