"""Motion's routes through the recorder: all of them, with its token and no other secret, and no longer than watched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import SecretStr
from starlette.types import ASGIApp

from services.motion.app import add_routes as add_motions_routes
from services.motion.cameras.registry import CameraRegistry
from services.motion.http.cameras import CameraRoutes
from services.motion.http.live import LiveRoutes
from services.motion.live.latest import LiveViews
from services.motion.live.sender import IceServers, WhepSender
from services.recorder.http.motion_client import MotionClient
from services.recorder.http.motion_routes import MOTION_ROUTES
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from shared.access import NetworkTrust
from shared.cameras.store import CameraFileStore
from shared.http_access import CALLER_HEADER
from shared.http_api import make_app
from shared.permissions import PERMISSIONS_OF, Identity, Role
from shared.runtime import Health, Runtime
from tests.http_apps import EVERYTHING, KnownIdentity, guarded
from tests.servers import free_port
from tests.unit.recorder.http.motion_stand_in import TOKEN, Motion, recorder_app, served

JSON = {"content-type": "application/json"}
OF_THE_PROCESS = {"/healthz", "/readyz", "/metrics", "/openapi.json"}
OF_THE_PAGES = {"/", "/cameras/{camera_id}", "/web"}


class Rig:
    """A recorder's routes before a motion service, each on a port of its own."""

    def __init__(self, motion: Motion, site: str, api: ApiState) -> None:
        self.motion = motion
        self.api = api
        self.site = site
        self.http = httpx.AsyncClient(base_url=site, timeout=60, trust_env=False)


def recorder(api: ApiState, identity: Identity = EVERYTHING, prefix: str = "") -> ASGIApp:
    return guarded(recorder_app(api), RULES, PATTERNS, KnownIdentity(identity), NetworkTrust(prefix=prefix))


@contextlib.asynccontextmanager
async def rigged(identity: Identity = EVERYTHING, prefix: str = "") -> AsyncIterator[Rig]:
    motion = Motion()
    async with served(motion.app) as address:
        api = ApiState(lambda: True, motion=MotionClient(address, SecretStr(TOKEN)))
        async with served(recorder(api, identity, prefix)) as site:
            rig = Rig(motion, site, api)
            async with rig.http:
                yield rig
        await api.motion.close()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as made:
        yield made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def viewer(*cameras: str, role: Role = Role.VIEWER) -> Identity:
    return Identity("ann", PERMISSIONS_OF[role], frozenset(cameras))


def test_every_route_of_motion_is_passed_on_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "cameras.yml").write_text("cameras: [{id: gate, url: rtsp://10.0.0.7/s, labels: [a dog]}]\n")
    store = CameraFileStore(tmp_path / "cameras.yml", {})
    registry = CameraRegistry(store, _Workers(), store.read())
    views = LiveViews(1)
    live = LiveRoutes(registry, views, WhepSender(IceServers(), views.of))
    runtime = Runtime("motion", asyncio.Event(), Health(), make_app("motion"))
    add_motions_routes(runtime, CameraRoutes(registry, dict), live, lambda _camera: None)
    motions = {
        (method, route.path)  # type: ignore[attr-defined]  # of Starlette's BaseRoute
        for route in runtime.app.routes
        for method in getattr(route, "methods", None) or ("GET",)
        if route.path not in OF_THE_PROCESS | OF_THE_PAGES and method != "HEAD"  # type: ignore[attr-defined]
    }
    assert motions == set(MOTION_ROUTES)


class _Workers:
    def change(self, cameras: object) -> None:
        """Motion's cameras are not started."""


async def test_each_route_arrives_where_it_was_sent(rig: Rig) -> None:
    for (method, path), rule in MOTION_ROUTES.items():
        if path.endswith(("/video.mjpeg", "/picture.jpg")) or method == "OPTIONS":
            continue
        sent = path.format(camera_id="gate", camera="gate", session="0123456789abcdef")
        body = b"{}" if rule.body_max_bytes else None
        kind = {"content-type": rule.content_type or "application/sdp"}
        answer = await rig.http.request(method, sent, content=body, headers=kind)
        assert answer.json() == {"path": sent}
        assert (rig.motion.requests[-1].method, rig.motion.bodies[-1]) == (method, body or b"")


