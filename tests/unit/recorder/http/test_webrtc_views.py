"""A live view by WebRTC ends in motion when its viewer may not watch any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
import pytest
from fastapi import Response
from pydantic import SecretStr

from services.recorder.http import webrtc_views
from services.recorder.http.motion_client import MotionClient
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.http.webrtc_views import WebrtcViews
from shared.permissions import PERMISSIONS_OF, Identity, Role
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.unit.recorder.http.motion_stand_in import TOKEN, Motion, recorder_app, served

ANN = Identity("ann", PERMISSIONS_OF[Role.VIEWER])
SDP = {"content-type": "application/sdp"}


@dataclass
class Site:
    """A recorder before a motion service; `who` is let in."""

    motion: Motion
    views: WebrtcViews
    who: KnownIdentity
    http: httpx.AsyncClient
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    beats: int = 0
    running: asyncio.Task[None] = field(init=False)

    def __post_init__(self) -> None:
        self.running = asyncio.create_task(self.views.run(self.stop, self.beat))

    async def watch(self, session: str) -> None:
        location = f"/api/cameras/gate/whep/{session}"
        self.motion.answers["/api/cameras/gate/whep"] = Response("v=0", 201, {"location": location})
        answer = await self.http.post("/api/cameras/gate/whep", content=b"v=0", headers=SDP)
        assert answer.status_code == 201

    @property
    def ended(self) -> list[str]:
        """The sessions that were ended in motion, in this order."""
        return [sent.url.path.rpartition("/")[2] for sent in self.motion.requests if sent.method == "DELETE"]

    def beat(self) -> None:
        self.beats += 1


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    motion = Motion()
    who = KnownIdentity(ANN)
    async with served(motion.app) as address:
        api = ApiState(lambda: True, motion=MotionClient(address, SecretStr(TOKEN)))
        views = api.views = WebrtcViews(api.motion, who.is_current, every_s=0.01)
        async with client_of(guarded(recorder_app(api), RULES, PATTERNS, who)) as http:
            made = Site(motion, views, who, http)
            yield made
            made.stop.set()
            await made.running
        await api.motion.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def rounds(site: Site, n: int = 3) -> None:
    """Wait until the viewers were asked about `n` times more."""
    seen = site.beats
    await until(lambda: site.beats >= seen + n)


async def test_a_view_ends_with_what_let_its_viewer_in(site: Site) -> None:
    await site.watch("one")
    await rounds(site)
    assert site.ended == []
    site.who.identity = Identity("ann", frozenset())  # another role
    await until(lambda: site.ended == ["one"])
    ending = site.motion.requests[-1]
    assert ending.headers["authorization"] == f"Bearer {TOKEN}"
    await rounds(site)
    assert site.ended == ["one"], "once"


async def test_a_view_that_was_left_is_not_ended_again(site: Site) -> None:
    await site.watch("one")
    assert (await site.http.delete("/api/cameras/gate/whep/one")).is_success
    site.who.identity = Identity("ann", frozenset())
    await rounds(site)
    assert site.ended == ["one"]


async def test_it_is_tried_again_while_motion_does_not_answer(site: Site) -> None:
    path = "/api/cameras/gate/whep/one"
    site.motion.answers[path] = Response(status_code=500)
    await site.watch("one")
    site.who.identity = Identity("ann", frozenset())
    await until(lambda: len(site.ended) > 2)
    site.motion.answers[path] = Response(status_code=404)  # it is over
    await rounds(site)
    n_tries = len(site.ended)
    await rounds(site)
    assert len(site.ended) == n_tries


async def test_many_views_push_none_out_that_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc_views, "VIEWS_MAX", 2)
    for session in ("one", "two", "three"):
        await site.watch(session)
    await until(lambda: site.ended == ["one"])


async def test_all_end_with_the_recorder(site: Site) -> None:
    for session in ("one", "two"):
        await site.watch(session)
    site.stop.set()
    await site.running
    assert sorted(site.ended) == ["one", "two"]


async def test_a_view_that_began_elsewhere_ends_with_what_let_its_viewer_in(site: Site) -> None:
    assert (await site.http.get("/api/cameras/gate/whep/one")).is_success
    await rounds(site)
    assert site.ended == []
    site.who.identity = Identity("ann", frozenset())
    await until(lambda: site.ended == ["one"])


async def test_a_view_that_began_elsewhere_does_not_end_with_the_recorder(site: Site) -> None:
    await site.watch("own")
    for session in ("own", "one"):
        assert (await site.http.get(f"/api/cameras/gate/whep/{session}")).is_success
    site.stop.set()
    await site.running
    assert site.ended == ["own"]


async def test_no_view_is_noted_where_motion_refused_one(site: Site) -> None:
    site.motion.answers["/api/cameras/gate/whep"] = Response("full", 503)
    await site.http.post("/api/cameras/gate/whep", content=b"v=0", headers=SDP)
    site.stop.set()
    await site.running
    assert site.ended == []
