"""Cameras against a real RTSP server: codecs, transports, and everything that networks and cameras do wrong."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import statistics
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.motion.media.frame import Frame
from services.motion.sources.rtsp import open_camera
from services.motion.sources.stream import SourceAway
from shared.clock import steady_s
from shared.contract import MediaMessage, SnippetMessage
from shared.urls import fill_in
from tests.integration.camera_rig import live_camera, n_frames_of
from tests.servers import RtspServer, free_port, wait_until

pytestmark = pytest.mark.rtsp
Start = Callable[..., RtspServer]
N_STEADY = 55  # frames after which those that FFmpeg held back while it opened (3 s) are through
SOON = {"first_snippet_s": 1, "longest_snippet_s": 2, "pre_roll_s": 1}  # the ball never stands still


def drops() -> tuple[list[str], Callable[[str], None]]:
    reasons: list[str] = []
    return reasons, reasons.append


def frames_of(url: str, count: int, transport: Any = "tcp") -> list[Frame]:  # Any: a Literal of the source's
    video = open_camera(url, 10, 5, drops()[1], transport)
    try:
        found: list[Frame] = []
        for read in video.read():
            found.extend(read.frames)
            if len(found) >= count:
                return found
    finally:
        video.close()
    raise AssertionError(f"the stream ended after {len(found)} frames")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_frames_come_over_tcp_and_udp(rtsp_server: Start, transport: str) -> None:
    found = frames_of(rtsp_server().url(), N_STEADY, transport)
    assert {(frame.image.width, frame.image.height) for frame in found} == {(320, 240)}
    steps = [after.t_s - before.t_s for before, after in itertools.pairwise(found[-15:])]
    assert steps == pytest.approx([0.1] * len(steps), abs=0.03)


@pytest.mark.parametrize("codec", ["h264", "h265", "mjpeg"])
def test_every_codec_becomes_a_clip_that_browsers_play(
    rtsp_server: Start, tmp_path: Path, codec: str
) -> None:
    server = rtsp_server("--codec", codec)
    with live_camera(tmp_path, url=server.url(), motion=SOON) as camera:
        camera.wait_for(lambda: camera.status.n_snippets >= 2, "two snippets")
        media, snippet = camera.snippets()[1]
    assert (media.header.width, media.header.height) == (320, 240)
    length_s = (snippet.header.ended_at - snippet.header.started_at).total_seconds()
    played_codec, n_frames = n_frames_of(media)
    assert played_codec == "h264"
    assert n_frames == pytest.approx(length_s * 10, abs=2.5)
    assert {picture.kind for picture in snippet.header.pictures} == {"frame", "crop"}


def test_the_first_frames_lie_as_far_apart_as_they_were_taken(rtsp_server: Start) -> None:
    found = frames_of(
        rtsp_server().url(), N_STEADY
    )  # some 2 s of them come at once: FFmpeg read them to look
    steps = [after.t_s - before.t_s for before, after in itertools.pairwise(found)]
    assert statistics.median(steps[:15]) == pytest.approx(0.1, abs=0.03)  # a busy machine's camera skips some
    assert found[15].t_s - found[0].t_s == pytest.approx(1.5, rel=0.3)
    assert steady_s() - found[-1].t_s < 2.0


@pytest.mark.parametrize(("carried_by", "asked"), [("udp", "tcp"), ("tcp", "udp")])
def test_a_camera_that_sends_by_one_transport_only_is_told_by_its_setting(
    rtsp_server: Start, carried_by: str, asked: Any
) -> None:  # Any: a Literal of the source's
    server = rtsp_server("--carried-by", carried_by)
    with pytest.raises(SourceAway) as caught:
        open_camera(server.url(), 10, 5, drops()[1], asked)
    assert str(caught.value) == (
        f"{server.url()}: the camera does not send by {asked.upper()}, which `transport: {asked}` asks for; "
        f"set `transport: {carried_by}` for it"
    )

    def sends() -> bool:
        try:
            return len(frames_of(server.url(), 3, carried_by)) >= 3
        except (
            SourceAway
        ):  # 503 while it takes down what it prepared for the refused one; a worker tries again
            return False

    wait_until(sends, 60, f"that the camera sends by {carried_by}")


def test_a_clock_that_wraps_around_is_not_seen_in_the_times(rtsp_server: Start) -> None:
    server = rtsp_server("--first-timestamp", str(2**32 - 90_000))  # 32 bits at 90 kHz: wraps after a second
    found = frames_of(server.url(), N_STEADY)
    steps = [after.t_s - before.t_s for before, after in itertools.pairwise(found[-15:])]
    assert steps == pytest.approx([0.1] * len(steps), abs=0.03)


def test_a_wrong_password_is_named_but_not_shown(rtsp_server: Start) -> None:
    server = rtsp_server("--login", "viewer:right-one")
    assert len(frames_of(server.url("viewer:right-one"), 3)) >= 3
    with pytest.raises(SourceAway) as caught:
        open_camera(server.url("viewer:very-wrong"), 10, 5, drops()[1])
    assert str(caught.value) == (
        f"rtsp://***@127.0.0.1:{server.port}/cam: user name or password is wrong, or may not see this stream "
        "(Server returned 401 Unauthorized (authorization failed))"
    )


@pytest.mark.parametrize("password", ["a#b/c?d@e:f", "100%41x", "p w'ü"])
def test_a_password_by_variable_is_the_one_that_the_camera_gets(rtsp_server: Start, password: str) -> None:
    server = rtsp_server("--login", f"viewer:{password}")
    url = fill_in(server.url("viewer:${PASSWORD}"), {"PASSWORD": password})
    assert len(frames_of(url, 3)) >= 3


def test_a_camera_that_dies_is_told_once_and_taken_up_again(rtsp_server: Start, tmp_path: Path) -> None:
    server = rtsp_server()
    with live_camera(tmp_path, url=server.url(), motion=SOON) as camera:
        camera.wait_for(lambda: camera.status.n_events == 1, "an event")
        server.kill()
        camera.wait_for_state("away")
        camera.wait_for(lambda: "reader" not in camera.status.last_error, "the reason")
        assert camera.status.open_event is None
        server.arguments = ("--size", "480x352")
        server.start()
        camera.wait_for_state("running")
        assert camera.status.last_error == ""
        camera.wait_for(lambda: camera.status.n_events >= 2, "an event of the returned camera")
        camera.wait_for(lambda: any(m.header.width == 480 for m, _ in camera.snippets()), "a larger snippet")
        found = camera.snippets()
    assert camera.told("warning") == ["the camera is away, trying again"]
    assert camera.told("info").count("the camera is back") == 1
    for media, _ in found:
        assert n_frames_of(media)[0] == "h264"
    first, second = (next(s.header for m, s in found if m.header.width == width) for width in (320, 480))
    assert first.event_id != second.event_id
    assert any(s.header.is_last for _, s in found if s.header.event_id == first.event_id)


def test_nothing_fires_before_a_returned_camera_has_a_baseline(rtsp_server: Start, tmp_path: Path) -> None:
    server = rtsp_server()
    with live_camera(tmp_path, url=server.url(), motion=SOON) as camera:
        camera.wait_for_state("running")
        server.restart()
        camera.wait_for_state("away")
        n_events = camera.status.n_events
        camera.wait_for_state("running")
        camera.wait_for(lambda: camera.status.n_events > n_events, "an event")
        first_frame_s = camera.status.first_frame_s
        camera.wait_for(
            lambda: len({s.header.event_id for _, s in camera.snippets()}) > n_events, "its snippet"
        )
        newest = camera.snippets()[-1][1].header
    assert first_frame_s is not None
    assert newest.event_started_at.timestamp() >= first_frame_s + 0.7  # WARM_UP_S, and the look that told us


@pytest.mark.slow  # shorter: a silent camera is away
def test_a_frozen_camera_is_away_and_does_not_hold_up_another(rtsp_server: Start, tmp_path: Path) -> None:
    frozen, healthy = rtsp_server(), rtsp_server()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        live_camera(tmp_path / "a", url=frozen.url(), motion=SOON) as first,
        live_camera(tmp_path / "b", url=healthy.url(), motion=SOON) as second,
    ):
        first.wait_for_state("running")
        second.wait_for_state("running")
        frozen.freeze()
        first.wait_for_state("away")
        n_frames = second.status.n_frames
        second.wait_for(lambda: second.status.n_frames > n_frames + 30, "frames of the other", 10)
        assert second.status.state == "running"
        frozen.thaw()
        first.wait_for_state("running")


@pytest.mark.parametrize("transport", ["tcp", pytest.param("udp", marks=pytest.mark.slow)])
def test_a_silent_camera_is_away_after_read_s(rtsp_server: Start, tmp_path: Path, transport: str) -> None:
    server, read_s = rtsp_server(), 5.0
    with live_camera(tmp_path, deadline_s=read_s, url=server.url(), transport=transport) as camera:
        camera.wait_for_state("running")
        server.freeze()
        froze_s = time.monotonic()
        camera.wait_for_state("away")
        assert time.monotonic() - froze_s < 1.6 * read_s  # it was twice read_s
        assert camera.status.last_error == "no answer in time"
        assert camera.status.drops["reader_left_behind"] == 0
        server.thaw()
        camera.wait_for_state("running")


def n_shown_large(snippets: list[tuple[MediaMessage, SnippetMessage]]) -> int:
    """Count those whose whole frames all come from the 640x480 stream; late ones (busy machine) stay small."""
    n_large = 0
    for _, snippet in snippets:
        whole = [picture for picture in snippet.header.pictures if picture.kind == "frame"]
        n_large += {(picture.width, picture.height) for picture in whole} == {(384, 288)}
    return n_large


def test_motion_is_looked_for_in_the_small_stream_and_shown_by_the_large_one(
    rtsp_server: Start, tmp_path: Path
) -> None:
    large, small = rtsp_server("--size", "640x480", "--codec", "h265"), rtsp_server("--size", "320x240")
    with live_camera(tmp_path, url=large.url(), detect_url=small.url(), motion=SOON) as camera:
        camera.wait_for(lambda: n_shown_large(camera.snippets()) >= 2, "two snippets with large pictures", 90)
        for media, _ in camera.snippets():
            assert (media.header.width, media.header.height) == (640, 480)
            assert n_frames_of(media)[0] == "h264"
        large.kill()
        camera.wait_for_state("away")
        assert camera.told("warning") == ["the camera is away, trying again"]


class GarbageServer:
    """Speaks RTSP, and then sends RTP packets that hold nothing but noise."""

    def __init__(self) -> None:
        self.port = free_port()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> GarbageServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sdp = "v=0\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track0\r\n"
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method = head.split(b" ", 1)[0]
                cseq = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"cseq"))
                more = {
                    b"DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n\r\n{sdp}",
                    b"SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n",
                }.get(method, "Session: 1\r\n\r\n")
                writer.write(b"RTSP/1.0 200 OK\r\n" + cseq + b"\r\n" + more.encode())
                if method == b"PLAY":
                    await self._play(writer)
        except (OSError, EOFError):
            writer.close()

    @staticmethod
    async def _play(writer: asyncio.StreamWriter) -> None:
        for sequence, packet in enumerate(noise()):
            header = struct.pack("!BBHII", 0x80, 96, sequence & 0xFFFF, sequence * 900, 7)
            writer.write(struct.pack("!cBH", b"$", 0, 12 + len(packet)) + header + packet)
            await writer.drain()
            await asyncio.sleep(0.005)


def noise() -> Iterator[bytes]:
    while True:
        yield secrets.token_bytes(400)


def test_a_camera_that_sends_garbage_is_away_and_opens_no_event(tmp_path: Path) -> None:
    with (
        GarbageServer() as server,
        live_camera(tmp_path, url=f"rtsp://127.0.0.1:{server.port}/cam", motion=SOON) as camera,
    ):
        camera.wait_for_state("away", 60)
        assert camera.told("warning") == ["the camera is away, trying again"]
        assert camera.status.n_events == 0
        assert camera.status.last_error
