"""RTSP servers that answer with too much, with nonsense or without end: the camera is away in time, memory stays."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from services.motion.sources.rtsp import open_camera
from services.motion.sources.stream import SourceAway
from tests.attack.canary import Talk, loopback_server, request_of

OPEN_S = 2.0
Answer = Callable[[int], bytes]


def rss_mib() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib reads no file of size 0
        return int(file.read().split()[1]) * 4096 / 2**20


def answering(describe: Answer) -> Talk:
    """Return a camera that answers OPTIONS as it should and DESCRIBE as `describe` says, by CSeq."""

    def talk(connection: socket.socket) -> None:
        while request := request_of(connection):
            number = int(next(line for line in request.split(b"\r\n") if line.startswith(b"CSeq")).split()[1])
            if request.startswith(b"OPTIONS"):
                connection.sendall(b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nPublic: DESCRIBE\r\n\r\n" % number)
            else:
                connection.sendall(describe(number))

    return talk


def described(sdp: bytes) -> Answer:
    def answer(number: int) -> bytes:
        head = b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n"
        return head % (number, len(sdp)) + sdp

    return answer


H264 = b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
HOSTILE: dict[str, Answer] = {
    "a header of 8 MiB": lambda number: (
        b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nX: " % number + b"y" * 2**23 + b"\r\n\r\n"
    ),
    "100,000 headers": lambda number: (
        b"RTSP/1.0 200 OK\r\nCSeq: %d\r\n" % number + b"X: y\r\n" * 100_000 + b"\r\n"
    ),
    "a body of 2 GiB is said": lambda number: (
        b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nContent-Type: application/sdp\r\nContent-Length: 2147483647\r\n\r\nv=0"
        % number
    ),
    "a length below zero": lambda number: (
        b"RTSP/1.0 200 OK\r\nCSeq: %d\r\nContent-Length: -1\r\n\r\nv=0" % number
    ),
    "8 MiB of media": described(b"v=0\r\n" + H264 * (2**23 // len(H264))),
    "a line of 8 MiB": described(
        b"v=0\r\n" + H264 + b"a=fmtp:96 sprop-parameter-sets=" + b"Z" * 2**23 + b"\r\n"
    ),
    "control elsewhere": described(b"v=0\r\n" + H264 + b"a=control:http://127.0.0.1:1/x\r\n"),
    "a file as control": described(b"v=0\r\n" + H264 + b"a=control:file:///etc/passwd\r\n"),
    "a circle of redirects": lambda _number: (
        b"RTSP/1.0 302 Found\r\nCSeq: 2\r\nLocation: rtsp://127.0.0.1:1/x\r\n\r\n"
    ),
    "a redirect to a file": lambda _number: (
        b"RTSP/1.0 302 Found\r\nCSeq: 2\r\nLocation: file:///etc/passwd\r\n\r\n"
    ),
    "noise": lambda _number: bytes(range(256)) * 4096,
    "nothing": lambda _number: b"",
}


@pytest.mark.parametrize("what", sorted(HOSTILE))
def test_a_hostile_camera_is_away_in_time_and_takes_no_memory(what: str) -> None:
    before_mib = rss_mib()
    began_s = time.monotonic()
    with loopback_server(answering(HOSTILE[what])) as camera, pytest.raises(SourceAway):
        open_camera(f"rtsp://user:secret@127.0.0.1:{camera.port}/cam", OPEN_S, OPEN_S, lambda _reason: None)
    assert time.monotonic() - began_s < 6 * OPEN_S
    assert rss_mib() - before_mib < 64


def test_a_camera_that_never_ends_its_answer_is_away_in_time() -> None:
    gone = threading.Event()

    def talk(connection: socket.socket) -> None:
        request_of(connection)
        try:
            connection.sendall(b"RTSP/1.0 200 OK\r\n")
            while True:
                connection.sendall(b"X: " + b"y" * 60_000 + b"\r\n")
        except OSError:
            gone.set()

    before_mib = rss_mib()
    with loopback_server(talk) as camera:
        with pytest.raises(SourceAway):
            open_camera(f"rtsp://127.0.0.1:{camera.port}/cam", OPEN_S, OPEN_S, lambda _reason: None)
        assert gone.wait(10)
    assert rss_mib() - before_mib < 64


@pytest.mark.parametrize("scheme", ["http", "rtsps", "file", "concat"])
def test_a_redirect_to_another_scheme_is_not_followed(scheme: str) -> None:
    with loopback_server() as canary:
        answer = f"RTSP/1.0 302 Found\r\nCSeq: 2\r\nLocation: {scheme}://127.0.0.1:{canary.port}/x\r\n\r\n".encode()
        with loopback_server(answering(lambda _number: answer)) as camera, pytest.raises(SourceAway):
            open_camera(f"rtsp://127.0.0.1:{camera.port}/cam", OPEN_S, OPEN_S, lambda _reason: None)
        assert canary.n_visits == 0


def test_what_follows_an_rtsp_redirect_is_rtsp_without_a_login() -> None:
    """FFmpeg follows it and cannot be told not to (libavformat/rtsp.c): what is sent there is of no use to anybody."""
    with loopback_server() as canary:
        answer = (
            f"RTSP/1.0 302 Found\r\nCSeq: 2\r\nLocation: rtsp://127.0.0.1:{canary.port}/x\r\n\r\n".encode()
        )
        with loopback_server(answering(lambda _number: answer)) as camera, pytest.raises(SourceAway):
            open_camera(
                f"rtsp://user:secret@127.0.0.1:{camera.port}/cam", OPEN_S, OPEN_S, lambda _reason: None
            )
        assert all(heard.startswith(b"OPTIONS rtsp://") for heard in canary.heard)
        assert not any(b"uthorization" in heard for heard in canary.heard)
