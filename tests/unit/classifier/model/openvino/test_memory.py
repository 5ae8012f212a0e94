"""Pages of mapped files are let go of, and read again from the file when they are wanted."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from services.classifier.model.openvino.memory import release

N_BYTES = 8 * 2**20


def resident(path: Path) -> int:
    """Return how many bytes of a mapped file are in memory."""
    found, is_it = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name = line.split()[0]
        if not name.endswith(":"):
            is_it = line.endswith(str(path))
        elif is_it and name == "Rss:":
            found += 1024 * int(line.split()[1])
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_mapped_file_leaves_memory_and_keeps_its_content(tmp_path: Path) -> None:
    path = tmp_path / "weights with a space"
    path.write_bytes(bytes(range(256)) * (N_BYTES // 256))
    mapped = np.memmap(path, np.uint8, mode="c")
    total = int(mapped.sum())
    assert resident(path) == N_BYTES
    assert release([tmp_path / "another"]) == 0
    assert resident(path) == N_BYTES
    assert release([path]) == N_BYTES
    assert resident(path) == 0
    assert int(mapped.sum()) == total


def test_without_proc_nothing_is_done(tmp_path: Path) -> None:
    assert release([tmp_path], maps=tmp_path / "none") == 0
