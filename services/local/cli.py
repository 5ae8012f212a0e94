"""The command line `clipwatch`: puts the commands together. Exit codes: 0 done, 1 failed, 2 bad input or settings."""

from __future__ import annotations

import io
import sys

import typer

from services.local.commands import models, token, user
from services.local.commands.analyze import analyze
from services.local.commands.calibrate import calibrate
from services.local.commands.check import check
from services.local.commands.command_line import EXIT_BAD_INPUT, EXIT_FAILED, fail
from services.local.commands.demo import demo
from services.local.commands.evaluate import evaluate
from services.local.commands.labels import labels
from services.local.commands.relabel import relabel
from services.local.commands.run import run
from services.local.commands.search import search
from services.local.commands.verdict import verdict, verdicts
from services.local.commands.why import why
from shared.errors import ConfigError
from shared.uncaught import redact_uncaught

app = typer.Typer(
    name="clipwatch",
    help="Find moving things in video, and name them in your own words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    demo,
    run,
    check,
    labels,
    calibrate,
    analyze,
    search,
    why,
    verdict,
    verdicts,
    relabel,
    evaluate,
):
    app.command()(command)
app.add_typer(models.app, name="models")
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")


def main() -> None:
    """Run the command line; print each fault as one line, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold bytes that are no UTF-8
            stream.reconfigure(errors="backslashreplace")
    redact_uncaught()
    try:
        app()
    except ConfigError as exc:
        fail(exc.faults, EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        fail(["interrupted"], EXIT_FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
