"""The options of `clipwatch why`; tasks/recorder_client.py does the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from services.local.commands.command_line import (
    EXIT_FAILED,
    FaultList,
    JsonObject,
    PageUrl,
    RunConfigFile,
    TokenFile,
    fail,
)
from shared.terminal_text import say_json


def why(
    event: Annotated[str, typer.Argument(help="The id of an event, or how it starts.", metavar="EVENT")],
    as_json: JsonObject = False,
    url: PageUrl = None,
    token_file: TokenFile = None,
    config: RunConfigFile = Path("clipwatch.yml"),
) -> None:
    """Say why the labels of an event were accepted or not; clipwatch has to be running.

    Example: [bold]clipwatch why 019d3727[/bold]
    """
    from services.local.tasks import recorder_client
    from services.local.tasks.recorder_address import RecorderOptions, find_recorder
    from services.local.tasks.why_screen import print_why

    faults = FaultList()
    recorder = faults.unless(lambda: find_recorder(RecorderOptions(url, token_file, config), os.environ))
    start = faults.unless(lambda: recorder_client.parse_event(event))
    faults.raise_if_any()
    assert recorder is not None
    assert start is not None
    try:
        answer = recorder_client.why(recorder, start)
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)
    if as_json:
        say_json(answer)
    else:
        print_why(answer)
