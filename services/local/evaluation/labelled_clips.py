"""Which clips a folder holds and what is true of them: by list, by folder name, or by file name. Reads, judges nothing.

labels.csv (or .tsv) in the folder    a/1.mp4,a dog;a cat        the whole truth; '' or 'nothing': nothing wanted
a folder a label                      a dog/1.mp4, nothing/2.mp4
the file's name                       a dog.mp4, dog_07.mp4, 'a dog - garden.mp4'   (with --label 'a dog')
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.motion.sources.probe import VIDEO_SUFFIXES
from shared.errors import ConfigError

CLIP_SUFFIXES = VIDEO_SUFFIXES | {
    ".mts",
    ".h264",
    ".h265",
    ".hevc",
}  # camcorders, and streams without a container
LISTS = ("labels.csv", "labels.tsv")
NOTHING_WORDS = frozenset({"", "nothing", "none", "empty", "background", "-"})
MAX_CLIPS = 100_000
MAX_LIST_BYTES = 32 * 2**20
_ARTICLE = re.compile(r"^(an?|the)\s+")
_SPLIT = re.compile(r"[\s_.,;()\[\]-]+")


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """One file, with the labels that are true of it; none: nothing wanted happens in it."""

    path: Path
    name: str  # relative to the folder
    truth: frozenset[str]


def read_folder(folder: Path, labels: Sequence[str]) -> tuple[LabelledClip, ...]:
    """Return the folder's clips by name; `labels` may be empty. Raises ConfigError with every fault at once."""
    try:
        is_folder = folder.is_dir()
    except OSError as exc:  # a name that is too long
        raise ConfigError(f"{folder}: cannot be read: {exc.strerror}") from exc
    if not is_folder:
        raise ConfigError(f"{folder}: no such folder, wanted one with clips and their true labels")
    lists = [folder / name for name in LISTS if (folder / name).is_file()]
    if len(lists) > 1:
        raise ConfigError(f"{folder}: found {' and '.join(path.name for path in lists)}, wanted one list")
    if lists:
        return _listed(folder, lists[0], labels)
    files = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in CLIP_SUFFIXES
    )
    if not files:
        raise ConfigError(f"{folder}: holds no video files; wanted clips such as {folder.name}/a dog/1.mp4")
    if len(files) > MAX_CLIPS:
        raise ConfigError(f"{folder}: {len(files)} clips, at most {MAX_CLIPS} are evaluated at once")
    return _named(folder, files, labels)


def labels_of(clips: Sequence[LabelledClip]) -> tuple[str, ...]:
    """Return every label that is true of some clip, sorted."""
    return tuple(sorted({label for clip in clips for label in clip.truth}))


def _named(folder: Path, files: Sequence[Path], labels: Sequence[str]) -> tuple[LabelledClip, ...]:
    clips: list[LabelledClip] = []
    faults: list[str] = []
    for path in files:
        inside = path.relative_to(folder)
        if len(inside.parts) > 1:
            truth = _truth(inside.parts[0].replace("_", " "), labels)
        elif (found := _in_name(path.stem, labels)) is not None:
            truth = found
        else:
            faults.append(
                f"{inside}: what is true of it? wanted it in a folder named by its label, in "
                f"{folder.name}/labels.csv, or a name that begins with a --label or 'nothing'"
            )
            continue
        clips.append(LabelledClip(path, str(inside), truth))
    if faults:
        raise ConfigError(faults)
    return tuple(clips)


def _in_name(stem: str, labels: Sequence[str]) -> frozenset[str] | None:
    """Return the labels whose words begin the file's name ('dog_07', 'a dog - garden'), the longest that fits."""
    words = _words(stem)
    fitting = [label for label in labels if _begins(words, _words(label))]
    if fitting:
        return frozenset({max(fitting, key=lambda label: len(_words(label)))})
    return frozenset() if words and words[0] in NOTHING_WORDS - {""} else None


def _begins(words: list[str], label: list[str]) -> bool:
    return bool(label) and words[: len(label)] == label


def _words(text: str) -> list[str]:
    return [
        word for word in _SPLIT.split(_ARTICLE.sub("", text.strip().casefold().replace("_", " "))) if word
    ]


def _truth(text: str, labels: Sequence[str]) -> frozenset[str]:
    """Return the labels named in 'a dog;a cat'; a word that means a known label ('dog') becomes that label."""
    found: set[str] = set()
    for part in (part.strip() for part in text.split(";")):
        if part.casefold() in NOTHING_WORDS:
            continue
        known = [label for label in labels if label == part] or [
            label for label in labels if _words(label) == _words(part)
        ]
        found.add(known[0] if known else part)
    return frozenset(found)


def _listed(folder: Path, path: Path, labels: Sequence[str]) -> tuple[LabelledClip, ...]:
    rows = _table_rows(path)
    clips: dict[str, LabelledClip] = {}
    faults: list[str] = []
    for where, name, text in rows:
        file = folder / name
        if not name or not file.is_file() or not file.resolve().is_relative_to(folder.resolve()):
            faults.append(f"{path.name}: {where}: '{name}': no such file in {folder}")
        elif name in clips:
            faults.append(f"{path.name}: {where}: '{name}' is listed twice; put its labels in one row, 'a;b'")
        else:
            clips[name] = LabelledClip(file, name, _truth(text, labels))
    if not rows:
        faults.append(f"{path.name}: lists no clips; wanted rows of file,labels")
    if faults:
        raise ConfigError(faults)
    return tuple(clips.values())


def _table_rows(path: Path) -> list[tuple[str, str, str]]:
    text = _text(path)
    reader = csv.reader(io.StringIO(text), delimiter="\t" if path.suffix == ".tsv" else ",")
    rows: list[tuple[str, str, str]] = []
    for row in reader:
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if not rows and [cell.casefold() for cell in cells[:2]] in (["file", "labels"], ["file", "label"]):
            continue
        rows.append((f"line {reader.line_num}", cells[0], ";".join(cells[1:])))
    return rows


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_LIST_BYTES:
            raise ConfigError(f"{path}: {size} bytes, at most {MAX_LIST_BYTES} are read")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}; wanted UTF-8 text") from exc
