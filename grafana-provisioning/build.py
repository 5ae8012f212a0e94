"""Writes dashboards/*.json for Grafana from what stands here. Knows the recorder's tables and Grafana's panel model.

    python grafana-provisioning/build.py           write the files
    python grafana-provisioning/build.py --check   exit 1 when a file is not what this would write

Rules that the queries follow, so that they work on MySQL and MariaDB: times are UTC DATETIME(3) and the data source's
session is at +00:00; a macro's arguments hold no parentheses (Grafana's pattern ends at the first one); a variable that
takes several values is quoted by Grafana and stands in IN (…), one with a single value is not and stands in '…'.
tests/integration/test_grafana_queries.py runs every one of them.
"""

# ruff: noqa: S608 - the texts are put together from this file only; what users choose is quoted by Grafana

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DASHBOARDS = HERE / "dashboards"
SOURCE = {"type": "mysql", "uid": "clipwatch-mysql"}
SCHEMA_VERSION = 42  # of Grafana 13's classic dashboard model

Json = dict[str, Any]  # Any: Grafana's model is JSON

# --- the parts that queries share -------------------------------------------------------------------------------------

# Grafana puts '__all' (with its quotes) for "All", and the chosen values, quoted, otherwise.
CAMERAS = "('__all' IN ($camera) OR {table}.camera IN ($camera))"
LABELS = "('__all' IN ($label) OR {table}.label IN ($label))"
# An event carries its best label; a chosen label must be found among all that were accepted.
EVENT_LABELS = """('__all' IN ($label) OR EXISTS (
    SELECT 1 FROM detections x WHERE x.event_id = e.id AND x.label IN ($label)))"""
SHOWN_EVENTS = "\n  AND ".join(
    ("$__timeFilter(e.started_at)", CAMERAS.format(table="e"), EVENT_LABELS, "e.is_accepted >= $named")
)
SHOWN_DETECTIONS = "\n  AND ".join(
    ("$__timeFilter(d.event_started_at)", CAMERAS.format(table="d"), LABELS.format(table="d"))
)
# The event that is looked at: the chosen one, or the newest of those shown.
CHOSEN_EVENT = f"""(
  SELECT e.id FROM events e
  WHERE ('$event' <> 'latest' AND e.id = '$event') OR ('$event' = 'latest' AND {SHOWN_EVENTS})
  ORDER BY e.started_at DESC LIMIT 1
)"""
FRAME_LABEL = """CASE p.kind
    WHEN 'target' THEN p.label
    WHEN 'background' THEN CONCAT(p.label, ' (background)')
    ELSE 'anything else' END"""
MARGIN_MS = 5_000  # shown before and after an event that is looked at


def media_url(name: str) -> str:
    """Return SQL for the address of the file that the column `name` names, empty when it names none."""
    return f"IF({name} IS NULL, '', CONCAT(TRIM(TRAILING '/' FROM '$page'), '/media/', {name}))"


def time_ms(moment: str, shift_ms: int) -> str:
    """Return SQL for a time as Grafana's links take it: milliseconds since 1970, as text, which nothing reformats."""
    return f"CAST(ROUND(UNIX_TIMESTAMP({moment}) * 1000) + {shift_ms} AS CHAR)"


# --- Grafana's model --------------------------------------------------------------------------------------------------


def query(sql: str, form: str, letter: str = "A") -> Json:
    """Return a target; `form` is table or time_series."""
    return {
        "refId": letter,
        "datasource": SOURCE,
        "editorMode": "code",
        "format": form,
        "rawQuery": True,
        "rawSql": sql.strip(),
    }


def override(name: str, **properties: Any) -> Json:  # Any: each property has its own type
    """Return settings for the field `name`; in a property's name `__` stands for a dot."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key.replace("__", "."), "value": value} for key, value in properties.items()],
    }


def panel(
    kind: str, title: str, place: tuple[int, int, int, int], targets: Sequence[Json], **more: Any
) -> Json:  # Any: see above
    """Return a panel; `place` is x, y, width, height in Grafana's grid of 24 columns."""
    x, y, w, h = place
    base: Json = {
        "type": kind,
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": w, "h": h},
        "targets": list(targets),
        "fieldConfig": {"defaults": more.pop("defaults", {}), "overrides": more.pop("overrides", [])},
        "options": more.pop("options", {}),
    }
    return base | more


def variable_query(name: str, label: str, sql: str, **more: Any) -> Json:  # Any: see above
    """Return a variable whose values come from the database, anew whenever the time range changes."""
    base: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": sql.strip(),
        "refresh": 2,
        "sort": 0,
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
    }
    return base | more


