"""The state of a camera: for GET /api/cameras, the launcher's progress bar, and the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from services.motion.metrics import MotionMetrics
from shared.errors import redact

NEWEST_SHARE = 0.05  # of an interval in the mean
SHORTEST_INTERVAL_S = 1 / 240
State = Literal["connecting", "running", "away", "ended", "failed"]


@dataclass(slots=True)
class CameraStatus:
    """Written by the camera's threads, read by any thread; every field is a single value."""

    id: str
    url: str
    metrics: MotionMetrics
    beat: Callable[[], None] = lambda: None
    state: State = "connecting"
    fps: float = 0.0
    n_pixels: int = 0  # of a picture that the clips are of; 0: not known yet
    n_frames: int = 0
    n_skipped: int = 0  # packets that were not decoded because nothing moved
    drops: Counter[str] = field(default_factory=Counter)
    last_error: str = ""  # why it does not run; empty while it does
    message: str = ""
    first_frame_s: float | None = None  # cameras: steady seconds, first frame since it was last connected
    last_frame_s: float | None = None  # cameras: steady seconds
    position_s: float | None = None  # files: seconds from their start
    duration_s: float | None = None
    is_truncated: bool = False
    is_file: bool = False
    open_event: str | None = None
    n_events: int = 0
    n_snippets: int = 0
    away_since_s: float | None = None

    def become(self, state: State) -> None:
        """Change the state; once pictures come, the messages about the earlier state are cleared."""
        if state == "running" and self.state != "running":
            self.last_error = self.message = ""
        self.state = state
        self.metrics.up.labels(self.id).set(1 if state == "running" else 0)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count something that was lost."""
        self.drops[reason] += count
        self.metrics.drops.labels(self.id, reason).inc(count)

    def saw_frame(self) -> None:
        self.n_frames += 1
        self.metrics.frames.labels(self.id).inc()

    def note_interval(self, interval_s: float) -> None:
        """Let `fps` follow the mean of some 20 intervals: a late frame and the burst after it even out."""
        mean_s = 1 / self.fps if self.fps else interval_s
        self.fps = 1 / max(mean_s + NEWEST_SHARE * (interval_s - mean_s), SHORTEST_INTERVAL_S)

    def skipped_frame(self) -> None:
        self.n_skipped += 1
        self.metrics.skipped.labels(self.id).inc()

    @property
    def megapixels_hz(self) -> float | None:
        """Megapixels a second; None: not known yet."""
        return self.n_pixels * self.fps / 1e6 or None

    @property
    def decoded_share(self) -> float:
        """The share of frames that were decoded since the start, 0..1."""
        return 1.0 if self.n_frames == 0 else self.n_frames / (self.n_frames + self.n_skipped)

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        return {
            "id": self.id,
            "url": redact(self.url),
            "is_file": self.is_file,
            "state": self.state,
            "fps": round(self.fps, 2),
            "frames": self.n_frames,
            "decoded_share": round(self.decoded_share, 3),
            "drops": dict(self.drops),
            "last_error": redact(self.last_error) or None,
            "message": redact(self.message) or None,
            "position_s": None if self.position_s is None else round(self.position_s, 3),
            "duration_s": None if self.duration_s is None else round(self.duration_s, 3),
            "truncated": self.is_truncated,
            "open_event": self.open_event,
            "events": self.n_events,
            "snippets": self.n_snippets,
        }
