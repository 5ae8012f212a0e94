"""Whether a target wants notices of an event. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

from services.recorder.record.values import Detection, Event


@dataclass(frozen=True, slots=True)
class Filter:
    """Empty tuples and None let everything pass."""

    cameras: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    probability: float = 0.0  # averaged peak that the label must have reached, 0..1
    between: tuple[time, time] | None = None  # wall clock in `zone`; the end is excluded
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))

    def takes_camera(self, camera: str) -> bool:
        return not self.cameras or camera in self.cameras

    def match(self, event: Event) -> Detection | None:
        """Return the likeliest accepted label that passes; None when the event is not wanted."""
        return next(iter(self.passing(event)), None)

    def passing(self, event: Event) -> tuple[Detection, ...]:
        """Return the accepted labels that pass, the likeliest first. The time of day is that of the event's start."""
        if not (self.takes_camera(event.camera) and self._takes_time(event.started_at)):
            return ()
        passing = [
            detection
            for detection in event.detections
            if detection.probability >= self.probability
            and (not self.labels or detection.label in self.labels)
        ]
        return tuple(sorted(passing, key=lambda d: (-d.probability, d.label)))

    def _takes_time(self, moment: datetime) -> bool:
        if self.between is None:
            return True
        first, last = self.between
        at = moment.astimezone(UTC).astimezone(self.zone).time()
        return first <= at < last if first <= last else at >= first or at < last
