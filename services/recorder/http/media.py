"""Clips and thumbnails by their names, with ranges; what a name stands for never changes."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from services.recorder.http.state import ApiState
from shared.http_api import ApiFault, documented


def media_routes(api: ApiState) -> APIRouter:
    """Return the route of the media files."""
    router = APIRouter(tags=["media"])

    @router.head("/media/{name:path}", include_in_schema=False)
    @router.get(
        "/media/{name:path}",
        response_class=FileResponse,
        responses={
            200: {"content": {"video/mp4": {}, "image/jpeg": {}}},
            206: {"description": "the bytes that `Range` asks for"},
            **documented(404),
            416: {"description": "`Range` lies outside the file"},
        },
    )
    async def media(name: str, request: Request) -> Response:
        """A clip or thumbnail; the name is its capability and its content never changes."""
        found = await asyncio.to_thread(api.media.find, name) if api.media else None
        if found is None:
            raise ApiFault(
                404, "no such file", "/media/<yyyy>/<mm>/<dd>/<name>", "take the address from /api/events"
            )
        path, status, media_type = found
        headers = {
            "etag": f'"{path.stem}-{status.st_size:x}"',
            "cache-control": "private, max-age=31536000, immutable",
            "cross-origin-resource-policy": "cross-origin",  # Grafana shows them from another origin
        }
        if _is_known(request.headers.get("if-none-match"), headers["etag"]):
            return Response(status_code=304, headers=headers)
        return FileResponse(path, media_type=media_type, stat_result=status, headers=headers)

    return router


def _is_known(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return etag in known or "*" in known
