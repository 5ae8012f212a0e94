"""Labels in hindsight: the request and its outcome. Pure values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class HindsightRequest:
    """Which events, and which labels to look for. None: as it was then."""

    labels: tuple[str, ...]
    background: tuple[str, ...] | None
    threshold: float | None
    since: datetime
    until: datetime
    camera: str | None = None
    adds: bool = False  # ask for the labels beside those of then, not in their place
    cameras: frozenset[str] | None = None  # that may be seen; None: all


@dataclass(frozen=True, slots=True)
class LabelProbability:
    """An accepted label with its averaged peak probability."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class EventComparison:
    """An event whose labels would differ; labels best first."""

    event_id: str
    camera: str
    started_at: datetime
    thumbnail_name: str | None
    recorded: tuple[LabelProbability, ...]
    hindsight: tuple[LabelProbability, ...]


@dataclass(slots=True)
class Outcome:
    """Counts over all events of the request. `recorded` and `hindsight`: events by label."""

    model: str = ""
    n_events: int = 0
    n_events_all: int = 0
    n_snippets: int = 0
    n_left_out: int = 0  # snippets whose embeddings are of another model, or missing: they keep their answer
    n_changed: int = 0  # events whose accepted labels differ
    n_written: int = 0  # snippets whose answer was replaced
    recorded: Counter[str] = field(default_factory=Counter)
    hindsight: Counter[str] = field(default_factory=Counter)
    shown: list[EventComparison] = field(default_factory=list)


def request_faults(request: HindsightRequest) -> list[str]:
    """Return what is wrong with a request beyond its types."""
    faults = []
    if not request.labels:
        faults.append("no label; name at least one, such as 'a fox'")
    if request.until <= request.since:
        faults.append("until is not after since; choose a longer time")
    return faults
