"""`clipwatch verdicts --export` and `--import`: between the recorder and a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.local.commands.command_line import EXIT_BAD_INPUT, EXIT_FAILED, fail, progress_unless
from services.local.tasks import recorder_client
from services.local.tasks.picture_file import picture_to_send
from services.local.tasks.recorder_address import RecorderAddress
from services.local.tasks.recorder_client import Json
from services.local.tasks.verdict_folder import TABLE, read_folder, require_empty, write_folder
from shared.errors import ConfigError, reason
from shared.plurals import plural
from shared.terminal_text import say, say_json


def export_verdicts(recorder: RecorderAddress, folder: Path, camera: str | None, *, as_json: bool) -> None:
    """Write what was learned on one camera, or on all, into a new folder."""
    require_empty(folder)
    cameras = recorder_client.verdict_cameras(recorder) if camera is None else [camera]

    def every() -> Iterator[tuple[str, Json]]:
        for one in cameras:
            for example in recorder_client.camera_examples(recorder, one):
                yield one, example

    try:
        done = write_folder(folder, every(), lambda address: recorder_client.clip(recorder, address))
    except OSError as exc:
        fail([f"--export {folder}: {reason(exc)}"], EXIT_FAILED)
    if as_json:
        say_json({"table": str(folder / TABLE), "examples": done.n_rows, "without_picture": done.n_without})
        return
    text = f"{plural(done.n_rows, 'example')} in {folder / TABLE}"
    say(f"{text}, {done.n_without} without a picture; its note says why" if done.n_without else text)


def import_verdicts(recorder: RecorderAddress, folder: Path, camera: str | None, *, as_json: bool) -> None:
    """Bring in the pictures of a folder; go on where one is refused, and say so of all of them at the end."""
    if camera is None:
        raise ConfigError("--import without a camera; say --camera ID: what is brought in is learned there")
    found = read_folder(folder)
    n_new = n_there = 0
    faults: list[str] = []
    with progress_unless(as_json) as progress:
        for at, row in enumerate(found.rows):
            progress("bringing in", at / len(found.rows))
            asked = {"label": row.label, "is_right": "yes" if row.shows else "no", "event": row.event}
            where = f"--import {folder / TABLE}: line {row.line}:"
            picture = picture_to_send(row.path, where, "a picture")
            try:
                answer = recorder_client.add_example(recorder, camera, asked, picture)
            except ConfigError as exc:
                faults += [f"{where} {fault}" for fault in exc.faults]
                continue
            n_new, n_there = n_new + answer["is_new"], n_there + (not answer["is_new"])
    said = {
        "new": n_new,
        "there_already": n_there,
        "without_picture": found.n_without,
        "refused": len(faults),
    }
    if as_json:
        say_json({"camera": camera, **said})
    else:
        text = f"{plural(n_new, 'picture')} brought in on {camera}"
        text += f"; {n_there} there already" if n_there else ""
        say(text + (f"; {plural(found.n_without, 'row')} without a picture" if found.n_without else ""))
    if faults:
        fail(faults, EXIT_BAD_INPUT)
