"""The HTTP side of WHIP (RFC 9725): POST an offer to /whip/CAMERA, get 201 and a Location; DELETE that to leave."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI, Request, Response

from services.motion.sources.peer import MAX_SDP_BYTES, BadDescription
from services.motion.sources.whip import Door

# a page of another origin may publish: the token is what protects, and no cookie is looked at
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Location",
}


def add_whip_routes(app: FastAPI, find_door: Callable[[str], Door | None]) -> None:
    """Let publishers in; `find_door` gives the door of a camera, None when it has none."""

    @app.options("/whip/{camera}")
    @app.options("/whip/{camera}/{session}")
    async def options() -> Response:
        return _say(204, "")

    @app.post("/whip/{camera}")
    async def publish(camera: str, request: Request) -> Response:
        door = find_door(camera)
        if door is None or not door.opens_to(_token(request)):
            return _refused()
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/sdp":
            return _say(415, "wanted Content-Type: application/sdp")
        sdp = await _body(request)
        if sdp is None:
            return _say(413, f"wanted at most {MAX_SDP_BYTES} bytes")
        try:
            answer, session = await door.offer(sdp)
        except BadDescription as exc:
            return _say(400, str(exc))
        except TimeoutError:
            return _say(503, "busy, try again")
        headers = {**_CORS, "Location": f"/whip/{camera}/{session}"}
        return Response(answer, 201, headers, "application/sdp")

    @app.delete("/whip/{camera}/{session}")
    async def leave(camera: str, session: str, request: Request) -> Response:
        door = find_door(camera)
        if door is None or not door.opens_to(_token(request)):
            return _refused()
        return _say(200, "") if await door.leave(session) else _say(404, "no such session")


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.query_params.get("token", "")


async def _body(request: Request) -> str | None:
    """Return the body; None when it is too long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_SDP_BYTES:
            return None
    return body.decode(errors="replace")


def _refused() -> Response:
    """Say the same of a wrong token and of a camera that is not there or takes no publisher."""
    return Response(
        "wanted the camera's token, as Authorization: Bearer … or ?token=…\n",
        401,
        {**_CORS, "WWW-Authenticate": "Bearer"},
        "text/plain",
    )


def _say(status: int, text: str) -> Response:
    return Response(f"{text}\n" if text else None, status, _CORS, "text/plain" if text else None)
