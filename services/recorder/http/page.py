"""The record's page and its files."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response

from shared.page_files import PageFiles

WEB = Path(__file__).parent / "web"


def add_page(app: FastAPI) -> None:
    """Serve the page at `/` and its files below `/web`."""
    files = PageFiles(WEB)
    app.mount("/web", files)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def index(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)
