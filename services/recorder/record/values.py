"""What the record holds, as values: the same for the API, the page and the command line. Knows no database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from shared.contract import DecisionSettings


@dataclass(frozen=True, slots=True)
class Weather:
    """A report; a value is None where the provider had none. Units stand in the names."""

    provider: str
    observed_at: datetime
    words: str
    wmo_code: int | None
    is_day: bool | None
    temperature_c: float | None
    humidity_percent: float | None
    precipitation_mm: float | None
    wind_speed_ms: float | None
    wind_direction_deg: float | None
    cloud_percent: float | None
    pressure_hpa: float | None
    visibility_m: float | None


@dataclass(frozen=True, slots=True)
class Detection:
    """An accepted label of an event: best averaged probability, the span that carried it, where it peaked."""

    label: str
    probability: float
    started_at: datetime
    ended_at: datetime
    snippet: int


@dataclass(frozen=True, slots=True)
class Snippet:
    """A playable piece. Names are below the media folder; None: there is no such file."""

    snippet: int
    started_at: datetime
    ended_at: datetime
    clip_name: str | None
    thumbnail_name: str | None
    clip_bytes: int
    is_media_lost: bool
    model: str
    reason: str
    peaks: Mapping[str, float]  # averaged peak of every target and background text
    accepted: tuple[str, ...]  # labels, best first
    decision: DecisionSettings  # when a label was accepted


@dataclass(frozen=True, slots=True)
class Event:
    """An event with its detections (best first); `snippets` only where they were asked for."""

    id: str
    camera: str
    started_at: datetime
    ended_at: datetime
    is_open: bool
    is_accepted: bool
    label: str | None
    probability: float | None
    n_snippets: int
    motion_peak: float
    clip_name: str | None
    thumbnail_name: str | None
    latitude: float | None
    longitude: float | None
    created_at: datetime
    updated_at: datetime
    is_protected: bool = False
    weather: Weather | None = None
    detections: tuple[Detection, ...] = ()
    snippets: tuple[Snippet, ...] = ()

    @property
    def peaks(self) -> dict[str, float]:
        """Every target and background text with its highest averaged peak over the snippets; best first."""
        best: dict[str, float] = {}
        for snippet in self.snippets:
            for text, probability in snippet.peaks.items():
                best[text] = max(best.get(text, 0.0), probability)
        return dict(sorted(best.items(), key=lambda item: (-item[1], item[0])))

    @property
    def model(self) -> str:
        """The model that labelled the newest snippet; '' when no snippets were asked for."""
        return self.snippets[-1].model if self.snippets else ""


@dataclass(frozen=True, slots=True)
class LabelSeries:
    """One label over the moments of a snippet: softmax shares, and for a target what decided.

    `scores` are compared with the threshold, `backgrounds` with the scores; both averaged over the window, and None
    for other kinds and for events of classifiers that did not send them.
    """

    label: str
    kind: str
    probabilities: tuple[float, ...]
    scores: tuple[float, ...] | None = None
    backgrounds: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Frames:
    """What the model said of a snippet's moments."""

    snippet: int
    moments: tuple[datetime, ...]
    series: tuple[LabelSeries, ...]
