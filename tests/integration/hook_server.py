"""A local HTTP server that takes webhooks and fails on demand; for tests only."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Hooks:
    """What came, and what is answered: `status`, or nothing at all while `is_silent`."""

    url: str = ""
    status: int = 204
    is_silent: bool = False
    refused_events: set[str] = field(default_factory=set)  # answered with 422
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)  # of 2xx only
    tries: int = 0

    @property
    def events(self) -> list[str]:
        """The ids of the events that were taken, in order."""
        return [json.loads(body)["data"]["id"] for _, body in self.taken]

    def document(self, index: int) -> dict[str, Any]:  # Any: JSON
        return dict(json.loads(self.taken[index][1]))


@contextlib.contextmanager
def hook_server() -> Iterator[Hooks]:
    """Yield a running server on the loopback."""
    hooks = Hooks()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hooks.tries += 1
            if hooks.is_silent:
                self.close_connection = True
                return
            status = 422 if json.loads(body)["data"]["id"] in hooks.refused_events else hooks.status
            if 200 <= status < 300:
                hooks.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hooks.url = f"http://127.0.0.1:{server.server_address[1]}/hook?key=not-to-be-logged"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hooks
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
