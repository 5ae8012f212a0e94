"""Open-Meteo (https://open-meteo.com/en/docs): free for non-commercial use, no key, CC BY 4.0 with attribution.

`current=` is asked for events of the last hour. For older ones the same endpoint's `hourly=` with `start_hour` and
`end_hour` gives the hour of the event from its archive of past days (92 days back). Errors come as
`{"error": true, "reason": "…"}` with status 400, too many requests as 429.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.recorder.metrics import RecorderMetrics
from services.recorder.weather.http import WeatherClient, number, part, seconds
from services.recorder.weather.port import Place, Report, WeatherAway, nearest_hour

URL = "https://api.open-meteo.com"
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


class OpenMeteo:
    """The adapter; implements WeatherProvider."""

    name = "open_meteo"

    def __init__(self, base_url: str, timeout_s: float, metrics: RecorderMetrics) -> None:
        self._http = WeatherClient(base_url, timeout_s, metrics, "reason")

    async def close(self) -> None:
        await self._http.close()

    async def current(self, place: Place) -> Report:
        answer = await self._ask(place, {"current": ",".join(_NAMES.values())})
        return self._http.counted(lambda: _report(part(answer, "current")))

    async def at(self, place: Place, moment: datetime) -> Report | None:
        # what Open-Meteo calls the value at an hour is instantaneous, sums precede it
        hour = nearest_hour(moment)
        wanted = hour.strftime("%Y-%m-%dT%H:%M")
        answer = await self._ask(
            place, {"hourly": ",".join(_NAMES.values()), "start_hour": wanted, "end_hour": wanted}
        )
        return self._http.counted(lambda: _hour(part(answer, "hourly"), hour))

    async def _ask(self, place: Place, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        query = {
            "latitude": f"{place.latitude:.2f}",
            "longitude": f"{place.longitude:.2f}",
            "wind_speed_unit": "ms",
            "timeformat": "unixtime",
            "timezone": "GMT",
            **parameters,
        }
        return await self._http.ask("/v1/forecast", query)


def _hour(columns: Mapping[str, Any], hour: datetime) -> Report | None:
    times = columns.get("time")
    if not isinstance(times, list):
        raise WeatherAway("the answer's 'hourly' has no times")
    for index, at in enumerate(times):
        if at == int(hour.timestamp()):
            values = {
                name: column[index]
                for name, column in columns.items()
                if isinstance(column, list) and index < len(column)
            }
            return _report(values) if values.get("temperature_2m") is not None else None
    return None


def _report(values: Mapping[str, Any]) -> Report:
    observed_at = datetime.fromtimestamp(seconds(values.get("time")), UTC)
    numbers = {ours: number(values.get(theirs)) for ours, theirs in _NAMES.items()}
    is_day, code = numbers.pop("is_day"), numbers.pop("wmo_code")
    if all(value is None for value in numbers.values()) and code is None:
        raise WeatherAway("the answer has no values")
    return Report(
        observed_at,
        **numbers,
        is_day=None if is_day is None else bool(is_day),
        wmo_code=None if code is None else int(code),
    )
