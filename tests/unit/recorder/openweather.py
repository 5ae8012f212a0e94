"""A local HTTP server that answers as OpenWeather's documentation says, and fails on demand; for tests only."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

KEY = "0123456789abcdef0123456789abcdef"
# the documented form of both answers, with values of the test's own
CURRENT: dict[str, Any] = {  # Any: JSON
    "coord": {"lon": 13.39, "lat": 52.52},
    "weather": [{"id": 501, "main": "Rain", "description": "moderate rain", "icon": "10d"}],
    "base": "stations",
    "main": {
        "temp": 17.3,
        "feels_like": 17.1,
        "temp_min": 16.2,
        "temp_max": 18.9,
        "pressure": 1013,
        "humidity": 61,
        "sea_level": 1014,
        "grnd_level": 1009,
    },
    "visibility": 10000,
    "wind": {"speed": 3.4, "deg": 230, "gust": 5.1},
    "rain": {"1h": 1.25},
    "clouds": {"all": 80},
    "dt": 1777865400,
    "sys": {"type": 2, "id": 2011538, "country": "DE", "sunrise": 1777865000, "sunset": 1777919000},
    "timezone": 7200,
    "id": 2950159,
    "name": "Berlin",
    "cod": 200,
}
PAST: dict[str, Any] = {
    "lat": 52.52,
    "lon": 13.39,
    "timezone": "Europe/Berlin",
    "timezone_offset": 7200,
    "data": [
        {
            "dt": 1777867200,
            "sunrise": 1777865000,
            "sunset": 1777919000,
            "temp": 9.5,
            "feels_like": 8.0,
            "pressure": 1020,
            "humidity": 88,
            "dew_point": 7.6,
            "clouds": 100,
            "visibility": 4100,
            "wind_speed": 2.1,
            "wind_deg": 10,
            "weather": [{"id": 601, "main": "Snow", "description": "snow", "icon": "13d"}],
            "snow": {"1h": 0.5},
        }
    ],
}


@dataclass(slots=True)
class Weather:
    """What the server does next, and what it was asked: (path, query)."""

    url: str = ""
    mode: str = "fine"  # fine, no archive, limited, broken, refused, garbage, echo, empty
    current: dict[str, Any] = field(default_factory=lambda: dict(CURRENT))
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, object]:
        self.asked.append((path, query))
        is_past = path == "/data/3.0/onecall/timemachine"
        if query.get("appid") != KEY or (is_past and self.mode == "no archive"):
            return 401, {"cod": 401, "message": "Invalid API key. Please see our FAQ for more info."}
        if self.mode == "limited":
            return 429, {
                "cod": 429,
                "message": "Your account is temporary blocked due to exceeding of requests.",
            }
        if self.mode == "broken":
            return 502, {"cod": 502, "message": "bad gateway"}
        if self.mode == "refused":
            return 400, {"cod": "400", "message": "wrong latitude"}
        if self.mode == "echo":
            return 400, {"cod": "400", "message": f"cannot read lat=95&appid={KEY} and not {KEY} either"}
        if self.mode == "garbage":
            return 200, {"cod": 200}
        if path == "/data/2.5/weather":
            return 200, self.current
        if is_past:
            return 200, PAST | ({"data": []} if self.mode == "empty" else {})
        return 404, {"cod": "404", "message": "Internal error"}


@contextlib.contextmanager
def weather_server() -> Iterator[Weather]:
    """Serve on a free port of the loopback."""
    weather = Weather()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            status, said = weather.answer(parts.path, query)
            body = json.dumps(said).encode()
            with contextlib.suppress(OSError):  # the client may have given up
                self.send_response(status)
                self.send_header("content-type", "application/json; charset=utf-8")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    weather.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield weather
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
