"""The connections to the motion service, and what of a request and of an answer is passed on. Knows no caller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx
from fastapi import Request
from pydantic import SecretStr

from services.recorder.http.motion_addresses import MotionAddresses, merged_cameras
from services.recorder.http.motion_routes import MotionRoute
from shared.contract import CAMERA_ID
from shared.errors import reason
from shared.http_access import CALLER_HEADER, stream_key_of
from shared.http_api import ApiFault
from shared.presence import ProcessPresence

CONNECT_S = 3.0
ANSWER_S = 30.0  # a WHEP answer takes 13 s at most, a picture 5 s
CAMERAS_S = 4.0  # of several processes, one that hangs does not hide the cameras of the others for longer
QUIET_S = 60.0  # looks say something every 5 s
QUIET_VIDEO_S = 300.0  # video.mjpeg says nothing while its camera is away
ANSWER_MAX_BYTES = 32 * 1024 * 1024  # a picture, or the state of all cameras; streams have no end
CONNECTIONS_MAX = 256  # streams and requests to motion at once; LIVE_VIEWERS_MAX of motion is usually less
SEARCHES_MAX = 8  # for a view that is not known

_PASSED_UP = ("content-type", "if-match", "accept")
_PASSED_DOWN = (
    "content-type",
    "etag",
    "location",
    "cache-control",
    "retry-after",
    "x-accel-buffering",
    "x-content-type-options",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
)


@dataclass(slots=True)
class MotionClient:
    """Where motion is, and the connections to it; `close` when done. None for `url`: no motion service is named.

    `url` may list several processes; `heard` returns what they said of themselves last.
    """

    url: str | None = None
    token: SecretStr | None = None
    heard: Callable[[], Sequence[ProcessPresence]] = tuple
    addresses: MotionAddresses = field(init=False)
    _http: httpx.AsyncClient = field(init=False)
    _searches: asyncio.Semaphore = field(init=False)  # of views: an address that hangs holds few connections

    def __post_init__(self) -> None:
        self.addresses = MotionAddresses.of(self.url, self.heard)
        self._searches = asyncio.Semaphore(SEARCHES_MAX)
        self._http = httpx.AsyncClient(
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=8),
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    def request(
        self, route: MotionRoute, request: Request, body: bytes, address: str | None = None
    ) -> httpx.Request:
        """Return what is to be sent to motion; raises ApiFault when it is not named, or for an id that is none.

        `address` None: of the process that reads the camera.
        """
        path = path_of(route, request)
        if address is None:
            camera_id = request.path_params.get("camera_id") or request.path_params.get("camera")
            address = self.addresses.find(camera_id, is_live=route.is_live)
        names = (*_PASSED_UP, "authorization") if route.is_publishing else _PASSED_UP
        headers = {name: request.headers[name] for name in names if name in request.headers}
        headers["accept-encoding"] = "identity"
        if self.token is not None and not route.is_publishing:
            headers["authorization"] = f"Bearer {self.token.get_secret_value()}"
            headers[CALLER_HEADER] = stream_key_of(request)  # motion counts whose live pictures are open
        query = {"token": request.query_params["token"]} if "token" in request.query_params else None
        timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S, pool=CONNECT_S, read=_quiet_s(route))
        return self._http.build_request(
            route.method,
            address + path,
            params=query,
            headers=[(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            content=body if route.rule.body_max_bytes else None,
            timeout=timeout,
        )

    async def end_view(self, path: str, address: str | None = None) -> bool:
        """End a WebRTC view; `path`: the Location that motion gave it. False: motion did not answer as it should.

        `address`: of the process that gave it, None: not known, all are asked. Those that do not answer then do not
        count: a process that is down shows nothing.
        """
        asked = self.addresses.all if address is None else (address,)
        statuses = await asyncio.gather(*(self._status("DELETE", f"{one}{path}") for one in asked))
        answered = [status for status in statuses if status]
        is_ended = any(200 <= status < 300 for status in answered)
        return is_ended or (bool(answered) and all(status == 404 for status in answered))

    async def find_view(self, path: str) -> str | None:
        """Return the address of the process that knows a WebRTC view; None: none that answers does.

        All of MOTION_URL are asked, and no other: the view may have begun before this recorder was started, or through
        another one.
        """
        async with self._searches:
            asked = [asyncio.ensure_future(self._knows_view(one, path)) for one in self.addresses.all]
            try:
                for answer in asyncio.as_completed(asked):
                    if (address := await answer) is not None:
                        return address
            finally:  # the others do not matter then
                for one in asked:
                    one.cancel()
                await asyncio.gather(*asked, return_exceptions=True)
        return None

    async def _knows_view(self, address: str, path: str) -> str | None:
        return address if 200 <= await self._status("GET", f"{address}{path}") < 300 else None

    async def _status(self, method: str, url: str) -> int:
        """Return the status of the answer, 0: there was none."""
        headers = {"authorization": f"Bearer {self.token.get_secret_value()}"} if self.token else {}
        try:
            return (await self._http.request(method, url, headers=headers, timeout=CONNECT_S)).status_code
        except httpx.HTTPError:
            return 0

    async def all_cameras(self, route: MotionRoute, request: Request) -> bytes:
        """Return the answer of GET /api/cameras of all processes; raises ApiFault when none answers as it should."""
        requests = [self.request(route, request, b"", address) for address in self.addresses.all]
        answers = await asyncio.gather(*(self._cameras_of(one) for one in requests), return_exceptions=True)
        found = [answer for answer in answers if isinstance(answer, bytes)]
        if not found:
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return merged_cameras(found)

    async def _cameras_of(self, request: httpx.Request) -> bytes:
        try:
            async with asyncio.timeout(CAMERAS_S):
                return await self._whole_cameras(request)
        except TimeoutError as exc:
            raise _away(exc) from exc

    async def _whole_cameras(self, request: httpx.Request) -> bytes:
        async with self.answered(request) as answer:
            if answer.status_code in (401, 403, 421):
                raise wrong_token()
            if not answer.is_success:
                wanted, do = "an answer of 200", "see motion's log"
                raise ApiFault(503, f"motion answers {answer.status_code}", wanted, do)
            return await read_whole(answer)

    @contextlib.asynccontextmanager
    async def answered(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Yield motion's answer, whose body is not read yet; the request ends with the block."""
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._http.send(request, stream=True)
        except (httpx.HTTPError, TimeoutError) as exc:
            raise _away(exc) from exc
        try:
            yield answer
        finally:
            await answer.aclose()


