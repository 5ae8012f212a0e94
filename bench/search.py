"""How fast words are found among many pictures, JSON: `PYTHONPATH=. python bench/search.py [--pictures N] [--dim D]`.

The index is filled with random unit vectors (worse for the int8 rows than real ones, which lie closer together in
fewer directions), and scanned as the recorder does, from mapped files in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np

from services.recorder.search.vectors import BLOCK, ROW, PictureFilter, Vectors

START = datetime(2026, 1, 1, tzinfo=UTC)
CAMERAS = 8
N_QUERIES = 10
N_WANTED = 192  # candidates of a search for 24 events


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), wanted.pictures, wanted.dim), indent=1))


def measure(folder: Path, n: int, dim: int) -> dict[str, object]:
    """Return the figures."""
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((N_QUERIES, dim), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = _fill(folder, n, dim, queries)
    vectors = Vectors(folder, "bench", dim)
    for query in queries[:2]:
        vectors.nearest(query, PictureFilter(), N_WANTED)
    times, recalls = [], []
    cpu_began = time.process_time()
    for query in queries:
        vectors.nearest(query, PictureFilter(), N_WANTED)
    cpu_s = (time.process_time() - cpu_began) / len(queries)
    for number, query in enumerate(queries):
        began = time.perf_counter()
        found = vectors.nearest(query, PictureFilter(), N_WANTED)
        times.append(time.perf_counter() - began)
        best = set(np.argsort(-exact[number])[:24].tolist())
        recalls.append(len(best & {UUID(one.event_id).int for one in found}) / len(best))
    filtered = []
    within = PictureFilter(camera="camera-3", since=START + timedelta(seconds=n // 2))
    for query in queries:
        began = time.perf_counter()
        vectors.nearest(query, within, N_WANTED)
        filtered.append(time.perf_counter() - began)
    return {
        "pictures": n,
        "dim": dim,
        "index_mb": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6),
        "search_s_median": round(statistics.median(times), 3),
        "search_cpu_s": round(cpu_s, 3),
        "search_s_worst": round(max(times), 3),
        "search_filtered_s_median": round(statistics.median(filtered), 3),
        "best_24_among_candidates_worst": min(recalls),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
        "numpy": np.__version__,
    }


def _fill(folder: Path, n: int, dim: int, queries: np.ndarray) -> np.ndarray:
    """Write the index's files as Vectors does, a block at a time; return the exact cosines, float32[queries,n]."""
    rng = np.random.default_rng(1)
    exact = np.empty((len(queries), n), dtype=np.float32)
    with (folder / "codes.i8").open("wb") as codes, (folder / "rows.bin").open("wb") as rows:
        for start in range(0, n, BLOCK):
            size = min(BLOCK, n - start)
            block = rng.standard_normal((size, dim), dtype=np.float32)
            block = (block / np.linalg.norm(block, axis=1, keepdims=True)).astype("<f2").astype(np.float32)
            exact[:, start : start + size] = queries @ block.T
            scale = np.abs(block).max(axis=1) / 127
            codes.write(np.rint(block / scale[:, np.newaxis]).astype(np.int8).tobytes())
            part = np.zeros(size, dtype=ROW)
            part["low"] = np.arange(start, start + size)
            part["captured_ms"] = int(START.timestamp() * 1000) + 1000 * np.arange(start, start + size)
            part["scale"] = scale
            part["camera"] = np.arange(start, start + size) % CAMERAS
            rows.write(part.tobytes())
    about = {"model": "bench", "dim": dim, "n": n, "cameras": [f"camera-{i}" for i in range(CAMERAS)]}
    (folder / "about.json").write_text(json.dumps(about))
    return exact


if __name__ == "__main__":
    main()
