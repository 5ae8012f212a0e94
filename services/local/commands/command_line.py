"""What all commands share: faults gathered before anything runs, exit codes, signals, options that recur.

Imports nothing heavy: `clipwatch --help` loads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from shared.errors import ConfigError

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2
OFFLINE_NOTE = (
    "model 'mini': a small demo model that needs no download; for production use "
    "--model ViT-B-32-256/datacomp_s34b_b86k"
)
Progress = Callable[[str, float], None]  # (stage, share 0..1)
_T = TypeVar("_T")

Label = Annotated[list[str] | None, typer.Option("--label", help="What to look for; may be given often.")]
Background = Annotated[
    list[str] | None, typer.Option("--background", help="What is always in view; may be given often.")
]
Threshold = Annotated[
    float | None, typer.Option("--threshold", help="Probability from which a label is accepted, 0..1.")
]
CameraConfig = Annotated[Path, typer.Option("--config", "-c", help="The configuration, or the camera file.")]
OneCamera = Annotated[str | None, typer.Option("--camera", help="Only this camera.")]
JsonObject = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
SiteConfig = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="The configuration whose site it is; none: clipwatch.yml."),
]
PageUrl = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="CLIPWATCH_URL", help="Where the page is; default: where --config's clipwatch runs."
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="A file with an API token; default: CLIPWATCH_TOKEN, or this machine's own."
    ),
]
RunConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The configuration of the clipwatch that runs here.")
]


class FaultList:
    """Collects what is wrong with a command line, so that the user sees all of it at once."""

    def __init__(self, faults: Sequence[str] = ()) -> None:
        self._faults = list(faults)

    def add(self, fault: str) -> None:
        self._faults.append(fault)

    def unless(self, attempt: Callable[[], _T]) -> _T | None:
        """Return what `attempt` returns; if it raises ConfigError, add its faults and return None."""
        try:
            return attempt()
        except ConfigError as exc:
            self._faults.extend(exc.faults)
            return None

    def raise_if_any(self) -> None:
        """Raise one ConfigError with all faults, if there are any."""
        if self._faults:
            raise ConfigError(list(dict.fromkeys(self._faults)))


def fail(faults: Sequence[str], code: int) -> NoReturn:
    """Print one line a fault on stderr and exit."""
    from services.local.tasks.screen import print_faults

    print_faults(faults)
    sys.exit(code)


def database_address(config: Path | None) -> str:
    """Return the address of a site's database; raise ConfigError when the configuration cannot be read."""
    from services.local.config import database_of

    return database_of(config or Path("clipwatch.yml"))


def on_site(work: Callable[[], _T]) -> _T:
    """Return what `work` does on a site's database; end the program when the database does not answer."""
    from shared.errors import Transient, reason

    try:
        return work()
    except Transient as exc:
        fail([f"the database does not answer: {reason(exc)}; try again"], EXIT_FAILED)


def run_until_signal(work: Callable[[asyncio.Event], Awaitable[_T]]) -> _T:
    """Run `work(stop)`; SIGINT, SIGTERM and SIGHUP set `stop`. A second one changes nothing: stopping has a bound."""

    async def with_signals() -> _T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        return await work(stop)

    return asyncio.run(with_signals())


@contextlib.contextmanager
def progress_unless(is_quiet: bool) -> Iterator[Progress]:
    """Show a progress bar on stderr, or nothing with --json."""
    if is_quiet:
        yield lambda _stage, _share: None
        return
    from services.local.tasks.screen import progress_bar

    with progress_bar() as progress:
        yield progress
