"""`clipwatch analyze`: runs recordings through the same pipeline, as fast as the machine can, and ends by itself."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from services.classifier.weights import hub
from services.classifier.weights.names import resolve_model
from services.local.config import folder_faults, models_dir
from services.local.launcher.stack import ServiceFailed, Stack, StackPlan, running
from services.local.launcher.work_folder import work_folder
from services.local.records import EventRow, Records
from services.local.run_settings import ListenAddress
from services.motion.sources.probe import FileFacts, probe
from shared.cameras import parse_cameras
from shared.clock import duration_s, to_millis
from shared.errors import ConfigError
from shared.waits import pause

POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class AnalyzeOptions:
    """What the command line asked for, not checked yet."""

    files: tuple[Path, ...]
    labels: tuple[str, ...]
    background: tuple[str, ...]
    threshold: float
    model: str
    out: Path


@dataclass(frozen=True, slots=True)
class RecordingFile:
    """One file to analyse: `name` is its name without extension, `camera` a unique id made of that."""

    camera: str
    name: str
    path: Path
    starts_at: datetime
    facts: FileFacts


@dataclass(frozen=True, slots=True)
class Analysis:
    """The result: events by camera and time, and the faults that the user has to see."""

    events: tuple[EventRow, ...]
    recordings: tuple[RecordingFile, ...]
    faults: tuple[str, ...]  # files that turned out to be cut off or broken on the way
    n_dead: int


def check_options(options: AnalyzeOptions) -> tuple[RecordingFile, ...]:
    """Return the recordings; raise ConfigError with every fault of the options at once."""
    faults: list[str] = []
    recordings: list[RecordingFile] = []
    if not options.files:
        faults.append("no recordings given: name at least one video file")
    for path in options.files:
        try:
            facts = probe(path)
        except ConfigError as exc:
            faults.extend(exc.faults)
            continue
        taken = {recording.camera for recording in recordings}
        camera = _camera_id(path, taken)
        is_second = any(recording.name == path.stem for recording in recordings)
        name = camera if is_second else path.stem
        recordings.append(RecordingFile(camera, name, path.resolve(), _starts_at(path, facts), facts))
    if not [label for label in options.labels if label.strip()]:
        faults.append("no labels given: say what to look for, for example --label 'a dog'")
    try:
        hub.require(resolve_model(options.model, models_dir()), models_dir())
    except ConfigError as exc:
        faults.extend(fault.replace("MODEL=", "--model ", 1) for fault in exc.faults)
    faults.extend(folder_faults("--out", options.out))
    faults.extend(_word_faults(options))
    if faults:
        raise ConfigError(faults)
    return tuple(recordings)


def _word_faults(options: AnalyzeOptions) -> list[str]:
    """Say what is wrong with labels, background and threshold, whatever is wrong with the files."""
    camera = {
        "id": "recording",
        "url": "recording.mp4",
        "labels": [label for label in options.labels if label.strip()] or ["-"],  # none: told already
        "background": list(options.background),
        "threshold": options.threshold,
    }
    try:
        parse_cameras({"cameras": [camera]}, "command line", Path.cwd(), {})
    except ConfigError as exc:
        named = (re.sub(r"^command line: camera '[^']*': ", "--", fault) for fault in exc.faults)
        return list(dict.fromkeys(named))
    return []


async def analyze(
    options: AnalyzeOptions,
    recordings: Sequence[RecordingFile],
    stop: asyncio.Event,
    progress: Callable[[str, float], None],
) -> Analysis:
    """Run the pipeline over `recordings`; `progress(stage, share 0..1)` is called as it goes.

    Clips end up as <out>/<camera>/<event id>-<n>.mp4. Raises ServiceFailed when a service gave up, ConfigError when
    `out` cannot be written.
    """
    async with work_folder(options.out) as work:
        cameras_file = work / "cameras.yml"
        with cameras_file.open("w", encoding="utf-8") as file:
            YAML().dump(_document(options, recordings), file)
        plan = StackPlan(
            data_dir=work,
            cameras_file=cameras_file,
            model=options.model,
            models_dir=models_dir(),
            media_dir=work / "media",
            listen=ListenAddress(port=0),
            weather="none",
            is_finite=True,
            log_level="WARNING",
        )
        async with running(plan) as stack:
            faults = await _until_done(stack, stop, progress)
            n_dead = await stack.dead_letters()
            async with Records.open(stack.database_url, plan.media_dir) as records:
                events = await records.all_events()
        events = [_with_moved_files(event, options.out.resolve()) for event in events]
        return Analysis(tuple(events), tuple(recordings), tuple(faults), n_dead)


async def _until_done(stack: Stack, stop: asyncio.Event, progress: Callable[[str, float], None]) -> list[str]:
    states: list[dict[str, Any]] = []  # Any: motion's JSON
    most_waiting = 1
    while not await stack.is_done():
        if stop.is_set():
            raise ServiceFailed(["interrupted: nothing was kept"], 1)
        if stack.failure.done():
            gone = stack.failure.result()
            raise ServiceFailed(_last_words(gone.last_lines) or [str(gone)], 2 if gone.exit_code == 2 else 1)
        states = await stack.cameras() or states
        done_s = sum(min(float(s.get("position_s") or 0), float(s.get("duration_s") or 0)) for s in states)
        whole_s = sum(float(s.get("duration_s") or 0) for s in states)
        if stack.children["motion"].is_finished:
            waiting = await stack.backlog() or 0
            most_waiting = max(most_waiting, waiting)
            progress("naming", 1 - waiting / most_waiting)
        elif whole_s:
            progress("watching", done_s / whole_s)
        else:
            progress("starting", 0.0)
        await pause(POLL_S, stop)
    progress("done", 1.0)
    states = await asyncio.to_thread(stack.last_cameras) or states
    return [f"{s['id']}: {s['message']}" for s in states if s.get("message")]


def _last_words(lines: Sequence[str]) -> list[str]:
    """Return a service's own messages about its settings, without the lines of its log."""
    return [line for line in lines if re.match(r"(motion|classifier|recorder): ", line)][-5:]


