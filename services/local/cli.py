"""The command line `clipwatch`. Parses, calls, prints, exits: 0 done, 1 failed, 2 bad input or settings."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from shared.errors import ConfigError
from shared.plurals import plural

if TYPE_CHECKING:
    from services.local.tasks.camera_calibration import Calibration

EXIT_FAILED, EXIT_BAD_INPUT = 1, 2
OFFLINE_NOTE = (
    "model 'mini': a small demo model that needs no download; for production use "
    "--model ViT-B-32-256/datacomp_s34b_b86k"
)

app = typer.Typer(
    name="clipwatch",
    help="Find moving things in video, and name them in your own words.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
models_app = typer.Typer(help="Models: what can be named, and fetching their weights.", no_args_is_help=True)
app.add_typer(models_app, name="models")

_T = TypeVar("_T")


class Faults:
    """Collects what is wrong with a command line, so that all of it is told at once."""

    def __init__(self, found: Sequence[str] = ()) -> None:
        self._found = list(found)

    def add(self, fault: str) -> None:
        self._found.append(fault)

    def unless(self, attempt: Callable[[], _T]) -> _T | None:
        """Return what `attempt` gives, or None when it raises ConfigError, whose faults are kept."""
        try:
            return attempt()
        except ConfigError as exc:
            self._found.extend(exc.faults)
            return None

    def tell(self) -> None:
        """Raise ConfigError with everything that was found, if anything was."""
        if self._found:
            raise ConfigError(list(dict.fromkeys(self._found)))


def main() -> None:
    """Run the command line; a fault is told in one line each, never as a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold bytes that are no UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except ConfigError as exc:
        _fail(exc.faults, EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        _fail(["interrupted"], EXIT_FAILED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(EXIT_FAILED)


def _fail(faults: list[str] | tuple[str, ...], code: int) -> NoReturn:
    from services.local.tasks.screen import print_faults

    print_faults(list(faults))
    sys.exit(code)


def _run_until_signal(work: Callable[[asyncio.Event], Awaitable[_T]]) -> _T:
    """Run `work(stop)`; SIGINT and SIGTERM set `stop`, a second one is ignored: stopping is bounded anyway."""

    async def with_signals() -> _T:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop.set)
        return await work(stop)

    return asyncio.run(with_signals())


def _no_progress(_stage: str, _share: float) -> None:
    """With --json nothing is shown while it runs."""


@app.command()
def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Play the samples once, print what was recorded, and end.")
    ] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="What to look for, instead of the demo's labels.")
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option("--background", help="What is always in view.")
    ] = None,
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Where everything is kept.")] = Path(
        "data/demo"
    ),
    page_port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of the page; another when it is taken.")
    ] = 8080,
) -> None:
    """Play the sample videos as cameras, and show what is found, live.

    Example: [bold]clipwatch demo --label 'a person with a bag' --label 'a bicycle'[/bold]
    """
    from services.local.config import folder_faults
    from services.local.tasks.demo import DemoWish, camera_document
    from services.local.tasks.service_runs import show_demo
    from shared.cameras import parse_cameras

    wish = DemoWish(tuple(label or ()), tuple(background or ()), once)
    faults = Faults(folder_faults("--data-dir", data_dir))
    faults.unless(lambda: parse_cameras(camera_document(wish), "demo", data_dir, {}))
    faults.tell()
    sys.exit(_run_until_signal(lambda stop: show_demo(wish, data_dir.resolve(), page_port, stop)))


