"""A motion service that keeps what it was sent, for a recorder before it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.types import ASGIApp

from services.recorder.http.api import add_routes
from services.recorder.http.state import ApiState
from shared.http_api import make_app

TOKEN = "motion-0123456789abcdef"


class Motion:
    """A motion service that keeps what it was sent, and counts the streams that are open."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.bodies: list[bytes] = []
        self.n_open = 0
        self.has_answer = asyncio.Event()
        self.answers: dict[str, Response] = {}
        self.app = FastAPI(openapi_url=None)
        self.app.add_api_route("/api/cameras/{camera_id}/video.mjpeg", self.video)
        self.app.add_api_route("/api/cameras/{camera_id}/picture.jpg", self.late)
        self.app.add_api_route("/{path:path}", self.answer, methods=["GET", "PUT", "PATCH", "POST", "DELETE"])

    async def answer(self, request: Request) -> Response:
        self.requests.append(request)
        self.bodies.append(await request.body())
        found = self.answers.get(request.url.path)
        return JSONResponse({"path": request.url.path}) if found is None else found

    async def video(self) -> Response:
        async def pictures() -> AsyncIterator[bytes]:
            self.n_open += 1
            try:
                while True:
                    yield b"--picture\r\n"
                    await asyncio.sleep(0.01)
            finally:
                self.n_open -= 1

        return StreamingResponse(pictures(), media_type="multipart/x-mixed-replace; boundary=picture")

    async def late(self, request: Request) -> Response:
        self.n_open += 1
        try:
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
        finally:
            self.n_open -= 1
        return Response(b"late")


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on loopback; yield its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()


def recorder_app(api: ApiState) -> FastAPI:
    """Return the recorder's routes, before the access check."""
    app = make_app("recorder")
    add_routes(app, api)
    return app
