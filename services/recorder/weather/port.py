"""The port to a weather provider: requests, reports, and what can go wrong.

WeatherAway       (Transient)  no usable answer now: ask again later
WeatherLimited    (WeatherAway) too many requests: leave the provider alone for `retry_s`
WeatherRefused    (Permanent)  this request will never be answered
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from shared.errors import Permanent, Transient

PLACE_DECIMALS = 2  # 0.01 degrees, about 1 km: finer than any model's grid, and a bound on requests


@dataclass(frozen=True, slots=True)
class Place:
    """A place, rounded as PLACE_DECIMALS says."""

    latitude: float
    longitude: float

    @classmethod
    def around(cls, latitude: float, longitude: float) -> Place:
        return cls(round(latitude, PLACE_DECIMALS) + 0.0, round(longitude, PLACE_DECIMALS) + 0.0)


@dataclass(frozen=True, slots=True)
class Report:
    """A weather observation; a value is None where the provider has none. Times are UTC."""

    observed_at: datetime
    temperature_c: float | None = None
    humidity_percent: float | None = None
    precipitation_mm: float | None = None
    wind_speed_ms: float | None = None
    wind_direction_deg: float | None = None
    cloud_percent: float | None = None
    pressure_hpa: float | None = None
    visibility_m: float | None = None
    is_day: bool | None = None
    wmo_code: int | None = None


def nearest_hour(moment: datetime) -> datetime:
    """Return the full hour, UTC, that is nearest: archives are hourly, and an hour has one answer."""
    return (moment.astimezone(UTC) + timedelta(minutes=30)).replace(minute=0, second=0, microsecond=0)


class WeatherAway(Transient):
    """No usable answer now."""


class WeatherLimited(WeatherAway):
    """The provider wants to be left alone for `retry_s` seconds."""

    def __init__(self, reason: str, retry_s: float) -> None:
        super().__init__(reason)
        self.retry_s = retry_s


class WeatherRefused(Permanent):
    """The provider will never answer this."""


class WeatherProvider(Protocol):
    """Asks one provider; each call ends within its deadline."""

    name: str

    async def current(self, place: Place) -> Report:
        """Return the conditions now; raise WeatherAway, WeatherLimited or WeatherRefused."""
        ...

    async def at(self, place: Place, moment: datetime) -> Report | None:
        """Return the conditions at a past moment, to the hour; None: the provider has no data (yet)."""
        ...

    async def close(self) -> None:
        """Give up connections."""
        ...
