"""WebRTC cameras: publishers by aiortc and by a real browser come in by WHIP, and a server is asked by WHEP."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from services.motion.sources.stream import SourceAway, SourceStream
from services.motion.sources.webrtc.whep import open_whep
from tests.integration.camera_rig import live_camera, n_frames_of
from tests.integration.test_motion_service import Motion, Rig, received
from tests.programs import ServerError, find_chromium
from tests.servers import free_port, spawn, wait_until
from tests.unit.motion.publisher import FPS, Publisher
from tests.unit.motion.videos import Plane, scene

TOKEN = "phone-0123456789abcdef"
SOON = {"first_snippet_s": 1, "longest_snippet_s": 2, "pre_roll_s": 1}
PHONE: dict[str, object] = {"url": f"whip:?token={TOKEN}", "motion": SOON}


@pytest.fixture
def rig(tmp_path: Path, redis_url: str) -> Iterator[Rig]:
    made = Rig(tmp_path, redis_url)
    yield made
    made.stop_all()


@pytest.fixture
def publisher() -> Iterator[Callable[..., Publisher]]:
    made: list[Publisher] = []

    def make(codec: str = "video/H264", with_sound: bool = False) -> Publisher:
        made.append(Publisher(codec, with_sound))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(
    motion: Motion, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{motion.port}{path}",
        body or None,
        {name.replace("_", "-"): value for name, value in headers.items()},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, dict(exc.headers), exc.read().decode()


def publish(motion: Motion, publisher: Publisher, query: str = f"?token={TOKEN}") -> str:
    """Let `publisher` in; return the path of its session."""
    status, headers, answer = ask(
        motion, "POST", f"/whip/cam{query}", publisher.offer().encode(), Content_Type="application/sdp"
    )
    assert status == 201, answer
    publisher.accept(answer)
    return {name.lower(): value for name, value in headers.items()}["location"]


def events_of(motion: Motion, level: str) -> list[str]:
    return [event["event"] for event in motion.events() if event["level"] == level and event.get("camera")]


@pytest.mark.redis
def test_a_publisher_comes_goes_and_comes_again(rig: Rig, publisher: Callable[..., Publisher]) -> None:
    rig.cameras(PHONE)
    motion = rig.start()
    assert motion.state() == "connecting"
    session = publish(motion, publisher("video/H264", with_sound=True))
    wait_until(lambda: motion.state() == "running", 60, "the publisher's frames")
    wait_until(lambda: motion.snippets() >= 2, 60, "two snippets")
    assert ask(motion, "DELETE", session)[0] == 401
    assert ask(motion, "DELETE", session + "0", Authorization=f"Bearer {TOKEN}")[0] == 404
    assert ask(motion, "DELETE", session, Authorization=f"Bearer {TOKEN}")[0] == 200
    wait_until(lambda: motion.state() == "away", 20, "that it is away")
    n_snippets = motion.snippets()
    publish(motion, publisher("video/VP8"))
    wait_until(lambda: motion.state() == "running", 60, "the returned publisher's frames")
    wait_until(lambda: motion.snippets() >= n_snippets + 2, 60, "snippets of VP8")
    found = received(rig.redis_url)
    for snippet, media in found:
        codec, n_frames = n_frames_of(media)
        assert codec == "h264"
        length_s = (snippet.header.ended_at - snippet.header.started_at).total_seconds()
        assert n_frames == pytest.approx(length_s * FPS, rel=0.35, abs=4)
    assert events_of(motion, "warning") == ["the camera is away, trying again"]
    assert events_of(motion, "info").count("the camera is back") == 1
    assert TOKEN not in motion.log.read_text()
    assert TOKEN not in str(motion.cameras())
    motion.process.terminate()
    assert motion.process.wait(15) == 0


@pytest.mark.redis
def test_a_newer_publisher_takes_the_place_of_the_one_before(
    rig: Rig, publisher: Callable[..., Publisher]
) -> None:
    rig.cameras(PHONE)
    motion = rig.start()
    first = publish(motion, publisher())
    wait_until(lambda: motion.state() == "running", 60, "the first publisher's frames")
    second = publish(motion, publisher())
    wait_until(lambda: "the camera is back" in events_of(motion, "info"), 60, "the second publisher's frames")
    assert ask(motion, "DELETE", f"{first}?token={TOKEN}")[0] == 404
    assert ask(motion, "DELETE", f"{second}?token={TOKEN}")[0] == 200


@pytest.mark.redis
def test_what_is_no_publisher_is_refused(rig: Rig, publisher: Callable[..., Publisher]) -> None:
    rig.cameras(PHONE, {"id": "wired", "url": "rtsp://127.0.0.1:9/none"})
    motion = rig.start()
    offer = publisher().offer().encode()
    sdp = {"Content_Type": "application/sdp"}
    assert ask(motion, "POST", "/whip/cam", offer, **sdp)[0] == 401
    assert ask(motion, "POST", "/whip/cam?token=wrong", offer, **sdp)[0] == 401
    assert ask(motion, "POST", f"/whip/wired?token={TOKEN}", offer, **sdp)[0] == 401
    assert ask(motion, "POST", f"/whip/nobody?token={TOKEN}", offer, **sdp)[0] == 401
    assert ask(motion, "POST", f"/whip/cam?token={TOKEN}", offer, Content_Type="text/plain")[0] == 415
    assert ask(motion, "POST", f"/whip/cam?token={TOKEN}", b"a" * 70_000, **sdp)[0] == 413
    status, _, words = ask(motion, "POST", f"/whip/cam?token={TOKEN}", b"v=0\r\n", **sdp)
    assert (status, json.loads(words)["error"]["found"]) == (
        400,
        "the offer cannot be answered: it offers no video",
    )
    status, headers, _ = ask(motion, "OPTIONS", "/whip/cam")
    assert status == 204
    assert {name.lower(): value for name, value in headers.items()}["access-control-allow-origin"] == "*"


def write_y4m(path: Path, frames: Iterable[Plane], fps: int) -> Path:
    """Write gray `frames`, of one even size, as Chromium reads them: YUV4MPEG2, 4:2:0."""
    with path.open("wb") as file:
        for number, plane in enumerate(frames):
            height, width = plane.shape
            if number == 0:
                file.write(f"YUV4MPEG2 W{width} H{height} F{fps}:1 Ip A1:1 C420jpeg\n".encode())
            file.write(b"FRAME\n" + plane.tobytes() + bytes([128]) * (width * height // 2))
    return path


PAGE = """<!doctype html><title>publisher</title><script>
(async () => {
  const media = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}, audio: true});
  const peer = new RTCPeerConnection();
  media.getTracks().forEach(track => peer.addTrack(track, media));
  await peer.setLocalDescription(await peer.createOffer());
  await new Promise(done => {
    if (peer.iceGatheringState === 'complete') done();
    peer.onicegatheringstatechange = () => peer.iceGatheringState === 'complete' && done();
  });
  const answer = await fetch('WHIP', {method: 'POST', body: peer.localDescription.sdp,
    headers: {'Content-Type': 'application/sdp', Authorization: 'Bearer TOKEN'}});
  await peer.setRemoteDescription({type: 'answer', sdp: await answer.text()});
})();
</script>"""


@pytest.fixture
def chromium() -> Path:
    try:
        return find_chromium()
    except ServerError as exc:
        if os.environ.get("CLIPWATCH_TESTS_MAY_SKIP") == "1":
            pytest.skip(str(exc))
        pytest.fail(str(exc), pytrace=False)


@pytest.mark.redis
def test_a_browser_is_a_camera(rig: Rig, chromium: Path) -> None:
    """Its camera is a file in which a square crosses a wall: what Chromium draws by itself only turns in its place."""
    rig.cameras(PHONE)
    camera = write_y4m(rig.folder / "camera.y4m", scene(100, 640, 480, 60, range(20, 90)), fps=15)
    motion = rig.start()
    page = rig.folder / "page"
    page.mkdir()
    whip = f"http://127.0.0.1:{motion.port}/whip/cam"
    (page / "index.html").write_text(PAGE.replace("WHIP", whip).replace("TOKEN", TOKEN))
    port = free_port()
    web = spawn(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", page],
        rig.folder / "web.txt",
    )
    browser = spawn(
        [
            chromium,
            "--headless=new",
            *("--no-sandbox", "--disable-gpu", "--no-proxy-server", "--no-first-run"),
            *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
            f"--use-file-for-fake-video-capture={camera}",
            f"--user-data-dir={rig.folder / 'profile'}",
            f"http://127.0.0.1:{port}/index.html",
        ],
        rig.folder / "chromium.txt",
    )
    try:
        wait_until(lambda: motion.state() == "running", 60, "the browser's frames")
        wait_until(lambda: motion.snippets() >= 2, 60, "two snippets")
        found = received(rig.redis_url)
        assert all(n_frames_of(media)[0] == "h264" for _, media in found)
        assert all(n_frames_of(media)[1] >= 10 for _, media in found)
        assert motion.cameras()["cam"]["drops"].get("webrtc_backlog", 0) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(browser.pid, signal.SIGKILL)  # its own session: nothing else is in this group
        browser.wait(10)
        web.kill()
        web.wait(10)
    wait_until(lambda: motion.state() == "away", 30, "that the killed browser is away")


class WhepServer:
    """Answers one path with an aiortc publisher, and counts who leaves."""

    def __init__(self, publisher: Publisher, login: str = "", is_silent: bool = False) -> None:
        self.n_left = 0
        self.hang = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                offer = self.rfile.read(int(self.headers["Content-Length"])).decode()
                if is_silent:
                    outer.hang.wait(30)
                    return
                if self.headers.get("Authorization", "") != login:
                    self.send_error(401)
                    return
                if self.path != "/cam/whep":
                    self.send_response(307)
                    self.send_header("Location", "/cam/whep")
                    self.end_headers()
                    return
                body = publisher.answer(offer).encode()
                self.send_response(201)
                self.send_header("Location", "/cam/whep/1")
                self.send_header("Content-Type", "application/sdp")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_DELETE(self) -> None:
                outer.n_left += self.path == "/cam/whep/1"
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()
        self.host = f"127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.hang.set()
        self.server.shutdown()
        self.thread.join(10)
        self.server.server_close()


def test_a_server_is_asked_by_whep_and_told_when_we_leave(
    publisher: Callable[..., Publisher], tmp_path: Path
) -> None:
    with contextlib.closing(WhepServer(publisher(), "Bearer let-me-in")) as server:
        with live_camera(tmp_path, url=f"whep://let-me-in@{server.host}/old/place", motion=SOON) as camera:
            camera.wait_for(lambda: camera.status.n_snippets >= 2, "two snippets")
            codecs = {n_frames_of(media)[0] for media, _ in camera.snippets()}
        assert codecs == {"h264"}
        wait_until(lambda: server.n_left == 1, 60, "that we left")


def opened(url: str) -> SourceStream:
    return open_whep(url, 0.5, 0.5, lambda _reason: None)


def test_a_whep_server_that_refuses_or_hangs_is_away_in_time(publisher: Callable[..., Publisher]) -> None:
    refused = r"^whep://\*\*\*@.*/cam/whep: user name, password or token is wrong"
    with (
        contextlib.closing(WhepServer(publisher(), "Bearer let-me-in")) as server,
        pytest.raises(SourceAway, match=refused),
    ):
        opened(f"whep://wrong-one@{server.host}/cam/whep")
    with (
        contextlib.closing(WhepServer(publisher(), is_silent=True)) as server,
        pytest.raises(SourceAway, match="no answer in time"),
    ):
        opened(f"whep://{server.host}/cam/whep")
    with pytest.raises(SourceAway, match="refused"):
        opened(f"whep://127.0.0.1:{free_port()}/cam/whep")
