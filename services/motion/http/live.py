"""The cameras as people see them, by HTTP: live video, pictures, and what the detector says of each look.

    POST   /api/cameras/{id}/whep              SDP offer in, 201, answer and Location out (draft-ietf-wish-whep)
    DELETE /api/cameras/{id}/whep/{session}    leave
    GET    /api/cameras/{id}/picture.jpg       the next look as a JPEG; asked again and again it is the slow live view
    GET    /api/cameras/{id}/video.mjpeg       the same as multipart/x-mixed-replace, for <img> and old players
    GET    /api/cameras/{id}/looks             server-sent events: boxes, contours, score; the settings in force
    POST   /api/cameras/{id}/trial             {"lanes": [{"threshold": 10}, …]}: the same for other settings

All of them are for the callers that may change settings (shared/access.py), since they show what a camera sees. Faults
as everywhere (shared/http_api.py); 503 while the camera gives no picture, or as many watch as may (LIVE_VIEWERS_MAX).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import SecretStr, ValidationError
from starlette.types import Receive, Scope, Send

from services.motion.cameras.registry import CameraRegistry
from services.motion.detection import preview
from services.motion.detection.preview import LANES_MAX, Lane, Plane
from services.motion.events.watcher import luma_plane
from services.motion.http.cameras import CHANGE, admit, no_camera, read_json
from services.motion.http.whip import bad_offer, busy, no_session, read_sdp
from services.motion.live.latest import LiveFrame, LiveViews, TooManyViewers, ViewerSlot
from services.motion.live.sender import WhepSender
from services.motion.sources.webrtc.peer import BadDescription
from shared.cameras import Camera, MotionSettings
from shared.faults import list_faults
from shared.http_api import ApiFault, documented

PICTURE_S = 5.0  # how long a picture is waited for
HEARTBEAT_S = 5.0  # an idle stream says so
BOUNDARY = "clipwatch-picture"
LOOK_FAULTS = documented(401, 403, 404, 503)
_JSON = dict[str, Any]  # Any: JSON
_NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True, slots=True)
class LiveContext:
    """What the routes need."""

    registry: CameraRegistry
    views: LiveViews
    sender: WhepSender
    token: SecretStr | None = None

    def camera(self, camera_id: str) -> Camera:
        found = self.registry.camera(camera_id)
        if found is None:
            raise no_camera(camera_id)
        return found

    def slot(self, camera: Camera) -> tuple[ViewerSlot, ExitStack]:
        """Return a slot and what gives it back; raises ApiFault."""
        stack = ExitStack()
        try:
            return stack.enter_context(self.views.of(camera.id).slot()), stack
        except TooManyViewers as exc:
            raise _too_many_viewers(exc) from exc


def _too_many_viewers(exc: TooManyViewers) -> ApiFault:
    return ApiFault(503, str(exc), "fewer viewers", "try again later")


def add_view_routes(app: FastAPI, live: LiveContext) -> None:
    """Add the routes."""
    token = live.token

    @app.post(
        "/api/cameras/{camera_id}/whep", status_code=201, responses=documented(401, 403, 404, 413, 415, 503)
    )
    async def whep(camera_id: str, request: Request) -> Response:
        admit(request, token, "application/sdp")
        camera = live.camera(camera_id)
        try:
            answer, session = await live.sender.offer(camera.id, await read_sdp(request))
        except BadDescription as exc:
            raise bad_offer(exc) from exc
        except TooManyViewers as exc:
            raise _too_many_viewers(exc) from exc
        except TimeoutError as exc:
            raise busy() from exc
        headers = {"Location": f"/api/cameras/{camera.id}/whep/{session}", **_NO_STORE}
        return Response(answer, 201, headers, "application/sdp")

    @app.delete("/api/cameras/{camera_id}/whep/{session}", responses=LOOK_FAULTS)
    async def leave(camera_id: str, session: str, request: Request) -> Response:
        admit(request, token, None)
        if not await live.sender.leave(camera_id, session):
            raise no_session()
        return Response(status_code=200)

    @app.get("/api/cameras/{camera_id}/picture.jpg", responses=LOOK_FAULTS)
    async def picture(camera_id: str, request: Request) -> Response:
        admit(request, token, None)
        camera = live.camera(camera_id)
        slot, stack = live.slot(camera)
        with stack:
            latest = await slot.next(PICTURE_S)
            if latest is None:
                found = f"camera '{camera.id}' gave no picture within {PICTURE_S:g} s"
                raise ApiFault(503, found, "a running camera", "look at its state in /api/cameras")
            data = await asyncio.to_thread(live.views.of(camera.id).jpeg, latest)
        return Response(data, 200, _NO_STORE, "image/jpeg")

    @app.get("/api/cameras/{camera_id}/video.mjpeg", responses=LOOK_FAULTS)
    async def mjpeg(camera_id: str, request: Request) -> Response:
        admit(request, token, None)
        camera = live.camera(camera_id)
        slot, stack = live.slot(camera)
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return _Stream(stack, _pictures(live, camera.id, slot), kind)

    @app.get("/api/cameras/{camera_id}/looks", responses=LOOK_FAULTS)
    async def looks(camera_id: str, request: Request) -> Response:
        admit(request, token, None)
        camera = live.camera(camera_id)
        slot, stack = live.slot(camera)

        def say(latest: LiveFrame) -> _JSON:
            frame = latest.frame
            settings = (live.registry.camera(camera.id) or camera).motion
            said = preview.as_json(latest.motion, latest.scene, settings, frame.width, frame.height)
            return {"t": round(latest.frame.t_s, 3), **said}

        return _Stream(stack, _events(slot, say), "text/event-stream")

    @app.post("/api/cameras/{camera_id}/trial", responses=documented(401, 403, 404, 413, 415, 422, 503))
    async def trials(camera_id: str, request: Request) -> Response:
        admit(request, token, "application/json")
        camera = live.camera(camera_id)
        wanted = _settings(camera.motion, await read_json(request))
        slot, stack = live.slot(camera)
        lanes: tuple[Lane, ...] = ()

        def say(latest: LiveFrame) -> _JSON:
            nonlocal lanes
            frame = latest.frame
            plane = Plane(luma_plane(frame), frame.t_s, frame.width, frame.height)
            own = Lane((live.registry.camera(camera.id) or camera).motion, latest.scene, latest.motion)
            if not lanes:
                lanes = tuple(replace(own, settings=settings) for settings in wanted)
            else:
                lanes = preview.step(lanes, plane, own)
            said = [
                preview.as_json(lane.motion, lane.scene, lane.settings, frame.width, frame.height)
                for lane in lanes
            ]
            return {"t": round(latest.frame.t_s, 3), "lanes": said}

        return _Stream(stack, _events(slot, say), "text/event-stream")


def _settings(own: MotionSettings, body: _JSON) -> Sequence[MotionSettings]:
    """Return the settings of each lane: the camera's own with those that were sent."""
    lanes = body.get("lanes")
    if not isinstance(lanes, list) or not 1 <= len(lanes) <= LANES_MAX or set(body) != {"lanes"}:
        wanted = f'{{"lanes": […]}} with 1 to {LANES_MAX} mappings of motion settings'
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


