"""The HTTP side of WHIP (RFC 9725): POST an offer to /whip/CAMERA, get 201 and a Location; DELETE that to leave."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import FastAPI, Query, Request, Response

from services.motion.sources.webrtc.session_description import MAX_SDP_BYTES, BadSessionDescription
from services.motion.sources.webrtc.whip import WhipEndpoint
from shared.cameras import Camera, kind_of, whip_token
from shared.http_api import ApiFault, bounded_body, content, sent_body

SDP_TYPE = "application/sdp"
# pages of other origins may publish: the token protects, and cookies are ignored
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "Location",
}
_Token = Annotated[str, Query(description="the camera's token, where no Authorization header can be sent")]


def add_whip_routes(  # noqa: C901  # three short routes and the login that they share
    app: FastAPI,
    find_endpoint: Callable[[str], WhipEndpoint | None],
    find_camera: Callable[[str], Camera | None],
) -> None:
    """Add the routes; `find_endpoint` returns where a camera's publisher connects, None for a camera that has none.

    `find_camera` returns a camera of the file, also one that is paused or that another process reads.
    """

    def admitted(camera: str, request: Request, token: str) -> WhipEndpoint:
        return _admitted(find_endpoint(camera), find_camera(camera), _bearer(request) or token)

    # a browser asks for the address that it will use
    @app.options("/whip/{camera}", status_code=204, response_class=Response)
    async def options(camera: str, token: _Token = "") -> Response:  # noqa: ARG001
        return Response(None, 204, _CORS)

    @app.options("/whip/{camera}/{session}", status_code=204, response_class=Response)
    async def session_options(camera: str, session: str, token: _Token = "") -> Response:  # noqa: ARG001
        return Response(None, 204, _CORS)

    @app.post(
        "/whip/{camera}",
        status_code=201,
        response_class=Response,
        responses=content(SDP_TYPE, status=201),
        openapi_extra=sent_body(SDP_TYPE, {"type": "string"}),
    )
    async def publish(camera: str, request: Request, token: _Token = "") -> Response:
        endpoint = admitted(camera, request, token)
        if request.headers.get("content-type", "").partition(";")[0].strip() != SDP_TYPE:
            do = f"send the header Content-Type: {SDP_TYPE}"
            raise _with_cors(ApiFault(415, "a body of another type", "an SDP offer", do))
        try:
            answer, session = await endpoint.offer(await read_sdp(request))
        except BadSessionDescription as exc:
            raise _with_cors(bad_offer(exc)) from exc
        except TimeoutError as exc:
            raise _with_cors(busy()) from exc
        except ApiFault as exc:
            raise _with_cors(exc) from exc
        headers = {**_CORS, "Location": f"/whip/{camera}/{session}"}
        return Response(answer, 201, headers, SDP_TYPE)

    @app.delete("/whip/{camera}/{session}", response_class=Response)
    async def leave(camera: str, session: str, request: Request, token: _Token = "") -> Response:
        if not await admitted(camera, request, token).leave(session):
            raise _with_cors(no_session())
        return Response(None, 200, _CORS)


async def read_sdp(request: Request) -> str:
    """Return the SDP that was sent; raises ApiFault when it is too long."""
    return (await bounded_body(request, MAX_SDP_BYTES)).decode(errors="replace")


def bad_offer(exc: BadSessionDescription) -> ApiFault:
    """Return the fault of an offer that cannot be answered."""
    return ApiFault(400, str(exc), "an SDP offer of a video", "see the guide on cameras")


def busy() -> ApiFault:
    """Return the fault of a service that could not answer in time."""
    return ApiFault(503, "too much to do", "an answer in time", "try again")


def no_session() -> ApiFault:
    """Return the fault of a session that has ended, or never was."""
    return ApiFault(404, "no such session", "the Location of an answer", "it may have ended already")


def _admitted(endpoint: WhipEndpoint | None, camera: Camera | None, shown: str) -> WhipEndpoint:
    """Return the endpoint when the token that is shown is its camera's; raises ApiFault."""
    if endpoint is None and _is_token_of(camera, shown):
        do = "publish again in a moment: the camera is paused, or moving to another motion process"
        raise _with_cors(ApiFault(503, "no publisher is taken now", "a camera that is read here", do))
    if endpoint is None or not endpoint.accepts_token(shown):
        # the same for a wrong token and for a camera that is not there or takes no publisher
        do = "send it as Authorization: Bearer … or ?token=…"
        raise _with_cors(ApiFault(401, "no token of this camera", "its token", do))
    return endpoint


def _is_token_of(camera: Camera | None, shown: str) -> bool:
    if camera is None or kind_of(camera.url) != "whip":
        return False
    return hmac.compare_digest(shown.encode(), whip_token(camera.url).encode())


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _with_cors(fault: ApiFault) -> ApiFault:
    fault.headers = {**(fault.headers or {}), **_CORS}
    return fault
