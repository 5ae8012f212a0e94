"""An event as the API shows it: in lists, in the stream, in search results, and with all its details."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.recorder.record.relabels import EventRelabel
from services.recorder.record.values import Event, Frames, Snippet, Weather
from services.recorder.weather.words import icon_of
from shared.clock import duration_s
from shared.decisions.decision import required_threshold

ATTRIBUTIONS = {
    "open_meteo": ("Weather data by Open-Meteo.com (CC BY 4.0)", "https://open-meteo.com/"),
    "openweather": ("Weather data provided by OpenWeather", "https://openweathermap.org/"),
}


class ApiModel(BaseModel):
    """An answer that is filled from a value's attributes."""

    model_config = ConfigDict(from_attributes=True)


class WeatherOut(ApiModel):
    provider: str
    observed_at: AwareDatetime
    words: str
    icon: str
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
    attribution: str
    attribution_url: str


class DetectionOut(ApiModel):
    label: str
    probability: float
    started_at: AwareDatetime
    ended_at: AwareDatetime
    snippet: int


class EventOut(ApiModel):
    """An event as it stands in lists and in the stream."""

    id: str
    camera: str
    started_at: AwareDatetime
    ended_at: AwareDatetime
    duration_s: float
    is_open: bool
    label: str | None
    probability: float | None
    detections: list[DetectionOut]
    n_snippets: int
    motion_peak: float
    thumbnail_url: str | None
    clip_url: str | None
    latitude: float | None
    longitude: float | None
    weather: WeatherOut | None
    updated_at: AwareDatetime
    is_protected: bool


class SnippetOut(ApiModel):
    snippet: int
    started_at: AwareDatetime
    ended_at: AwareDatetime
    clip_url: str | None
    thumbnail_url: str | None
    clip_bytes: int
    is_media_lost: bool
    model: str
    reason: str
    peaks: dict[str, float]
    accepted: list[str]
    threshold: float


class SeriesOut(ApiModel):
    """One label, a number a moment. `scores` (targets only, null in events of older classifiers) were compared with
    the threshold, and had to exceed `backgrounds` by the margin; `probabilities` are softmax shares before averaging.
    """

    label: str
    kind: Literal["target", "background", "other"]
    probabilities: list[float]
    scores: list[float] | None
    backgrounds: list[float] | None


class FramesOut(ApiModel):
    """What the model said of each moment of a snippet."""

    snippet: int
    moments: list[AwareDatetime]
    series: list[SeriesOut]


class EventRelabelOut(ApiModel):
    """A change of an event's labels after it was recorded; `made_by`, `kind` null: before such entries were kept."""

    changed_at: AwareDatetime
    made_by: str | None
    kind: str | None
    before: list[str]
    after: list[str]


class EventDetailOut(EventOut):
    snippets: list[SnippetOut]
    frames: list[FramesOut]
    peaks: dict[str, float]
    label_changes: list[EventRelabelOut]


def event_out(event: Event) -> EventOut:
    """Return what a list or the stream says of an event."""
    return EventOut.model_validate(_event_fields(event))


def event_detail_out(event: Event, frames: list[Frames], changes: list[EventRelabel]) -> EventDetailOut:
    """Return everything that is known of an event."""
    n_moments = {part.snippet: len(part.moments) for part in frames}
    return EventDetailOut(
        **_event_fields(event),
        snippets=[_snippet_out(snippet, n_moments.get(snippet.snippet, 0)) for snippet in event.snippets],
        frames=[FramesOut.model_validate(part) for part in frames],
        peaks=event.peaks,
        label_changes=[EventRelabelOut.model_validate(change) for change in changes],
    )


def media_url(name: str | None) -> str | None:
    """Return the address of a clip or thumbnail."""
    return None if name is None else f"/media/{name}"


def _event_fields(event: Event) -> dict[str, Any]:  # Any: fields of every type, validated by the model
    return {
        "id": event.id,
        "camera": event.camera,
        "started_at": event.started_at,
        "ended_at": event.ended_at,
        "duration_s": duration_s(event.started_at, event.ended_at),
        "is_open": event.is_open,
        "label": event.label,
        "probability": event.probability,
        "detections": [DetectionOut.model_validate(detection) for detection in event.detections],
        "n_snippets": event.n_snippets,
        "motion_peak": event.motion_peak,
        "thumbnail_url": media_url(event.thumbnail_name),
        "clip_url": media_url(event.clip_name),
        "latitude": event.latitude,
        "longitude": event.longitude,
        "weather": _weather_out(event.weather),
        "updated_at": event.updated_at,
        "is_protected": event.is_protected,
    }


def _weather_out(weather: Weather | None) -> WeatherOut | None:
    if weather is None:
        return None
    text, url = ATTRIBUTIONS.get(weather.provider, (weather.provider, ""))
    fields = {name: getattr(weather, name) for name in Weather.__dataclass_fields__}
    return WeatherOut(
        **fields, icon=icon_of(weather.wmo_code, weather.is_day), attribution=text, attribution_url=url
    )


def _snippet_out(snippet: Snippet, n_moments: int) -> SnippetOut:
    fields = {name: getattr(snippet, name) for name in Snippet.__dataclass_fields__}
    del fields["clip_name"], fields["thumbnail_name"], fields["decision"]
    return SnippetOut(
        **fields,
        threshold=required_threshold(snippet.decision, n_moments),
        clip_url=media_url(snippet.clip_name),
        thumbnail_url=media_url(snippet.thumbnail_name),
    )
