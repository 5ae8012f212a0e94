"""What each route of motion asks of its caller."""

from __future__ import annotations

import re

from services.motion.http.cameras import MAX_BODY_BYTES
from services.motion.sources.webrtc.session_description import MAX_SDP_BYTES
from shared.contract import CAMERA_ID
from shared.http_rules import JSON_TYPE, LOOK, PathPatterns, RouteRule, RouteRules
from shared.open_streams import StreamKind
from shared.permissions import Permission

_SETTINGS = RouteRule(Permission.OPERATE, MAX_BODY_BYTES, JSON_TYPE)
_BARE = RouteRule(Permission.OPERATE, 1024, JSON_TYPE)  # the body says nothing
_VIEW = RouteRule(Permission.LOOK, stream=StreamKind.PICTURES)
_PUBLISH = RouteRule(Permission.OWN, MAX_SDP_BYTES)  # whip.py asks for the camera's token; any origin
_CAMERA = "/api/cameras/{camera_id}"

RULES: RouteRules = {
    ("GET", "/api/cameras"): LOOK,
    ("GET", _CAMERA): LOOK,
    ("PATCH", _CAMERA): _SETTINGS,
    ("PUT", f"{_CAMERA}/labels"): _SETTINGS,
    ("POST", f"{_CAMERA}/pause"): _BARE,
    ("POST", f"{_CAMERA}/resume"): _BARE,
    ("GET", f"{_CAMERA}/picture.jpg"): LOOK,
    ("GET", f"{_CAMERA}/video.mjpeg"): _VIEW,
    ("GET", f"{_CAMERA}/looks"): _VIEW,
    ("POST", f"{_CAMERA}/trial"): RouteRule(
        Permission.OPERATE, MAX_BODY_BYTES, JSON_TYPE, stream=StreamKind.PICTURES
    ),
    ("POST", f"{_CAMERA}/whep"): RouteRule(Permission.LOOK, MAX_SDP_BYTES, "application/sdp"),
    ("GET", f"{_CAMERA}/whep/{{session}}"): LOOK,
    ("DELETE", f"{_CAMERA}/whep/{{session}}"): LOOK,
    ("OPTIONS", "/whip/{camera}"): RouteRule(Permission.OWN),
    ("OPTIONS", "/whip/{camera}/{session}"): RouteRule(Permission.OWN),
    ("POST", "/whip/{camera}"): _PUBLISH,
    ("DELETE", "/whip/{camera}/{session}"): RouteRule(Permission.OWN),
}
PATTERNS: PathPatterns = {
    "camera_id": CAMERA_ID,
    "camera": CAMERA_ID,
    "session": re.compile(r"[A-Za-z0-9_-]{1,128}"),
}
