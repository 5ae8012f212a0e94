"""Open-Meteo (https://open-meteo.com/en/docs): free for non-commercial use, no key, CC BY 4.0 with attribution.

`current=` is asked for events of the last hour. For older ones the same endpoint's `hourly=` with `start_hour` and
`end_hour` gives the hour of the event from its archive of past days (92 days back). Errors come as
`{"error": true, "reason": "…"}` with status 400, too many requests as 429.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx

from services.recorder.metrics import RecorderMetrics
from services.recorder.weather.port import Place, Report, WeatherAway, WeatherLimited, WeatherRefused
from shared.errors import redact

ANSWER_MAX_BYTES = 256 * 1024
LIMITED_S = 60.0  # Open-Meteo counts by the minute, the hour and the day; a 429 does not say which
LIMITED_MAX_S = 3600.0
_NAMES = {
    "temperature_c": "temperature_2m",
    "humidity_percent": "relative_humidity_2m",
    "precipitation_mm": "precipitation",
    "wind_speed_ms": "wind_speed_10m",
    "wind_direction_deg": "wind_direction_10m",
    "cloud_percent": "cloud_cover",
    "pressure_hpa": "pressure_msl",
    "visibility_m": "visibility",
    "is_day": "is_day",
    "wmo_code": "weather_code",
}
_Found = TypeVar("_Found", Report, Report | None)


class OpenMeteo:
    """The adapter; implements WeatherProvider."""

    name = "open_meteo"

    def __init__(self, base_url: str, timeout_s: float, metrics: RecorderMetrics) -> None:
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._client = httpx.AsyncClient(
            base_url=base_url,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=2, max_keepalive_connections=1),
            headers={"user-agent": "clipwatch"},
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def current(self, place: Place) -> Report:
        answer = await self._ask(place, {"current": ",".join(_NAMES.values())})
        return self._counted(lambda: _report(_mapping(answer, "current")))

    async def at(self, place: Place, moment: datetime) -> Report | None:
        # the nearest full hour: what Open-Meteo calls the value at an hour is instantaneous, sums precede it
        hour = (moment.astimezone(UTC) + timedelta(minutes=30)).replace(minute=0, second=0, microsecond=0)
        wanted = hour.strftime("%Y-%m-%dT%H:%M")
        answer = await self._ask(
            place, {"hourly": ",".join(_NAMES.values()), "start_hour": wanted, "end_hour": wanted}
        )
        return self._counted(lambda: _hour(_mapping(answer, "hourly"), hour))

    def _counted(self, read: Callable[[], _Found]) -> _Found:
        try:
            report = read()
        except WeatherAway:
            self._metrics.weather.labels("garbage").inc()
            raise
        self._metrics.weather.labels("ok" if report is not None else "none").inc()
        return report

    async def _ask(self, place: Place, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        query = {
            "latitude": f"{place.latitude:.2f}",
            "longitude": f"{place.longitude:.2f}",
            "wind_speed_unit": "ms",
            "timeformat": "unixtime",
            "timezone": "GMT",
            **parameters,
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                status, retry_after, body = await self._get(query)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as exc:
            self._metrics.weather.labels("away").inc()
            said = redact(str(exc)) or type(exc).__name__
            raise WeatherAway(f"no answer within {self._timeout_s:g} s: {said}") from exc
        if status == 429:
            self._metrics.weather.labels("limited").inc()
            raise WeatherLimited(f"asked too often: {_reason(body)}", _retry_s(retry_after))
        if status >= 500 or status in (408, 425):
            self._metrics.weather.labels("away").inc()
            raise WeatherAway(f"status {status}: {_reason(body)}")
        if status != 200:
            self._metrics.weather.labels("refused").inc()
            raise WeatherRefused(f"status {status}: {_reason(body)}")
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or answer.get("error"):
            self._metrics.weather.labels("garbage").inc()
            raise WeatherAway(f"the answer cannot be read: {_reason(body)}")
        return answer

    async def _get(self, query: Mapping[str, str]) -> tuple[int, str, bytes]:
        body = b""
        async with self._client.stream("GET", "/v1/forecast", params=dict(query)) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ANSWER_MAX_BYTES:
                    raise httpx.DecodingError("the answer is too long")
            return response.status_code, response.headers.get("retry-after", ""), body


def _mapping(answer: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = answer.get(name)
    if not isinstance(part, dict):
        raise WeatherAway(f"the answer has no '{name}'")
    return part


def _hour(columns: Mapping[str, Any], hour: datetime) -> Report | None:
    times = columns.get("time")
    if not isinstance(times, list):
        raise WeatherAway("the answer's 'hourly' has no times")
    for index, seconds in enumerate(times):
        if seconds == int(hour.timestamp()):
            values = {
                name: column[index]
                for name, column in columns.items()
                if isinstance(column, list) and index < len(column)
            }
            return _report(values) if values.get("temperature_2m") is not None else None
    return None


def _report(values: Mapping[str, Any]) -> Report:
    seconds = values.get("time")
    if not isinstance(seconds, int) or not 0 <= seconds <= 4_102_444_800:
        raise WeatherAway(f"the answer's time cannot be read: {str(seconds)[:40]!r}")
    numbers = {ours: _number(values.get(theirs)) for ours, theirs in _NAMES.items()}
    is_day, code = numbers.pop("is_day"), numbers.pop("wmo_code")
    if all(number is None for number in numbers.values()) and code is None:
        raise WeatherAway("the answer has no values")
    return Report(
        datetime.fromtimestamp(seconds, UTC),
        **numbers,
        is_day=None if is_day is None else bool(is_day),
        wmo_code=None if code is None else int(code),
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and abs(value) < 1e7 else None


def _reason(body: bytes) -> str:
    """Return Open-Meteo's own words, or the beginning of what came instead."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    said = answer.get("reason") if isinstance(answer, dict) else None
    text = said if isinstance(said, str) else body[:120].decode("utf-8", "replace")
    return redact(" ".join(text.split())[:200])


def _retry_s(header: str) -> float:
    return min(max(float(header), 1.0), LIMITED_MAX_S) if header.isdigit() else LIMITED_S
