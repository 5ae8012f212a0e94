"""Clips and thumbnails by their names, with ranges, for who sees their camera; what a name stands for never changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from email.utils import format_datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from services.recorder.http.ranges import ByteRange, OutOfRange, parse_range
from services.recorder.http.state import ApiState
from services.recorder.http.viewer import Viewer
from services.recorder.media.store import MediaAway, MediaFile, MediaGone, MediaStore
from services.recorder.record import queries
from shared.errors import reason
from shared.http_api import ApiFault, content
from shared.logs import get_logger

log = get_logger(__name__)

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
    """Return a kept file, or that it is known already; raise ApiFault: 404 when there is none, 503 when it is away."""
    if not api.media or not name:
        raise no_file()
    try:
        found = await api.media.find(name)
    except MediaAway as exc:
        raise _away(api.media, exc) from exc
    if found is None:
        raise no_file()
    etag = f'"{found.name.rpartition("/")[2].partition(".")[0]}-{found.n_bytes:x}"'
    headers = {**headers, "etag": etag}
    if _is_known(request.headers.get("if-none-match"), etag):
        return Response(status_code=304, headers=headers)
    if found.local is None:
        return await _streamed(api.media, found, request, headers)
    path, status = found.local
    return FileResponse(path, media_type=found.media_type, stat_result=status, headers=headers)


async def _streamed(
    media: MediaStore, file: MediaFile, request: Request, headers: Mapping[str, str]
) -> Response:
    """Answer as FileResponse does, from a store that has no files of this machine, piece by piece."""
    last_modified = format_datetime(file.modified_at, usegmt=True)
    headers = {**headers, "last-modified": last_modified, "accept-ranges": "bytes"}
    if_range = request.headers.get("if-range")
    is_same = if_range is None or if_range in (headers["etag"], last_modified)
    try:
        wanted = parse_range(request.headers.get("range") if is_same else None, file.n_bytes)
    except OutOfRange:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{file.n_bytes}"})
    part = wanted or ByteRange(0, file.n_bytes)
    if wanted is not None:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{file.n_bytes}"
    headers["content-length"] = str(part.stop - part.start)
    status_code = 206 if wanted is not None else 200
    if request.method == "HEAD" or not file.n_bytes:
        return Response(status_code=status_code, media_type=file.media_type, headers=headers)
    pieces = media.read(file, part.start, part.stop)
    try:
        first = await anext(pieces)  # while the answer can still say that the store is away
    except MediaGone as exc:  # removed since it was found
        raise no_file() from exc
    except MediaAway as exc:
        raise _away(media, exc) from exc
    return StreamingResponse(
        _pieces(media, file, first, pieces), status_code, media_type=file.media_type, headers=headers
    )


async def _pieces(
    media: MediaStore, file: MediaFile, first: bytes, pieces: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Yield the bytes; a store that goes away meanwhile ends the answer before its length, which browsers notice."""
    yield first
    try:
        async for piece in pieces:
            yield piece
    except MediaAway as exc:
        log.warning("a file could not be served to its end", place=media.place, name=file.name, error=exc)
        raise


def _away(media: MediaStore, exc: MediaAway) -> ApiFault:
    found = f"{media.place}: {reason(exc)}"
    return ApiFault(503, found, "a store of clips that answers", "try again in a moment; see /api/health")


def no_file() -> ApiFault:
    """Return the answer for a file that there is not, or that is of a camera which the caller does not see."""
    do = "take the address from /api/events"
    return ApiFault(404, "no such file", "/media/<yyyy>/<mm>/<dd>/<name>", do)


def _is_known(if_none_match: str | None, etag: str) -> bool:
    if if_none_match is None:
        return False
    known = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return etag in known or "*" in known
