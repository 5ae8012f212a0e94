"""The cameras by HTTP: what they do, the settings in force, and changing them for good. Writes to the camera file.

    GET    /api/cameras                 state of every running camera
    GET    /api/cameras/{id}            state and settings of one, with its ETag
    PATCH  /api/cameras/{id}            {"threshold": 0.6, "motion": {"min_contour_area": 300}}; null: as in defaults
    PUT    /api/cameras/{id}/labels     {"labels": […], "background": […]}
    POST   /api/cameras/{id}/pause, /resume

A change is validated by the camera file's own reader, written, and applied before the answer. With `If-Match` it is
made only while the file is still the one of that ETag. Faults are answered as {"faults": […]}: 422 the values, 412 the
file is another one, 409 the file has faults or cannot be written, 404 no such camera; 401, 403, 415: shared/access.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import SecretStr

from services.motion.roster import Roster
from shared.access import Caller, refusal
from shared.camera_file import BrokenFile, Changed, NotWritable, UnknownCamera, Version
from shared.cameras import Camera
from shared.errors import ConfigError, redact

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
_JSON = dict[str, Any]  # Any: JSON


class Refused(Exception):
    """Ends a request: a status, and the faults to answer."""

    def __init__(self, status: int, *faults: str) -> None:
        self.status = status
        self.faults = faults
        super().__init__(*faults)


def admit(request: Request, token: SecretStr | None, content_type: str | None) -> None:
    """Raise Refused unless the caller may; `content_type` as in shared/access.py."""
    caller = Caller.of(request.client.host if request.client else None, request.headers.get)
    found = refusal(caller, token.get_secret_value() if token else None, content_type)
    if found:
        raise Refused(found.status, found.message)


def add_routes(
    app: FastAPI, roster: Roster, status: Callable[[], _JSON], token: SecretStr | None = None
) -> None:
    """Add the routes; `status` answers GET /api/cameras."""

    def allow(request: Request) -> None:
        admit(request, token, "application/json")

    async def change(request: Request, camera_id: str, values: _JSON) -> Response:
        try:
            version = await roster.change(camera_id, values, _revision(request))
        except UnknownCamera as exc:
            raise Refused(404, *exc.faults) from exc
        except Changed as exc:
            raise Refused(412, str(exc)) from exc
        except BrokenFile as exc:
            raise Refused(409, "the camera file has faults, correct them first", *exc.faults) from exc
        except NotWritable as exc:
            raise Refused(409, str(exc)) from exc
        except ConfigError as exc:
            raise Refused(422, *exc.faults) from exc
        return answer(camera_id, version)

    def answer(camera_id: str, version: Version) -> Response:
        camera = next((camera for camera in version.cameras.cameras if camera.id == camera_id), None)
        if camera is None:
            raise Refused(404, f"camera {redact(camera_id)[:64]!r}: is not in the camera file")
        return JSONResponse(_one(camera, status()), headers={"ETag": f'"{version.revision}"'})

    @app.exception_handler(Refused)
    async def refused(_request: Request, exc: Refused) -> Response:
        headers = {"WWW-Authenticate": "Bearer"} if exc.status == 401 else None
        return JSONResponse({"faults": list(exc.faults)}, exc.status, headers)

    @app.get("/api/cameras")
    async def cameras() -> _JSON:
        return status()

    @app.get("/api/cameras/{camera_id}")
    async def one(camera_id: str) -> Response:
        return answer(camera_id, roster.version)

    @app.patch("/api/cameras/{camera_id}", openapi_extra=_documented(CHANGEABLE))
    async def patch(camera_id: str, request: Request) -> Response:
        allow(request)
        return await change(request, camera_id, _known(await read_json(request), CHANGEABLE))

    @app.put("/api/cameras/{camera_id}/labels", openapi_extra=_documented(LABELS_ONLY, ("labels",)))
    async def labels(camera_id: str, request: Request) -> Response:
        allow(request)
        values = _known(await read_json(request), LABELS_ONLY)
        if not isinstance(values.get("labels"), list):
            raise Refused(422, 'labels: wanted a list of texts, such as {"labels": ["a dog"]}')
        return await change(request, camera_id, values)

    @app.post("/api/cameras/{camera_id}/pause")
    async def pause(camera_id: str, request: Request) -> Response:
        allow(request)
        return await change(request, camera_id, {"enabled": False})

    @app.post("/api/cameras/{camera_id}/resume")
    async def resume(camera_id: str, request: Request) -> Response:
        allow(request)
        return await change(request, camera_id, {"enabled": True})


def _documented(names: tuple[str, ...], required: tuple[str, ...] = ()) -> _JSON:
    """Return OpenAPI's description of a body with these settings of a camera, null for 'as in defaults'.

    The routes read bodies themselves, with a limit and faults of their own, so that FastAPI cannot see what they want.
    """
    whole = Camera.model_json_schema()
    properties = {name: _inlined(whole["properties"][name], whole.get("$defs", {})) for name in names}
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
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(value: Any, definitions: _JSON) -> Any:  # Any: JSON
    """Return a JSON schema with references replaced by what they name, and without defaults: absent is unchanged."""
    if isinstance(value, list):
        return [_inlined(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(definitions[value["$ref"].rsplit("/", 1)[1]], definitions)
    # a setting may itself be called 'default': only a schema's keyword goes, which stands beside its type
    return {
        key: _inlined(item, definitions)
        for key, item in value.items()
        if not (key == "default" and not isinstance(item, dict))
    }


def _one(camera: Camera, status: _JSON) -> _JSON:
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
    """Return the revision that If-Match names; None: whatever is there."""
    wanted = request.headers.get("if-match")
    if wanted is None or wanted.strip() == "*":
        return None
    return wanted.strip().removeprefix("W/").strip('"')


async def read_json(request: Request) -> _JSON:
    """Return the mapping that was sent; raises Refused."""
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > MAX_BODY_BYTES:
            raise Refused(413, f"the request is longer than {MAX_BODY_BYTES} bytes")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        raise Refused(422, f"the request is not JSON: {exc}") from exc
    if not isinstance(found, dict) or not found:
        raise Refused(
            422, f"the request holds no settings, wanted a mapping with any of {', '.join(CHANGEABLE)}"
        )
    return found


def _known(values: _JSON, names: tuple[str, ...]) -> _JSON:
    """Leave typing errors to the file's reader; refuse what is a camera's but not to be changed from outside."""
    fixed = [name for name in values if name in Camera.model_fields and name not in names]
    if fixed:
        raise Refused(
            422, *(f"{name}: cannot be changed here, wanted any of {', '.join(names)}" for name in fixed)
        )
    if isinstance(motion := values.get("motion"), Mapping) and not motion:
        raise Refused(422, 'motion: holds nothing, wanted a mapping such as {"min_contour_area": 300}')
    return values
