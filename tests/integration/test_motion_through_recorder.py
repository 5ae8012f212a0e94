"""A real motion service behind a real recorder: live pictures, looks and WebRTC at the recorder's address."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.live_rig import Viewer, ask, told, watched_service
from tests.integration.test_motion_service import Motion
from tests.integration.test_recorder_service import Recorder
from tests.servers import RedisServer, wait_until

TOKEN = "0123456789abcdef-motion"
WHEP = "/api/cameras/cam/whep"
SDP = {"Content_Type": "application/sdp"}


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[tuple[Recorder, Motion]]:
    redis_server.start()
    folder = tmp_path_factory.mktemp("site")
    environment = {"LIVE_VIEWERS_MAX": "1", "API_TOKEN": TOKEN}
    with watched_service(folder, redis_server.url, **environment) as motion:
        recorder = Recorder(folder, redis_server.url, f"sqlite+aiosqlite:///{folder}/record.db")
        recorder.environment = {"MOTION_URL": f"http://127.0.0.1:{motion.port}", "MOTION_TOKEN": TOKEN}
        recorder.start()
        try:
            wait_until(lambda: _state(recorder) == "running", 60, "the camera's frames")
            yield recorder, motion
        finally:
            recorder.stop()


def _state(recorder: Recorder) -> str:
    status, _, data = ask(recorder, "GET", "/api/cameras")
    assert status == 200, data
    states = json.loads(data)["cameras"]
    return str(states[0]["state"]) if states else ""


@pytest.mark.redis
def test_the_recorder_needs_its_token_and_people_do_not(site: tuple[Recorder, Motion]) -> None:
    recorder, motion = site
    assert ask(motion, "GET", "/api/cameras/cam/picture.jpg")[0] == 401
    status, headers, data = ask(recorder, "GET", "/api/cameras/cam/picture.jpg")
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "image/jpeg", "no-store")
    assert data.startswith(b"\xff\xd8")


@pytest.mark.redis
def test_video_and_looks_flow_and_give_the_only_slot_back(site: tuple[Recorder, Motion]) -> None:
    recorder, _ = site
    for _ in range(3):
        url = f"{recorder.url}/api/cameras/cam/video.mjpeg"
        with urllib.request.urlopen(url, timeout=60) as video:
            assert video.headers["content-type"].startswith("multipart/x-mixed-replace")
            assert video.read(20_000).count(b"\xff\xd8\xff") >= 1
            assert ask(recorder, "GET", "/api/cameras/cam/picture.jpg")[0] == 503
        wait_until(lambda: ask(recorder, "GET", "/api/cameras/cam/picture.jpg")[0] == 200, 10, "a free slot")
    looks = told(recorder, "GET", "/api/cameras/cam/looks", 3)
    assert all(0 <= look["score"] <= 1 for look in looks)
    wait_until(lambda: ask(recorder, "GET", "/api/cameras/cam/picture.jpg")[0] == 200, 10, "a free slot")
    trial = told(recorder, "POST", "/api/cameras/cam/trial", 2, {"lanes": [{"threshold": 10}]})
    assert [len(look["lanes"]) for look in trial] == [1, 1]
    wait_until(lambda: ask(recorder, "GET", "/api/cameras/cam/picture.jpg")[0] == 200, 10, "a free slot")


@pytest.mark.redis
def test_a_browser_watches_by_webrtc_through_the_recorder(site: tuple[Recorder, Motion]) -> None:
    recorder, _ = site
    viewer = Viewer()
    try:
        status, headers, answer = ask(recorder, "POST", WHEP, viewer.offer().encode(), **SDP)
        assert (status, headers["content-type"]) == (201, "application/sdp")
        viewer.accept(answer.decode())
        assert {(frame.width, frame.height) for frame in viewer.frames(5)} == {(320, 240)}
        assert headers["location"].startswith(f"{WHEP}/")
        assert ask(recorder, "DELETE", headers["location"])[0] == 200
        assert ask(recorder, "DELETE", headers["location"])[0] == 404
        wait_until(lambda: viewer.state == "closed", 60, "that the viewer was told")
    finally:
        viewer.close()


@pytest.mark.redis
def test_settings_are_changed_through_the_recorder(site: tuple[Recorder, Motion]) -> None:
    recorder, _ = site
    etag = ask(recorder, "GET", "/api/cameras/cam")[1]["etag"]
    body = json.dumps({"threshold": 0.7}).encode()
    kind = {"Content_Type": "application/json"}
    assert ask(recorder, "PATCH", "/api/cameras/cam", body, If_Match=etag, **kind)[0] == 200
    assert ask(recorder, "PATCH", "/api/cameras/cam", body, If_Match=etag, **kind)[0] == 412
    assert "threshold: 0.7" in (recorder.folder / "cameras.yml").read_text()


@pytest.mark.redis
def test_what_to_do_is_said_while_motion_is_away(site: tuple[Recorder, Motion], tmp_path: Path) -> None:
    recorder, _ = site
    alone = Recorder(tmp_path, recorder.redis_url, f"sqlite+aiosqlite:///{tmp_path}/record.db")
    alone.start()
    try:
        status, _, data = ask(alone, "GET", "/api/cameras")
        assert (status, json.loads(data)["error"]["found"]) == (503, "no motion service is named")
    finally:
        alone.stop()
