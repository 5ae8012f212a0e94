"""People watch a camera: by WebRTC, as single pictures, as a stream of looks; and only those who may."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.motion.live.latest import LiveViews
from services.motion.live.sender import IceServers, WhepSender
from shared.open_streams import STREAMS_OF_CALLER, TooManyStreams
from tests.integration.live_rig import Viewer, ask, told, watched_service
from tests.integration.test_motion_service import Motion
from tests.servers import RedisServer, wait_until

SDP = {"Content_Type": "application/sdp"}
WHEP = "/api/cameras/cam/whep"
TOKEN = "0123456789abcdef-live"


@pytest.fixture(scope="module")
def motion(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Motion]:
    redis_server.start()
    with watched_service(tmp_path_factory.mktemp("live"), redis_server.url, LIVE_VIEWERS_MAX="3") as running:
        wait_until(lambda: running.state() == "running", 60, "the camera's frames")
        yield running


@pytest.fixture
def viewer() -> Iterator[Viewer]:
    made = Viewer()
    yield made
    made.close()


@pytest.mark.redis
def test_a_viewer_is_sent_the_camera_until_he_leaves(motion: Motion, viewer: Viewer) -> None:
    status, headers, answer = ask(motion, "POST", WHEP, viewer.offer().encode(), **SDP)
    assert (status, headers["content-type"]) == (201, "application/sdp")
    viewer.accept(answer.decode())
    frames = viewer.frames(12)
    assert {(frame.width, frame.height) for frame in frames} == {(320, 240)}
    ground = frames[-1].to_ndarray(format="gray")[:100]
    assert ground.std() > 10  # the textured wall, not a gray screen
    assert ask(motion, "PATCH", headers["location"], b"a=x", **SDP)[0] == 405
    assert ask(motion, "DELETE", headers["location"])[0] == 200
    assert ask(motion, "DELETE", headers["location"])[0] == 404
    wait_until(lambda: viewer.state == "closed", 60, "that the viewer was told")


@pytest.mark.redis
def test_a_viewer_learns_which_frame_has_which_timestamp(motion: Motion, viewer: Viewer) -> None:
    _, headers, answer = ask(motion, "POST", WHEP, viewer.offer().encode(), **SDP)
    received = viewer.accept(answer.decode())
    viewer.frames(3)
    looks = told(motion, "GET", "/api/cameras/cam/looks", 10)
    viewer.frames(10)
    status, _, data = ask(motion, "GET", headers["location"])
    zero = json.loads(data)["rtp_zero"]
    assert status == 200
    sent = {(timestamp - zero) % 2**32 for timestamp in received}
    taken = [round(look["t"] * 90_000) % 2**32 for look in looks]
    found = [min(abs(one - tick) for one in sent) for tick in taken]  # looks tell milliseconds: 90 ticks
    assert sum(apart <= 46 for apart in found) >= 5, (sorted(sent), taken)
    assert (
        ask(motion, "GET", "/api/cameras/other" + headers["location"].removeprefix("/api/cameras/cam"))[0]
        == 404
    )
    assert ask(motion, "DELETE", headers["location"])[0] == 200
    assert ask(motion, "GET", headers["location"])[0] == 404


@pytest.mark.redis
def test_viewer_slots_run_out_and_are_given_back(motion: Motion) -> None:
    viewers = [Viewer() for _ in range(4)]
    try:
        answers = [ask(motion, "POST", WHEP, viewer.offer().encode(), **SDP) for viewer in viewers]
        assert [status for status, _, _ in answers] == [201, 201, 201, 503]
        assert "LIVE_VIEWERS_MAX" in json.loads(answers[3][2])["error"]["found"]
        for _, headers, _ in answers[:3]:
            assert ask(motion, "DELETE", headers["location"])[0] == 200
        assert ask(motion, "GET", "/api/cameras/cam/picture.jpg")[0] == 200
    finally:
        for viewer in viewers:
            viewer.close()


async def test_one_caller_has_so_many_videos_and_others_have_theirs(viewer: Viewer) -> None:
    sender = WhepSender(IceServers(), LiveViews().of)
    offer = await asyncio.to_thread(viewer.offer)
    try:
        sessions = [(await sender.offer("cam", offer, "user 1"))[1] for _ in range(STREAMS_OF_CALLER)]
        with pytest.raises(TooManyStreams, match="8 live videos"):
            await sender.offer("cam", offer, "user 1")
        await sender.offer("cam", offer, "user 2")
        assert await sender.leave("cam", sessions[0])
        await sender.offer("cam", offer, "user 1")
    finally:
        await asyncio.to_thread(sender.close)


@pytest.mark.redis
def test_a_picture_is_the_cameras_newest(motion: Motion) -> None:
    status, headers, data = ask(motion, "GET", "/api/cameras/cam/picture.jpg")
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "image/jpeg", "no-store")
    picture = Image.open(io.BytesIO(data))
    assert picture.size == (320, 240)
    assert np.asarray(picture.convert("L"))[:100].std() > 10
    assert ask(motion, "GET", "/api/cameras/nobody/picture.jpg")[0] == 404


@pytest.mark.redis
def test_looks_say_where_it_moves(motion: Motion) -> None:
    looks = told(motion, "GET", "/api/cameras/cam/looks", 65)
    moving = [look for look in looks if look["active"]]
    assert 5 < len(moving) < 60
    for look in moving:
        assert 0 < look["score"] <= 1
        assert all(0.35 < y < 0.65 for _, y, _, _ in look["boxes"])
    assert any(look["contours"] for look in moving)


@pytest.mark.redis
def test_settings_on_trial_answer_beside_those_in_force(motion: Motion) -> None:
    body = {"lanes": [{"threshold": 10}, {"threshold": 254}]}
    looks = told(motion, "POST", "/api/cameras/cam/trial", 65, body)
    assert any(look["lanes"][0]["active"] for look in looks)
    assert not any(look["lanes"][1]["active"] for look in looks)


@pytest.mark.redis
@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"lanes": []}, "1 to 3"),
        ({"lanes": [{}] * 4}, "1 to 3"),
        ({"lanes": [{"threshold": 300}, {"blur": 1}]}, "lanes[1]: blur"),
        ({"lanes": ["low"]}, "mapping"),
    ],
)
def test_a_trial_of_what_is_no_setting_is_refused(motion: Motion, body: object, fault: str) -> None:
    status, _, answer = ask(
        motion, "POST", "/api/cameras/cam/trial", json.dumps(body).encode(), Content_Type="application/json"
    )
    assert status == 422
    assert fault in " ".join(text for error in json.loads(answer)["errors"] for text in error.values())


@pytest.mark.redis
def test_what_is_no_offer_is_refused(motion: Motion) -> None:
    assert ask(motion, "POST", WHEP, b"v=0\r\n", **SDP)[0] == 400
    assert ask(motion, "POST", WHEP, b"a" * 70_000, **SDP)[0] == 413
    assert ask(motion, "POST", WHEP, b"{}", Content_Type="application/json")[0] == 415
    assert ask(motion, "POST", "/api/cameras/nobody/whep", b"v=0\r\n", **SDP)[0] == 404
    assert ask(motion, "GET", WHEP)[0] == 405


@pytest.mark.redis
@pytest.mark.parametrize("path", ["picture.jpg", "video.mjpeg", "looks"])
def test_a_page_of_another_site_sees_nothing(motion: Motion, path: str) -> None:
    url = f"/api/cameras/cam/{path}"
    assert ask(motion, "GET", url, Sec_Fetch_Site="cross-site")[0] == 403
    assert ask(motion, "GET", url, Origin="https://elsewhere.example")[0] == 403
    assert ask(motion, "GET", url, Host="rebound.example")[0] == 421


@pytest.mark.redis
def test_with_a_token_only_those_who_have_it_watch(tmp_path: Path, redis_url: str) -> None:
    with watched_service(tmp_path, redis_url, API_TOKEN=TOKEN) as motion:
        for path in ("/api/cameras", "/api/cameras/cam", "/api/cameras/cam/picture.jpg", "/metrics"):
            assert ask(motion, "GET", path)[0] == 401
        assert ask(motion, "POST", WHEP, b"v=0\r\n", **SDP)[0] == 401
        bearer = f"Bearer {TOKEN}"
        wait_until(
            lambda: ask(motion, "GET", "/api/cameras/cam/picture.jpg", Authorization=bearer)[0] == 200,
            60,
            "a picture",
        )
