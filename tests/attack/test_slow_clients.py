"""Clients that say little, or nothing, or keep all streams: the page answers everybody else."""

from __future__ import annotations

import contextlib
import resource
import socket
import statistics
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.attack.site_rig import API_TOKEN, LONG, MOTION_TOKEN, Site

pytestmark = pytest.mark.redis
MANY = 1200
FEW = 200
PAGE_S = 0.2  # in the long version, which runs alone
BUSY_PAGE_S = 5.0
SIZES = [(FEW, BUSY_PAGE_S), pytest.param(MANY, PAGE_S, marks=LONG)]
BEGINNINGS = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half a header": b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ",
    "half a body": (
        b"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    ),
}


@contextlib.contextmanager
def connections(port: int, count: int, beginning: bytes) -> Iterator[list[socket.socket]]:
    """Open that many, each of which begins to say something; those that are refused are left out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    made: list[socket.socket] = []
    try:
        for _ in range(count):
            with contextlib.suppress(OSError):
                one = socket.create_connection(("127.0.0.1", port), timeout=5)
                made.append(one)
                one.sendall(beginning)
        yield made
    finally:
        for one in made:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def page_s(url: str) -> float:
    """Return how long the page takes, in the median of nine new connections."""
    took = []
    for _ in range(9):
        began_s = time.monotonic()
        answer = httpx.get(url, timeout=30, trust_env=False)
        took.append(time.monotonic() - began_s)
        assert answer.status_code == 200, answer.text
    return statistics.median(took)


@pytest.mark.parametrize("beginning", sorted(BEGINNINGS))
@pytest.mark.parametrize(("count", "most_s"), SIZES)
def test_the_page_answers_beside_slow_clients(site: Site, beginning: str, count: int, most_s: float) -> None:
    with connections(site.recorder.port, count, BEGINNINGS[beginning]):
        assert page_s(f"{site.url}/") < most_s
    assert page_s(f"{site.url}/") < most_s


def test_what_is_half_said_is_hung_up_on(site: Site) -> None:
    with contextlib.ExitStack() as opened:
        made = [
            one
            for beginning in BEGINNINGS.values()
            for one in opened.enter_context(connections(site.recorder.port, 5, beginning))
        ]
        for one in made:
            one.settimeout(60)
            with contextlib.suppress(ConnectionError):
                while one.recv(4096):
                    pass  # an answer first, maybe; then the end


@pytest.mark.parametrize("service", ["recorder", "motion"])
def test_one_client_does_not_take_all_streams(site: Site, service: str) -> None:
    """Every stream that one client can open is open; another one is still let in, and the page answers."""
    port, token = site.ports[service]
    path = {"recorder": "/api/stream", "motion": "/api/cameras/gate/looks"}[service]
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with connections(port, 80, request) as made:
        statuses = [_status(one) for one in made]
        assert 429 in statuses or 503 in statuses, "there is a bound"
        assert statuses.count(200) >= 1
        assert page_s(f"{site.url}/") < BUSY_PAGE_S
        health = httpx.get(
            f"http://127.0.0.1:{port}/api/cameras",
            headers={"authorization": f"Bearer {API_TOKEN if service == 'recorder' else MOTION_TOKEN}"},
            timeout=30,
            trust_env=False,
        )
        assert health.status_code == 200


def _status(connection: socket.socket) -> int | None:
    connection.settimeout(20)
    with contextlib.suppress(OSError):
        line = connection.recv(4096).split(b"\r\n")[0]
        return int(line.split()[1]) if line else None
    return None