async def _events(slot: ViewerSlot, say: Callable[[LiveFrame], _JSON]) -> AsyncIterator[str]:
    """Yield what is said of each look, in a thread; the newest only when the reader or the thread is slow."""
    yield "retry: 2000\n\n"
    while True:
        latest = await slot.next(HEARTBEAT_S)
        if latest is None:
            yield "event: waiting\ndata: {}\n\n"
            continue
        said = await asyncio.to_thread(say, latest)
        yield f"data: {json.dumps(said, separators=(',', ':'))}\n\n"


async def _pictures(live: LiveContext, camera_id: str, slot: ViewerSlot) -> AsyncIterator[bytes]:
    while True:
        latest = await slot.next(HEARTBEAT_S)
        if latest is None:
            continue
        data = await asyncio.to_thread(live.views.of(camera_id).jpeg, latest)
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        yield head.encode() + data + b"\r\n"


class _Stream(StreamingResponse):
    """An answer without end that gives its slot back however it ends, even before it began."""

    def __init__(self, stack: ExitStack, content: AsyncIterator[str | bytes], kind: str) -> None:
        headers = {**_NO_STORE, "X-Accel-Buffering": "no"}  # nginx would hold events back
        super().__init__(content, 200, headers, kind)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stack:
            await super().__call__(scope, receive, send)
