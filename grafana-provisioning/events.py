"""Dashboard Events: what was seen when, and in which weather."""

# ruff: noqa: S608 - see record.py

from __future__ import annotations

from typing import Any

from model import (
    Json,
    annotation,
    dashboard,
    hidden,
    link,
    override,
    panel,
    query,
    several,
    to_dashboards,
    to_page,
)
from record import (
    ALL_LABELS,
    CAMERAS,
    EVENT_UID,
    EVENTS_UID,
    MARGIN_MS,
    SHOWN_DETECTIONS,
    SHOWN_EVENTS,
    gap_marks,
    marks,
    media_url,
    named,
    page,
    play,
    seconds,
    time_ms,
)

# what people read, and what is sent
CAMERA_CHOICE = """
SELECT COALESCE(NULLIF(c.name, ''), e.camera) AS __text, e.camera AS __value
FROM (SELECT DISTINCT camera FROM events) e LEFT JOIN cameras c ON c.id = e.camera
ORDER BY 1, 2
"""
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
HOURS = tuple(f"{hour:02}" for hour in range(24))
BARS: Json = {
    "drawStyle": "bars",
    "fillOpacity": 70,
    "lineWidth": 0,
    "barAlignment": 1,
    "stacking": {"mode": "normal", "group": "A"},
}
LEGEND: Json = {"showLegend": True, "displayMode": "list", "placement": "bottom"}


def variables() -> list[Json]:
    """Return what can be chosen, in its order on the screen."""
    return [
        several("camera", "Camera", CAMERA_CHOICE),
        several("label", "Label", "SELECT DISTINCT label FROM detections ORDER BY label"),
        {
            "type": "custom",
            "name": "named",
            "label": "Show",
            "query": "named events : 1, all motion : 0",
            "current": {"text": "named events", "value": "1"},
            "options": [
                {"text": "named events", "value": "1", "selected": True},
                {"text": "all motion", "value": "0", "selected": False},
            ],
            "multi": False,
            "includeAll": False,
            "hide": 0,
        },
        page(),
    ]


def stat(title: str, x: int, sql: str, **defaults: Any) -> Json:  # Any: each setting has its own type
    """Return one number, of the first row's field."""
    return panel(
        "stat",
        title,
        (x, 0, 6, 4),
        [query(sql, "table")],
        defaults={"noValue": "-", "color": {"mode": "fixed", "fixedColor": "text"}} | defaults,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/.*/", "values": False},
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "value",
            "justifyMode": "center",
        },
    )


def numbers() -> list[Json]:
    """Return the first row."""
    return [
        stat(
            "Events seen", 0, f"SELECT COUNT(*) AS events FROM events e\nWHERE {SHOWN_EVENTS}", unit="short"
        ),
        stat(
            "Latest event",
            6,
            f"SELECT UNIX_TIMESTAMP(MAX(e.started_at)) * 1000 AS latest FROM events e\nWHERE {SHOWN_EVENTS}",
            unit="dateTimeFromNow",
        ),
        stat(
            "Most seen",
            12,
            f"""
SELECT d.label AS most_seen FROM detections d
WHERE {SHOWN_DETECTIONS}
GROUP BY d.label ORDER BY COUNT(*) DESC, d.label LIMIT 1
""",
        ),
        stat(
            "Motion that nothing was accepted for",
            18,
            f"""
SELECT AVG(1 - e.is_accepted) AS unnamed FROM events e
WHERE $__timeFilter(e.started_at) AND {CAMERAS.format(table="e")}
""",
            unit="percentunit",
            decimals=0,
        ),
    ]


def detections_over_time() -> Json:
    """Return the counts of each label."""
    return panel(
        "timeseries",
        "Detections by label",
        (0, 4, 12, 9),
        [
            query(
                f"""
SELECT $__timeGroupAlias(d.event_started_at,$__interval,0), d.label AS metric, COUNT(*) AS detections
FROM detections d
WHERE {SHOWN_DETECTIONS}
GROUP BY 1, 2
ORDER BY 1, 2
""",
                "time_series",
            )
        ],
        interval="1m",
        defaults={"unit": "short", "decimals": 0, "min": 0, "custom": BARS},
        options={"legend": LEGEND | {"calcs": ["sum"]}, "tooltip": {"mode": "multi", "sort": "desc"}},
    )


