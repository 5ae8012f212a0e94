"""`clipwatch models`: list, fetch, verify, convert. Each runs the classifier's own module, which knows the weights."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

app = typer.Typer(help="Models: what can be named, and fetching their weights.", no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """List the models that can be named; for those that are here also where, size, verified or not, and the licence.

    Example: [bold]clipwatch models list[/bold]
    """
    _run("--list")


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="NAME/TAG of open_clip, or hf-hub:…")],
) -> None:
    """Download a model's weights once, so that the services start without a network.

    Example: [bold]clipwatch models fetch ViT-B-32-256/datacomp_s34b_b86k[/bold]
    """
    _run(name)


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models; all that are here when none is named.")
    ] = None,
) -> None:
    """Hash the files of models again, and compare them with what they should be.

    Example: [bold]clipwatch models verify[/bold]
    """
    _run("--verify", *(names or ()))


@app.command()
def convert(
    name: Annotated[str, typer.Argument(help="NAME/TAG of open_clip, hf-hub:…, or a model folder")],
    int8: Annotated[
        bool, typer.Option(help="Make the image tower in int8 as well, used if it proves itself.")
    ] = True,
) -> None:
    """Write a model as a folder that a classifier takes without torch, and in int8 if that proves itself.

    Example: [bold]clipwatch models convert ViT-B-32-256/datacomp_s34b_b86k[/bold]
    """
    _run(*(() if int8 else ("--no-int8",)), name, module="services.classifier.convert")


def _run(*arguments: str, module: str = "services.classifier.fetch") -> None:
    from services.local.config import models_dir

    command = [sys.executable, "-m", module, *arguments]
    sys.exit(subprocess.run(command, env={**os.environ, "MODELS_DIR": str(models_dir())}).returncode)
