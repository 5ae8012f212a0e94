"""The newest frame on its way from a live camera's reader to its detector."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from services.motion.media.frame import Frame
from services.motion.sources.stream import ReadResult, SourceStream


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame on its way to the detector, and the stream that it is of."""

    frame: Frame
    video: SourceStream
    is_peek: bool = False
    is_replay: bool = False


@dataclass(slots=True)
class FrameSlot:
    """Holds one frame, the newest, between the reader and the detector."""

    _ready: threading.Condition = field(default_factory=threading.Condition)
    _frame: PendingFrame | None = None
    ended: str | None = None  # why the reader ended
    packet_s: float | None = None  # monotonic time of the last packet
    frame_s: float | None = None  # monotonic time of the last decoded frame, or of the first packet

    def put(self, frame: PendingFrame, wait_s: float = 0.0) -> bool:
        """Put a frame in; return False when it replaced one that nobody took within `wait_s`."""
        with self._ready:
            was_free = self._ready.wait_for(lambda: self._frame is None, wait_s)
            self._frame = frame
            self._ready.notify_all()
            return was_free

    def note(self, read: ReadResult) -> None:
        """Note that a packet came, and whether frames did."""
        self.packet_s = time.monotonic()
        if read.frames or self.frame_s is None:
            self.frame_s = self.packet_s

    def end(self, why: str) -> None:
        """Note that the reader ended."""
        with self._ready:
            self.ended = why
            self._ready.notify_all()

    def take(self, timeout_s: float) -> PendingFrame | None:
        """Return the frame, waiting for one while the reader runs; None when none came in time."""
        with self._ready:
            if self._frame is None and self.ended is None:
                self._ready.wait(timeout_s)
            frame, self._frame = self._frame, None
            self._ready.notify_all()  # a reader that replays waits for room
            return frame
