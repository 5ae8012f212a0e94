"""The options of `clipwatch evaluate`; evaluation/ does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.local.commands.command_line import (
    EXIT_FAILED,
    OFFLINE_NOTE,
    Background,
    Threshold,
    fail,
    progress_unless,
    run_until_signal,
)
from shared.terminal_text import say, say_json


# One function because its parameters are the command's options, as typer reads them.
def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(help="Clips in folders named by their label, or with labels.csv.", metavar="DIR"),
    ],
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="What to look for; default: every label that is true of some clip."),
    ] = None,
    background: Background = None,
    threshold: Threshold = None,
    camera: Annotated[
        str | None, typer.Option("--camera", help="Take labels, background and decision of this camera.")
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", help="Where --camera is configured.")] = Path(
        "clipwatch.yml"
    ),
    model: Annotated[
        str | None, typer.Option("--model", help="mini, NAME/TAG of open_clip, hf-hub:… or a folder.")
    ] = None,
    precision: Annotated[
        float, typer.Option("--precision", help="Wanted of the careful threshold, 0..1.")
    ] = 0.95,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit the model's temperature and keep it in its settings.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout, nothing else there.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Where the page and its pictures go.")] = Path(
        "clipwatch-evaluation"
    ),
) -> None:
    """Measure how well labelled clips are named, and which threshold they suggest.

    Example: [bold]clipwatch evaluate clips --background 'an empty street' --calibrate[/bold]
    """
    from services.local.evaluation.classification import classify_clips
    from services.local.evaluation.options import CommandLine, options_of
    from services.local.evaluation.page import write_page
    from services.local.evaluation.plan import check_evaluation
    from services.local.evaluation.results import as_document, evaluation_of, print_evaluation
    from services.local.launcher.stack import ServiceFailed

    command_line = CommandLine(
        folder, tuple(label or ()), tuple(background or ()), threshold, camera, config, model, out
    )
    options, faults = options_of(command_line)
    if not 0 <= precision <= 1:
        faults.append(f"--precision {precision:g}: wanted 0..1")
    plan = check_evaluation(options, calibrate, faults)
    if plan.options.model == "mini":
        say(OFFLINE_NOTE, is_error=True)
    try:
        with progress_unless(as_json) as progress:
            classified = run_until_signal(lambda stop: classify_clips(plan, stop, progress))
    except ServiceFailed as exc:
        fail(exc.lines, exc.exit_code)
    evaluation = evaluation_of(plan, classified, precision, calibrate)
    page = write_page(out, evaluation, classified.clips)
    if as_json:
        say_json(as_document(evaluation))
    else:
        print_evaluation(evaluation, str(page))
    if classified.faults:
        fail(classified.faults, EXIT_FAILED)
