"""Models whose two towers are files of their own, OpenVINO's IR or ONNX: what these files are called.

Knows names of files and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigError

INT8_FILE = "image-int8.xml"
# Image and text tower, best first: our own, Hugging Face's exports (beside each other, or as on the hub), Immich's
_PAIRS = (
    ("image.xml", "text.xml"),
    ("image.onnx", "text.onnx"),
    ("vision_model.onnx", "text_model.onnx"),
    ("onnx/vision_model.onnx", "onnx/text_model.onnx"),
    ("visual/model.onnx", "textual/model.onnx"),
)
SUBFOLDERS = ("onnx", "visual", "textual")
# Weights outside of an ONNX file, which holds 2 GB at most
_OUTSIDE = ("_data", ".data")


@dataclass(frozen=True, slots=True)
class TowerFiles:
    """A model's two towers; an IR's weights lie beside each, as .bin."""

    image: Path
    text: Path


def tower_files(folder: Path) -> TowerFiles | None:
    """Return the towers in a folder, None where it holds neither; raise ConfigError, one line, for one of two.

    One alone beside a model's weights is of no interest.
    """
    halves = []
    for names in _PAIRS:
        here = [(folder / name).is_file() for name in names]
        if all(here):
            found = TowerFiles(*(folder / name for name in names))
            for path in (found.image, found.text):
                if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
                    raise ConfigError(f"{path.with_suffix('.bin')}: not there, wanted beside {path.name}")
            return found
        if any(here):
            halves.append((names[here.index(True)], names[here.index(False)]))
    if halves and not any(path.suffix == ".safetensors" for path in folder.iterdir()):
        there, absent = halves[0]
        raise ConfigError(f"{folder}: holds one tower, {there}; wanted {absent} as well")
    return None


def has_towers(folder: Path) -> bool:
    """Tell whether a folder holds both towers."""
    return any(all((folder / name).is_file() for name in names) for names in _PAIRS)


def wanted_files(names: Iterable[str]) -> tuple[str, ...]:
    """Return which of a repository's files are needed to have its towers; () where it has no pair.

    `names` are paths inside the repository.
    """
    known = set(names)
    pair = next((pair for pair in _PAIRS if known.issuperset(pair)), None)
    if pair is None:
        return ()
    beside = {str(Path(name).with_suffix(".bin")) for name in pair if name.endswith(".xml")}
    beside |= {name + end for name in pair for end in _OUTSIDE}
    small = {name for name in known if name.count("/") <= 1 and name.endswith((".json", ".txt", ".model"))}
    return tuple(sorted((known & beside) | small | set(pair)))


def files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Give a model folder's files by name, those in the subfolders that towers lie in included."""
    for name in ("", *SUBFOLDERS):
        if (folder / name).is_dir():
            for path in sorted((folder / name).iterdir()):
                if path.is_file():
                    yield path.relative_to(folder).as_posix(), path
