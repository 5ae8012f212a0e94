"""Whether files are what they should be: checksums, and golden embeddings. Knows no torch and no network.

Where the right checksum comes from:
  a model folder       SHA256SUMS in it, or the `files` of manifest.json (`mini`)
  the hub's cache      the name of the blob: sha256 of a large file, git's sha1 of a small one
  neither              the checksum of the first look; only a file that changed under the same date is noticed

A large file is hashed once. Its size, time and inode are kept with the checksum in RECORD_FILE, which also holds the
golden embeddings: those of a picture and a text that ship, made by open_clip's own transform in float32 the first time
that the weights had the right checksum. Every later start must come to the same ones by the fast way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.classifier.weights.names import OURS_FILE, WEIGHT_SUFFIXES, how_to_get, read_json
from services.classifier.weights.tower_pairs import SUBFOLDERS, files_of
from shared.errors import ConfigError
from shared.files import write_durably

SUMS_FILE = "SHA256SUMS"
MANIFEST_FILE = "manifest.json"
RECORD_FILE = "checked.json"
GOLDEN_PICTURE = Path(__file__).with_name("golden.jpg")
GOLDEN_TEXT = "a street with people and cars"
# float32: the fast resize is at most 1 of 255 off (Pillow's and torch's); lower precision: 0.9985 was the tests' worst
# int8: 0.9995 off float32 at most (int8_proof.py), and that 0.999 off: their angles add up to a cosine of 0.9971
LEAST_COSINE = {"float32": 0.999, "bfloat16": 0.99, "float16": 0.99, "int8": 0.997}
CAPACITY = 500  # files, and golden embeddings, that are remembered
_SUM_LINE = re.compile(r"(?P<sha256>[0-9a-f]{64}) [ *](?P<name>.+)")


@dataclass(frozen=True, slots=True)
class GoldenEmbeddings:
    """Embeddings of GOLDEN_PICTURE and GOLDEN_TEXT, float32[D] each, of the weights with that checksum."""

    weights: str
    picture: NDArray[np.float32]
    text: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ChecksumResult:
    """What was checked. `weights` is one checksum over all files that hold weights."""

    weights: str
    n_files: int
    n_bytes: int
    is_verified: bool  # false: nothing said what the checksums should be


class ChecksumRecord:
    """Checksums and golden embeddings of earlier starts, in one small file; without a folder it forgets them.

    Two processes may write it at a time: the file is replaced whole, and what one of them loses is made again.
    """

    def __init__(self, folder: Path | None) -> None:
        self._path = folder / RECORD_FILE if folder else None
        self._files: dict[str, list[Any]] = {}  # Any: JSON: size, mtime_ns, inode, sha256
        self._golden: dict[str, dict[str, Any]] = {}
        try:
            value = json.loads(self._path.read_text(encoding="utf-8")) if self._path else {}
            self._files, self._golden = dict(value["files"]), dict(value["golden"])
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or broken: everything is hashed again
            self._files, self._golden = {}, {}

    def sha256(self, path: Path, again: bool = False) -> tuple[str, str]:
        """Return a file's sha256, and the one it had when its size, time and inode were the same as now, or ''."""
        key = str(path.resolve())
        stat = Path(key).stat()
        now = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        kept = self._files.get(key)
        before = str(kept[3]) if isinstance(kept, list) and len(kept) == 4 and kept[:3] == now else ""
        if before and not again:
            return before, before
        found = hash_file(path)
        if not before or before == found:
            self._files[key] = [*now, found]
        return found, before

    def golden(self, name: str, weights: str) -> GoldenEmbeddings | None:
        """Return the golden embeddings of these weights, None when none were made."""
        kept = self._golden.get(name)
        try:
            if kept is None or kept["weights"] != weights:
                return None
            picture, text = (np.asarray(kept[part], dtype=np.float32) for part in ("picture", "text"))
        except (KeyError, TypeError, ValueError):
            return None
        return GoldenEmbeddings(weights, picture, text)

    def has_golden(self, name: str) -> bool:
        """Tell whether a model once had the right checksums, and its golden embeddings were made."""
        return name in self._golden

    def remember_golden(self, name: str, golden: GoldenEmbeddings) -> None:
        """Remember golden embeddings."""
        self._golden[name] = {
            "weights": golden.weights,
            "picture": [round(float(value), 6) for value in golden.picture],
            "text": [round(float(value), 6) for value in golden.text],
        }

    def save(self) -> None:
        """Write it; a folder that cannot be written (an image's own) only costs the hashing at the next start."""
        if self._path is None:
            return
        files = {key: value for key, value in self._files.items() if Path(key).exists()}
        value = {
            "files": dict(list(files.items())[-CAPACITY:]),
            "golden": dict(list(self._golden.items())[-CAPACITY:]),
        }
        with contextlib.suppress(OSError):
            write_durably(self._path, json.dumps(value).encode())


