"""What the detector finds in each frame, by HTTP, as server-sent events.

    GET    /api/cameras/{id}/looks    boxes, contours, score; with the settings in force
    POST   /api/cameras/{id}/trial    {"lanes": [{"threshold": 10}, …]}: the same with other settings, side by side

The answer to either goes on until the viewer leaves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from services.motion.detection import preview
from services.motion.detection.preview import PREVIEWS_MAX, PreviewPlane, SettingsPreview
from services.motion.detection.scaling import luma_plane
from services.motion.http.cameras import CHANGE, inlined, read_json
from services.motion.http.live import HEARTBEAT_S, EndlessResponse, LiveRoutes
from services.motion.live.latest import LiveFrame, ViewerSlot
from shared.cameras import MotionSettings
from shared.faults import list_faults
from shared.http_api import ApiFault, content, documented, sent_body

_JSON = dict[str, Any]  # Any: JSON


def add_look_routes(app: FastAPI, live: LiveRoutes) -> None:
    """Add the routes that are listed above."""

    @app.get(
        "/api/cameras/{camera_id}/looks", response_class=Response, responses=content("text/event-stream")
    )
    async def looks(camera_id: str) -> Response:
        camera = live.camera(camera_id)
        slot, stack = live.slot(camera)

        def describe(latest: LiveFrame) -> _JSON:
            frame = latest.frame
            settings = (live.registry.camera(camera.id) or camera).motion
            report = preview.as_json(latest.motion, latest.scene, settings, frame.width, frame.height)
            return {"t": round(latest.frame.t_s, 3), **report}

        return EndlessResponse(stack, _events(slot, describe), "text/event-stream")

    @app.post(
        "/api/cameras/{camera_id}/trial",
        response_class=Response,
        responses={**content("text/event-stream"), **documented(422)},
        openapi_extra=sent_body("application/json", _described_lanes()),
    )
    async def trials(camera_id: str, request: Request) -> Response:
        camera = live.camera(camera_id)
        wanted = await asyncio.to_thread(_settings, camera.motion, await read_json(request))
        slot, stack = live.slot(camera)
        previews: tuple[SettingsPreview, ...] = ()

        def describe(latest: LiveFrame) -> _JSON | None:
            nonlocal previews
            frame = latest.frame
            plane = PreviewPlane(luma_plane(frame), frame.t_s, frame.width, frame.height)
            own = SettingsPreview(
                (live.registry.camera(camera.id) or camera).motion, latest.scene, latest.motion
            )
            if not previews:  # they learn the scene; what was found in it was found with other settings
                previews = tuple(replace(own, settings=settings) for settings in wanted)
                return None
            previews = preview.step(previews, plane, own)
            report = [
                preview.as_json(one.motion, one.scene, one.settings, frame.width, frame.height)
                for one in previews
            ]
            return {"t": round(latest.frame.t_s, 3), "lanes": report}

        return EndlessResponse(stack, _events(slot, describe), "text/event-stream")


def _described_lanes() -> _JSON:
    whole = MotionSettings.model_json_schema()
    lane = {**inlined(whole, whole.get("$defs", {})), "required": []}
    lanes = {"type": "array", "items": lane, "minItems": 1, "maxItems": PREVIEWS_MAX}
    return {
        "type": "object",
        "properties": {"lanes": lanes},
        "required": ["lanes"],
        "additionalProperties": False,
    }


def _settings(own: MotionSettings, body: _JSON) -> Sequence[MotionSettings]:
    """Return the settings of each lane: the camera's own with those that were sent."""
    lanes = body.get("lanes")
    if not isinstance(lanes, list) or not 1 <= len(lanes) <= PREVIEWS_MAX or set(body) != {"lanes"}:
        wanted = f'{{"lanes": […]}} with 1 to {PREVIEWS_MAX} mappings of motion settings'
        raise ApiFault(422, "a body without lanes", wanted, CHANGE)
    made: list[MotionSettings] = []
    faults: list[str] = []
    for number, lane in enumerate(lanes):
        try:
            made.append(MotionSettings.model_validate({**own.model_dump(), **_mapping(lane)}))
        except ValidationError as exc:
            faults += (f"lanes[{number}]: {fault}" for fault in list_faults(exc, MotionSettings))
    if faults:
        raise ApiFault.of_lines(422, faults, "motion settings", CHANGE)
    return made


def _mapping(lane: object) -> _JSON:
    if not isinstance(lane, dict):
        raise ApiFault(422, "lanes", 'mappings of motion settings, such as {"threshold": 10}', CHANGE)
    return lane


async def _events(slot: ViewerSlot, describe: Callable[[LiveFrame], _JSON | None]) -> AsyncIterator[str]:
    """Yield what `describe` returns, in a thread, for each frame; a slow reader or thread gets the newest only."""
    yield "retry: 2000\n\n"
    while True:
        latest = await slot.next(HEARTBEAT_S)
        if latest is None:
            yield "event: waiting\ndata: {}\n\n"
            continue
        report = await asyncio.to_thread(describe, latest)
        if report is not None:
            yield f"data: {json.dumps(report, separators=(',', ':'))}\n\n"
