"""The page of the cameras: live pictures, and trying out, drawing and saving motion settings. Serves files only."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response

from shared.page_files import PageFiles

WEB = Path(__file__).parent / "web"


def add_page_routes(app: FastAPI) -> None:
    """Add `/` (all cameras), `/cameras/{id}` (one) and their files; the page asks the API which cameras there are."""
    files = PageFiles(WEB)
    app.mount("/web", files)

    @app.get("/", include_in_schema=False)
    async def cameras(request: Request) -> Response:
        return await files.get_response("cameras.html", request.scope)

    @app.get("/cameras/{camera_id}", include_in_schema=False)
    async def camera(camera_id: str, request: Request) -> Response:  # noqa: ARG001  # the page reads it from its address
        return await files.get_response("camera.html", request.scope)
