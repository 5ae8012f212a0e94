"""The options of `clipwatch relabel`; tasks/recorder_client.py does the work."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from shared.terminal_text import say, say_json

if TYPE_CHECKING:  # httpx takes a while to import
    from services.local.tasks.recorder_address import RecorderAddress
    from services.local.tasks.recorder_client import Json


ThenBackground = Annotated[
    list[str] | None, typer.Option("--background", help="What is always in view; default: as it was then.")
]
Since = Annotated[str, typer.Option("--since", help="Events since then: 7d, 12h, or a time.")]
Until = Annotated[str | None, typer.Option("--until", help="Events before then.")]
Instead = Annotated[
    bool, typer.Option("--instead", help="Ask in place of the labels of then, not beside them.")
]
Add = Annotated[bool, typer.Option("--add", hidden=True, help="The default.")]
Apply = Annotated[
    bool, typer.Option("--apply/--dry-run", help="Write it into the record; else only show it.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Apply without asking.")]
ListChanges = Annotated[bool, typer.Option("--list", help="List what was applied.")]
Undo = Annotated[
    str | None, typer.Option("--undo", metavar="ID|last", help="Put back what a change replaced.")
]


def relabel(
    label: Label = None,
    background: ThenBackground = None,
    threshold: Threshold = None,
    since: Since = "7d",
    until: Until = None,
    camera: OneCamera = None,
    instead: Instead = False,
    add: Add = False,
    apply: Apply = False,
    yes: Yes = False,
    list_changes: ListChanges = False,
    undo: Undo = None,
    as_json: JsonObject = False,
    url: PageUrl = None,
    token_file: TokenFile = None,
    config: RunConfigFile = Path("clipwatch.yml"),
) -> None:
    """Show what other labels would have recorded, make it the record, or undo that; clipwatch has to be running.

    Example: [bold]clipwatch relabel --label 'a fox' --since 7d[/bold]
    """
    from services.local.tasks import recorder_client
    from services.local.tasks.recorder_address import RecorderOptions, find_recorder

    faults = FaultList()
    recorder = faults.unless(lambda: find_recorder(RecorderOptions(url, token_file, config), os.environ))
    since_time = faults.unless(lambda: recorder_client.parse_time(since, "--since"))
    until_time = faults.unless(lambda: recorder_client.parse_time(until, "--until"))
    if add and instead:
        faults.add("--add and --instead: wanted one of them")
    if threshold is not None and not 0 <= threshold <= 1:
        faults.add(f"--threshold {threshold:g}: wanted 0..1")
    is_about_changes = list_changes or undo is not None
    if is_about_changes and (label or background or threshold or instead or apply or (list_changes and undo)):
        faults.add("--list and --undo stand alone; leave out the other options")
    if not is_about_changes and not label:
        faults.add("no --label; wanted at least one, such as --label 'a fox'")
    if apply and not yes and not sys.stdin.isatty():
        faults.add("--apply without a terminal to ask at: look first, then add --yes")
    faults.raise_if_any()
    assert recorder is not None
    if is_about_changes:
        _past_changes(recorder, undo, as_json)
        return
    request = {
        "labels": label,
        "background": background or None,
        "threshold": threshold,
        "since": since_time.isoformat() if since_time else None,
        "until": until_time.isoformat() if until_time else None,
        "camera": camera,
        "mode": "replace" if instead else "add",
    }
    _look_back(recorder, request, asks=apply and not yes, is_applied=apply, as_json=as_json)


def _look_back(
    recorder: RecorderAddress, request: Json, *, asks: bool, is_applied: bool, as_json: bool
) -> None:
    """Look, ask whether it is to be applied where somebody has to be asked, apply it, and print what came of it."""
    from services.local.tasks import recorder_client
    from services.local.tasks.screen import print_relabel
    from shared.clock import now_utc

    show = say_json if as_json else print_relabel
    if is_applied:
        request = {
            **request,
            "until": request["until"] or now_utc().isoformat(),
        }  # what was shown, and no more
    try:
        if asks or not is_applied:
            with progress_unless(as_json) as progress:
                result = recorder_client.relabel(recorder, {**request, "apply": False}, progress)
            if not is_applied or not result["changed"]:
                show(result)
                return
            _ask(result, as_json=as_json)
        with progress_unless(as_json) as progress:
            result = recorder_client.relabel(recorder, {**request, "apply": True}, progress)
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)
    show(result)
    if result["relabel_id"] and not as_json:
        say(f"{result['summary']}; undo it with: clipwatch relabel --undo {result['relabel_id']}")


def _ask(result: Json, *, as_json: bool) -> None:
    """Ask at the terminal whether this is to be applied; end the program where it is not."""
    from services.local.tasks.screen import print_relabel

    if not as_json:
        print_relabel(result)
    say(f"{result['summary']}.", is_error=True)
    if not typer.confirm("Apply it to the record?", err=True):
        fail(["nothing was changed"], EXIT_FAILED)


def _past_changes(recorder: RecorderAddress, undo: str | None, as_json: bool) -> None:
    """List the changes of the past, or undo one."""
    from services.local.tasks import recorder_client
    from services.local.tasks.screen import print_relabels, undone_text

    try:
        if undo is None:
            changes = recorder_client.relabels(recorder)
            if as_json:
                say_json({"relabels": changes})
            else:
                print_relabels(changes)
            return
        with progress_unless(as_json) as progress:
            result = recorder_client.undo_relabel(recorder, undo, progress)
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)
    if as_json:
        say_json(result)
    else:
        say(undone_text(result))
