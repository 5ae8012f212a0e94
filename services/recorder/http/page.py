"""The site's pages and their files.

    /                events: list, search, labels in hindsight
    /cameras         all cameras; /cameras/{id}: one, live, with its settings
    /verdicts        what people said of events
    /quality         how good the answers are; a check of ten events
    /login, /users   logging in; users, sessions and tokens
    /web             their scripts and styles

They hold no data: each asks the API who is looking, and goes to /login when nobody is. Where a browser opens an
address that cannot be shown, the fault is a page, too (shared/fault_page.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from shared.fault_page import FaultPages

WEB = Path(__file__).parent / "web"
PAGES = {
    "/": "events.html",
    "/cameras": "cameras.html",
    "/cameras/{camera_id}": "camera.html",
    "/quality": "quality.html",
    "/login": "login.html",
    "/users": "users.html",
    "/verdicts": "verdicts.html",
}


def add_page(app: FastAPI) -> None:
    """Serve PAGES, their files below `/web`, and faults as pages."""
    app.state.fault_pages = FaultPages("/web/shared.css", "/", no_home=("/shared/",))
    files = PageFiles(directory=WEB)
    app.mount("/web", files)
    for path, name in PAGES.items():
        app.add_api_route(path, _page(files, name), methods=["GET", "HEAD"], include_in_schema=False)


def _page(files: PageFiles, name: str) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:  # what it shows is in its address, which its script reads
        return await files.get_response(name, request.scope)

    return page


class PageFiles(StaticFiles):
    """A folder of files. A browser asks for them at every load, so a new release shows at once."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["cache-control"] = "no-cache"
        return response
