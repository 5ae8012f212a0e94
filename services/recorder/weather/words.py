"""Weather codes (WMO table 4677, as the providers use it) in words and as an emoji. Pure."""

from __future__ import annotations

UNKNOWN = "unknown"

WORDS = {
    0: "clear sky",
    1: "mainly clear",
    2: "partly cloudy",
    3: "overcast",
    4: "smoke",
    5: "haze",
    6: "dust",
    10: "mist",
    18: "squalls",
    19: "tornado",
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
    68: "slight rain and snow",
    69: "rain and snow",
    71: "slight snowfall",
    73: "snowfall",
    75: "heavy snowfall",
    77: "snow grains",
    80: "slight rain showers",
    81: "rain showers",
    82: "violent rain showers",
    83: "slight showers of rain and snow",
    84: "showers of rain and snow",
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
        ((4, 5, 6, 10, 45, 48), "🌫️"),
        ((18,), "💨"),
        ((19,), "🌪️"),
        (range(51, 58), "🌦️"),
        (range(61, 68), "🌧️"),
        (range(68, 78), "🌨️"),
        ((80, 81, 82), "🌧️"),
        (range(83, 87), "🌨️"),
    ):
        if code in codes:
            return icon
    return "⛈️"