@app.command()
def run(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration: cameras and settings.")
    ] = Path("clipwatch.yml"),
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Run all services on this machine until Ctrl-C. REDIS_URL and DATABASE_URL replace the embedded servers.

    Example: [bold]clipwatch run --config clipwatch.yml[/bold]
    """
    from services.local.config import load_run_config
    from services.local.tasks.service_runs import run_services

    level = log_level.upper()
    faults = Faults()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        faults.add(f"--log-level {log_level}: wanted DEBUG, INFO, WARNING or ERROR")
    loaded = faults.unless(lambda: load_run_config(config))
    faults.tell()
    assert loaded is not None
    if loaded.settings.model == "mini":
        print(OFFLINE_NOTE.replace("--model ", "settings.model: "), file=sys.stderr)
    sys.exit(_run_until_signal(lambda stop: run_services(loaded, level, stop)))


@app.command()
def check(
    config: Annotated[Path, typer.Option("--config", "-c", help="The configuration to read.")] = Path(
        "clipwatch.yml"
    ),
) -> None:
    """Read the whole configuration and print every fault with file, camera and field; exit 2 if there is one.

    Example: [bold]clipwatch check --config clipwatch.yml[/bold]
    """
    from services.local.config import load_run_config

    loaded = load_run_config(config)
    n_cameras = plural(len(loaded.cameras.cameras), "camera")
    print(f"{config}: fine: {n_cameras}, model {loaded.settings.model}")


@app.command()
def labels(
    camera: Annotated[str, typer.Argument(help="The camera's id.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", help="What to look for; may be given often.")
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option("--background", help="What is always in view; may be given often.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Probability from which a label is accepted, 0..1.")
    ] = None,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration, or the camera file.")
    ] = Path("clipwatch.yml"),
) -> None:
    """Show a camera's labels, or change them in the file; what runs takes them with its next snippet.

    Example: [bold]clipwatch labels gate --label 'a cyclist' --label 'a dog' --threshold 0.6[/bold]
    """
    from services.local.tasks.camera_labels import LabelWish, set_or_show

    wish = LabelWish(camera, tuple(label or ()), tuple(background or ()), threshold)
    for line in set_or_show(wish, config):
        print(line)


@app.command()
def calibrate(
    camera: Annotated[str, typer.Argument(help="The camera's id, or a URL or video file.")],
    seconds: Annotated[float, typer.Option("--seconds", help="How long to watch, 5..3600.")] = 60,
    out: Annotated[
        Path | None, typer.Option("--out", help="The picture, .png or .jpg; default calibration-CAMERA.png.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Save the proposal to the camera file.")] = False,
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration, or the camera file.")
    ] = Path("clipwatch.yml"),
) -> None:
    """Watch a camera, propose its motion settings, and draw a picture that shows why.

    Example: [bold]clipwatch calibrate gate --seconds 120 --write[/bold]
    """
    from services.local.tasks.camera_calibration import (
        CalibrateWish,
        CalibrationFailed,
        calibrate_camera,
        default_picture,
        lines_of,
    )
    from services.local.tasks.screen import progress_bar

    wish = CalibrateWish(camera, seconds, out or default_picture(camera), config, write)

    async def work(stop: asyncio.Event) -> Calibration:
        return await asyncio.to_thread(calibrate_camera, wish, stop, progress)

    try:
        with progress_bar() as progress:
            found = _run_until_signal(work)
    except CalibrationFailed as exc:
        _fail([str(exc)], EXIT_FAILED)
    for line in lines_of(found, camera, config):
        print(line)


@app.command()
def analyze(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Recordings: any video file that FFmpeg reads.", metavar="FILE..."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", help="What to look for; may be given often.")
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option("--background", help="What is always in view; may be given often.")
    ] = None,
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
    from services.local.tasks.analysis import AnalyzeWish, analyze, check_wish, event_json
    from services.local.tasks.screen import print_analysis, progress_bar

    wish = AnalyzeWish(
        files=tuple(files or ()),
        labels=tuple(label or ()),
        background=tuple(background or ()),
        threshold=threshold,
        model=model,
        out=out,
    )
    recordings = check_wish(wish)
    if model == "mini":
        print(OFFLINE_NOTE, file=sys.stderr)
    try:
        with contextlib.nullcontext(_no_progress) if as_json else progress_bar() as progress:
            found = _run_until_signal(lambda stop: analyze(wish, recordings, stop, progress))
    except ServiceFailed as exc:
        _fail(exc.lines, exc.exit_code)
    events = [event for event in found.events if all_events or event.accepted]
    by_camera = {recording.camera: recording for recording in recordings}
    if as_json:
        for event in events:
            print(json.dumps(event_json(event, by_camera[event.camera]), ensure_ascii=False))
        sys.stdout.flush()
    else:
        print_analysis(events, by_camera, out)
    faults = list(found.faults)
    if found.n_dead:
        faults.append(f"{plural(found.n_dead, 'snippet')} could not be handled")
    if faults:
        _fail(faults, EXIT_BAD_INPUT if found.faults else EXIT_FAILED)


URL_OPTION = typer.Option("--url", envvar="CLIPWATCH_URL", help="Where the page is.")


@app.command()
def search(
    words: Annotated[str, typer.Argument(help="What to look for.", metavar="WORDS")],
    camera: Annotated[str | None, typer.Option("--camera", help="Only this camera.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Seen since then: 7d, 12h, 30m, or a time.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Seen before then.")] = None,
    limit: Annotated[int, typer.Option("--limit", help="Events at most, 1..200.")] = 24,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    url: Annotated[str, URL_OPTION] = "http://127.0.0.1:8080",
) -> None:
    """Search all recorded pictures by words, best first; clipwatch has to be running.

    Example: [bold]clipwatch search 'a person with a red umbrella' --since 7d[/bold]
    """
    from services.local.tasks import recorder_client as ask

    faults = Faults(ask.url_faults(url))
    began = faults.unless(lambda: ask.moment(since, "--since"))
    ended = faults.unless(lambda: ask.moment(until, "--until"))
    if not 1 <= limit <= 200:
        faults.add(f"--limit {limit}: wanted 1..200")
    faults.tell()
    try:
        found = ask.search(
            url,
            {
                "q": words,
                "camera": camera,
                "since": began.isoformat() if began else None,
                "until": ended.isoformat() if ended else None,
                "limit": limit,
            },
        )
    except ask.NotAnswered as exc:
        _fail([str(exc)], EXIT_FAILED)
    if as_json:
        print(json.dumps(found, ensure_ascii=False), flush=True)
    else:
        ask.print_search(found)


@app.command()
def relabel(
    label: Annotated[
        list[str] | None, typer.Option("--label", help="What to look for; may be given often.")
    ] = None,
    background: Annotated[
        list[str] | None,
        typer.Option("--background", help="What is always in view; default: as it was then."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Probability from which a label is accepted, 0..1.")
    ] = None,
    since: Annotated[str, typer.Option("--since", help="Events since then: 7d, 12h, or a time.")] = "7d",
    until: Annotated[str | None, typer.Option("--until", help="Events before then.")] = None,
    camera: Annotated[str | None, typer.Option("--camera", help="Only this camera.")] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Ask beside the labels of then, not in their place.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Write it into the record; else only show it.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    url: Annotated[str, URL_OPTION] = "http://127.0.0.1:8080",
) -> None:
    """Show what other labels would have recorded, or make it the record; clipwatch has to be running.

    Example: [bold]clipwatch relabel --label 'a fox' --since 7d --dry-run[/bold]
    """
    from services.local.tasks import recorder_client as ask
    from services.local.tasks.screen import progress_bar

    faults = Faults(ask.url_faults(url))
    if not label:
        faults.add("no --label; wanted at least one, such as --label 'a fox'")
    if threshold is not None and not 0 <= threshold <= 1:
        faults.add(f"--threshold {threshold:g}: wanted 0..1")
    began = faults.unless(lambda: ask.moment(since, "--since"))
    ended = faults.unless(lambda: ask.moment(until, "--until"))
    faults.tell()
    asked = {
        "labels": label,
        "background": background or None,
        "threshold": threshold,
        "since": began.isoformat() if began else None,
        "until": ended.isoformat() if ended else None,
        "camera": camera,
        "mode": "add" if add else "replace",
        "apply": apply,
    }
    try:
        with contextlib.nullcontext(_no_progress) if as_json else progress_bar() as progress:
            result = ask.relabel(url, asked, progress)
    except ask.NotAnswered as exc:
        _fail([str(exc)], EXIT_FAILED)
    if as_json:
        print(json.dumps(result, ensure_ascii=False), flush=True)
    else:
        ask.print_relabel(result)


@app.command()
def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(help="Clips in folders named by their label, or with labels.csv.", metavar="DIR"),
    ],
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="What to look for; default: every label that is true of some clip."),
    ] = None,
    background: Annotated[
        list[str] | None, typer.Option("--background", help="What is always in view; may be given often.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Probability from which a label is accepted, 0..1.")
    ] = None,
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
    from services.local.evaluation.classification import check_evaluation, look
    from services.local.evaluation.options import CommandLine, evaluation_of, wish_of
    from services.local.evaluation.page import write_page
    from services.local.evaluation.results import as_document, print_evaluation
    from services.local.launcher.stack import ServiceFailed
    from services.local.tasks.screen import progress_bar

    asked = CommandLine(
        folder, tuple(label or ()), tuple(background or ()), threshold, camera, config, model, out
    )
    wish, known_faults = wish_of(asked)
    if not 0 <= precision <= 1:
        known_faults.append(f"--precision {precision:g}: wanted 0..1")
    plan = check_evaluation(wish, calibrate, known_faults)
    if plan.wish.model == "mini":
        print(OFFLINE_NOTE, file=sys.stderr)
    try:
        with contextlib.nullcontext(_no_progress) if as_json else progress_bar() as progress:
            found = _run_until_signal(lambda stop: look(plan, stop, progress))
    except ServiceFailed as exc:
        _fail(exc.lines, exc.exit_code)
    evaluation = evaluation_of(plan, found, precision, calibrate)
    page = write_page(out, evaluation, found.seen)
    if as_json:
        print(json.dumps(as_document(evaluation), ensure_ascii=False), flush=True)
    else:
        print_evaluation(evaluation, str(page))
    if found.faults:
        _fail(found.faults, EXIT_FAILED)


@models_app.command("list")
def models_list() -> None:
    """List the models that can be named; for those that are here also where, size, verified or not, and the licence.

    Example: [bold]clipwatch models list[/bold]
    """
    _models("--list")


@models_app.command("fetch")
def models_fetch(
    name: Annotated[str, typer.Argument(help="NAME/TAG of open_clip, or hf-hub:…")],
) -> None:
    """Download a model's weights once, so that the services start without a network.

    Example: [bold]clipwatch models fetch ViT-B-32-256/datacomp_s34b_b86k[/bold]
    """
    _models(name)


@models_app.command("verify")
def models_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models; all that are here when none is named.")
    ] = None,
) -> None:
    """Hash the files of models again, and compare them with what they should be.

    Example: [bold]clipwatch models verify[/bold]
    """
    _models("--verify", *(names or ()))


def _models(*arguments: str) -> None:
    from services.local.config import models_dir

    command = [sys.executable, "-m", "services.classifier.fetch", *arguments]
    sys.exit(subprocess.run(command, env={**os.environ, "MODELS_DIR": str(models_dir())}).returncode)


if __name__ == "__main__":
    main()
