"""The routes of the motion service that the recorder passes on, each with what it asks of its caller.

A test compares them with motion's own, so that none is forgotten. Knows nothing of how a request is passed on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.http_rules import JSON_TYPE, RouteRule, RouteRules
from shared.open_streams import StreamKind
from shared.permissions import Permission

SETTINGS_MAX_BYTES = 256 * 1024  # 250 labels of 200 characters, and masks
SDP_MAX_BYTES = 64 * 1024
SDP_TYPE = "application/sdp"

_CAMERA = "/api/cameras/{camera_id}"
_WHIP, _WHIP_SESSION = "/whip/{camera}", "/whip/{camera}/{session}"
_LOOK = RouteRule(Permission.LOOK)
_WATCH = RouteRule(Permission.LOOK, stream=StreamKind.PICTURES)
_CHANGE = RouteRule(Permission.OPERATE, SETTINGS_MAX_BYTES, JSON_TYPE)
_PUBLISHER = RouteRule(Permission.OWN)  # the camera's own token, which motion checks

MOTION_ROUTES: RouteRules = {
    ("GET", "/api/cameras"): _LOOK,
    ("GET", _CAMERA): _LOOK,
    ("PATCH", _CAMERA): _CHANGE,
    ("PUT", f"{_CAMERA}/labels"): _CHANGE,
    ("POST", f"{_CAMERA}/pause"): _CHANGE,
    ("POST", f"{_CAMERA}/resume"): _CHANGE,
    ("GET", f"{_CAMERA}/picture.jpg"): _LOOK,
    ("GET", f"{_CAMERA}/video.mjpeg"): _WATCH,
    ("GET", f"{_CAMERA}/looks"): _WATCH,
    ("POST", f"{_CAMERA}/trial"): RouteRule(
        Permission.OPERATE, SETTINGS_MAX_BYTES, JSON_TYPE, stream=StreamKind.PICTURES
    ),
    ("POST", f"{_CAMERA}/whep"): RouteRule(Permission.LOOK, SDP_MAX_BYTES, SDP_TYPE),
    ("GET", f"{_CAMERA}/whep/{{session}}"): _LOOK,
    ("DELETE", f"{_CAMERA}/whep/{{session}}"): _LOOK,
    ("OPTIONS", _WHIP): _PUBLISHER,
    ("OPTIONS", _WHIP_SESSION): _PUBLISHER,
    ("POST", _WHIP): RouteRule(
        Permission.OWN, SDP_MAX_BYTES
    ),  # motion refuses another type, with CORS headers
    ("DELETE", _WHIP_SESSION): _PUBLISHER,
}

_SUMMARIES: Mapping[tuple[str, str], str] = {
    ("GET", "/api/cameras"): "State of every running camera",
    ("GET", _CAMERA): "State and settings of one camera, with its ETag",
    ("PATCH", _CAMERA): "Change settings of a camera in the camera file; null: as in defaults",
    ("PUT", f"{_CAMERA}/labels"): "Change the labels of a camera in the camera file",
    ("POST", f"{_CAMERA}/pause"): "Pause a camera",
    ("POST", f"{_CAMERA}/resume"): "Resume a camera",
    ("GET", f"{_CAMERA}/picture.jpg"): "The next frame as a JPEG",
    ("GET", f"{_CAMERA}/video.mjpeg"): "Frame after frame, as multipart/x-mixed-replace",
    ("GET", f"{_CAMERA}/looks"): "What the detector finds in each frame, as server-sent events",
    ("POST", f"{_CAMERA}/trial"): "The same with up to three other settings, side by side",
    ("POST", f"{_CAMERA}/whep"): "Watch by WebRTC (WHEP): SDP offer in; answer and Location out",
    ("GET", f"{_CAMERA}/whep/{{session}}"): "Which of its frames has which RTP timestamp",
    ("DELETE", f"{_CAMERA}/whep/{{session}}"): "Stop watching",
    ("OPTIONS", _WHIP): "Pages of other origins may publish: the camera's token protects",
    ("OPTIONS", _WHIP_SESSION): "As for publishing",
    ("POST", _WHIP): "Publish to a camera by WebRTC (WHIP), with the camera's own token",
    ("DELETE", _WHIP_SESSION): "Stop publishing",
}
_SUCCESS: Mapping[tuple[str, str], int] = {
    ("POST", f"{_CAMERA}/whep"): 201,
    ("POST", _WHIP): 201,
    ("OPTIONS", _WHIP): 204,
    ("OPTIONS", _WHIP_SESSION): 204,
}
_CONTENT: Mapping[str, str] = {  # by the end of the path; else JSON
    "/picture.jpg": "image/jpeg",
    "/video.mjpeg": "multipart/x-mixed-replace",
    "/looks": "text/event-stream",
    "/trial": "text/event-stream",
    "/whep": SDP_TYPE,
    "/whip/{camera}": SDP_TYPE,
}
_CHANGE_FAULTS = (409, 412, 422)


@dataclass(frozen=True, slots=True)
class MotionRoute:
    """One of the routes, for FastAPI: see `MOTION_ROUTES`."""

    method: str
    path: str
    rule: RouteRule

    @property
    def is_publishing(self) -> bool:
        """Whether it is WHIP, which brings a credential of its own."""
        return self.rule.permission is Permission.OWN

    @property
    def is_view(self) -> bool:
        """Whether it begins, ends or asks about a view by WHEP, whose video lasts longer than the request."""
        return "/whep" in self.path

    @property
    def is_of_begun_view(self) -> bool:
        """Whether it is about a view by WHEP that has begun: one process alone knows it."""
        return self.path.endswith("/whep/{session}")

    @property
    def is_live(self) -> bool:
        """Whether it takes a camera that is read now: its pictures, or what the detector finds."""
        return self.path.endswith(("/picture.jpg", "/video.mjpeg", "/looks", "/trial", "/whep"))

    @property
    def success(self) -> int:
        return _SUCCESS.get((self.method, self.path), 200)

    @property
    def summary(self) -> str:
        return _SUMMARIES[self.method, self.path]

    @property
    def faults(self) -> tuple[int, ...]:
        """The statuses, beside those of every route, that it may answer when it does not succeed."""
        return _CHANGE_FAULTS if self.rule.content_type == JSON_TYPE else ()

    @property
    def content_type(self) -> str | None:
        """What a success consists of; None for nothing."""
        if self.method in ("DELETE", "OPTIONS"):
            return None
        return next((kind for end, kind in _CONTENT.items() if self.path.endswith(end)), JSON_TYPE)

    @property
    def parameters(self) -> list[dict[str, Any]]:  # Any: JSON
        """Return OpenAPI's description of the parameters."""
        found = [
            {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
            for part in self.path.split("/")
            if part.startswith("{")
        ]
        if self.is_publishing:
            found.append(
                {
                    "name": "token",
                    "in": "query",
                    "required": False,
                    "description": "the camera's token, where no Authorization header can be sent",
                    "schema": {"type": "string"},
                }
            )
        return found

    @property
    def body(self) -> dict[str, Any]:  # Any: JSON
        """Return OpenAPI's description of the body, if there is one; motion's own document says more."""
        if not self.rule.body_max_bytes:
            return {}
        kind = self.rule.content_type or SDP_TYPE
        schema = {"type": "object" if kind == JSON_TYPE else "string"}
        is_needed = not self.path.endswith(("/pause", "/resume"))
        return {"requestBody": {"required": is_needed, "content": {kind: {"schema": schema}}}}


def motion_routes() -> list[MotionRoute]:
    """Return all of them."""
    return [MotionRoute(method, path, rule) for (method, path), rule in MOTION_ROUTES.items()]
