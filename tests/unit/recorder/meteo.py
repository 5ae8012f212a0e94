"""A local HTTP server that answers as Open-Meteo's documentation says, and fails on demand; for tests only."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

VALUES: dict[str, Any] = {  # Any: JSON numbers
    "temperature_2m": 17.3,
    "relative_humidity_2m": 61,
    "precipitation": 0.4,
    "weather_code": 61,
    "cloud_cover": 80,
    "pressure_msl": 1013.2,
    "visibility": 24140.0,
    "wind_speed_10m": 3.4,
    "wind_direction_10m": 230,
    "is_day": 1,
}


@dataclass(slots=True)
class Meteo:
    """What the server does next, and what it was asked."""

    url: str = ""
    mode: str = "fine"  # fine, limited, broken, refused, garbage, slow, empty, huge, nulls
    asked: list[dict[str, str]] = field(default_factory=list)
    observed_at: datetime | None = None  # of `current`; default: now, to 15 minutes as Open-Meteo does
    unblocked: threading.Event = field(default_factory=threading.Event)

    def answer(self, query: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        self.asked.append(query)
        if self.mode == "limited":
            reason = "Minutely API request limit exceeded. Please try again in one minute."
            return 429, json.dumps({"error": True, "reason": reason}).encode(), {"retry-after": "7"}
        if self.mode == "broken":
            return 502, b"<html>bad gateway</html>", {}
        if self.mode == "refused":
            return 400, json.dumps({"error": True, "reason": "Latitude must be in range"}).encode(), {}
        if self.mode == "garbage":
            return 200, b"<html>welcome to this hotspot</html>", {}
        if self.mode == "slow":
            self.unblocked.wait(10)
        if self.mode == "huge":
            return 200, b" " * 1_000_000, {}
        return 200, json.dumps(self._said(query)).encode(), {}

    def _said(self, query: dict[str, str]) -> dict[str, Any]:
        values = dict.fromkeys(VALUES) if self.mode == "nulls" else VALUES
        if "current" in query:
            seconds = int((self.observed_at.timestamp() if self.observed_at else time.time()) // 900 * 900)
            wanted = {name: values[name] for name in query["current"].split(",")}
            return {"current": {"time": seconds, "interval": 900, **wanted}}
        if self.mode == "empty":
            return {"hourly": {"time": []}}
        hour = datetime.strptime(query["start_hour"], "%Y-%m-%dT%H:%M").replace(tzinfo=UTC)
        columns = {name: [values[name]] for name in query["hourly"].split(",")}
        return {"hourly": {"time": [int(hour.timestamp())], **columns}}


@contextlib.contextmanager
def meteo_server() -> Iterator[Meteo]:
    """Serve on a free port of the loopback."""
    meteo = Meteo()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers: dict[str, str] = {}
            if parts.path != "/v1/forecast":
                status, body = 404, b'{"error":true,"reason":"Not Found"}'
            else:
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                status, body, headers = meteo.answer(query)
            with contextlib.suppress(OSError):  # the client may have given up
                self.send_response(status)
                self.send_header("content-type", "application/json; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    meteo.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield meteo
    finally:
        meteo.unblocked.set()
        server.shutdown()
        thread.join()
        server.server_close()