async def test_a_callers_secrets_stay_with_the_recorder(rig: Rig) -> None:
    headers = {"cookie": "clipwatch-session=s", "authorization": "Bearer mine", "x-forwarded-for": "1.2.3.4"}
    await rig.http.get("/api/cameras", headers=headers)
    sent = rig.motion.requests[0].headers
    assert sent["authorization"] == f"Bearer {TOKEN}"
    assert not {"cookie", "x-forwarded-for", "origin"} & set(sent)


async def test_motion_is_told_whose_streams_it_counts() -> None:
    for key, told in (("", "127.0.0.1"), ("user 7", "user 7")):
        async with rigged(replace(EVERYTHING, key=key)) as rig:
            headers = {"content-type": "application/sdp", CALLER_HEADER: "user 1"}
            await rig.http.post("/api/cameras/gate/whep", content=b"v=0", headers=headers)
            assert [sent.headers[CALLER_HEADER] for sent in rig.motion.requests] == [told]


async def test_a_publishers_token_is_motions_to_check(rig: Rig) -> None:
    headers = {"authorization": "Bearer phone", "content-type": "application/sdp", "cookie": "a=b"}
    await rig.http.post("/whip/gate?token=t%26u", content=b"v=0", headers=headers)
    await rig.http.delete("/whip/gate/abc")
    assert [sent.headers.get("authorization") for sent in rig.motion.requests] == ["Bearer phone", None]
    assert [sent.query_params.get("token") for sent in rig.motion.requests] == ["t&u", None]
    assert "cookie" not in rig.motion.requests[0].headers


async def test_answers_bring_what_is_wanted_and_nothing_else(rig: Rig) -> None:
    rig.motion.answers["/api/cameras/gate"] = JSONResponse(
        {}, 412, {"etag": '"7"', "set-cookie": "a=b", "server": "x", "connection": "keep-alive"}
    )
    answer = await rig.http.get("/api/cameras/gate", headers={b"if-match": '"ü"'.encode("latin-1")})
    assert (answer.status_code, answer.headers["etag"]) == (412, '"7"')
    assert not {"set-cookie", "connection"} & set(answer.headers)
    assert rig.motion.requests[0].headers["if-match"] == '"ü"'


@pytest.mark.parametrize("prefix", ["", "/clipwatch"])
async def test_location_leads_back_through_the_site(prefix: str) -> None:
    async with rigged(prefix=prefix) as rig:
        location = "/api/cameras/gate/whep/0123"
        rig.motion.answers["/api/cameras/gate/whep"] = Response("v=0", 201, {"location": location})
        kind = {"content-type": "application/sdp"}
        for sent in ("", prefix):  # a proxy may take the prefix away
            answer = await rig.http.post(f"{sent}/api/cameras/gate/whep", content=b"v=0", headers=kind)
            assert (answer.status_code, answer.headers["location"]) == (201, prefix + location)


async def test_a_viewer_that_leaves_gives_its_slot_back_at_once(rig: Rig) -> None:
    async with rig.http.stream("GET", "/api/cameras/gate/video.mjpeg") as answer:
        async for piece in answer.aiter_raw():
            assert piece.startswith(b"--picture")
            break
        assert rig.motion.n_open == 1
    await until(lambda: rig.motion.n_open == 0)


async def test_a_viewer_that_leaves_before_an_answer_gives_its_slot_back(rig: Rig) -> None:
    asked = asyncio.create_task(rig.http.get("/api/cameras/gate/picture.jpg"))
    await until(lambda: rig.motion.n_open == 1)
    asked.cancel()
    await until(lambda: rig.motion.n_open == 0)


async def test_streams_end_when_the_recorder_stops(rig: Rig) -> None:
    async with rig.http.stream("GET", "/api/cameras/gate/video.mjpeg") as answer:
        rig.api.stop.set()
        async with asyncio.timeout(60):
            async for _ in answer.aiter_raw():
                pass
    await until(lambda: rig.motion.n_open == 0)


