"""The page of the cameras: live pictures, and trying out, drawing and saving motion settings. Serves files only."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse

from shared.http_api import ApiFault

WEB = Path(__file__).parent / "web"
WEB_FILES = {
    "app.css": "text/css",
    **dict.fromkeys(
        (
            "cameras.js",
            "camera.js",
            "api.js",
            "dom.js",
            "live.js",
            "overlay.js",
            "shapes.js",
            "plot.js",
            "sync.js",
        ),
        "text/javascript",
    ),
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-cache",
}


def add_page_routes(app: FastAPI) -> None:
    """Add `/` (all cameras), `/cameras/{id}` (one) and their files; which cameras there are the page asks the API."""

    @app.get("/", include_in_schema=False)
    async def cameras() -> Response:
        return FileResponse(WEB / "cameras.html", media_type="text/html", headers=HEADERS)

    @app.get("/cameras/{camera_id}", include_in_schema=False)
    async def camera(camera_id: str) -> Response:  # noqa: ARG001  # the page reads it from its address
        return FileResponse(WEB / "camera.html", media_type="text/html", headers=HEADERS)

    @app.get("/web/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in WEB_FILES:
            raise ApiFault(404, "no such file", "a file of the page", "start at /")
        return FileResponse(WEB / name, media_type=WEB_FILES[name], headers=HEADERS)
