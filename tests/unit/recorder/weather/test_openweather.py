"""The adapter against a server that answers as OpenWeather documents; its key stays where it belongs."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.recorder.app import check
from services.recorder.metrics import RecorderMetrics
from services.recorder.settings import RecorderSettings
from services.recorder.weather.openweather import _CODES, OpenWeather
from services.recorder.weather.port import Place, WeatherAway, WeatherLimited, WeatherProvider, WeatherRefused
from services.recorder.weather.words import UNKNOWN, icon_of, words_of
from tests.unit.recorder.openweather import KEY, Weather, weather_server

PLACE = Place.around(52.5171, 13.3889)
MOMENT = datetime(2026, 5, 4, 3, 40, tzinfo=UTC)
HOUR = datetime(2026, 5, 4, 4, tzinfo=UTC)


@pytest.fixture
def weather() -> Iterator[Weather]:
    with weather_server() as server:
        yield server


@pytest.fixture
def metrics() -> RecorderMetrics:
    return RecorderMetrics(CollectorRegistry())


@pytest.fixture
async def provider(weather: Weather, metrics: RecorderMetrics) -> AsyncIterator[WeatherProvider]:
    provider = OpenWeather(weather.url, SecretStr(KEY), 2, metrics)
    yield provider
    await provider.close()


def counted(metrics: RecorderMetrics, outcome: str) -> float:
    return float(metrics.weather.labels(outcome)._value.get())


async def test_current_conditions_come_with_their_units(
    provider: WeatherProvider, weather: Weather, metrics: RecorderMetrics
) -> None:
    report = await provider.current(PLACE)
    assert report.observed_at == datetime.fromtimestamp(1777865400, UTC)
    assert (report.temperature_c, report.humidity_percent, report.pressure_hpa) == (17.3, 61.0, 1014.0)
    assert (report.wind_speed_ms, report.wind_direction_deg, report.cloud_percent) == (3.4, 230.0, 80.0)
    assert (report.precipitation_mm, report.visibility_m) == (1.25, 10_000.0)
    assert (report.wmo_code, report.is_day) == (63, True)
    path, asked = weather.asked[0]
    assert path == "/data/2.5/weather"
    assert asked == {"lat": "52.52", "lon": "13.39", "units": "metric", "appid": KEY}
    assert counted(metrics, "ok") == 1


async def test_past_moment_is_asked_for_by_its_nearest_hour(
    provider: WeatherProvider, weather: Weather
) -> None:
    report = await provider.at(PLACE, MOMENT)
    assert report is not None
    assert report.observed_at == HOUR
    assert (report.temperature_c, report.precipitation_mm, report.visibility_m) == (9.5, 0.5, 4100.0)
    assert (report.wmo_code, report.is_day, report.wind_direction_deg) == (73, True, 10.0)
    path, asked = weather.asked[0]
    assert (path, asked["dt"]) == ("/data/3.0/onecall/timemachine", str(int(HOUR.timestamp())))


async def test_what_is_not_said_did_not_fall_and_night_is_told_without_a_sunrise(
    provider: WeatherProvider, weather: Weather
) -> None:
    weather.current.pop("rain")
    weather.current["sys"] = {}
    weather.current["weather"] = [{"id": 800, "main": "Clear", "description": "clear sky", "icon": "01n"}]
    report = await provider.current(PLACE)
    assert (report.precipitation_mm, report.wmo_code, report.is_day) == (0.0, 0, False)
    weather.current["sys"] = {"sunrise": 1777865401, "sunset": 1777919000}
    assert (await provider.current(PLACE)).is_day is False
    weather.current["weather"] = []
    weather.current["sys"] = {}
    report = await provider.current(PLACE)
    assert (report.wmo_code, report.is_day) == (None, None)


def test_every_condition_has_words_and_an_icon() -> None:
    groups = {2: 10, 3: 9, 5: 10, 6: 11, 7: 10, 8: 5}  # how many conditions each group documents
    assert {group: sum(code // 100 == group for code in _CODES) for group in groups} == groups
    for code in _CODES.values():
        assert words_of(code) != UNKNOWN
        assert icon_of(code, True) != "❔"


@pytest.mark.parametrize("mode", ["broken", "garbage"])
async def test_unusable_answers_are_tried_again_later(
    provider: WeatherProvider, weather: Weather, metrics: RecorderMetrics, mode: str
) -> None:
    weather.mode = mode
    with pytest.raises(WeatherAway):
        await provider.current(PLACE)
    assert counted(metrics, {"broken": "away", "garbage": "garbage"}[mode]) == 1


async def test_too_many_calls_silence_all_of_them(provider: WeatherProvider, weather: Weather) -> None:
    weather.mode = "limited"
    with pytest.raises(WeatherLimited, match="temporary blocked") as limited:
        await provider.current(PLACE)
    assert limited.value.retry_s == 60


async def test_refusal_carries_the_provider_s_own_words(provider: WeatherProvider, weather: Weather) -> None:
    weather.mode = "refused"
    with pytest.raises(WeatherRefused, match="wrong latitude"):
        await provider.current(PLACE)


async def test_hour_without_data_is_no_report(
    provider: WeatherProvider, weather: Weather, metrics: RecorderMetrics
) -> None:
    weather.mode = "empty"
    assert await provider.at(PLACE, MOMENT) is None
    assert counted(metrics, "none") == 1


async def test_key_that_is_not_accepted_is_not_tried_for_every_place(
    weather: Weather, metrics: RecorderMetrics
) -> None:
    provider = OpenWeather(weather.url, SecretStr("another"), 2, metrics)
    with pytest.raises(WeatherLimited, match="OPENWEATHER_KEY is not accepted") as limited:
        await provider.current(PLACE)
    assert limited.value.retry_s >= 600
    await provider.close()


async def test_plan_without_the_archive_still_gives_current_conditions(
    provider: WeatherProvider, weather: Weather
) -> None:
    weather.mode = "no archive"
    for _ in range(3):
        with pytest.raises(WeatherRefused):
            await provider.at(PLACE, MOMENT)
    assert len(weather.asked) == 1, "a refused archive is left alone"
    assert (await provider.current(PLACE)).temperature_c == 17.3


@pytest.mark.parametrize("mode", ["echo", "broken", "garbage", "refused", "gone"])
async def test_key_is_in_no_error_and_no_representation(
    weather: Weather, metrics: RecorderMetrics, mode: str
) -> None:
    weather.mode = mode
    url = "http://127.0.0.1:1" if mode == "gone" else weather.url
    provider = OpenWeather(url, SecretStr(KEY), 2, metrics)
    with pytest.raises((WeatherAway, WeatherRefused)) as found:
        await provider.current(PLACE)
    said = "".join(traceback.format_exception(found.value)) + repr(found.value)
    assert KEY not in said
    assert KEY not in repr(provider) + repr(vars(provider))
    await provider.close()


async def test_settings_ask_for_the_key_and_do_not_show_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEATHER_PROVIDER", "openweather")
    faults = await check(RecorderSettings())
    assert any(fault.startswith("OPENWEATHER_KEY: not set") for fault in faults)
    monkeypatch.setenv("OPENWEATHER_KEY", KEY)
    settings = RecorderSettings()
    assert not any("OPENWEATHER_KEY" in fault for fault in await check(settings))
    assert KEY not in repr(settings) + str(settings.model_dump())