def path_of(route: MotionRoute, request: Request) -> str:
    """Return the path of a request as motion is to get it; raises ApiFault for an id that is none."""
    for name, value in request.path_params.items():
        if not CAMERA_ID.fullmatch(value):
            raise no_camera(value) if name != "session" else _no_session()
    return route.path.format_map({name: quote(value, safe="") for name, value in request.path_params.items()})


def _quiet_s(route: MotionRoute) -> float:
    if not route.rule.is_stream:
        return ANSWER_S
    return QUIET_VIDEO_S if route.path.endswith("/video.mjpeg") else QUIET_S


def passed_headers(answer: httpx.Response, prefix: str) -> dict[str, str]:
    """Return what of motion's headers the caller gets; `prefix`: of the site, behind a proxy."""
    found = {name: answer.headers[name] for name in _PASSED_DOWN if name in answer.headers}
    if found.get("location", "").startswith("/"):
        found["location"] = prefix + found["location"]
    return found


async def read_whole(answer: httpx.Response) -> bytes:
    """Return the body of an answer that has an end; raises ApiFault when it breaks off or is too long."""
    body = bytearray()
    try:
        async with asyncio.timeout(ANSWER_S):
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > ANSWER_MAX_BYTES:
                    wanted = f"at most {ANSWER_MAX_BYTES} bytes"
                    raise ApiFault(503, "an answer of motion that is too long", wanted, "see motion's log")
    except (httpx.HTTPError, TimeoutError) as exc:
        raise _away(exc) from exc
    return bytes(body)


def wrong_token() -> ApiFault:
    """Return the fault of a motion service that does not take MOTION_TOKEN."""
    do = "give the recorder's MOTION_TOKEN the value of motion's API_TOKEN"
    return ApiFault(503, "motion does not take the recorder's token", "the same token on both", do)


def no_camera(camera_id: str) -> ApiFault:
    """Return the fault of a camera that is not there, or not for this caller: which of both is not said."""
    return ApiFault(404, f"camera {camera_id[:64]!r}", "one of the camera file", "look in /api/cameras")


def _no_session() -> ApiFault:
    return ApiFault(404, "no such session", "the Location of an answer", "it may have ended already")


def _away(exc: Exception) -> ApiFault:
    do = "start the motion service, or correct MOTION_URL of the recorder"
    return ApiFault(
        503, f"the motion service does not answer ({reason(exc)})", "a running motion service", do
    )
