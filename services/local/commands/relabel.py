"""The options of `clipwatch relabel`; tasks/recorder_client.py does the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from services.local.commands.command_line import (
    EXIT_FAILED,
    FaultList,
    JsonObject,
    Label,
    OneCamera,
    PageUrl,
    RunConfigFile,
    Threshold,
    TokenFile,
    fail,
    progress_unless,
)
from shared.terminal_text import say_json


def relabel(
    label: Label = None,
    background: Annotated[
        list[str] | None,
        typer.Option("--background", help="What is always in view; default: as it was then."),
    ] = None,
    threshold: Threshold = None,
    since: Annotated[str, typer.Option("--since", help="Events since then: 7d, 12h, or a time.")] = "7d",
    until: Annotated[str | None, typer.Option("--until", help="Events before then.")] = None,
    camera: OneCamera = None,
    add: Annotated[
        bool, typer.Option("--add", help="Ask beside the labels of then, not in their place.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Write it into the record; else only show it.")
    ] = False,
    as_json: JsonObject = False,
    url: PageUrl = None,
    token_file: TokenFile = None,
    config: RunConfigFile = Path("clipwatch.yml"),
) -> None:
    """Show what other labels would have recorded, or make it the record; clipwatch has to be running.

    Example: [bold]clipwatch relabel --label 'a fox' --since 7d --dry-run[/bold]
    """
    from services.local.tasks import recorder_client
    from services.local.tasks.recorder_address import RecorderOptions, find_recorder
    from services.local.tasks.screen import print_relabel

    faults = FaultList()
    recorder = faults.unless(lambda: find_recorder(RecorderOptions(url, token_file, config), os.environ))
    if not label:
        faults.add("no --label; wanted at least one, such as --label 'a fox'")
    if threshold is not None and not 0 <= threshold <= 1:
        faults.add(f"--threshold {threshold:g}: wanted 0..1")
    since_time = faults.unless(lambda: recorder_client.parse_time(since, "--since"))
    until_time = faults.unless(lambda: recorder_client.parse_time(until, "--until"))
    faults.raise_if_any()
    assert recorder is not None
    request = {
        "labels": label,
        "background": background or None,
        "threshold": threshold,
        "since": since_time.isoformat() if since_time else None,
        "until": until_time.isoformat() if until_time else None,
        "camera": camera,
        "mode": "add" if add else "replace",
        "apply": apply,
    }
    try:
        with progress_unless(as_json) as progress:
            result = recorder_client.relabel(recorder, request, progress)
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)
    if as_json:
        say_json(result)
    else:
        print_relabel(result)
