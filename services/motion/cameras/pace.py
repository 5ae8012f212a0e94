"""Plays a recording at its own speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_PAUSE_S = 5.0  # more than a group of pictures of which the key frames alone are decoded


@dataclass(slots=True)
class Pace:
    """Holds a reader back to the speed of the recording.

    A reader that is more than 2 s late need not catch up; at a discontinuity it waits LONGEST_PAUSE_S at most.
    """

    _media_s: float
    _wall_s: float
    _now_s: Callable[[], float] = time.monotonic

    def wait(self, t_s: float, stop: threading.Event, beat: Callable[[], None]) -> None:
        """Wait until the frame of `t_s` is due."""
        ahead_s = self._ahead_s(t_s)
        if ahead_s < -2.0:
            self._wall_s += -ahead_s
        if ahead_s > LONGEST_PAUSE_S:
            self._wall_s -= ahead_s - LONGEST_PAUSE_S
            ahead_s = LONGEST_PAUSE_S
        while ahead_s > 0 and not stop.is_set():
            stop.wait(min(ahead_s, 1.0))
            beat()
            ahead_s = self._ahead_s(t_s)

    def _ahead_s(self, t_s: float) -> float:
        return (t_s - self._media_s) - (self._now_s() - self._wall_s)
