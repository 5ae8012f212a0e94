"""Clips and thumbnails by their names, with ranges, for who sees their camera; what a name stands for never changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from services.recorder.http.state import ApiState
from services.recorder.http.viewer import Viewer
from services.recorder.record import queries
from shared.http_api import ApiFault, content

MEDIA_HEADERS = {
    # asked for again each time, and answered 304: a browser that was logged out shows nothing of its cache
    "cache-control": "private, no-cache",
    "cross-origin-resource-policy": "same-site",  # Grafana on another port of this host shows them
}
FILE_ANSWERS: dict[int | str, dict[str, Any]] = {  # Any: FastAPI's own
    206: {"description": "the bytes that `Range` asks for"},
    304: {"description": "the file that `If-None-Match` names"},
    416: {"description": "`Range` lies outside the file"},
}


def media_routes(api: ApiState) -> APIRouter:
    """Return the route of the media files."""
    router = APIRouter(tags=["media"])

    @router.head("/media/{name:path}", include_in_schema=False)
    @router.get(
        "/media/{name:path}",
        response_class=FileResponse,
        responses={**content("video/mp4", "image/jpeg"), **FILE_ANSWERS},
    )
    async def media(name: str, request: Request, viewer: Viewer) -> Response:
        """A clip or thumbnail; its content never changes. A name alone opens nothing."""
        if viewer is not None:
            async with api.open_database().reading() as connection:
                if not await queries.is_media_of(connection, name, viewer):
                    raise no_file()
        return await file_response(api, name, request, MEDIA_HEADERS)

    return router


async def file_response(
    api: ApiState, name: str | None, request: Request, headers: Mapping[str, str]
) -> Response:
    """Return a file of the media folder, or that it is known already; raise ApiFault (404) when there is none."""
    found = await asyncio.to_thread(api.media.find, name) if api.media and name else None
    if found is None:
        raise no_file()
    path, status, media_type = found
    etag = f'"{path.stem}-{status.st_size:x}"'
    if _is_known(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers={**headers, "etag": etag})
    return FileResponse(path, media_type=media_type, stat_result=status, headers={**headers, "etag": etag})


def no_file() -> ApiFault:
    """Return the answer for a file that there is not, or that is of a camera which the caller does not see."""
    do = "take the address from /api/events"
    return ApiFault(404, "no such file", "/media/<yyyy>/<mm>/<dd>/<name>", do)


def _is_known(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return etag in known or "*" in known
