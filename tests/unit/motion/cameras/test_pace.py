"""The pace of a recording."""

from __future__ import annotations

import threading

import pytest

from services.motion.cameras.pace import Pace


def test_playback_waits_a_few_seconds_at_a_pause() -> None:
    now_s = [50.0]

    class Skipped(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now_s[0] += timeout or 0.0
            return False

    pace = Pace(1000.0, 50.0, lambda: now_s[0])
    pace.wait(1002.0, Skipped(), lambda: None)
    assert now_s[0] == pytest.approx(52.0)
    pace.wait(9000.0, Skipped(), lambda: None)
    assert now_s[0] == pytest.approx(57.0)
    pace.wait(9001.0, Skipped(), lambda: None)
    assert now_s[0] == pytest.approx(58.0)
