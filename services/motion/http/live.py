"""Live pictures by HTTP, for players without WebRTC; and what all routes for viewers share.

    GET    /api/cameras/{id}/picture.jpg       the next frame as a JPEG; repeated, it is the slow live view
    GET    /api/cameras/{id}/video.mjpeg       the same as multipart/x-mixed-replace, for <img> and old players

Who may watch: rules.py. Faults as everywhere (shared/http_api.py); 503 while the camera gives no picture, or while as
many watch as LIVE_VIEWERS_MAX allows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from services.motion.cameras.registry import CameraRegistry
from services.motion.http.cameras import no_camera
from services.motion.live.latest import LiveViews, TooManyViewers, ViewerSlot
from services.motion.live.sender import WhepSender
from shared.cameras import Camera
from shared.http_api import ApiFault, content

PICTURE_S = 5.0  # longest wait for a picture
HEARTBEAT_S = 5.0  # how often a stream that has nothing to say shows that it lives
BOUNDARY = "clipwatch-picture"
NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class LiveRoutes:
    """What the routes for viewers need."""

    registry: CameraRegistry
    views: LiveViews
    sender: WhepSender

    def camera(self, camera_id: str) -> Camera:
        found = self.registry.camera(camera_id)
        if found is None:
            raise no_camera(camera_id)
        return found

    def slot(self, camera: Camera) -> tuple[ViewerSlot, ExitStack]:
        """Return a viewer's slot and what gives it back; raises ApiFault."""
        stack = ExitStack()
        try:
            return stack.enter_context(self.views.of(camera.id).slot()), stack
        except TooManyViewers as exc:
            raise too_many_viewers(exc) from exc


def too_many_viewers(exc: TooManyViewers) -> ApiFault:
    return ApiFault(503, str(exc), "fewer viewers", "try again later")


def add_picture_routes(app: FastAPI, live: LiveRoutes) -> None:
    """Add the routes that are listed above."""

    @app.get("/api/cameras/{camera_id}/picture.jpg", response_class=Response, responses=content("image/jpeg"))
    async def picture(camera_id: str) -> Response:
        camera = live.camera(camera_id)
        slot, stack = live.slot(camera)
        with stack:
            latest = await slot.next(PICTURE_S)
            if latest is None:
                found = f"camera '{camera.id}' gave no picture within {PICTURE_S:g} s"
                raise ApiFault(503, found, "a running camera", "look at its state in /api/cameras")
            data = await asyncio.to_thread(live.views.of(camera.id).jpeg, latest)
        return Response(data, 200, NO_STORE, "image/jpeg")

    @app.get(
        "/api/cameras/{camera_id}/video.mjpeg",
        response_class=Response,
        responses=content("multipart/x-mixed-replace"),
    )
    async def mjpeg(camera_id: str) -> Response:
        camera = live.camera(camera_id)
        slot, stack = live.slot(camera)
        kind = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        return EndlessResponse(stack, _pictures(live, camera.id, slot), kind)


async def _pictures(live: LiveRoutes, camera_id: str, slot: ViewerSlot) -> AsyncIterator[bytes]:
    while True:
        latest = await slot.next(HEARTBEAT_S)
        if latest is None:
            continue
        data = await asyncio.to_thread(live.views.of(camera_id).jpeg, latest)
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        yield head.encode() + data + b"\r\n"


class EndlessResponse(StreamingResponse):
    """A stream that gives its viewer's slot back however it ends, even before it began."""

    def __init__(self, stack: ExitStack, content: AsyncIterator[str | bytes], kind: str) -> None:
        headers = {**NO_STORE, "X-Accel-Buffering": "no"}  # nginx would hold events back
        super().__init__(content, 200, headers, kind)
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._stack:
            await super().__call__(scope, receive, send)
