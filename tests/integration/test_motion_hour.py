"""A camera over an hour by its own clock: neither threads nor memory grow, with event after event."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.camera_hour import FPS, HOUR_S, LIMIT_S, LOOP_S

ROOT = Path(__file__).parents[2]
WARM_S = 600  # after that nothing may grow
GROWTH_MIB = 12.0  # every 7th frame of 7200 kept for ever would be 14 MiB


@pytest.mark.slow  # shorter: the bounds of ring, tracks and outbox in the unit tests
@pytest.mark.timeout(LIMIT_S + 60)
def test_a_camera_that_runs_for_an_hour_grows_neither_in_memory_nor_in_threads(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.camera_hour", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LIMIT_S + 30,
    )
    found = json.loads(done.stdout.splitlines()[-1])  # the lines before are the log's
    seen = found["seen"]
    early = [(mib, threads) for frames, mib, threads in seen if WARM_S * FPS <= frames < 2 * WARM_S * FPS]
    late = [(mib, threads) for frames, mib, threads in seen if frames >= (HOUR_S - WARM_S) * FPS]
    assert early
    assert late
    assert found["events"] >= 0.9 * HOUR_S / LOOP_S
    assert max(mib for mib, _ in late) - max(mib for mib, _ in early) < GROWTH_MIB
    assert max(threads for _, threads in late) <= max(threads for _, threads in early)
    assert found["journals"] == []
    assert found["ring"] <= FPS * 20  # its seconds bound it
