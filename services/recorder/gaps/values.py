"""Gaps, configured cameras, and how cameras are now. Pure values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Kind = Literal[
    "camera.away", "motion.gone", "classifier.gone", "disk.full", "recorder.unready", "target.away"
]
KINDS: tuple[Kind, ...] = (
    "camera.away",
    "motion.gone",
    "classifier.gone",
    "disk.full",
    "recorder.unready",
    "target.away",
)


@dataclass(frozen=True, slots=True)
class GapKey:
    """What a gap is about; at most one gap of a key is open."""

    kind: Kind
    subject: str

    @property
    def camera(self) -> str | None:
        return self.subject if self.kind == "camera.away" else None

    @property
    def text(self) -> str:
        return f"{self.kind} {self.subject}"


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which something was not watched, recorded or notified; `ended_at` None: it lasts."""

    id: str
    key: GapKey
    reason: str
    started_at: datetime
    ended_at: datetime | None

    @property
    def duration_s(self) -> float | None:
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class GapFault:
    """What is wrong with a subject now; `age_s`: for how long it had been so when it was first seen."""

    reason: str
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class UnreadTime:
    """A time in which no motion process read a camera, told by the one that reads it since; it is over."""

    camera: str
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class ConfiguredCamera:
    """A camera that is configured; `owner` is the data directory of the motion service that has it.

    `example_group`: cameras with the same one learn from each other's verdicts; empty: from its own alone.
    """

    id: str
    name: str
    owner: str
    example_group: str = ""


@dataclass(frozen=True, slots=True)
class LiveCamera:
    """A configured camera as others are shown it; `is_moving` None: no motion service says so."""

    id: str
    name: str
    is_available: bool
    is_moving: bool | None
    is_heard: bool = True  # a motion service has reported it since this recorder started