def check_folder(name: str, folder: Path, record: ChecksumRecord, again: bool = False) -> ChecksumResult:
    """Compare a model folder with its list of checksums; raise ConfigError, all faults at once.

    clipwatch.json is left out: its settings may be edited.
    """
    wanted = read_sums(folder)
    by_name = {path: name for name, path in files_of(folder) if path.suffix in WEIGHT_SUFFIXES}
    weights = list(by_name)
    again_how = how_to_get(name)
    if wanted is None:
        found = _hashed(weights, record, again, again_how)
        return ChecksumResult(_together(found.values()), len(found), _size(weights), is_verified=False)
    faults = [
        f"{path}: not named in the folder's list of checksums: delete it, or {again_how}"
        for path in weights
        if by_name[path] not in wanted
    ]
    digests: dict[Path, str] = {}
    for file, right in sorted(wanted.items()):
        path = folder / file
        if file == OURS_FILE:
            continue
        if not path.is_file():
            faults.append(f"{path}: not there, wanted by the folder's list of checksums: {again_how}")
            continue
        digests[path], _ = record.sha256(path, again)
        if digests[path] != right:
            faults.append(_corrupt(path, digests[path], right, again_how))
    if faults:
        raise ConfigError(faults)
    together = _together(digests[path] for path in weights)
    return ChecksumResult(together, len(digests), _size(digests), is_verified=True)


def check_cache(
    name: str, files: Sequence[Path], record: ChecksumRecord, again: bool = False
) -> ChecksumResult:
    """Compare files of the hub's cache with their blobs' names; raise ConfigError, all faults at once.

    Where the cache holds copies instead of links there is no such name, and the first checksum is all there is.
    """
    faults: list[str] = []
    digests: dict[Path, str] = {}
    is_verified = True
    again_how = how_to_get(name)
    for path in files:
        right = blob_name(path)
        if right and len(right) == 40:  # git's, of a small file
            found = git_sha1(path)
        else:
            found, before = record.sha256(path, again)
            digests[path] = found
            if not right:
                is_verified = is_verified and path.suffix not in WEIGHT_SUFFIXES
                right = before or found
        if found != right:
            # the blob: were only its link deleted, the hub's library would link the same bytes again
            how = f"delete it and {how_to_get(name)}"
            faults.append(_corrupt(path.resolve(), found, right, how))
    if faults:
        raise ConfigError(faults)
    weights = [path for path in digests if path.suffix in WEIGHT_SUFFIXES]
    if not weights:
        raise ConfigError(f"MODEL={name}: no weights among its {len(files)} files; {again_how}")
    return ChecksumResult(_together(digests[path] for path in weights), len(files), _size(files), is_verified)


def write_sums(folder: Path) -> Path:
    """Write SHA256SUMS for the files that a folder has now, in the format of `sha256sum`."""
    names = sorted(
        name
        for name, path in files_of(folder)
        if name not in (SUMS_FILE, OURS_FILE) and not path.name.startswith(".")
    )
    text = "".join(f"{hash_file(folder / name)}  {name}\n" for name in names)
    path = folder / SUMS_FILE
    write_durably(path, text.encode(), 0o644)
    return path


def read_sums(folder: Path) -> Mapping[str, str] | None:
    """Return the right sha256 of a folder's files by name, None when the folder does not say."""
    path = folder / SUMS_FILE
    if path.is_file():
        found = {}
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            match = _SUM_LINE.fullmatch(line)
            if match is None or not _is_inside(match["name"]):
                raise ConfigError(f"{path}: line {number}: wanted `SHA256  NAME`: make it with sha256sum")
            found[match["name"]] = match["sha256"]
        return found
    if (folder / MANIFEST_FILE).is_file():
        files = read_json(folder / MANIFEST_FILE).get("files")
        if isinstance(files, dict) and all(_is_inside(str(name)) for name in files):
            return {str(name): str(sha256) for name, sha256 in files.items()}
    return None


def compare(name: str, dtype: str, golden: GoldenEmbeddings, found: GoldenEmbeddings) -> None:
    """Raise ConfigError where embeddings of this start are not the golden ones."""
    faults = []
    for what, wanted, now, least in (
        ("picture", golden.picture, found.picture, LEAST_COSINE[dtype]),
        ("text", golden.text, found.text, LEAST_COSINE["float32"]),  # the text tower stays in float32
    ):
        cosine = float(wanted @ now) if wanted.shape == now.shape else float("nan")
        if not cosine >= least:
            why = "preprocess_cfg or the image tower" if what == "picture" else "the tokenizer or text tower"
            faults.append(
                f"MODEL={name}: the embedding of the golden {what} has cosine {cosine:.4f} with its golden value, "
                f"wanted at least {least}: {why} is not what it was; {how_to_get(name)}, or delete {RECORD_FILE} in "
                "the models directory if the change is meant"
            )
    if faults:
        raise ConfigError(faults)


def blob_name(path: Path) -> str:
    """Return the checksum that the hub's cache names a file's blob by, '' where it holds a copy."""
    if not path.is_symlink():
        return ""
    name = path.readlink().name
    return name if re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", name) else ""


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}: make it readable") from exc


def git_sha1(path: Path) -> str:
    """Return git's object name of a file (git-hash-object)."""
    data = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _hashed(paths: Iterable[Path], record: ChecksumRecord, again: bool, how: str) -> dict[Path, str]:
    faults, digests = [], {}
    for path in paths:
        digests[path], before = record.sha256(path, again)
        if before and before != digests[path]:
            faults.append(_corrupt(path, digests[path], before, how))
    if faults:
        raise ConfigError(faults)
    return digests


def _corrupt(path: Path, found: str, wanted: str, how: str) -> str:
    return f"{path}: sha256 {found[:12]}…, wanted {wanted[:12]}…: the file is corrupt: {how}".replace(
        "sha256", "sha1" if len(wanted) == 40 else "sha256"
    )


def _together(digests: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _is_inside(name: str) -> bool:
    folder, _, rest = name.rpartition("/")
    return bool(rest) and rest not in (".", "..") and folder in ("", *SUBFOLDERS)
