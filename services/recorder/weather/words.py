"""PURE: weather codes (WMO table 4677, the subset that Open-Meteo documents) in words and as a sign."""

from __future__ import annotations

UNKNOWN = "unknown"

WORDS = {
    0: "clear sky",
    1: "mainly clear",
    2: "partly cloudy",
    3: "overcast",
    45: "fog",
    48: "depositing rime fog",
    51: "light drizzle",
    53: "drizzle",
    55: "dense drizzle",
    56: "light freezing drizzle",
    57: "freezing drizzle",
    61: "slight rain",
    63: "rain",
    65: "heavy rain",
    66: "light freezing rain",
    67: "freezing rain",
    71: "slight snowfall",
    73: "snowfall",
    75: "heavy snowfall",
    77: "snow grains",
    80: "slight rain showers",
    81: "rain showers",
    82: "violent rain showers",
    85: "slight snow showers",
    86: "heavy snow showers",
    95: "thunderstorm",
    96: "thunderstorm with slight hail",
    99: "thunderstorm with heavy hail",
}


def words_of(code: int | None) -> str:
    """Return the code in words; 'unknown' for none and for a code that is not in the table."""
    return WORDS.get(code, UNKNOWN) if code is not None else UNKNOWN


def icon_of(code: int | None, is_day: bool | None) -> str:
    """Return one emoji for the code; clear skies differ by day and night."""
    if code is None or code not in WORDS:
        return "❔"
    if code in (0, 1):
        return "🌙" if is_day is False else ("☀️" if code == 0 else "🌤️")
    if code == 2:
        return "☁️" if is_day is False else "⛅"
    for codes, icon in (
        ((3,), "☁️"),
        ((45, 48), "🌫️"),
        (range(51, 58), "🌦️"),
        (range(61, 68), "🌧️"),
        (range(71, 78), "🌨️"),
        ((80, 81, 82), "🌧️"),
        ((85, 86), "🌨️"),
    ):
        if code in codes:
            return icon
    return "⛈️"
