"""The options of `clipwatch verdict` and `clipwatch verdicts`; tasks/recorder_client.py does the work."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    progress_unless,
)
from shared.plurals import plural
from shared.terminal_text import say, say_json

if TYPE_CHECKING:  # httpx takes a while to import
    from services.local.tasks.recorder_address import RecorderAddress

_WANTED = "one of --right, --wrong, --is LABEL, --nothing, --missed LABEL and --undo"


Past = Annotated[
    bool, typer.Option("--past", help="Change the labels of the past by it as well; see --days.")
]
Days = Annotated[int, typer.Option("--days", help="Days of the past to look at, 1..3650.")]
Preview = Annotated[bool, typer.Option("--preview", help="Only show what it would change.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Keep it without showing and asking first.")]


def verdict(
    event: Annotated[str, typer.Argument(help="The event's id, or how it starts.", metavar="EVENT")],
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
    past: Past = False,
    days: Days = 7,
    preview: Preview = False,
    yes: Yes = False,
    as_json: JsonObject = False,
    url: PageUrl = None,
    token_file: TokenFile = None,
    config: RunConfigFile = Path("clipwatch.yml"),
) -> None:
    """Say what an event shows: from now on its camera decides what looks alike in the same way.

    Example: [bold]clipwatch verdict 0192f1c4 --is 'a fox'[/bold]
    """
    from services.local.tasks import recorder_client
    from services.local.tasks.recorder_address import RecorderOptions, find_recorder

    faults = FaultList()
    recorder = faults.unless(lambda: find_recorder(RecorderOptions(url, token_file, config), os.environ))
    start = faults.unless(lambda: recorder_client.parse_event(event))
    switches = {"right": right, "wrong": wrong, "nothing": nothing, "undo": undo}
    kind, text = _said(switches, {"is": is_label, "missed": missed}, label, faults)
    if not 1 <= days <= 3650:
        faults.add(f"--days {days}: wanted 1..3650")
    if (past or preview) and (only_count or undo):
        faults.add("--past and --preview: leave them out with --only-count and --undo")
    asks = not (yes or preview or only_count or undo)
    if asks and not sys.stdin.isatty():
        faults.add("no terminal to ask at: look with --preview first, then add --yes")
    faults.raise_if_any()
    assert recorder is not None
    assert start is not None
    said = _Saying(kind, text, past, days, only_count)
    try:
        event_id = recorder_client.find_event(recorder, start)
        if preview or asks:
            _preview(recorder, event_id, said, as_json=as_json and preview)
        if preview:
            return
        if asks:
            _ask(said)
        _keep(recorder, event_id, said, as_json)
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)


@dataclass(frozen=True, slots=True)
class _Saying:
    """What is said, and how far it goes."""

    kind: str
    label: str | None
    past: bool
    days: int
    only_count: bool

    @property
    def past_text(self) -> str:
        return f"the last {plural(self.days, 'day')}"


def _preview(recorder: RecorderAddress, event_id: str, said: _Saying, *, as_json: bool) -> None:
    """Show what would change."""
    from services.local.tasks import recorder_client
    from services.local.tasks.screen import print_relabel

    asked = {"kind": said.kind, "label": said.label, "days": said.days}
    with progress_unless(as_json) as progress:
        result = recorder_client.preview_verdict(recorder, event_id, asked, progress)
    if as_json:
        say_json(result)
        return
    print_relabel(result["past"])
    say(f"In {said.past_text}: {result['past']['summary']}.", is_error=True)
    if result["is_followed"] is None:
        say(
            "its pictures are of another model, or are gone: it is counted, but teaches nothing",
            is_error=True,
        )
    for one in result["not_asked_for"]:
        say(f"'{one}' is not among this camera's labels: add it there to find it", is_error=True)


def _ask(said: _Saying) -> None:
    """Ask at the terminal whether it is to be kept; end the program where it is not."""
    where = f" and in {said.past_text}" if said.past else ""
    if not typer.confirm(f"Decide so from now on{where}?", err=True):
        fail(["nothing was kept"], EXIT_FAILED)


def _keep(recorder: RecorderAddress, event_id: str, said: _Saying, as_json: bool) -> None:
    """Say it, or take back what was said last, and print it."""
    from services.local.tasks import recorder_client
    from services.local.tasks.screen import print_relabel, print_verdicts

    changed = None
    with progress_unless(as_json or not (said.past or said.kind == "undo")) as progress:
        if said.kind == "undo":
            answer = recorder_client.undo_verdict(recorder, event_id, progress)
        else:
            effect = "none" if said.only_count else "future"
            body = {"kind": said.kind, "label": said.label, "effect": effect}
            answer = recorder_client.say_verdict(recorder, event_id, body)
            if said.past:
                changed = recorder_client.apply_verdict(recorder, answer["id"], said.days, progress)
    if as_json:
        say_json({**answer, "past": changed})
        return
    print_verdicts([answer])
    if changed is not None:
        print_relabel(changed)
    if answer["undone_at"] is None and answer["effect"] != "none" and answer["is_followed"] is not True:
        if answer["is_followed"] is None:
            say("not learned yet: no classifier answered")
        elif answer["n_examples"]:
            say("learned, but the event itself would not be decided so: other verdicts say otherwise")
        else:
            say("counted, but not learned: its pictures are gone, or of another model")


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
    export: Annotated[
        Path | None, typer.Option("--export", help="Write the pictures that were learned into a new folder.")
    ] = None,
    import_from: Annotated[
        Path | None, typer.Option("--import", help="Learn the pictures of such a folder, on --camera.")
    ] = None,
    as_json: JsonObject = False,
    url: PageUrl = None,
    token_file: TokenFile = None,
    config: RunConfigFile = Path("clipwatch.yml"),
) -> None:
    """List what was said of events, newest first; or write its pictures to a folder, or learn those of one.

    Example: [bold]clipwatch verdicts --camera gate[/bold]
    """
    from services.local.commands.verdict_folder import export_verdicts, import_verdicts
    from services.local.tasks import recorder_client
    from services.local.tasks.recorder_address import RecorderOptions, find_recorder
    from services.local.tasks.screen import print_verdicts

    faults = FaultList()
    recorder = faults.unless(lambda: find_recorder(RecorderOptions(url, token_file, config), os.environ))
    if not 1 <= limit <= 200:
        faults.add(f"--limit {limit}: wanted 1..200")
    if export is not None and import_from is not None:
        faults.add("--export and --import: wanted one of them")
    faults.raise_if_any()
    assert recorder is not None
    try:
        if export is not None:
            export_verdicts(recorder, export, camera, as_json=as_json)
            return
        if import_from is not None:
            import_verdicts(recorder, import_from, camera, as_json=as_json)
            return
        answer = recorder_client.list_verdicts(recorder, {"camera": camera, "limit": limit})
    except recorder_client.NotAnswered as exc:
        fail([str(exc)], EXIT_FAILED)
    if as_json:
        say_json(answer)
    else:
        print_verdicts(answer["verdicts"])
