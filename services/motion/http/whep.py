"""Live video by HTTP: the signalling of WHEP (draft-ietf-wish-whep).

    POST   /api/cameras/{id}/whep              SDP offer in; 201, answer and Location out
    GET    /api/cameras/{id}/whep/{session}    which of its frames has which RTP timestamp
    DELETE /api/cameras/{id}/whep/{session}    leave

The answer is written by live/sender.py; who may watch: rules.py, how many: live.py.
"""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from services.motion.http.live import NO_STORE, LiveRoutes, too_many_viewers
from services.motion.http.whip import SDP_TYPE, bad_offer, busy, no_session, read_sdp
from services.motion.live.latest import TooManyViewers
from services.motion.sources.webrtc.session_description import BadSessionDescription
from shared.http_access import fault_of, stream_key_of, too_many_streams
from shared.http_api import content, sent_body
from shared.open_streams import TooManyStreams


class VideoTimestamps(BaseModel):
    """How a video's RTP timestamps follow from the times at which its frames were taken."""

    rtp_zero: int | None  # see WhepSender.rtp_zero


def add_whep_routes(app: FastAPI, live: LiveRoutes) -> None:
    """Add the routes that are listed above."""

    @app.post(
        "/api/cameras/{camera_id}/whep",
        status_code=201,
        response_class=Response,
        responses=content(SDP_TYPE, status=201),
        openapi_extra=sent_body(SDP_TYPE, {"type": "string"}),
    )
    async def whep(camera_id: str, request: Request) -> Response:
        camera = live.camera(camera_id)
        try:
            answer, session = await live.sender.offer(
                camera.id, await read_sdp(request), stream_key_of(request)
            )
        except BadSessionDescription as exc:
            raise bad_offer(exc) from exc
        except TooManyStreams as exc:
            raise fault_of(too_many_streams(exc)) from exc
        except TooManyViewers as exc:
            raise too_many_viewers(exc) from exc
        except TimeoutError as exc:
            raise busy() from exc
        headers = {"Location": f"/api/cameras/{camera.id}/whep/{session}", **NO_STORE}
        return Response(answer, 201, headers, SDP_TYPE)

    @app.get("/api/cameras/{camera_id}/whep/{session}")
    async def timestamps(camera_id: str, session: str) -> VideoTimestamps:
        try:
            return VideoTimestamps(rtp_zero=live.sender.rtp_zero(camera_id, session))
        except KeyError:
            raise no_session() from None

    @app.delete("/api/cameras/{camera_id}/whep/{session}", response_class=Response)
    async def leave(camera_id: str, session: str) -> Response:
        if not await live.sender.leave(camera_id, session):
            raise no_session()
        return Response(status_code=200)
