"""What each route of the recorder asks of its caller."""

from __future__ import annotations

import re

from services.recorder.access.links import LINK_ID
from services.recorder.http.motion_routes import MOTION_ROUTES
from services.recorder.media.values import NAME
from shared.contract import CAMERA_ID, MAX_PICTURE_BYTES
from shared.http_rules import JSON_TYPE, LOOK, PUBLIC, PathPatterns, RouteRule, RouteRules
from shared.open_streams import StreamKind
from shared.permissions import Permission

_LABEL_SETS_BYTES = 128 * 1024  # 70 labels of 200 characters, each of up to 6 bytes as JSON writes it
_USER_NAME = {"name": re.compile(r"[\w.@+-](?:[\w .@+-]{0,62}[\w.@+-])?")}  # as in access/names.py
_LABEL_TRIAL_BYTES = 2 * 1024 * 1024  # a label set, and four pictures in base64
_LOGIN_BYTES, _USER_BYTES = 16 * 1024, 64 * 1024  # a name and two passwords; 500 cameras
# the link is checked by the route, which says so where it was cut
_SHARED = RouteRule(Permission.OWN, parameters={"token": re.compile(r"[A-Za-z0-9_-]{1,128}")})

# a picture to compare with those of the record
LIKE_RULE = RouteRule(
    Permission.LOOK, MAX_PICTURE_BYTES, "image/jpeg", other_types=("image/png", "image/webp")
)

EXAMPLE_RULE = RouteRule(
    Permission.OPERATE, MAX_PICTURE_BYTES, "image/jpeg", other_types=("image/png", "image/webp")
)

