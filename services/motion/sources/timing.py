"""Turns the timestamps of a stream into epoch seconds. Pure: arrival times are given.

Streams lie: timestamps are missing, jump, wrap around or stand still. Shown times must not go back, except within a
group that is stored out of order (B-frames).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

REORDER_S = (
    2.0  # within this, a smaller timestamp is a frame stored out of order; beyond it, the clock jumped
)
LIVE_JUMP_S = 5.0
REMEMBERED = 1024


@dataclass(slots=True)
class FileTimes:
    """A recording: the first frame is at `starts_s`, the others where their timestamps put them."""

    starts_s: float
    frame_s: float  # usual distance of two frames, for those without a timestamp
    _offset_s: float | None = None
    _latest_s: float = 0.0
    _clock_s: float = 0.0
    _started: bool = False

    def of_packet(self, pts_s: float | None, arrived_s: float, dts_s: float | None = None) -> float:  # noqa: ARG002  # one port for both
        """Return when the packet with presentation time `pts_s` is shown."""
        if pts_s is None:
            return self._next()
        if self._offset_s is None:
            self._offset_s = self.starts_s - pts_s
        shown_s = pts_s + self._offset_s
        clock_s = (
            pts_s if dts_s is None else dts_s
        )  # decoding times never go back, however far frames are reordered
        if self._started and clock_s < self._clock_s - REORDER_S:
            self._offset_s += self._latest_s + self.frame_s - shown_s
            shown_s = pts_s + self._offset_s
        self._started = True
        self._clock_s = clock_s
        self._latest_s = max(self._latest_s, shown_s)
        return shown_s

    def of_frame(self, pts_s: float | None) -> float | None:
        """Return the same for a decoded frame; None when it has no timestamp."""
        return None if pts_s is None or self._offset_s is None else pts_s + self._offset_s

    def _next(self) -> float:
        self._latest_s = self._latest_s + self.frame_s if self._started else self.starts_s
        self._started = True
        return self._latest_s


@dataclass(slots=True)
class LiveTimes:
    """A camera: arrival by the wall clock, smoothed by the stream's own timestamps.

    The offset between the two clocks falls at once (nothing arrives before it was taken: an early packet shows that the
    others were late) and rises slowly (the clocks drift).
    """

    frame_s: float
    _offset_s: float | None = None
    _latest_s: float = 0.0
    _latest_pts_s: float = 0.0
    _known: OrderedDict[float, float] = field(default_factory=OrderedDict)

    def of_packet(self, pts_s: float | None, arrived_s: float, dts_s: float | None = None) -> float:  # noqa: ARG002
        """Return when the packet that arrived at `arrived_s` was taken."""
        if pts_s is None:
            shown_s = max(arrived_s, self._latest_s + 1e-3)
            self._latest_s = shown_s
            return shown_s
        if self._offset_s is None:
            self._offset_s = arrived_s - pts_s
            self._latest_pts_s = pts_s - 1e-6
        late_s = arrived_s - (pts_s + self._offset_s)
        if abs(late_s) > LIVE_JUMP_S or pts_s < self._latest_pts_s - REORDER_S:
            self._offset_s = arrived_s - pts_s
            self._latest_pts_s = pts_s - 1e-6
        elif late_s < 0:
            self._offset_s += late_s
        else:
            self._offset_s += 0.002 * late_s
        shown_s = pts_s + self._offset_s
        if pts_s > self._latest_pts_s:
            shown_s = max(shown_s, self._latest_s + 1e-3)
            self._latest_pts_s = pts_s
        self._latest_s = max(self._latest_s, shown_s)
        self._known[pts_s] = shown_s
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return shown_s

    def of_frame(self, pts_s: float | None) -> float | None:
        """Return the time that the frame's packet got; None when it is not known."""
        return None if pts_s is None else self._known.get(pts_s)