def weather_over_time() -> Json:
    """Return the counts of events and the weather, one over the other."""
    return panel(
        "timeseries",
        "Events and the weather at the time",
        (12, 4, 12, 9),
        [
            query(
                f"""
SELECT $__timeGroupAlias(e.started_at,$__interval,0), COUNT(*) AS events
FROM events e
WHERE {SHOWN_EVENTS}
GROUP BY 1
ORDER BY 1
""",
                "time_series",
            ),
            query(
                f"""
SELECT $__timeGroupAlias(e.started_at,$__interval),
  AVG(w.temperature_c) AS temperature, AVG(w.wind_speed_ms) AS wind, MAX(w.precipitation_mm) AS precipitation
FROM events e JOIN weather_reports w ON w.id = e.weather_id
WHERE {SHOWN_EVENTS}
GROUP BY 1
ORDER BY 1
""",
                "time_series",
                "B",
            ),
        ],
        interval="1m",
        description="Of the weather reports that the events point to; without an event there is none.",
        defaults={"min": 0, "decimals": 0, "custom": BARS},
        overrides=[
            weather_line("temperature", "celsius", "dark-orange"),
            weather_line("wind", "velocityms", "light-blue"),
            weather_line("precipitation", "lengthmm", "blue"),
        ],
        options={
            "legend": LEGEND | {"calcs": []},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
    )


def weather_line(name: str, unit: str, color: str) -> Json:
    """Return a line on an axis of its own, at the right."""
    return override(
        name,
        unit=unit,
        decimals=1,
        color={"mode": "fixed", "fixedColor": color},
        custom__axisPlacement="right",
        custom__stacking={"mode": "none", "group": "A"},
        custom__drawStyle="line",
        custom__lineWidth=2,
        custom__fillOpacity=0,
        custom__spanNulls=True,
    )


def events_table() -> Json:
    """Return the table, newest first, with picture, clip and a way to look closer."""
    span = "from=${__data.fields.from_ms}&to=${__data.fields.to_ms}"
    closer = f"/d/{EVENT_UID}?var-event=${{__data.fields.id}}&{span}"
    to_clip = link("Play the clip", "${__data.fields.clip_url}")
    return panel(
        "table",
        "Events",
        (0, 13, 24, 14),
        [
            query(
                f"""
SELECT {media_url("e.thumbnail_name")} AS picture,
  e.started_at AS started, {named("e.camera")} AS camera, e.label, e.probability,
  {ALL_LABELS} AS labels,
  {seconds("e.started_at", "e.ended_at")} AS seconds,
  w.words AS weather, w.temperature_c AS temperature, w.wind_speed_ms AS wind,
  {play("e.clip_name")} AS clip, {media_url("e.clip_name")} AS clip_url,
  e.id, {time_ms("e.started_at", -MARGIN_MS)} AS from_ms, {time_ms("e.ended_at", MARGIN_MS)} AS to_ms
FROM events e LEFT JOIN weather_reports w ON w.id = e.weather_id
WHERE {SHOWN_EVENTS}
ORDER BY e.started_at DESC
LIMIT 500
""",
                "table",
            )
        ],
        description="A click on the time shows one event, moment by moment.",
        defaults={"noValue": "-", "custom": {"align": "auto", "filterable": False, "inspect": False}},
        overrides=[
            override(
                "picture",
                displayName="Picture",
                custom__width=120,
                custom__cellOptions={"type": "image", "alt": "what the camera saw"},
                links=to_clip,
            ),
            override(
                "started",
                displayName="When",
                custom__width=180,
                links=link("Look closer", closer, is_new_tab=False),
            ),
            override("camera", displayName="Camera"),
            override("label", displayName="Label"),
            override(
                "probability",
                displayName="Probability",
                unit="percentunit",
                decimals=0,
                min=0,
                max=1,
                custom__width=170,
                custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                color={"mode": "continuous-BlYlRd"},
            ),
            override("labels", displayName="All labels"),
            override("seconds", displayName="Length", unit="s", decimals=1, custom__width=90),
            override("weather", displayName="Weather"),
            override("temperature", displayName="Temperature", unit="celsius", decimals=1, custom__width=110),
            override("wind", displayName="Wind", unit="velocityms", decimals=1, custom__width=90),
            override("clip", displayName="Clip", custom__width=80, links=to_clip),
            *hidden("clip_url", "id", "from_ms", "to_ms"),
        ],
        options={"showHeader": True, "cellHeight": "lg"},
    )


def hours_of_the_week() -> Json:
    """Return the heat map: a table of weekdays and hours whose cells are coloured, since no panel has such axes.

    Grafana names its time zone in $__timezone. A server without time zone tables answers NULL to a zone by name; the
    hours are UTC then.
    """
    hours = ",\n  ".join(
        f"COALESCE(SUM(IF(seen.hour = {int(hour)}, seen.n, 0)), 0) AS `{hour}`" for hour in HOURS
    )
    week = " UNION ALL ".join(f"SELECT {number}" + " AS day" * (number == 0) for number in range(len(DAYS)))
    names = ", ".join(f"'{day}'" for day in DAYS)
    return panel(
        "table",
        "Events by hour and weekday",
        (0, 27, 24, 10),
        [
            query(
                f"""
SELECT ELT(week.day + 1, {names}) AS weekday,
  {hours}
FROM ({week}) week
LEFT JOIN (
  SELECT WEEKDAY(local.at) AS day, HOUR(local.at) AS hour, COUNT(*) AS n
  FROM (
    SELECT COALESCE(CONVERT_TZ(e.started_at, '+00:00', '$__timezone'), e.started_at) AS at
    FROM events e
    WHERE {SHOWN_EVENTS}
  ) local
  GROUP BY 1, 2
) seen ON seen.day = week.day
GROUP BY week.day
ORDER BY week.day
""",
                "table",
            )
        ],
        description="Events that began in each hour, in the dashboard's time zone (UTC where the database knows no "
        "zones). Choose a range of some weeks.",
        defaults={
            "unit": "short",
            "decimals": 0,
            "min": 0,
            "color": {"mode": "continuous-BlYlRd"},
            "custom": {
                "align": "center",
                "minWidth": 36,
                "filterable": False,
                "inspect": False,
                "cellOptions": {"type": "color-background", "mode": "basic"},
            },
        },
        overrides=[
            override(
                "weekday",
                displayName="Weekday",
                custom__width=110,
                custom__align="left",
                custom__cellOptions={"type": "auto"},
            )
        ],
        options={"showHeader": True, "cellHeight": "sm"},
    )


def events_dashboard() -> Json:
    """Return the dashboard Events."""
    panels = [
        *numbers(),
        detections_over_time(),
        weather_over_time(),
        events_table(),
        hours_of_the_week(),
    ]
    return dashboard(
        EVENTS_UID,
        "Events",
        "What clipwatch saw, when, and in which weather.",
        panels,
        links=[to_dashboards(), to_page("$page")],
        annotations=[
            annotation("Events", "light-blue", marks(SHOWN_EVENTS)),
            annotation("Gaps", "red", gap_marks(f"(g.camera IS NULL OR {CAMERAS.format(table='g')})")),
        ],
        variables=variables(),
    )
