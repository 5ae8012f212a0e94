"""Passes requests on to the motion service, so that cameras, live pictures and the record are one site.

Who may do what is decided here, before anything is sent: motion knows the recorder by MOTION_TOKEN, not the callers.
Headers are passed on by name in both directions; a caller's cookies and Authorization stay here (a WHIP publisher's
token, which is motion's own, does not). A caller that leaves ends the request to motion at once: viewers have slots.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from fastapi import FastAPI, Request, Response
from starlette.types import Receive, Scope, Send

from services.recorder.http.label_history import LabelNote, label_note
from services.recorder.http.motion_client import (
    MotionClient,
    no_camera,
    passed_headers,
    path_of,
    read_whole,
    wrong_token,
)
from services.recorder.http.motion_routes import MotionRoute, motion_routes
from services.recorder.http.webrtc_views import WebrtcViews
from shared.errors import reason
from shared.http_access import NOBODY, caller_of, identity_of
from shared.http_api import ApiFault, bounded_body, documented
from shared.logs import get_logger
from shared.permissions import Identity

if TYPE_CHECKING:
    from services.recorder.http.state import ApiState

log = get_logger(__name__)

_FAULTS_OF_ALL = (
    "a camera file that cannot be changed now",
    "a camera file without faults that can be written",
    "ask somebody who sees all cameras: motion's log lists the faults",
)


def add_motion_routes(app: FastAPI, api: ApiState) -> None:
    """Add every route of MOTION_ROUTES."""
    for route in motion_routes():
        app.add_api_route(
            route.path,
            _endpoint(route, api),
            methods=[route.method],
            status_code=route.success,
            summary=route.summary,
            tags=["cameras"],
            response_class=Response,
            responses={**_success(route), **documented(*route.faults)},
            openapi_extra={"parameters": route.parameters, **route.body},
            operation_id=_operation_id(route),
        )


def _success(route: MotionRoute) -> dict[int | str, dict[str, Any]]:  # Any: FastAPI's own
    kind = route.content_type
    return {route.success: {"description": route.summary, **({"content": {kind: {}}} if kind else {})}}


def _operation_id(route: MotionRoute) -> str:
    return "_".join(re.findall(r"[a-z]+", f"{route.method.lower()}{route.path.replace('/api', '')}"))


def _endpoint(route: MotionRoute, api: ApiState) -> Callable[[Request], Awaitable[Response]]:
    async def pass_on(request: Request) -> Response:
        identity = identity_of(request)
        camera_id = request.path_params.get("camera_id")
        if camera_id is not None and not identity.sees(camera_id):
            raise no_camera(camera_id)
        body = await bounded_body(request, route.rule.body_max_bytes)
        if route.path == "/api/cameras" and len(api.motion.addresses.all) > 1:
            found = await api.motion.all_cameras(route, request)
            return Response(only_seen(found, identity), media_type="application/json")
        address = await _address_of_view(api, route, request) if route.is_of_begun_view else None
        passing = _Passing(api.motion, route, api.motion.request(route, request, body, address))
        passing.prefix = caller_of(request).prefix
        passing.identity = identity
        passing.views = api.views
        passing.note = label_note(api, route, request, body)
        return _PassedResponse(passing, api.stop)

    return pass_on


async def _address_of_view(api: ApiState, route: MotionRoute, request: Request) -> str | None:
    """Return where a view is sent from; None: not known, or there is one motion process only."""
    if len(api.motion.addresses.all) < 2:
        return None
    path = path_of(route, request)
    known = api.views.address_of(path) if api.views is not None else None
    return known or await api.motion.find_view(path)


def only_seen(document: bytes, identity: Identity) -> bytes:
    """Return an answer of GET /api/cameras with the cameras that `identity` may see."""
    if identity.cameras is None:
        return document
    found = json.loads(document)
    found["cameras"] = [one for one in found["cameras"] if identity.sees(one["id"])]
    return json.dumps(found).encode()


@dataclass(slots=True)
class _Passing:
    """One request that is being passed on. `identity`: who is shown only the cameras that they see."""

    client: MotionClient
    route: MotionRoute
    request: httpx.Request
    prefix: str = ""  # of the site, behind a proxy
    identity: Identity = NOBODY
    views: WebrtcViews | None = None
    note: LabelNote | None = None
    has_begun: bool = False

    async def run(self, send: Send) -> None:
        if self.note is not None:
            await self.note.begin()
        async with self.client.answered(self.request) as answer:
            if answer.status_code in (401, 403, 421) and not self.route.is_publishing:
                raise wrong_token()
            if self.route.rule.is_stream and answer.is_success:
                await self._stream(answer, send)
            else:
                await self._whole(answer, send)

    async def _whole(self, answer: httpx.Response, send: Send) -> None:
        data = await read_whole(answer)
        if self.route.path == "/api/cameras" and answer.is_success:
            data = only_seen(data, self.identity)
        self._note_view(answer)
        if self.note is not None and answer.is_success:
            await self.note.end(data)
        if answer.status_code == 409 and self.identity.cameras is not None:
            raise ApiFault(409, *_FAULTS_OF_ALL)  # it lists the faults of all cameras
        await self._begin(
            answer, send, {} if answer.status_code == 204 else {"content-length": str(len(data))}
        )
        await send({"type": "http.response.body", "body": data})

    def _note_view(self, answer: httpx.Response) -> None:
        if self.views is None or not self.route.is_view or not answer.is_success:
            return
        url = self.request.url
        address = f"{url.scheme}://{url.netloc.decode()}"
        if self.route.method == "DELETE":
            self.views.ended(url.path)
        elif self.route.method == "GET":
            self.views.seen(url.path, self.identity, address)
        else:
            self.views.begun(answer.headers["location"], self.identity, address)

    async def _stream(self, answer: httpx.Response, send: Send) -> None:
        await self._begin(answer, send, {})
        try:
            async for piece in answer.aiter_raw():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except httpx.HTTPError as exc:  # whoever watches comes again
            log.debug("a stream of motion broke off", route=self.route.path, error=reason(exc))
        await send({"type": "http.response.body", "body": b""})

    async def _begin(self, answer: httpx.Response, send: Send, headers: dict[str, str]) -> None:
        self.has_begun = True
        passed = passed_headers(answer, self.prefix) | headers
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in passed.items()]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": pairs})


class _PassedResponse(Response):
    """The answer of motion. Ends with it, with the caller's going, and with the recorder's stop."""

    def __init__(self, passing: _Passing, stop: asyncio.Event) -> None:
        super().__init__()
        self._passing = passing
        self._stop = stop

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        passing = asyncio.create_task(self._passing.run(send), name="passed on to motion")
        ends: list[asyncio.Task[object]] = [
            asyncio.create_task(_left(receive), name="caller of motion leaves")
        ]
        if self._passing.route.rule.is_stream:
            ends.append(asyncio.create_task(self._stop.wait(), name="stop of a stream"))
        try:
            await asyncio.wait([passing, *ends], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (passing, *ends):
                task.cancel()
            await asyncio.gather(passing, *ends, return_exceptions=True)
        if not passing.cancelled():
            passing.result()
        elif self._passing.has_begun:
            await send({"type": "http.response.body", "body": b""})


async def _left(receive: Receive) -> None:
    """Wait until the caller is gone; its body was read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
