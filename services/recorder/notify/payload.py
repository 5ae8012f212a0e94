"""Events and gaps in JSON, as webhooks and MQTT send them. Addresses are absolute when the page's is known. Pure."""

from __future__ import annotations

from typing import Any

from services.recorder.gaps.values import Gap
from services.recorder.notify.port import Notice
from services.recorder.record.values import Event


def event_json(event: Event, page: str) -> dict[str, Any]:  # Any: JSON
    """Return the event; times are ISO 8601 with zone, probabilities 0..1."""
    weather = event.weather
    return {
        "id": event.id,
        "camera": event.camera,
        "started_at": event.started_at.isoformat(),
        "ended_at": event.ended_at.isoformat(),
        "is_open": event.is_open,
        "label": event.label,
        "probability": event.probability,
        "labels": [
            {"label": detection.label, "probability": detection.probability} for detection in event.detections
        ],
        "urls": {
            "page": f"{page}/#{event.id}",
            "api": f"{page}/api/events/{event.id}",
            "clip": media_url(event.clip_name, page),
            "thumbnail": media_url(event.thumbnail_name, page),
        },
        "weather": None
        if weather is None
        else {"words": weather.words, "temperature_c": weather.temperature_c, "provider": weather.provider},
    }


def media_url(name: str | None, page: str) -> str | None:
    """Return the address of a file; None when there is none."""
    return None if name is None else f"{page}/media/{name}"


def notice_json(notice: Notice, page: str) -> dict[str, Any]:  # Any: JSON
    """Return the event and the label that passed the target's filter."""
    match = notice.match
    return {
        **event_json(notice.event, page),
        "matched": None if match is None else {"label": match.label, "probability": match.probability},
    }


def gap_type(gap: Gap) -> str:
    """Return the type of a gap's notice: camera.away when it began, camera.back when it ended."""
    return gap.key.kind if gap.ended_at is None else gap.key.kind.partition(".")[0] + ".back"


def gap_json(gap: Gap, page: str) -> dict[str, Any]:  # Any: JSON
    """Return the gap; `version` rises when a field changes its meaning."""
    return {
        "version": 1,
        "id": gap.id,
        "kind": gap.key.kind,
        "subject": gap.key.subject,
        "camera": gap.key.camera,
        "reason": gap.reason,
        "started_at": gap.started_at.isoformat(),
        "ended_at": None if gap.ended_at is None else gap.ended_at.isoformat(),
        "duration_s": gap.duration_s,
        "urls": {"page": f"{page}/"},
    }
