"""The image's health check against a real HTTP server."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

PROBE = Path(__file__).resolve().parents[3] / "deploy" / "image" / "probe.py"


class Health(BaseHTTPRequestHandler):
    """Answers what `answers` says, 404 otherwise."""

    answers: dict[str, int]

    def do_GET(self) -> None:
        self.send_response(self.answers.get(self.path, 404))
        self.end_headers()
        self.wfile.write(b'{"stalled_s": 30.0}')

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def probe(port: int) -> subprocess.CompletedProcess[str]:
    environment = {
        "HTTP_PORT": str(port),
        "http_proxy": "http://127.0.0.1:9",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    return subprocess.run(
        [sys.executable, PROBE], env=environment, capture_output=True, text=True, timeout=30
    )


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ({"/readyz": 200, "/healthz": 200}, 0, ""),
        ({"/readyz": 503, "/healthz": 200}, 1, "/readyz: 503"),
        ({"/readyz": 200, "/healthz": 503}, 1, '/healthz: 503 {"stalled_s": 30.0}'),
    ],
    ids=["well", "not ready", "stalled"],
)
def test_healthy_is_ready_and_moving_and_proxies_are_not_asked(
    server: HTTPServer, answers: dict[str, int], code: int, said: str
) -> None:
    Health.answers = answers
    done = probe(server.server_port)
    assert (done.returncode, said in done.stdout) == (code, True)


def test_no_server_is_one_line_and_exit_1(server: HTTPServer) -> None:
    Health.answers = {}
    with HTTPServer(("127.0.0.1", 0), Health) as closed:
        port = closed.server_port
    done = probe(port)
    assert done.returncode == 1
    assert done.stdout.startswith("/readyz: ")
    assert len(done.stdout.splitlines()) == 1