def several(name: str, label: str, sql: str) -> Json:
    """Return a variable that takes several values, or all."""
    return variable_query(
        name,
        label,
        sql,
        multi=True,
        includeAll=True,
        allValue="'__all'",
        current={"text": ["All"], "value": ["$__all"]},
    )


def link(title: str, url: str, is_new_tab: bool = True) -> list[Json]:
    """Return the one link of a field or panel."""
    return [{"title": title, "url": url, "targetBlank": is_new_tab}]


# --- dashboard Events -------------------------------------------------------------------------------------------------

UID = "clipwatch-events"
KEEP = "${camera:queryparam}&${label:queryparam}&${named:queryparam}&${page:queryparam}"


def variables() -> list[Json]:
    """Return what can be chosen, in its order on the screen."""
    return [
        several("camera", "Camera", "SELECT DISTINCT camera FROM events ORDER BY camera"),
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
        variable_query(
            "event",
            "Event",
            f"""
SELECT 'the latest' AS __text, 'latest' AS __value
UNION ALL
SELECT * FROM (
  SELECT CONCAT(DATE_FORMAT(e.started_at, '%Y-%m-%d %H:%i:%s'), ' UTC, ', e.camera, ', ',
    COALESCE(e.label, 'no name')) AS __text, e.id AS __value
  FROM events e
  WHERE {SHOWN_EVENTS}
  ORDER BY e.started_at DESC LIMIT 500
) newest
""",
            current={"text": "the latest", "value": "latest"},
        ),
        {
            "type": "textbox",
            "name": "page",
            "label": "Page",
            "description": "address of clipwatch's page as your browser sees it; pictures and clips come from there",
            "query": "http://127.0.0.1:8080",
            "current": {"text": "http://127.0.0.1:8080", "value": "http://127.0.0.1:8080"},
            "options": [
                {"text": "http://127.0.0.1:8080", "value": "http://127.0.0.1:8080", "selected": True}
            ],
            "hide": 0,
        },
        *(
            variable_query(
                name,
                "",
                f"SELECT {value} AS {name} FROM events e JOIN {CHOSEN_EVENT} chosen ON chosen.id = e.id",
                hide=2,
            )
            for name, value in (
                ("event_from", time_ms("e.started_at", -MARGIN_MS)),
                ("event_to", time_ms("e.ended_at", MARGIN_MS)),
                ("event_picture", media_url("e.thumbnail_name")),
                ("event_clip", media_url("e.clip_name")),
            )
        ),
    ]


def stat(title: str, x: int, sql: str, **defaults: Any) -> Json:  # Any: see above
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
        stat("Events", 0, f"SELECT COUNT(*) AS events FROM events e\nWHERE {SHOWN_EVENTS}", unit="short"),
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


