"""OpenWeather (https://openweathermap.org/api): needs a key, which goes into the query and into no text of ours.

`/data/2.5/weather` (Current Weather Data, in every plan; 60 calls a minute in the free one) is asked for events of the
last hour, `/data/3.0/onecall/timemachine` (One Call 3.0, a subscription of its own) for older ones. Metric units:
degrees Celsius, m/s; pressure in hPa, visibility in metres up to 10 km, rain and snow in mm of an hour, left out when
there is none. Errors come as `{"cod": …, "message": "…"}`: 401 for a key that is not (yet) valid or whose plan does not
hold what is asked, 429 for too many calls.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr

from services.recorder.metrics import RecorderMetrics
from services.recorder.weather.http import WeatherClient, WeatherUnauthorized, number, part, seconds
from services.recorder.weather.port import (
    Place,
    Report,
    WeatherAway,
    WeatherLimited,
    WeatherRefused,
    nearest_hour,
)

URL = "https://api.openweathermap.org"
KEY_REFUSED_S = 600.0  # a new key works after minutes to hours: ask again after this long
ARCHIVE_REFUSED_S = 6 * 3600.0  # a plan without the archive stays without it for a while

# condition id (https://openweathermap.org/weather-conditions) -> WMO table 4677, as far as words.py has it
_CODES = {
    **dict.fromkeys((200, 201, 202, 210, 211, 212, 221, 230, 231, 232), 95),
    **dict.fromkeys((300, 310), 51),
    **dict.fromkeys((301, 311, 313, 321), 53),
    **dict.fromkeys((302, 312, 314), 55),
    500: 61,
    501: 63,
    **dict.fromkeys((502, 503, 504), 65),
    511: 67,
    520: 80,
    **dict.fromkeys((521, 531), 81),
    522: 82,
    600: 71,
    601: 73,
    602: 75,
    615: 68,
    **dict.fromkeys((611, 616), 69),
    612: 83,
    613: 84,
    620: 85,
    **dict.fromkeys((621, 622), 86),
    701: 10,
    **dict.fromkeys((711, 762), 4),
    721: 5,
    **dict.fromkeys((731, 751, 761), 6),
    741: 45,
    771: 18,
    781: 19,
    800: 0,
    801: 1,
    **dict.fromkeys((802, 803), 2),
    804: 3,
}


class OpenWeather:
    """The adapter; implements WeatherProvider."""

    name = "openweather"

    def __init__(self, base_url: str, key: SecretStr, timeout_s: float, metrics: RecorderMetrics) -> None:
        self._key = key
        self._http = WeatherClient(base_url, timeout_s, metrics, "message", key.get_secret_value())
        self._archive_after = 0.0  # monotonic; refused before

    async def close(self) -> None:
        await self._http.close()

    async def current(self, place: Place) -> Report:
        try:
            answer = await self._http.ask("/data/2.5/weather", self._query(place))
        except WeatherUnauthorized as exc:  # so is every other place
            raise WeatherLimited(f"OPENWEATHER_KEY is not accepted: {exc}", KEY_REFUSED_S) from exc
        return self._http.counted(lambda: _current(answer))

    async def at(self, place: Place, moment: datetime) -> Report | None:
        if time.monotonic() < self._archive_after:
            raise WeatherRefused("the key's plan holds no archive (One Call 3.0), as it said before")
        wanted = {"dt": str(int(nearest_hour(moment).timestamp()))}
        try:
            answer = await self._http.ask("/data/3.0/onecall/timemachine", self._query(place) | wanted)
        except WeatherUnauthorized:
            self._archive_after = time.monotonic() + ARCHIVE_REFUSED_S
            raise
        return self._http.counted(lambda: _past(answer))

    def _query(self, place: Place) -> dict[str, str]:
        return {
            "lat": f"{place.latitude:.2f}",
            "lon": f"{place.longitude:.2f}",
            "units": "metric",
            "appid": self._key.get_secret_value(),
        }


def _current(answer: Mapping[str, Any]) -> Report:
    main = part(answer, "main")
    wind, clouds, sun = _maybe(answer, "wind"), _maybe(answer, "clouds"), _maybe(answer, "sys")
    values = {
        **{name: main.get(name) for name in ("temp", "humidity")},
        "pressure": main.get("sea_level", main.get("pressure")),
        "wind_speed": wind.get("speed"),
        "wind_deg": wind.get("deg"),
        "clouds": clouds.get("all"),
        "sunrise": sun.get("sunrise"),
        "sunset": sun.get("sunset"),
        **{name: answer.get(name) for name in ("dt", "visibility", "weather", "rain", "snow")},
    }
    return _report(values)


def _past(answer: Mapping[str, Any]) -> Report | None:
    data = answer.get("data")
    if not isinstance(data, list):
        raise WeatherAway("the answer has no 'data'")
    return _report(data[0]) if data and isinstance(data[0], dict) else None


def _report(values: Mapping[str, Any]) -> Report:
    observed_s = seconds(values.get("dt"))
    temperature = number(values.get("temp"))
    sky = values.get("weather")
    first = sky[0] if isinstance(sky, list) and sky and isinstance(sky[0], dict) else {}
    if temperature is None and not first:
        raise WeatherAway("the answer has no values")
    condition = first.get("id")
    return Report(
        datetime.fromtimestamp(observed_s, UTC),
        temperature_c=temperature,
        humidity_percent=number(values.get("humidity")),
        precipitation_mm=_fallen(values),
        wind_speed_ms=number(values.get("wind_speed")),
        wind_direction_deg=number(values.get("wind_deg")),
        cloud_percent=number(values.get("clouds")),
        pressure_hpa=number(values.get("pressure")),
        visibility_m=number(values.get("visibility")),
        is_day=_is_day(observed_s, values, first),
        wmo_code=_CODES.get(condition) if isinstance(condition, int) else None,
    )


def _fallen(values: Mapping[str, Any]) -> float:
    """Return the mm of rain and snow of an hour: what is not said did not fall."""
    return sum(number(_maybe(values, name).get("1h")) or 0.0 for name in ("rain", "snow"))


def _is_day(observed_s: int, values: Mapping[str, Any], sky: Mapping[str, Any]) -> bool | None:
    """Return whether the sun is up: by its times, or where it does not rise or set by the icon (01d, 01n)."""
    rises, sets = number(values.get("sunrise")), number(values.get("sunset"))
    if rises and sets:
        return rises <= observed_s < sets
    icon = str(sky.get("icon", ""))
    return {"d": True, "n": False}.get(icon[-1:])


def _maybe(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, dict) else {}
