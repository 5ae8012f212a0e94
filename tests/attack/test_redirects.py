"""Cameras and servers that send us elsewhere: nobody but themselves is asked, and no login goes anywhere else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from itertools import count

import pytest

from services.motion.sources.http_mjpeg import open_mjpeg
from services.motion.sources.redirects import redirected
from services.motion.sources.stream import SourceAway
from services.motion.sources.webrtc.whep import open_whep
from tests.attack.canary import Talk, loopback_server, request_of

Open = Callable[[str], object]


def mjpeg(url: str) -> object:
    return open_mjpeg(f"http://{url}", 2, 2, lambda _reason: None)


def whep(url: str) -> object:
    return open_whep(f"whep://{url}", 2, 2, lambda _reason: None)


def redirecting(location: str, status: int = 302) -> Talk:
    """Return a camera that answers every request with a redirect."""

    def talk(connection: socket.socket) -> None:
        if request_of(connection):
            answer = f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            connection.sendall(answer.encode())

    return talk


@pytest.mark.parametrize("open_source", [mjpeg, whep])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_another_port_of_this_machine_is_not_asked(open_source: Open, status: int) -> None:
    with (
        loopback_server() as canary,
        loopback_server(redirecting(f"{canary.url}/flushall", status)) as camera,
    ):
        wanted = f"redirects to {canary.url}/flushall, wanted an address on its own host and port"
        with pytest.raises(SourceAway, match=wanted):
            open_source(f"user:secret@127.0.0.1:{camera.port}/video")
        assert canary.n_visits == 0


@pytest.mark.parametrize("open_source", [mjpeg, whep])
@pytest.mark.parametrize(
    "location",
    [
        "http://localhost:{port}/",
        "http://127.0.0.1@localhost:{port}/",
        "//localhost:{port}/",
        "http://[::1]:{port}/",
        "ftp://127.0.0.1:{port}/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:{port}/_x",
        "http://127.0.0.1:99999/",
        "http://[broken/",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
def test_no_other_host_or_scheme_is_asked(open_source: Open, location: str) -> None:
    with loopback_server() as canary:
        talk: list[Talk] = []
        with loopback_server(lambda connection: talk[0](connection)) as camera:
            talk.append(redirecting(location.format(port=camera.port)))
            with pytest.raises(SourceAway, match="redirects to"):
                open_source(f"user:secret@127.0.0.1:{camera.port}/video")
            assert camera.n_visits == 1
        assert canary.n_visits == 0


@pytest.mark.parametrize("open_source", [mjpeg, whep])
def test_a_circle_of_redirects_ends(open_source: Open) -> None:
    with loopback_server(redirecting("/again")) as camera:
        with pytest.raises(SourceAway, match="redirects more than 3 times"):
            open_source(f"127.0.0.1:{camera.port}/video")
        assert camera.n_visits == 4


def test_a_redirect_with_an_endless_body_is_left_at_once() -> None:
    ended = threading.Event()
    n_sent = count()

    def talk(connection: socket.socket) -> None:
        request_of(connection)
        try:
            connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/\r\n\r\n")
            while next(n_sent) < 100_000:
                connection.sendall(bytes(65536))
        except OSError:
            ended.set()
            raise

    with loopback_server(talk) as camera:
        with pytest.raises(SourceAway, match="redirects to ftp"):
            mjpeg(f"127.0.0.1:{camera.port}/video")
        assert ended.wait(10)
    assert next(n_sent) < 1000


def test_a_whep_session_elsewhere_is_not_deleted_there() -> None:
    with loopback_server() as canary:

        def talk(connection: socket.socket) -> None:
            request_of(connection)
            head = f"HTTP/1.1 201 Created\r\nLocation: {canary.url}/session\r\nContent-Length: 3\r\n\r\nv=0"
            connection.sendall(head.encode())

        with loopback_server(talk) as camera, pytest.raises(SourceAway, match="redirects to"):
            whep(f"127.0.0.1:{camera.port}/cam")
        assert canary.n_visits == 0


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("http://cam/a", "b", "http://cam/b"),
        ("http://cam/a", "https://cam/b", "https://cam/b"),
        ("http://cam:80/a", "https://cam:443/b", "https://cam:443/b"),
        ("http://cam:81/a", "https://cam:81/b", "https://cam:81/b"),
        ("http://CAM/a", "http://cam:80/b", "http://cam:80/b"),
    ],
)
def test_a_camera_may_send_us_to_itself(url: str, location: str, target: str) -> None:
    assert redirected(url, location, "cam") == target


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://cam/a", "http://cam/b"),
        ("https://cam/a", "https://cam:444/b"),
        ("http://cam/a", "https://cam:8443/b"),
        ("http://cam:81/a", "https://cam/b"),
        ("http://cam/a", "http://cam.evil.example/b"),
        ("http://cam/a", "http://cam:81/b"),
    ],
)
def test_a_camera_may_not_send_us_elsewhere(url: str, location: str) -> None:
    with pytest.raises(SourceAway, match="redirects to"):
        redirected(url, location, "cam")
