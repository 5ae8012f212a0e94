"""The adapter against a server that answers as Open-Meteo documents, and as networks do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry

from services.recorder.metrics import RecorderMetrics
from services.recorder.weather.open_meteo import OpenMeteo
from services.recorder.weather.port import Place, WeatherAway, WeatherLimited, WeatherProvider, WeatherRefused
from tests.unit.recorder.meteo import Meteo, meteo_server

PLACE = Place.around(52.5171, 13.3889)
MOMENT = datetime(2026, 5, 4, 3, 40, tzinfo=UTC)


@pytest.fixture
def meteo() -> Iterator[Meteo]:
    with meteo_server() as server:
        yield server


@pytest.fixture
def metrics() -> RecorderMetrics:
    return RecorderMetrics(CollectorRegistry())


@pytest.fixture
async def provider(meteo: Meteo, metrics: RecorderMetrics) -> AsyncIterator[WeatherProvider]:
    provider = OpenMeteo(meteo.url, 0.5, metrics)
    yield provider
    await provider.close()


def counted(metrics: RecorderMetrics, outcome: str) -> float:
    return float(metrics.weather.labels(outcome)._value.get())


async def test_current_conditions_come_with_their_units(provider: WeatherProvider, meteo: Meteo) -> None:
    meteo.observed_at = MOMENT
    report = await provider.current(PLACE)
    assert report.observed_at == datetime(2026, 5, 4, 3, 30, tzinfo=UTC)
    assert (report.temperature_c, report.humidity_percent, report.wind_speed_ms) == (17.3, 61.0, 3.4)
    assert (report.wmo_code, report.is_day, report.visibility_m) == (61, True, 24140.0)
    asked = meteo.asked[0]
    assert (asked["latitude"], asked["longitude"]) == ("52.52", "13.39")
    assert (asked["wind_speed_unit"], asked["timeformat"], asked["timezone"]) == ("ms", "unixtime", "GMT")


async def test_past_moment_is_asked_for_by_its_nearest_hour(provider: WeatherProvider, meteo: Meteo) -> None:
    report = await provider.at(PLACE, MOMENT)
    assert report is not None
    assert report.observed_at == datetime(2026, 5, 4, 4, tzinfo=UTC)
    assert meteo.asked[0]["start_hour"] == meteo.asked[0]["end_hour"] == "2026-05-04T04:00"


@pytest.mark.parametrize("mode", ["empty", "nulls"])
async def test_hour_without_data_is_no_report(
    provider: WeatherProvider, meteo: Meteo, metrics: RecorderMetrics, mode: str
) -> None:
    meteo.mode = mode
    assert await provider.at(PLACE, MOMENT) is None
    assert counted(metrics, "none") == 1


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [("broken", "away"), ("garbage", "garbage"), ("slow", "away"), ("huge", "away"), ("nulls", "garbage")],
)
async def test_unusable_answers_are_tried_again_later(
    provider: WeatherProvider, meteo: Meteo, metrics: RecorderMetrics, mode: str, outcome: str
) -> None:
    meteo.mode = mode
    started = time.monotonic()
    with pytest.raises(WeatherAway):
        await provider.current(PLACE)
    assert time.monotonic() - started < 2
    assert counted(metrics, outcome) == 1


async def test_too_many_requests_say_how_long_to_wait(provider: WeatherProvider, meteo: Meteo) -> None:
    meteo.mode = "limited"
    with pytest.raises(WeatherLimited) as limited:
        await provider.current(PLACE)
    assert limited.value.retry_s == 7
    assert "limit exceeded" in str(limited.value)


async def test_refusal_carries_the_provider_s_own_words(provider: WeatherProvider, meteo: Meteo) -> None:
    meteo.mode = "refused"
    with pytest.raises(WeatherRefused, match="Latitude must be in range"):
        await provider.current(PLACE)


async def test_nobody_there_is_away(metrics: RecorderMetrics) -> None:
    with meteo_server() as gone:
        url = gone.url
    provider = OpenMeteo(url, 0.5, metrics)
    with pytest.raises(WeatherAway):
        await provider.current(PLACE)
    await provider.close()


def test_places_are_rounded_to_a_kilometre() -> None:
    assert Place.around(52.5171, -0.001) == Place(52.52, 0.0)
    assert str(Place.around(0.0, -0.001).longitude) == "0.0"
