"""The options of `clipwatch run`; tasks/service_runs.py does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.local.commands.command_line import OFFLINE_NOTE, FaultList, run_until_signal
from shared.terminal_text import say


def run(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration: cameras and settings.")
    ] = Path("clipwatch.yml"),
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Run all services on this machine until Ctrl-C. REDIS_URL and DATABASE_URL replace the embedded servers.

    Example: [bold]clipwatch run --config clipwatch.yml[/bold]
    """
    from services.local.config import load_run_config
    from services.local.tasks.service_runs import run_services

    level = log_level.upper()
    faults = FaultList()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        faults.add(f"--log-level {log_level}: wanted DEBUG, INFO, WARNING or ERROR")
    loaded = faults.unless(lambda: load_run_config(config))
    faults.raise_if_any()
    assert loaded is not None
    if loaded.settings.model == "mini":
        say(OFFLINE_NOTE.replace("--model ", "settings.model: "), is_error=True)
    sys.exit(run_until_signal(lambda stop: run_services(loaded, level, stop)))
