"""The options of `clipwatch search`; tasks/recorder_client.py does the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from services.local.commands.command_line import (
    EXIT_FAILED,
    FaultList,
    JsonObject,
    OneCamera,
    PageUrl,
    RunConfigFile,
    TokenFile,
    fail,
)
from shared.terminal_text import say_json


def search(
    words: Annotated[str | None, typer.Argument(help="What to look for.", metavar="WORDS")] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", help="Look for what looks like this.", metavar="EVENT|FILE"),
    ] = None,
    camera: OneCamera = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Seen since then: 7d, 12h, 30m, or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Seen before then.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="Events at most, 1..200.")] = 24,
    as_json: JsonObject = False,
    url: PageUrl = None,
    token_file: TokenFile = None,
    config: RunConfigFile = Path("clipwatch.yml"),
) -> None:
    """Search all recorded pictures by words or by a picture, best first; clipwatch has to be running.

    --like takes the id of an event or a picture file (JPEG, PNG, WebP, …).

    Example: [bold]clipwatch search 'a person with a red umbrella' --since 7d[/bold]
    """
    from services.local.tasks import recorder_client
    from services.local.tasks.picture_file import picture_to_send
    from services.local.tasks.recorder_address import RecorderOptions, find_recorder
    from services.local.tasks.screen import print_search

    faults = FaultList()
    recorder = faults.unless(lambda: find_recorder(RecorderOptions(url, token_file, config), os.environ))
    since_time = faults.unless(lambda: recorder_client.parse_time(since, "--since"))
    until_time = faults.unless(lambda: recorder_client.parse_time(until, "--until"))
    if (words is None) == (like is None):
        faults.add("wanted words to look for, or --like EVENT or FILE, and not both")
    picture = None
    if like is not None and not recorder_client.is_event_id(like):
        path = Path(like)
        picture = faults.unless(lambda: picture_to_send(path, "--like"))
    if not 1 <= limit <= 200:
        faults.add(f"--limit {limit}: wanted 1..200")
    faults.raise_if_any()
    assert recorder is not None
    query = {
        "q": words,
        "event": like if picture is None else None,
        "camera": camera,
        "since": since_time.isoformat() if since_time else None,
        "until": until_time.isoformat() if until_time else None,
        "limit": limit,
    }
    try:
        answer = recorder_client.search(recorder, query, picture)
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)
    if as_json:
        say_json(answer)
    else:
        print_search(answer)
