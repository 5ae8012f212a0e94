"""Several motion processes share the cameras: a request goes to the one that reads its camera."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from services.recorder.http.motion_addresses import MotionAddresses, merged_cameras
from services.recorder.http.motion_client import ANSWER_S, SEARCHES_MAX, MotionClient
from services.recorder.http.state import ApiState
from services.recorder.http.webrtc_views import WebrtcViews
from services.recorder.settings import RecorderSettings
from shared.http_api import ApiFault
from shared.permissions import PERMISSIONS_OF, Identity, Role
from shared.presence import CameraReport, Presence, ProcessPresence
from tests.http_apps import EVERYTHING, KnownIdentity
from tests.servers import free_port
from tests.unit.recorder.http.motion_stand_in import served
from tests.unit.recorder.http.test_motion_proxy import recorder

ONE, TWO = "http://motion-1:8080", "http://motion-2:8080"


def process(name: str, address: str, age_s: float = 1.0, **states: str) -> ProcessPresence:
    cameras = tuple(CameraReport(id=id_, state=state) for id_, state in states.items())
    return ProcessPresence(Presence(service="motion", name=name, cameras=cameras, address=address), age_s)


def addresses(*heard: ProcessPresence, urls: str = f"{ONE},{TWO}/") -> MotionAddresses:
    return MotionAddresses.of(urls, lambda: heard)


@pytest.mark.parametrize("is_live", [False, True])
def test_the_process_that_reads_the_camera_is_asked(is_live: bool) -> None:
    found = addresses(
        process("a", ONE, gate="elsewhere", yard="running"), process("b", TWO, gate="away", yard="elsewhere")
    )
    assert found.find("gate", is_live=is_live) == TWO
    assert found.find("yard", is_live=is_live) == ONE


def test_of_two_that_say_so_the_one_that_was_heard_last_is_asked() -> None:
    killed = process("a", ONE, 9.0, gate="running")
    assert addresses(killed, process("b", TWO, gate="connecting")).find("gate", is_live=True) == TWO


def test_a_camera_that_nobody_reads_has_settings_and_no_pictures() -> None:
    found = addresses(process("a", ONE, 60.0, gate="running"), process("b", TWO, gate="elsewhere"))
    assert found.find("gate", is_live=False) == TWO
    with pytest.raises(ApiFault) as fault:
        found.find("gate", is_live=True)
    assert fault.value.status_code == 503
    assert fault.value.texts[0].found == "camera 'gate' is read by no motion process now"


def test_a_camera_that_nobody_lists_is_asked_for_at_a_process_that_is_there() -> None:
    found = addresses(process("a", ONE, 60.0, gate="running"), process("b", TWO, yard="running"))
    assert found.find("gone", is_live=True) == TWO
    assert addresses().find("gone", is_live=True) == ONE


def test_a_camera_of_processes_that_are_all_gone_is_asked_for_nowhere() -> None:
    found = addresses(process("a", ONE, 60.0, gate="running"), process("b", TWO, yard="running"))
    for is_live in (False, True):
        with pytest.raises(ApiFault) as fault:
            found.find("gate", is_live=is_live)
        assert fault.value.status_code == 503
        assert "'gate'" in fault.value.texts[0].found


def test_nothing_is_sent_to_an_address_that_is_not_configured() -> None:
    found = addresses(process("a", "http://elsewhere:8080", gate="running"), process("b", "", gate="running"))
    assert found.find("gate", is_live=False) == ONE


def test_a_single_process_is_asked_whatever_was_heard() -> None:
    found = addresses(process("a", "", gate="elsewhere"), urls=f"{ONE}/")
    assert found.find("gate", is_live=True) == ONE


def test_without_an_address_the_fault_says_what_to_set() -> None:
    with pytest.raises(ApiFault) as fault:
        addresses(urls="").find("gate", is_live=False)
    assert "MOTION_URL" in fault.value.texts[0].do


def test_answers_about_all_cameras_are_merged() -> None:
    merged = merged_cameras(
        [
            b'{"cameras": [{"id": "yard", "state": "running"}, {"id": "gate", "state": "away"}],'
            b' "outbox": {"entries": 2, "bytes": 5}}',
            b'{"cameras": [{"id": "gate", "state": "running"}], "outbox": {"entries": 1, "bytes": 7}}',
        ]
    )
    assert merged == (
        b'{"cameras": [{"id": "gate", "state": "running"}, {"id": "yard", "state": "running"}],'
        b' "outbox": {"entries": 3, "bytes": 12}}'
    )


@pytest.mark.parametrize("url", [ONE, f"{ONE},{TWO}/", f"{ONE} , {TWO}"])
def test_motion_url_lists_addresses(url: str) -> None:
    assert RecorderSettings(motion_url=url).motion_url == url


@pytest.mark.parametrize(
    "url", ["", f"{ONE},", f"{ONE} {TWO}", f"{ONE},ftp://x", f"{ONE}/path", "motion:8080"]
)
def test_what_is_no_list_of_addresses_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="motion_url"):
        RecorderSettings(motion_url=url)


# -- over HTTP


class Process:
    """A motion process with one camera; `requests` are the paths that it was asked for. It knows its own views."""

    def __init__(self, camera: str, token: str = "") -> None:
        self.camera = camera
        self.requests: list[str] = []
        self.views: set[str] = set()
        self.app = FastAPI()

        @self.app.api_route("/{path:path}", methods=["GET", "POST", "DELETE", "PATCH"])
        async def answer(request: Request) -> Response:
            self.requests.append(f"{request.method} {request.url.path}")
            if token and request.headers.get("authorization") != f"Bearer {token}":
                return Response(status_code=401)
            if request.url.path == "/api/cameras":
                body: dict[str, Any] = {
                    "cameras": [{"id": camera, "state": "running"}],
                    "outbox": {"entries": 1},
                }
                return Response(httpx.Response(200, json=body).content, media_type="application/json")
            if request.method == "POST":
                location = f"{request.url.path}/session-{len(self.requests)}"
                self.views.add(location)
                return Response("v=0", 201, {"location": location})
            if "/whep/" in request.url.path:
                return Response(status_code=200 if request.url.path in self.views else 404)
            return Response(status_code=200 if camera in request.url.path else 404)


@contextlib.asynccontextmanager
async def site(
    one: Process, two: Process, identity: Identity = EVERYTHING, *, is_ended: bool = True
) -> AsyncIterator[httpx.AsyncClient]:
    """Run two processes, the second of which reads both cameras by what it says, and a recorder before them."""
    async with served(one.app) as first, served(two.app) as second:
        heard = [process("a", first, gate="running", yard="elsewhere"), process("b", second, yard="running")]
        api = ApiState(lambda: True, motion=MotionClient(f"{first},{second}", None, lambda: heard))
        async with served(recorder(api, identity)) as address:
            async with httpx.AsyncClient(base_url=address, timeout=10, trust_env=False) as client:
                yield client
            assert await api.motion.end_view("/api/cameras/gate/whep/session-1") == is_ended
        await api.motion.close()


async def test_the_recorder_asks_all_for_the_list_and_the_holder_for_a_camera() -> None:
    one, two = Process("gate"), Process("yard")
    async with site(one, two) as client:
        listed = (await client.get("/api/cameras")).json()
        assert [camera["id"] for camera in listed["cameras"]] == ["gate", "yard"]
        assert listed["outbox"] == {"entries": 2}
        assert (await client.get("/api/cameras/yard")).status_code == 200
        assert (await client.get("/api/cameras/gate")).status_code == 200
    ended = "DELETE /api/cameras/gate/whep/session-1"
    assert one.requests == ["GET /api/cameras", "GET /api/cameras/gate", ended]
    assert two.requests == ["GET /api/cameras", "GET /api/cameras/yard", ended]


async def test_a_process_that_does_not_answer_hides_only_its_own_cameras() -> None:
    one, two = Process("gate", token="other-" * 4), Process("yard")
    async with site(one, two, is_ended=False) as client:
        listed = (await client.get("/api/cameras")).json()
        assert [camera["id"] for camera in listed["cameras"]] == ["yard"]


async def test_when_none_answers_the_fault_says_why() -> None:
    one, two = (Process(id_, token="other-" * 4) for id_ in ("gate", "yard"))
    async with served(one.app) as first, served(two.app) as second:
        api = ApiState(lambda: True, motion=MotionClient(f"{first},{second}"))
        async with served(recorder(api)) as address, httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{address}/api/cameras", timeout=10)
        assert not await api.motion.end_view("/api/cameras/gate/whep/session-1")
        await api.motion.close()
    assert answer.status_code == 503
    assert "token" in answer.text


async def test_a_viewer_sees_only_their_cameras_of_all_processes() -> None:
    ann = Identity("ann", PERMISSIONS_OF[Role.VIEWER], frozenset({"yard"}))
    async with site(Process("gate"), Process("yard"), ann) as client:
        listed = (await client.get("/api/cameras")).json()
    assert [camera["id"] for camera in listed["cameras"]] == ["yard"]


async def test_a_process_that_hangs_delays_the_list_of_all_cameras_by_seconds() -> None:
    hanging = FastAPI()

    @hanging.get("/api/cameras")
    async def hang(request: Request) -> Response:
        while not await request.is_disconnected():
            await asyncio.sleep(0.01)
        return Response(status_code=500)

    two = Process("yard")
    async with served(hanging) as first, served(two.app) as second:
        api = ApiState(lambda: True, motion=MotionClient(f"{first},{second}"))
        async with served(recorder(api)) as address, httpx.AsyncClient(trust_env=False) as http:
            listed = (await http.get(f"{address}/api/cameras", timeout=ANSWER_S * 0.6)).json()
        await api.motion.close()
    assert [camera["id"] for camera in listed["cameras"]] == ["yard"]


async def test_a_view_of_nobody_knows_whom_ends_where_the_others_do_not_know_it_and_one_is_down() -> None:
    two = Process("yard")
    down = f"http://127.0.0.1:{free_port()}"
    async with served(two.app) as second:
        client = MotionClient(f"{down},{second}")
        assert await client.end_view("/api/cameras/gate/whep/one")  # 404 of all that answer
        assert not await client.end_view("/api/cameras/gate/whep/one", down)
        await client.close()


async def test_what_is_asked_about_a_view_goes_to_the_process_that_began_it() -> None:
    one, two = Process("gate"), Process("gate")
    who = KnownIdentity(EVERYTHING)
    async with served(one.app) as first, served(two.app) as second:
        heard = [process("a", first, gate="running"), process("b", second, gate="elsewhere")]
        api = ApiState(lambda: True, motion=MotionClient(f"{first},{second}", None, lambda: heard))
        views = api.views = WebrtcViews(api.motion, who.is_current, every_s=0.01)
        async with served(recorder(api)) as address, httpx.AsyncClient(timeout=60, trust_env=False) as http:
            offer, sdp = f"{address}/api/cameras/gate/whep", {"content-type": "application/sdp"}
            view = (await http.post(offer, content=b"v=0", headers=sdp)).headers["location"]
            again = await http.post(offer, content=b"v=0", headers=sdp)
            heard[:] = [process("a", first, gate="elsewhere"), process("b", second, gate="running")]
            assert (await http.get(f"{address}{view}")).is_success
            assert (await http.delete(f"{address}{view}")).is_success
        stop = asyncio.Event()
        stop.set()
        await views.run(stop, lambda: None)
        await api.motion.close()
    begun = "POST /api/cameras/gate/whep"
    ended = f"DELETE {again.headers['location']}"
    assert one.requests == [begun, begun, f"GET {view}", f"DELETE {view}", ended]
    assert two.requests == []


async def test_a_view_is_asked_about_and_ended_through_a_recorder_through_which_it_did_not_begin() -> None:
    one, two = Process("gate"), Process("gate")
    who = KnownIdentity(EVERYTHING)
    down = f"http://127.0.0.1:{free_port()}"
    async with served(one.app) as first, served(two.app) as second, contextlib.AsyncExitStack() as stack:
        heard = [process("a", first, gate="running"), process("b", second, gate="elsewhere")]
        sites = []
        for _ in range(2):
            motion = MotionClient(f"{down},{second},{first}", None, lambda: heard)
            stack.push_async_callback(motion.close)
            api = ApiState(lambda: True, motion=motion)
            api.views = WebrtcViews(motion, who.is_current)
            sites.append(await stack.enter_async_context(served(recorder(api))))
        async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
            offer, sdp = f"{sites[0]}/api/cameras/gate/whep", {"content-type": "application/sdp"}
            view = (await http.post(offer, content=b"v=0", headers=sdp)).headers["location"]
            heard[:] = [process("a", first, gate="elsewhere"), process("b", second, gate="running")]
            for _ in range(2):
                assert (await http.get(f"{sites[1]}{view}")).is_success
            assert (await http.delete(f"{sites[1]}{view}")).is_success
            assert (await http.get(f"{sites[1]}{view}0")).status_code == 404
    asked = [f"GET {view}"] * 3  # once to find it
    assert one.requests == ["POST /api/cameras/gate/whep", *asked, f"DELETE {view}", f"GET {view}0"]
    assert two.requests.count(f"GET {view}") <= 1
    assert f"DELETE {view}" not in two.requests


async def test_a_process_that_hangs_holds_up_the_end_of_no_view_of_another() -> None:
    views = WebrtcViews(SlowMotion(), KnownIdentity(EVERYTHING).is_current)  # type: ignore[arg-type]  # of one call
    for session in range(200):
        views.begun(f"/api/cameras/gate/whep/{session:03}", EVERYTHING, ONE if session % 2 else TWO)
    stop = asyncio.Event()
    stop.set()
    await views.run(stop, lambda: None)
    assert len(views._to_end) == 100


class SlowMotion:
    """One of two processes hangs."""

    async def end_view(self, _path: str, address: str) -> bool:
        if address == ONE:
            await asyncio.sleep(600)
        return True


async def test_views_that_nobody_knows_hold_few_connections_to_an_address_that_hangs() -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(3))
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    motion = MotionClient(f"http://127.0.0.1:{port},http://127.0.0.1:{free_port()}")
    searches = [asyncio.create_task(motion.find_view(f"/whep/gate/{n:032x}")) for n in range(40)]
    async with asyncio.timeout(60):
        while len(asked) < SEARCHES_MAX:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert len(asked) == SEARCHES_MAX
    for one in searches:
        one.cancel()
    await asyncio.wait(searches)
    await motion.close()
    server.close()
