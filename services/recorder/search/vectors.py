"""The index of one model's embeddings: files of int8 rows that are scanned whole. Knows no database, no asyncio.

    <folder>/codes.i8    int8[n,D]: each embedding divided by its largest number, times 127
    <folder>/rows.bin    ROW[n]: which picture a row is, and its scale
    <folder>/about.json  model, D, n, names of the cameras; written last, so what follows row n is half-written

Rows are candidates only: the caller scores the best again by what the database holds. Both files are mapped, so
they occupy the page cache and no memory of the process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shared.clock import epoch_ms
from shared.files import write_durably

BLOCK = 4096  # rows scanned at once: 4096 x 512 float32 are 8 MB
ROW = np.dtype(
    [
        ("high", "<u8"),
        ("low", "<u8"),
        ("captured_ms", "<i8"),
        ("scale", "<f4"),
        ("snippet", "<i4"),
        ("picture", "<u2"),
        ("camera", "<u2"),
    ]
)
CAMERAS_MAX = 65_535


@dataclass(frozen=True, slots=True)
class Picture:
    """Which picture an embedding is of."""

    event_id: str
    snippet: int
    picture: int


@dataclass(frozen=True, slots=True)
class EmbeddedPicture:
    """A picture to be indexed; `embedding` is float16[D], little-endian, as the database holds it."""

    picture: Picture
    camera: str
    captured_at: datetime
    embedding: bytes


@dataclass(frozen=True, slots=True)
class PictureFilter:
    """What a search is limited to; None: not limited."""

    camera: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    cameras: frozenset[str] | None = None  # that may be seen
    but_event: str | None = None  # is left out


class Vectors:
    """One model's rows. One thread at a time may append; any may scan what was there when it began."""

    def __init__(self, folder: Path, model: str, dim: int) -> None:
        self.folder = folder
        self.model = model
        self.dim = dim
        self.cameras: list[str] = []
        self.n = 0
        folder.mkdir(parents=True, exist_ok=True)
        self._read_about()
        self._cut()
        self._map()

    def _read_about(self) -> None:
        try:
            about = json.loads((self.folder / "about.json").read_text(encoding="utf-8"))
            if (about["model"], about["dim"]) == (self.model, self.dim):
                self.n, self.cameras = int(about["n"]), list(about["cameras"])
        except (OSError, ValueError, KeyError, TypeError):
            return  # a new folder, or one that was never finished: the rows are read from the database again

    def _cut(self) -> None:
        """Let both files end with the last whole row."""
        sizes = []
        for name, size in self._sizes():
            path = self.folder / name
            path.touch()
            sizes.append(path.stat().st_size // size)
        self.n = min(self.n, *sizes)
        for name, size in self._sizes():
            os.truncate(self.folder / name, self.n * size)

    def _sizes(self) -> tuple[tuple[str, int], ...]:
        return (("codes.i8", self.dim), ("rows.bin", ROW.itemsize))

    def _map(self) -> None:
        """Take both maps at once: a scan that began goes on with the ones it has."""
        codes: NDArray[np.int8] = np.zeros((0, self.dim), dtype=np.int8)  # an empty file cannot be mapped
        rows: NDArray[np.void] = np.zeros(0, dtype=ROW)
        if self.n:
            codes = np.memmap(self.folder / "codes.i8", np.int8, "r", shape=(self.n, self.dim))
            rows = np.memmap(self.folder / "rows.bin", ROW, "r", shape=(self.n,))
        self._mapped = (codes, rows)

    def append(self, found: Sequence[EmbeddedPicture]) -> int:
        """Add rows durably; return how many: zeros stand for pictures that could not be read, and are left out."""
        if not found:
            return 0
        halves = np.frombuffer(b"".join(one.embedding for one in found), dtype="<f2").reshape(-1, self.dim)
        vectors = halves.astype(np.float32)
        largest = np.abs(vectors).max(axis=1)
        good = np.flatnonzero(np.isfinite(largest) & (largest > 0))
        if not len(good):
            return 0
        scale = largest[good] / 127
        codes = np.rint(vectors[good] / scale[:, np.newaxis]).astype(np.int8)
        rows = np.zeros(len(good), dtype=ROW)
        for at, index in enumerate(good):
            one = found[int(index)]
            number = UUID(one.picture.event_id).int
            rows[at] = (
                number >> 64,
                number & (1 << 64) - 1,
                epoch_ms(one.captured_at),
                scale[at],
                one.picture.snippet,
                one.picture.picture,
                self._camera(one.camera),
            )
        self._write("ab", codes, rows)
        self.n += len(good)
        self._write_about()
        self._map()
        return len(good)

    def _camera(self, name: str) -> int:
        if name not in self.cameras:
            self.cameras.append(name)
        return min(self.cameras.index(name), CAMERAS_MAX)

    def _write(self, mode: str, codes: NDArray[np.int8], rows: NDArray[np.void]) -> None:
        for name, values in (("codes.i8", codes), ("rows.bin", rows)):
            with (self.folder / name).open(mode) as file:
                file.write(values.tobytes())
                file.flush()
                os.fsync(file.fileno())

    def _write_about(self) -> None:
        about = {"model": self.model, "dim": self.dim, "n": self.n, "cameras": self.cameras}
        write_durably(self.folder / "about.json", json.dumps(about).encode())

    def known(self) -> Iterator[tuple[str, int]]:
        """Yield (event id, snippet) of every snippet that has rows."""
        for high, low, snippet in np.unique(self._mapped[1][["high", "low", "snippet"]]):
            yield str(UUID(int=(int(high) << 64) | int(low))), int(snippet)

    def nearest(self, query: NDArray[np.float32], within: PictureFilter, n: int) -> list[Picture]:
        """Return the up to `n` pictures with the largest (approximate) cosine to `query`, best first."""
        codes, rows = self._mapped
        scores = np.full(len(rows), -np.inf, dtype=np.float32)
        buffer = np.empty((BLOCK, self.dim), dtype=np.float32)
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            fits = self._fits(part, within)
            if not fits.any():
                continue
            block = buffer[: len(part)]
            np.copyto(block, codes[start : start + BLOCK])
            scores[start : start + BLOCK] = np.where(fits, (block @ query) * part["scale"], -np.inf)
        best = np.argpartition(-scores, n - 1)[:n] if n < len(scores) else np.arange(len(scores))
        best = best[np.argsort(-scores[best], kind="stable")]
        return [_picture(rows[index]) for index in best if np.isfinite(scores[index])]

    def _fits(self, rows: NDArray[np.void], within: PictureFilter) -> NDArray[np.bool_]:
        fits = np.ones(len(rows), dtype=np.bool_)
        if within.camera is not None:
            fits &= np.isin(rows["camera"], self._numbers({within.camera}))
        if within.cameras is not None:
            fits &= np.isin(rows["camera"], self._numbers(within.cameras))
        if within.since is not None:
            fits &= rows["captured_ms"] >= epoch_ms(within.since)
        if within.until is not None:
            fits &= rows["captured_ms"] < epoch_ms(within.until)
        if within.but_event is not None:
            high, low = divmod(UUID(within.but_event).int, 1 << 64)
            fits &= (rows["low"] != low) | (rows["high"] != high)
        return fits

    def _numbers(self, cameras: Collection[str]) -> list[int]:
        """Return what stands for these cameras in the rows; cameras beyond CAMERAS_MAX share one number."""
        return sorted({min(at, CAMERAS_MAX) for at, name in enumerate(self.cameras) if name in cameras})

    def count(self, cameras: Collection[str]) -> int:
        """Return how many rows are of these cameras."""
        return int(np.isin(self._mapped[1]["camera"], self._numbers(cameras)).sum())

    def sample(self, n: int, cameras: Collection[str] | None = None) -> NDArray[np.float32]:
        """Return up to `n` pictures of these cameras, evenly spread over the rows: float32[n,D], about unit length."""
        codes, rows = self._mapped
        mine = (
            np.arange(len(rows))
            if cameras is None
            else np.flatnonzero(np.isin(rows["camera"], self._numbers(cameras)))
        )
        if not len(mine):
            return np.zeros((0, self.dim), dtype=np.float32)
        chosen = mine[np.linspace(0, len(mine) - 1, min(n, len(mine))).astype(np.int64)]
        vectors: NDArray[np.float32] = codes[chosen].astype(np.float32) * rows["scale"][chosen][:, np.newaxis]
        return vectors

    def keep_only(self, lows: NDArray[np.uint64]) -> int:
        """Drop the rows of events whose id's lower half is not among `lows`, if they are many; return how many went."""
        old_codes, old_rows = self._mapped
        alive = np.isin(old_rows["low"], lows)
        n_dead = int(self.n - alive.sum())
        if n_dead <= self.n // 10:
            return 0
        with (self.folder / "codes.new").open("wb") as codes, (self.folder / "rows.new").open("wb") as rows:
            for start in range(0, self.n, BLOCK):
                keep = alive[start : start + BLOCK]
                codes.write(old_codes[start : start + BLOCK][keep].tobytes())
                rows.write(old_rows[start : start + BLOCK][keep].tobytes())
        (self.folder / "about.json").unlink(missing_ok=True)  # killed from here on: the index is built again
        (self.folder / "codes.new").replace(self.folder / "codes.i8")
        (self.folder / "rows.new").replace(self.folder / "rows.bin")
        self.n -= n_dead
        self._write_about()
        self._map()
        return n_dead


def _picture(row: np.void) -> Picture:
    event_id = str(UUID(int=(int(row["high"]) << 64) | int(row["low"])))
    return Picture(event_id, int(row["snippet"]), int(row["picture"]))
