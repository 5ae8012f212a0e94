"""Events and gaps in JSON, as webhooks and MQTT send them. Addresses are absolute when the page's is known. Pure.

A camera is named twice: `camera` is its id, for programs, and `camera_name` what people call it.
"""

from __future__ import annotations

from typing import Any

from services.recorder.access.links import EventLink
from services.recorder.gaps.values import Gap
from services.recorder.notify.port import NameOf, Notice
from services.recorder.record.values import Event


def event_json(
    event: Event, page: str, name_of: NameOf, link: EventLink | None = None
) -> dict[str, Any]:  # Any: JSON
    """Return the event; times are ISO 8601 with zone, probabilities 0..1.

    With `link` its clip and picture open without a login, until the link ends.
    """
    weather = event.weather
    shared = None if link is None else f"{page}/shared/{link.token}"
    return {
        "id": event.id,
        "camera": event.camera,
        "camera_name": name_of(event.camera),
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
            "clip": _file_url(event.clip_name, "clip", shared, page),
            "thumbnail": _file_url(event.thumbnail_name, "thumbnail", shared, page),
            "shared": shared,
            "ends_at": None if link is None else link.ends_at.isoformat(),
        },
        "weather": None
        if weather is None
        else {"words": weather.words, "temperature_c": weather.temperature_c, "provider": weather.provider},
    }


def _file_url(name: str | None, part: str, shared: str | None, page: str) -> str | None:
    """Return the address of a file, behind the login where there is no link; None when there is no file."""
    if name is None:
        return None
    return f"{page}/media/{name}" if shared is None else f"{shared}/{part}"


def notice_json(notice: Notice, page: str, name_of: NameOf) -> dict[str, Any]:  # Any: JSON
    """Return the event and the label that passed the target's filter."""
    match = notice.match
    return {
        **event_json(notice.event, page, name_of, notice.link),
        "matched": None if match is None else {"label": match.label, "probability": match.probability},
    }


def gap_type(gap: Gap) -> str:
    """Return the type of a gap's notice: camera.away when it began, camera.back when it ended."""
    return gap.key.kind if gap.ended_at is None else gap.key.kind.partition(".")[0] + ".back"


def gap_json(gap: Gap, page: str, name_of: NameOf) -> dict[str, Any]:  # Any: JSON
    """Return the gap; `version` rises when a field changes its meaning."""
    return {
        "version": 1,
        "id": gap.id,
        "kind": gap.key.kind,
        "subject": gap.key.subject,
        "camera": gap.key.camera,
        "camera_name": None if gap.key.camera is None else name_of(gap.key.camera),
        "reason": gap.reason,
        "started_at": gap.started_at.isoformat(),
        "ended_at": None if gap.ended_at is None else gap.ended_at.isoformat(),
        "duration_s": gap.duration_s,
        "urls": {"page": f"{page}/"},
    }
