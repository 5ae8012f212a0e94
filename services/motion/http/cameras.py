"""The cameras by HTTP: their state, the settings in force, and changing those in the camera file.

    GET    /api/cameras                 state of every running camera
    GET    /api/cameras/{id}            state and settings of one, with its ETag
    PATCH  /api/cameras/{id}            {"threshold": 0.6, "motion": {"min_contour_area": 300}}; null: as in defaults
    PUT    /api/cameras/{id}/labels     {"labels": […], "background": […]}
    POST   /api/cameras/{id}/pause, /resume

The camera file's own reader validates a change; it is written and applied before the answer. With `If-Match` it is
made only while the file still has that ETag. Faults (shared/http_api.py): 422 bad values, 412 not the file that
If-Match names, 409 a file with faults or one that cannot be written, 404 no such camera. Who may what: rules.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from services.motion.cameras.registry import CameraRegistry
from shared.cameras import Camera
from shared.cameras.editor import UnknownCamera
from shared.cameras.store import BrokenFile, CameraFileChanged, CameraFileVersion, NotWritable
from shared.errors import ConfigError, redact
from shared.http_api import ApiFault, bounded_body, documented, sent_body

CHANGEABLE = (
    "name",
    "enabled",
    "labels",
    "background",
    "threshold",
    "leave_threshold",
    "margin",
    "window_s",
    "min_moments",
    "motion",
)
LABELS_ONLY = ("labels", "background")
MAX_BODY_BYTES = 256 * 1024  # 250 labels of 200 characters, and masks
CHANGE = "change the request"
CHANGE_FAULTS = documented(409, 412, 422)
_JSON = dict[str, Any]  # Any: JSON


def no_camera(camera_id: str) -> ApiFault:
    """Return the fault of an id that the camera file does not have."""
    return ApiFault(
        404, f"camera {redact(camera_id)[:64]!r}", "one of the camera file", "look in /api/cameras"
    )


@dataclass(frozen=True, slots=True)
class CameraRoutes:
    """What the routes need; `status` answers GET /api/cameras."""

    registry: CameraRegistry
    status: Callable[[], _JSON]

    def answer(self, camera_id: str, version: CameraFileVersion) -> Response:
        camera = next((camera for camera in version.cameras.cameras if camera.id == camera_id), None)
        if camera is None:
            raise no_camera(camera_id)
        return JSONResponse(
            _state_and_settings(camera, self.status()), headers={"ETag": f'"{version.revision}"'}
        )

    async def change(self, request: Request, camera_id: str, values: _JSON) -> Response:
        """Change the camera file and return the camera as it is then; raises ApiFault."""
        try:
            version = await self.registry.change(camera_id, values, _revision(request))
        except UnknownCamera as exc:
            raise no_camera(camera_id) from exc
        except CameraFileChanged as exc:
            raise ApiFault(412, str(exc), "the file that If-Match names", "read the camera again") from exc
        except BrokenFile as exc:
            do = "correct the camera file's faults first"
            raise ApiFault.of_lines(409, exc.faults, "a camera file without faults", do) from exc
        except NotWritable as exc:
            raise ApiFault(409, str(exc), "a file that can be written", "change its permissions") from exc
        except ConfigError as exc:
            raise ApiFault.of_lines(422, exc.faults, "settings of a camera", CHANGE) from exc
        return self.answer(camera_id, version)


def add_camera_routes(app: FastAPI, routes: CameraRoutes) -> None:
    """Add the routes that are listed above."""

    @app.get("/api/cameras")
    async def cameras() -> _JSON:
        return routes.status()

    @app.get("/api/cameras/{camera_id}")
    async def one(camera_id: str) -> Response:
        return routes.answer(camera_id, routes.registry.version)

    @app.patch("/api/cameras/{camera_id}", openapi_extra=_documented(CHANGEABLE), responses=CHANGE_FAULTS)
    async def patch(camera_id: str, request: Request) -> Response:
        return await routes.change(request, camera_id, _checked(await read_json(request), CHANGEABLE))

    @app.put(
        "/api/cameras/{camera_id}/labels",
        openapi_extra=_documented(LABELS_ONLY, ("labels",)),
        responses=CHANGE_FAULTS,
    )
    async def labels(camera_id: str, request: Request) -> Response:
        values = _checked(await read_json(request), LABELS_ONLY)
        if not isinstance(values.get("labels"), list):
            raise ApiFault(422, "labels", "a list of texts", 'send them such as {"labels": ["a dog"]}')
        return await routes.change(request, camera_id, values)

    @app.post("/api/cameras/{camera_id}/pause", responses=CHANGE_FAULTS)
    async def pause(camera_id: str, request: Request) -> Response:
        return await routes.change(request, camera_id, {"enabled": False})

    @app.post("/api/cameras/{camera_id}/resume", responses=CHANGE_FAULTS)
    async def resume(camera_id: str, request: Request) -> Response:
        return await routes.change(request, camera_id, {"enabled": True})


def _documented(names: tuple[str, ...], required: tuple[str, ...] = ()) -> _JSON:
    """Return OpenAPI's description of a body with these settings of a camera; null means 'as in defaults'.

    The routes read the bodies themselves, with a limit and faults of their own, so FastAPI cannot describe them.
    """
    whole = Camera.model_json_schema()
    properties = {name: inlined(whole["properties"][name], whole.get("$defs", {})) for name in names}
    schema: _JSON = {
        "type": "object",
        "properties": {
            name: value if name in required else {"anyOf": [value, {"type": "null"}]}
            for name, value in properties.items()
        },
        "additionalProperties": False,
        "minProperties": 1,
    }
    if required:
        schema["required"] = list(required)
    return sent_body("application/json", schema)


def inlined(value: Any, definitions: _JSON) -> Any:  # Any: JSON
    """Return a JSON schema with its references resolved, and without defaults: an absent setting is left unchanged."""
    if isinstance(value, list):
        return [inlined(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return inlined(definitions[value["$ref"].rsplit("/", 1)[1]], definitions)
    # a setting may itself be called 'default': only the schema's keyword goes, whose value is no mapping
    return {
        key: inlined(item, definitions)
        for key, item in value.items()
        if not (key == "default" and not isinstance(item, dict))
    }


def _state_and_settings(camera: Camera, status: _JSON) -> _JSON:
    state = next((state for state in status["cameras"] if state["id"] == camera.id), None)
    settings = camera.model_dump(mode="json", include=set(CHANGEABLE))
    return {
        "id": camera.id,
        "url": redact(camera.url),
        "state": state["state"] if state else "paused",
        "status": state,
        "settings": settings,
    }


def _revision(request: Request) -> str | None:
    """Return the revision that If-Match names; None where any will do."""
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return None
    return wanted.strip().removeprefix("W/").strip('"')


async def read_json(request: Request) -> _JSON:
    """Return the mapping that was sent; raises ApiFault."""
    raw = await bounded_body(request, MAX_BODY_BYTES)
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise ApiFault(422, f"a body that is not JSON: {exc}", "a mapping", CHANGE) from exc
    if not isinstance(found, dict) or not found:
        known = ", ".join(CHANGEABLE)
        raise ApiFault(422, "a body that holds no settings", f"a mapping with any of {known}", CHANGE)
    return found


def _checked(values: _JSON, names: tuple[str, ...]) -> _JSON:
    """Return `values`; refuse what a camera has but HTTP may not change. The file's reader finds what is misspelt."""
    fixed = [name for name in values if name in Camera.model_fields and name not in names]
    if fixed:
        known = f"any of {', '.join(names)}"
        raise ApiFault.of_lines(422, fixed, known, "change it in the camera file, where it can be changed")
    if isinstance(motion := values.get("motion"), Mapping) and not motion:
        do = 'send settings such as {"min_contour_area": 300}'
        raise ApiFault(422, "motion: a mapping that holds nothing", "settings of the detector", do)
    return values