# Users, sessions and tokens. The routes look themselves whose session it is, and who may make the first user.
ACCESS_RULES: RouteRules = {
    ("GET", "/api/me"): RouteRule(Permission.PUBLIC, is_identified=True),
    ("POST", "/api/login"): RouteRule(Permission.PUBLIC, _LOGIN_BYTES, JSON_TYPE),
    ("POST", "/api/setup"): RouteRule(Permission.PUBLIC, _LOGIN_BYTES, JSON_TYPE),
    ("POST", "/api/logout"): RouteRule(Permission.PUBLIC, 1024, JSON_TYPE),
    ("GET", "/api/oidc/login"): PUBLIC,
    ("GET", "/api/oidc/callback"): PUBLIC,
    ("POST", "/api/me/password"): RouteRule(Permission.LOOK, _LOGIN_BYTES, JSON_TYPE),
    ("GET", "/api/users"): RouteRule(Permission.ADMIN),
    ("POST", "/api/users"): RouteRule(Permission.ADMIN, _USER_BYTES, JSON_TYPE),
    ("PATCH", "/api/users/{name}"): RouteRule(
        Permission.ADMIN, _USER_BYTES, JSON_TYPE, parameters=_USER_NAME
    ),
    ("DELETE", "/api/users/{name}"): RouteRule(Permission.ADMIN, parameters=_USER_NAME),
    ("GET", "/api/sessions"): LOOK,
    ("DELETE", "/api/sessions/{session_id}"): LOOK,
    ("GET", "/api/tokens"): RouteRule(Permission.ADMIN),
    ("POST", "/api/tokens"): RouteRule(Permission.ADMIN, _USER_BYTES, JSON_TYPE),
    ("DELETE", "/api/tokens/{token_id}"): RouteRule(Permission.ADMIN),
}
RULES: RouteRules = {
    **MOTION_ROUTES,
    **ACCESS_RULES,
    ("GET", "/"): PUBLIC,
    ("GET", "/cameras"): PUBLIC,
    ("GET", "/cameras/{camera_id}"): PUBLIC,
    ("GET", "/login"): PUBLIC,
    ("GET", "/users"): PUBLIC,
    ("GET", "/verdicts"): PUBLIC,
    ("GET", "/quality"): PUBLIC,
    ("GET", "/web"): PUBLIC,
    ("GET", "/api/openapi.json"): LOOK,
    ("GET", "/api/events"): LOOK,
    ("GET", "/api/events/{event_id}"): LOOK,
    ("GET", "/api/events/{event_id}/why"): LOOK,
    ("PUT", "/api/events/{event_id}/protected"): RouteRule(Permission.OPERATE, 1024, JSON_TYPE),
    ("POST", "/api/events/{event_id}/links"): RouteRule(Permission.OPERATE, 2048, JSON_TYPE),
    ("GET", "/api/events/{event_id}/links"): RouteRule(Permission.OPERATE),  # what they show opens events
    ("DELETE", "/api/events/{event_id}/links"): RouteRule(Permission.OPERATE),
    ("POST", "/api/events/{event_id}/verdicts"): RouteRule(Permission.OPERATE, 2048, JSON_TYPE),
    ("POST", "/api/events/{event_id}/verdicts/preview"): RouteRule(
        Permission.OPERATE, 2048, JSON_TYPE, stream=StreamKind.REPORTS
    ),
    ("GET", "/api/events/{event_id}/verdicts"): LOOK,
    ("GET", "/api/verdicts"): LOOK,
    ("POST", "/api/verdicts/{verdict_id}/undo"): RouteRule(Permission.OPERATE, 1024, JSON_TYPE),
    ("POST", "/api/verdicts/{verdict_id}/apply"): RouteRule(
        Permission.OPERATE, 1024, JSON_TYPE, stream=StreamKind.REPORTS
    ),
    ("GET", "/api/links"): RouteRule(Permission.OPERATE),
    ("DELETE", "/api/links/{link_id}"): RouteRule(Permission.OPERATE),
    ("GET", "/shared/{token}"): _SHARED,
    ("GET", "/shared/{token}/event"): _SHARED,
    ("GET", "/shared/{token}/clip"): _SHARED,
    ("GET", "/shared/{token}/thumbnail"): _SHARED,
    ("GET", "/api/stream"): RouteRule(Permission.LOOK, stream=StreamKind.EVENTS),
    ("GET", "/api/retention"): LOOK,
    ("GET", "/api/record/cameras"): LOOK,
    ("GET", "/api/record/labels"): LOOK,
    ("GET", "/api/stats"): LOOK,
    ("GET", "/api/health"): LOOK,
    ("GET", "/api/search"): LOOK,
    ("GET", "/api/search/like"): LOOK,
    ("POST", "/api/search/like"): LIKE_RULE,
    ("GET", "/api/gaps"): LOOK,
    ("GET", "/api/quality"): LOOK,
    ("GET", "/api/quality/threshold"): LOOK,
    ("GET", "/api/check"): RouteRule(Permission.OPERATE),  # for who may answer
    # with `apply` it asks for OPERATE as well
    ("POST", "/api/hindsight"): RouteRule(
        Permission.LOOK, _LABEL_SETS_BYTES, JSON_TYPE, stream=StreamKind.REPORTS
    ),
    ("GET", "/api/cameras/{camera_id}/label-history"): LOOK,
    ("GET", "/api/cameras/{camera_id}/examples"): LOOK,
    ("POST", "/api/cameras/{camera_id}/examples"): EXAMPLE_RULE,
    ("GET", "/api/relabels"): LOOK,
    ("POST", "/api/relabels/{relabel_id}/undo"): RouteRule(
        Permission.OPERATE, 1024, JSON_TYPE, stream=StreamKind.REPORTS
    ),
    ("POST", "/api/cameras/{camera_id}/label-trial"): RouteRule(
        Permission.OPERATE, _LABEL_TRIAL_BYTES, JSON_TYPE
    ),
    ("GET", "/media/{name:path}"): RouteRule(
        Permission.LOOK, is_shown_same_site=True, parameters={"name": NAME}
    ),
}
PATTERNS: PathPatterns = {
    "link_id": LINK_ID,
    "event_id": re.compile(r"[0-9a-f-]{36}"),
    "relabel_id": re.compile(r"[0-9a-f-]{36}"),
    "verdict_id": re.compile(r"[0-9a-f-]{36}"),
    "camera_id": CAMERA_ID,
    "camera": CAMERA_ID,
    "session": re.compile(r"[A-Za-z0-9_-]{1,128}"),
}
