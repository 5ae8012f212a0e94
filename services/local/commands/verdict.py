"""The options of `clipwatch verdict` and `clipwatch verdicts`; tasks/recorder_client.py does the work."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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
from shared.terminal_text import say, say_json

_EVENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WANTED = "one of --right, --wrong, --is LABEL, --nothing, --missed LABEL and --undo"


def verdict(
    event: Annotated[str, typer.Argument(help="The event's id.", metavar="EVENT")],
    right: Annotated[bool, typer.Option("--right", help="What was recorded is right.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="What was recorded is wrong.")] = False,
    is_label: Annotated[
        str | None, typer.Option("--is", help="It is this, and not what was recorded.")
    ] = None,
    nothing: Annotated[bool, typer.Option("--nothing", help="It shows nothing at all.")] = False,
    missed: Annotated[str | None, typer.Option("--missed", help="It shows this as well.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what was said of it last.")] = False,
    label: Annotated[
        str | None, typer.Option("--label", help="With --right or --wrong: only this label of several.")
    ] = None,
    only_count: Annotated[
        bool, typer.Option("--only-count", help="Count it, and let decisions be as they are.")
    ] = False,
    as_json: JsonObject = False,
    url: PageUrl = None,
    token_file: TokenFile = None,
    config: RunConfigFile = Path("clipwatch.yml"),
) -> None:
    """Say what an event shows: from now on its camera decides what looks alike in the same way.

    Example: [bold]clipwatch verdict 0192f1c4-… --is 'a fox'[/bold]
    """
    from services.local.tasks import recorder_client
    from services.local.tasks.recorder_address import RecorderOptions, find_recorder
    from services.local.tasks.screen import print_verdicts

    faults = FaultList()
    recorder = faults.unless(lambda: find_recorder(RecorderOptions(url, token_file, config), os.environ))
    if _EVENT_ID.fullmatch(event) is None:
        faults.add(
            f"{event}: wanted the id of an event, of 36 characters; clipwatch search and the page show it"
        )
    switches = {"right": right, "wrong": wrong, "nothing": nothing, "undo": undo}
    said = _said(switches, {"is": is_label, "missed": missed}, label, faults)
    faults.raise_if_any()
    assert recorder is not None
    kind, text = said
    try:
        if kind == "undo":
            answer = recorder_client.undo_verdict(recorder, event)
        else:
            effect = "none" if only_count else "future"
            answer = recorder_client.say_verdict(
                recorder, event, {"kind": kind, "label": text, "effect": effect}
            )
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)
    if as_json:
        say_json(answer)
        return
    print_verdicts([answer])
    if answer["undone_at"] is None and answer["effect"] != "none" and answer["is_followed"] is not True:
        is_waiting = answer["is_followed"] is None
        say(
            "not learned yet: no classifier answered" if is_waiting else "kept, but not learned: see the page"
        )


def _said(
    switches: Mapping[str, bool], texts: Mapping[str, str | None], label: str | None, faults: FaultList
) -> tuple[str, str | None]:
    """Return the kind of the one verdict that was given, and its label; add to `faults` when it is not one."""
    given = [
        (kind, label if kind in ("right", "wrong") else None) for kind, is_on in switches.items() if is_on
    ]
    given += [(kind, text) for kind, text in texts.items() if text is not None]
    if len(given) != 1:
        faults.add(f"{len(given)} verdicts: wanted {_WANTED}")
        return "", None
    if label is not None and given[0][0] not in ("right", "wrong"):
        faults.add(f"--label {label} with --{given[0][0]}: wanted --right or --wrong beside it")
    return given[0]


def verdicts(
    camera: OneCamera = None,
    limit: Annotated[int, typer.Option("--limit", help="Verdicts at most, 1..200.")] = 50,
    as_json: JsonObject = False,
    url: PageUrl = None,
    token_file: TokenFile = None,
    config: RunConfigFile = Path("clipwatch.yml"),
) -> None:
    """List what was said of events, newest first.

    Example: [bold]clipwatch verdicts --camera gate[/bold]
    """
    from services.local.tasks import recorder_client
    from services.local.tasks.recorder_address import RecorderOptions, find_recorder
    from services.local.tasks.screen import print_verdicts

    faults = FaultList()
    recorder = faults.unless(lambda: find_recorder(RecorderOptions(url, token_file, config), os.environ))
    if not 1 <= limit <= 200:
        faults.add(f"--limit {limit}: wanted 1..200")
    faults.raise_if_any()
    assert recorder is not None
    try:
        answer = recorder_client.list_verdicts(recorder, {"camera": camera, "limit": limit})
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)
    if as_json:
        say_json(answer)
    else:
        print_verdicts(answer["verdicts"])
