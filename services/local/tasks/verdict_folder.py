"""A folder of pictures with a table, verdicts.csv: what a camera has learned, to look at, to keep, to bring in again.

    number  column    what it says
    1       file      the picture, below the folder; empty: it is gone
    2       label     the label that it is about; empty: none of the camera's labels is there
    3       shows     yes: it shows the label; no: it does not
    4       event     shared by pictures of one event; may be left out
    …       camera, captured_at, said_by, said_at, model, note: for people; not read again

A cell that a spreadsheet would take for a formula starts with an apostrophe (as OWASP advises against CSV injection);
one apostrophe at the start of a cell is left out when it is read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.local.tasks.clip_pictures import ClipPictureError, picture_of
from services.local.tasks.picture_file import picture_to_send
from shared.errors import ConfigError, reason

TABLE = "verdicts.csv"
COLUMNS = ("file", "label", "shows", "event", "camera", "captured_at", "said_by", "said_at", "model", "note")
NEEDED = ("file", "label", "shows")
ROWS_MAX = 2000
TABLE_BYTES_MAX = 4 * 1024 * 1024
LABEL_CHARS, EVENT_CHARS = 200, 64
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")
_SHOWS = {"yes": True, "no": False}
Json = Mapping[str, Any]  # Any: what the recorder answers


@dataclass(frozen=True, slots=True)
class PictureRow:
    """A row that is to be brought in. `label` None: none of the camera's labels is there."""

    line: int
    path: Path
    label: str | None
    shows: bool
    event: str | None


@dataclass(frozen=True, slots=True)
class PictureTable:
    """The rows of a folder, and how many have no picture."""

    rows: tuple[PictureRow, ...]
    n_without: int


@dataclass(frozen=True, slots=True)
class Exported:
    """How many examples were written, and how many of them without a picture."""

    n_rows: int
    n_without: int


def require_empty(folder: Path) -> None:
    """Make a folder; raise ConfigError for one that holds something."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_empty = next(folder.iterdir(), None) is None
    except OSError as exc:
        raise ConfigError(f"--export {folder}: {reason(exc)}; name a folder that can be written") from exc
    if not is_empty:
        raise ConfigError(f"--export {folder}: it is not empty; name a new folder, or empty it")


def write_folder(
    folder: Path, examples: Iterable[tuple[str, Json]], clip: Callable[[str], bytes]
) -> Exported:
    """Write (camera, example) as the recorder tells them; `clip` fetches one. Raises OSError, and what `clip` does."""
    last: tuple[str, bytes] = "", b""
    n_rows = n_without = 0
    with (folder / TABLE).open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for camera, example in examples:
            name, note = f"{int(example['number']):06}.jpg", ""
            if example["clip_url"] is None:
                note = "its clip is gone"
            else:
                if last[0] != example["clip_url"]:
                    last = example["clip_url"], clip(example["clip_url"])
                try:
                    picture = picture_of(last[1], float(example["offset_s"]), example["box"])
                    (folder / name).write_bytes(picture)
                except ClipPictureError as exc:
                    note = str(exc)
            n_rows, n_without = n_rows + 1, n_without + bool(note)
            table.writerow(_cells("" if note else name, camera, example, note))
    return Exported(n_rows, n_without)


def _cells(name: str, camera: str, example: Json, note: str) -> list[str]:
    said = (example["label"] or "", "yes" if example["is_right"] else "no", example["event_id"], camera)
    about = (example["captured_at"], example["made_by"], example["made_at"], example["model"], note)
    return [f"'{text}" if text.startswith(_FORMULA) else text for text in map(str, (name, *said, *about))]


def read_folder(folder: Path) -> PictureTable:
    """Return the rows of a folder whose pictures can be read; raise ConfigError with all that is wrong."""
    where = f"--import {folder / TABLE}"
    rows: list[PictureRow] = []
    faults: list[str] = []
    n_without = 0
    for line, cells in list(_lines(folder / TABLE, where)):
        row, fault = _row(folder, line, cells)
        if fault:
            faults.append(f"{where}: line {line}: {fault}")
        elif row is None:
            n_without += 1
        else:
            rows.append(row)
            try:
                picture_to_send(row.path, f"{where}: line {line}:", "a picture (JPEG, PNG, WebP, …)")
            except ConfigError as exc:
                faults += exc.faults
    if faults:
        raise ConfigError(faults)
    return PictureTable(tuple(rows), n_without)


def _lines(path: Path, where: str) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        if path.stat().st_size > TABLE_BYTES_MAX:
            raise ConfigError(f"{where}: more than {TABLE_BYTES_MAX >> 20} MiB; split it")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise ConfigError(f"{where}: {reason(exc)}; wanted a folder as --export writes it") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{where}: not UTF-8; save it as CSV (UTF-8)") from exc
    table = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(table, [])
        missing = [name for name in NEEDED if names.count(name) != 1]
        if missing:
            listed = ", ".join(missing)
            raise ConfigError(
                f"{where}: without the columns {listed}; wanted a header with {', '.join(NEEDED)}"
            )
        for n, cells in enumerate((cells for cells in table if cells), 1):
            if n > ROWS_MAX:
                raise ConfigError(f"{where}: more than {ROWS_MAX} rows; split it")
            yield table.line_num, dict(zip(names, (_text(cell) for cell in cells), strict=False))
    except csv.Error as exc:
        raise ConfigError(f"{where}: line {table.line_num}: {exc}; wanted CSV with commas") from exc


def _text(cell: str) -> str:
    return cell.removeprefix("'").strip()


def _row(folder: Path, line: int, cells: Mapping[str, str]) -> tuple[PictureRow | None, str]:
    """Return a row (None: it has no picture), and what is wrong with it."""
    name, label, shows = (cells.get(column, "") for column in NEEDED)
    if not name:
        return None, ""
    faults = []
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            faults.append(f"file {name[:80]!r}: outside the folder")
        elif not path.is_file():
            faults.append(f"file {name[:80]!r}: no such file")
    except (OSError, ValueError) as exc:
        faults.append(f"file {name[:80]!r}: {exc}")
    if shows.lower() not in _SHOWS:
        faults.append(f"shows {shows[:20]!r}: wanted yes or no")
    elif not label and _SHOWS[shows.lower()]:
        faults.append("shows 'yes' without a label")
    if len(label) > LABEL_CHARS or not label.isprintable():
        faults.append(f"label {label[:40]!r}: wanted at most {LABEL_CHARS} printable characters")
    event = cells.get("event", "")
    if len(event) > EVENT_CHARS or not event.isprintable():
        faults.append(f"event {event[:40]!r}: wanted at most {EVENT_CHARS} printable characters")
    if faults:
        return None, "; ".join(faults)
    return PictureRow(line, path, label or None, _SHOWS[shows.lower()], event or None), ""
