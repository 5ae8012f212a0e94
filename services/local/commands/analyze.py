"""The options of `clipwatch analyze`; tasks/analysis.py does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from services.local.commands.command_line import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    OFFLINE_NOTE,
    Background,
    Label,
    fail,
    progress_unless,
    run_until_signal,
)
from shared.plurals import plural
from shared.terminal_text import say, say_json


def analyze(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Recordings: any video file that FFmpeg reads.", metavar="FILE..."),
    ] = None,
    label: Label = None,
    background: Background = None,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Probability from which a label is accepted, 0..1.")
    ] = 0.5,
    model: Annotated[
        str, typer.Option("--model", help="mini, NAME/TAG of open_clip, hf-hub:… or a folder.")
    ] = "mini",
    all_events: Annotated[
        bool, typer.Option("--all", help="Also events in which no label was accepted.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON an event on stdout, nothing else there.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Where clips and thumbnails go.")] = Path(
        "clipwatch-events"
    ),
) -> None:
    """Find and name what moves in recordings, as fast as this machine can.

    Example: [bold]clipwatch analyze street.mp4 --label 'a bicycle' --background 'an empty street'[/bold]
    """
    from services.local.launcher.stack import ServiceFailed
    from services.local.tasks.analysis import AnalyzeOptions, analyze, check_options, event_json
    from services.local.tasks.screen import print_analysis

    options = AnalyzeOptions(
        files=tuple(files or ()),
        labels=tuple(label or ()),
        background=tuple(background or ()),
        threshold=threshold,
        model=model,
        out=out,
    )
    recordings = check_options(options)
    if model == "mini":
        say(OFFLINE_NOTE, is_error=True)
    try:
        with progress_unless(as_json) as progress:
            analysis = run_until_signal(lambda stop: analyze(options, recordings, stop, progress))
    except ServiceFailed as exc:
        fail(exc.lines, exc.exit_code)
    events = [event for event in analysis.events if all_events or event.accepted]
    by_camera = {recording.camera: recording for recording in recordings}
    if as_json:
        for event in events:
            say_json(event_json(event, by_camera[event.camera]))
        sys.stdout.flush()
    else:
        print_analysis(events, by_camera, out)
    faults = list(analysis.faults)
    if analysis.n_dead:
        faults.append(f"{plural(analysis.n_dead, 'snippet')} could not be handled")
    if faults:
        fail(faults, EXIT_BAD_INPUT if analysis.faults else EXIT_FAILED)