async def _faults(url: str | None, path: str = "/api/cameras") -> tuple[int, dict[str, str]]:
    api = ApiState(lambda: True, motion=MotionClient(url))
    transport = httpx.ASGITransport(recorder(api))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        answer = await http.get(path)
    await api.motion.close()
    return answer.status_code, answer.json()["error"]


async def test_what_to_do_is_said_while_motion_is_away_or_not_named() -> None:
    status, error = await _faults(None)
    assert (status, error["found"]) == (503, "no motion service is named")
    assert "MOTION_URL" in error["do"]
    status, error = await _faults(f"http://127.0.0.1:{free_port()}")
    assert status == 503
    assert "does not answer" in error["found"]
    assert "MOTION_URL" in error["do"]


async def test_a_refused_recorder_is_no_login_of_the_caller(rig: Rig) -> None:
    rig.motion.answers["/api/cameras"] = JSONResponse({}, 401)
    answer = await rig.http.get("/api/cameras")
    assert answer.status_code == 503
    assert "MOTION_TOKEN" in answer.json()["error"]["do"]
    rig.motion.answers["/whip/gate"] = JSONResponse({}, 401, {"access-control-allow-origin": "*"})
    answer = await rig.http.post("/whip/gate", content=b"v=0")
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "*")


async def test_what_is_no_id_never_leaves_the_recorder(rig: Rig) -> None:
    for camera in ("%2e%2e", "..", "a%2Fb", "a%3Ftoken=x", "a%0Ab", "%C3%BC", "a" * 65, "."):
        answer = await rig.http.send(_raw(rig, f"/api/cameras/{camera}/labels"))
        assert answer.status_code == 404, camera
    assert not rig.motion.requests


def _raw(rig: Rig, target: str) -> httpx.Request:
    """Return a PUT whose path httpx has not tidied up."""
    request = rig.http.build_request("PUT", "/", json={"labels": []})
    request.extensions["target"] = target.encode()
    return request


async def test_a_body_over_the_limit_never_leaves_the_recorder(rig: Rig) -> None:
    answer = await rig.http.patch("/api/cameras/gate", content=b" " * 300_000, headers=JSON)
    assert answer.status_code == 413
    assert not rig.motion.requests


async def test_a_viewer_of_some_cameras_finds_no_others() -> None:
    async with rigged(viewer("gate")) as rig:
        states = {"cameras": [{"id": "gate"}, {"id": "yard"}], "extra": 1}
        rig.motion.answers["/api/cameras"] = JSONResponse(states)
        assert (await rig.http.get("/api/cameras")).json() == {"cameras": [{"id": "gate"}], "extra": 1}
        assert (await rig.http.get("/api/cameras/gate")).status_code == 200
        for path in ("", "/picture.jpg", "/video.mjpeg", "/looks", "/whep/0123"):
            method = "DELETE" if "whep" in path else "GET"
            hidden = await rig.http.request(method, f"/api/cameras/yard{path}")
            nobody = await rig.http.request(method, f"/api/cameras/none{path}")
            assert (hidden.status_code, nobody.status_code) == (404, 404), path
            assert hidden.text.replace("yard", "none") == nobody.text
        assert [sent.url.path for sent in rig.motion.requests] == ["/api/cameras", "/api/cameras/gate"]


@pytest.mark.parametrize(
    ("identity", "is_told"), [(viewer("gate", role=Role.OPERATOR), False), (EVERYTHING, True)]
)
async def test_the_faults_of_a_camera_file_are_told_to_who_sees_all_cameras(
    identity: Identity, is_told: bool
) -> None:
    async with rigged(identity) as rig:
        broken = JSONResponse({"error": {"found": "cameras.yml: camera 'yard': labels"}}, status_code=409)
        rig.motion.answers["/api/cameras/gate"] = broken
        answer = await rig.http.patch("/api/cameras/gate", content=b"{}", headers=JSON)
    assert answer.status_code == 409
    assert ("yard" in answer.text) == is_told
    assert answer.json()["error"]["found"]