def over_time() -> list[Json]:
    """Return the second row: what was seen when, and the weather then."""
    bars: Json = {
        "drawStyle": "bars",
        "fillOpacity": 70,
        "lineWidth": 0,
        "barAlignment": 1,
        "stacking": {"mode": "normal", "group": "A"},
    }
    legend: Json = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": ["sum"]}
    detections = panel(
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
        defaults={"unit": "short", "decimals": 0, "min": 0, "custom": bars},
        options={"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
    )
    weather = panel(
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
        description="Weather by Open-Meteo, of the reports that the events point to; without an event there is none.",
        defaults={"min": 0, "decimals": 0, "custom": bars},
        overrides=[
            weather_line("temperature", "celsius", "dark-orange"),
            weather_line("wind", "velocityms", "light-blue"),
            weather_line("precipitation", "lengthmm", "blue"),
        ],
        options={
            "legend": legend | {"calcs": []},
            "tooltip": {"mode": "multi", "sort": "none"},
        },
    )
    return [detections, weather]


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
    closer = f"/d/{UID}?var-event=${{__data.fields.id}}&{span}&{KEEP}"
    return panel(
        "table",
        "Events",
        (0, 13, 24, 14),
        [
            query(
                f"""
SELECT {media_url("e.thumbnail_name")} AS picture,
  e.started_at AS started, e.camera, e.label, e.probability,
  (SELECT GROUP_CONCAT(d.label ORDER BY d.probability DESC SEPARATOR ', ')
    FROM detections d WHERE d.event_id = e.id) AS labels,
  TIMESTAMPDIFF(MICROSECOND, e.started_at, e.ended_at) / 1000000 AS seconds,
  w.words AS weather, w.temperature_c AS temperature, w.wind_speed_ms AS wind,
  IF(e.clip_name IS NULL, NULL, '▶ play') AS clip, {media_url("e.clip_name")} AS clip_url,
  e.id, {time_ms("e.started_at", -MARGIN_MS)} AS from_ms, {time_ms("e.ended_at", MARGIN_MS)} AS to_ms
FROM events e LEFT JOIN weather_reports w ON w.id = e.weather_id
WHERE {SHOWN_EVENTS}
ORDER BY e.started_at DESC
LIMIT 500
""",
                "table",
            )
        ],
        defaults={"noValue": "-", "custom": {"align": "auto", "filterable": False, "inspect": False}},
        overrides=[
            override(
                "picture",
                displayName="Picture",
                custom__width=120,
                custom__cellOptions={"type": "image", "alt": "what the camera saw"},
                links=link("Play the clip", "${__data.fields.clip_url}"),
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
            override(
                "clip",
                displayName="Clip",
                custom__width=80,
                links=link("Play the clip", "${__data.fields.clip_url}"),
            ),
            *(override(name, custom__hideFrom__viz=True) for name in ("clip_url", "id", "from_ms", "to_ms")),
        ],
        options={"showHeader": True, "cellHeight": "lg"},
    )


def one_event() -> list[Json]:
    """Return the last row: one event, moment by moment."""
    closer = f"/d/{UID}?var-event=$event&from=$event_from&to=$event_to&{KEEP}"
    probabilities = panel(
        "timeseries",
        "Probabilities, moment by moment: ${event:text}",
        (0, 27, 14, 12),
        [
            query(
                f"""
SELECT p.captured_at AS time, {FRAME_LABEL} AS metric, p.probability AS value
FROM frame_probabilities p JOIN {CHOSEN_EVENT} chosen ON chosen.id = p.event_id
ORDER BY 1, 2
""",
                "time_series",
            ),
            query(
                f"""
SELECT IF(edge.is_end, s.ended_at, s.started_at) AS time, JSON_VALUE(s.decision, '$.threshold') + 0.0 AS threshold
FROM snippets s JOIN {CHOSEN_EVENT} chosen ON chosen.id = s.event_id
  JOIN (SELECT 0 AS is_end UNION ALL SELECT 1) edge
ORDER BY 1
""",
                "time_series",
                "B",
            ),
        ],
        description="What the model said of each moment, before averaging. The link zooms to the event.",
        links=link("Zoom to this event", closer, is_new_tab=False),
        defaults={
            "unit": "percentunit",
            "decimals": 0,
            "min": 0,
            "max": 1,
            "custom": {
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 2,
                "showPoints": "always",
                "pointSize": 6,
                "spanNulls": True,
            },
        },
        overrides=[
            override(
                "threshold",
                color={"mode": "fixed", "fixedColor": "text"},
                custom__lineStyle={"fill": "dash", "dash": [8, 8]},
                custom__lineWidth=1,
                custom__showPoints="never",
            )
        ],
        options={
            "legend": {
                "showLegend": True,
                "displayMode": "table",
                "placement": "right",
                "calcs": ["max", "mean"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )
    seen, play = "![what the camera saw](${event_picture:raw})", "${event_clip:raw}"
    picture = panel(
        "text",
        "Picture",
        (14, 27, 10, 12),
        [],
        options={"mode": "markdown", "content": f"[{seen}]({play})\n\n[Play the clip]({play})"},
    )
    del picture["targets"], picture["datasource"]
    return [probabilities, picture]


def events_dashboard() -> Json:
    """Return the dashboard Events."""
    panels = [*numbers(), *over_time(), events_table(), *one_event()]
    return {
        "uid": UID,
        "title": "Events",
        "description": "What clipwatch saw, when, and in which weather.",
        "tags": ["clipwatch"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "refresh": "30s",
        "links": [
            {
                "type": "link",
                "title": "clipwatch's page",
                "url": "$page",
                "targetBlank": True,
                "icon": "external link",
            }
        ],
        "annotations": {"list": []},
        "templating": {"list": variables()},
        "panels": [{"id": number} | content for number, content in enumerate(panels, start=1)],
    }


def files() -> dict[Path, str]:
    """Return what the generated files hold."""
    return {DASHBOARDS / "events.json": json.dumps(events_dashboard(), indent=2, ensure_ascii=False) + "\n"}


def main(arguments: Sequence[str]) -> int:
    """Write or check; return the exit code."""
    stale = [
        path
        for path, text in files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.name} is not what build.py writes: run python grafana-provisioning/build.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(files()[path], encoding="utf-8")
        print(f"wrote {path.relative_to(HERE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