def _document(
    options: AnalyzeOptions, recordings: Sequence[RecordingFile]
) -> dict[str, Any]:  # Any: a YAML document
    return {
        "cameras": [
            {
                "id": recording.camera,
                "url": recording.path.as_uri(),  # whatever its name: nothing of it is taken for ${NAME} or a scheme
                "labels": list(options.labels),
                "background": list(options.background),
                "threshold": options.threshold,
                "pace": "fast",
                "loop": False,
                "starts_at": recording.starts_at.isoformat(),
            }
            for recording in recordings
        ]
    }


def _camera_id(path: Path, taken: set[str]) -> str:
    """Return the file's name without extension, in the characters an id may have, and unique."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem).lstrip("_.-")[:56] or "recording"
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    return name


def _starts_at(path: Path, facts: FileFacts) -> datetime:
    """Return when the recording began: its own creation time, else its last change less its length."""
    if facts.created_at:
        return to_millis(facts.created_at)
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return to_millis(changed - timedelta(seconds=facts.duration_s or 0))


def _with_moved_files(event: EventRow, out: Path) -> EventRow:
    folder = out / event.camera
    folder.mkdir(exist_ok=True)
    snippets = [
        replace(
            snippet,
            clip=_move(snippet.clip, folder / f"{event.id}-{snippet.number}.mp4"),
            thumbnail=_move(snippet.thumbnail, folder / f"{event.id}-{snippet.number}.jpg"),
        )
        for snippet in event.snippets
    ]
    return replace(event, snippets=tuple(snippets))


def _move(source: Path | None, target: Path) -> Path | None:
    if source is None or not source.exists():
        return None
    os.umask(umask := os.umask(0o077))
    source.chmod(0o666 & ~umask)  # the record's own files are private; these are the user's results
    return source.replace(target)


def event_json(event: EventRow, recording: RecordingFile) -> dict[str, Any]:  # Any: JSON values
    """Return one line of `--json`; see docs/guide/analyze.md for the fields."""

    def seconds(moment: datetime) -> float:
        return round(duration_s(recording.starts_at, moment), 3)

    return {
        "event_id": event.id,
        "camera": recording.name,
        "started_at": iso(event.started_at),
        "ended_at": iso(event.ended_at),
        "start_s": seconds(event.started_at),
        "end_s": seconds(event.ended_at),
        "label": event.label,
        "probability": round(event.probability, 4) if event.probability is not None else None,
        "labels": {text: round(peak, 4) for text, peak in event.peaks.items()},
        "accepted": list(event.accepted),
        "snippets": [
            {
                "path": str(snippet.clip) if snippet.clip else None,
                "start_s": seconds(snippet.started_at),
                "end_s": seconds(snippet.ended_at),
                "thumbnail": str(snippet.thumbnail) if snippet.thumbnail else None,
            }
            for snippet in event.snippets
        ],
        "model": event.snippets[0].model if event.snippets else None,
    }


def iso(moment: datetime) -> str:
    """Return a time as RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
