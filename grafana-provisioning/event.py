"""Dashboard Event: one event, moment by moment."""

# ruff: noqa: S608 - see record.py

from __future__ import annotations

from model import (
    Json,
    annotation,
    dashboard,
    hidden,
    link,
    override,
    panel,
    query,
    to_dashboards,
    to_page,
    variable_query,
)
from record import ALL_LABELS, EVENT_UID, MARGIN_MS, media_url, named, page, play, seconds, time_ms

# The event that is looked at: the chosen one, or the newest of the time range that got a name.
CHOSEN = """(
  SELECT e.id FROM events e
  WHERE ('$event' <> 'latest' AND e.id = '$event')
    OR ('$event' = 'latest' AND e.is_accepted = 1 AND $__timeFilter(e.started_at))
  ORDER BY e.started_at DESC LIMIT 1
)"""
FRAME_LABEL = """CASE p.kind
    WHEN 'target' THEN p.label
    WHEN 'background' THEN CONCAT(p.label, ' (background)')
    ELSE 'anything else' END"""
WEATHER_UNITS = {
    "temperature": "celsius",
    "humidity": "percent",
    "precipitation": "lengthmm",
    "wind": "velocityms",
    "wind_from": "degree",
    "clouds": "percent",
    "pressure": "pressurehpa",
    "visibility": "lengthm",
}


def variables() -> list[Json]:
    """Return what can be chosen, and what links and the picture need of the event."""
    needed = {
        "event_id": "e.id",
        "event_from": time_ms("e.started_at", -MARGIN_MS),
        "event_to": time_ms("e.ended_at", MARGIN_MS),
        "event_picture": media_url("e.thumbnail_name"),
        "event_clip": media_url("e.clip_name"),
    }
    return [
        variable_query(
            "event",
            "Event",
            f"""
SELECT 'the latest' AS __text, 'latest' AS __value
UNION ALL
SELECT * FROM (
  SELECT CONCAT(DATE_FORMAT(e.started_at, '%Y-%m-%d %H:%i:%s'), ' UTC, ', {named("e.camera")}, ', ',
    COALESCE(e.label, 'no name')) AS __text, e.id AS __value
  FROM events e
  WHERE $__timeFilter(e.started_at)
  ORDER BY e.started_at DESC LIMIT 500
) newest
""",
            current={"text": "the latest", "value": "latest"},
        ),
        page(),
        *(
            variable_query(
                name,
                "",
                f"SELECT {value} AS {name} FROM events e JOIN {CHOSEN} chosen ON chosen.id = e.id",
                hide=2,
            )
            for name, value in needed.items()
        ),
    ]


LINES = {
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
}
LINE_OPTIONS = {
    "legend": {"showLegend": True, "displayMode": "table", "placement": "right", "calcs": ["max", "mean"]},
    "tooltip": {"mode": "multi", "sort": "desc"},
}
SCORES = f"""
SELECT p.captured_at AS time, p.label AS metric, p.score AS value
FROM frame_probabilities p JOIN {CHOSEN} chosen ON chosen.id = p.event_id
WHERE p.score IS NOT NULL
ORDER BY 1, 2
"""
# as shared/decisions/decision.py: with fewer moments than a label needs, the threshold rises half-way to 1
THRESHOLD = """IF((SELECT COUNT(DISTINCT f.moment) FROM frame_probabilities f
      WHERE f.event_id = s.event_id AND f.snippet = s.snippet) < JSON_VALUE(s.decision, '$.min_moments') + 0,
    (1 + JSON_VALUE(s.decision, '$.threshold')) / 2, JSON_VALUE(s.decision, '$.threshold') + 0.0)"""
THRESHOLDS = f"""
SELECT IF(edge.is_end, s.ended_at, s.started_at) AS time,
  {THRESHOLD} AS threshold
FROM snippets s JOIN {CHOSEN} chosen ON chosen.id = s.event_id
  JOIN (SELECT 0 AS is_end UNION ALL SELECT 1) edge
ORDER BY 1
"""
BACKGROUNDS = f"""
SELECT p.captured_at AS time, p.background AS background
FROM frame_probabilities p JOIN {CHOSEN} chosen ON chosen.id = p.event_id
WHERE p.background IS NOT NULL AND p.label = (
  SELECT q.label FROM frame_probabilities q WHERE q.event_id = p.event_id AND q.score IS NOT NULL
  ORDER BY q.score DESC, q.label LIMIT 1)
ORDER BY 1
"""
# Each label where its averaged score was highest. An accepted label's numbers are those of its run.
REASONS = f"""
SELECT reasons.label, reasons.accepted, reasons.peak, reasons.threshold, reasons.background, reasons.held,
  CASE WHEN reasons.accepted = 'yes' THEN 'it reached what was wanted'
    WHEN reasons.peak < reasons.threshold THEN 'its best score was too low'
    WHEN reasons.peak < reasons.background + reasons.margin THEN 'the background came too near'
    ELSE 'too few moments carried it by themselves' END AS why
FROM (
  SELECT best.label, IF(best.probability IS NULL, 'no', 'yes') AS accepted,
    COALESCE(best.probability, best.score) AS peak, {THRESHOLD} AS threshold, best.background,
    JSON_VALUE(s.decision, '$.margin') + 0.0 AS margin, best.held
  FROM (
    SELECT p.event_id, p.label, p.snippet, p.score, p.background, d.probability,
      {seconds("d.started_at", "d.ended_at")} AS held,
      ROW_NUMBER() OVER (
        PARTITION BY p.label ORDER BY IF(d.snippet = p.snippet, 0, 1), p.score DESC, p.snippet, p.moment
      ) AS place
    FROM frame_probabilities p JOIN {CHOSEN} chosen ON chosen.id = p.event_id
      LEFT JOIN detections d ON d.event_id = p.event_id AND d.label = p.label
    WHERE p.score IS NOT NULL
  ) best
    JOIN snippets s ON s.event_id = best.event_id AND s.snippet = best.snippet
  WHERE best.place = 1
) reasons
ORDER BY reasons.accepted DESC, reasons.peak DESC, reasons.label LIMIT 100
"""
SHARES = f"""
SELECT p.captured_at AS time, {FRAME_LABEL} AS metric, p.probability AS value
FROM frame_probabilities p JOIN {CHOSEN} chosen ON chosen.id = p.event_id
ORDER BY 1, 2
"""


def scores() -> Json:
    """Return what decided: each label's score, the background beside the best label, and the threshold."""
    zoom = f"/d/{EVENT_UID}?var-event=$event_id&from=$event_from&to=$event_to"
    return panel(
        "timeseries",
        "Scores, moment by moment: ${event:text}",
        (0, 0, 14, 13),
        [
            query(SCORES, "time_series"),
            query(THRESHOLDS, "time_series", "B"),
            query(BACKGROUNDS, "time_series", "C"),
        ],
        description="What decided: a label is accepted when its score, averaged over neighbouring moments, reaches the "
        "threshold and exceeds the background (shown for the best label). The link zooms to the event.",
        links=link("Zoom to this event", zoom, is_new_tab=False),
        defaults=LINES,
        overrides=[
            override(
                "threshold",
                color={"mode": "fixed", "fixedColor": "text"},
                custom__lineStyle={"fill": "dash", "dash": [8, 8]},
                custom__lineWidth=1,
                custom__showPoints="never",
            ),
            override(
                "background",
                color={"mode": "fixed", "fixedColor": "text"},
                custom__lineStyle={"fill": "dash", "dash": [3, 3]},
            ),
        ],
        options=LINE_OPTIONS,
    )


def shares() -> Json:
    """Return the detail behind the scores: the model's softmax share of every text."""
    return panel(
        "timeseries",
        "Shares, moment by moment",
        (0, 38, 24, 9),
        [query(SHARES, "time_series")],
        description="The model's share of every text, before averaging; all texts of a moment sum to 100 %.",
        defaults=LINES,
        options=LINE_OPTIONS,
    )


def picture() -> Json:
    """Return the picture, which leads to the clip."""
    seen, clip = "![what the camera saw](${event_picture:raw})", "${event_clip:raw}"
    return panel(
        "text",
        "Picture",
        (14, 0, 10, 13),
        [],
        options={"mode": "markdown", "content": f"[{seen}]({clip})\n\n[Play the clip]({clip})"},
    )


def what_it_was() -> Json:
    """Return the event's own row."""
    return panel(
        "table",
        "What it was",
        (0, 13, 24, 4),
        [
            query(
                f"""
SELECT e.started_at AS started, {seconds("e.started_at", "e.ended_at")} AS seconds,
  {named("e.camera")} AS camera, e.label,
  e.probability, {ALL_LABELS} AS labels, e.n_snippets AS snippets, e.motion_peak AS motion,
  {play("e.clip_name")} AS clip, {media_url("e.clip_name")} AS clip_url
FROM events e JOIN {CHOSEN} chosen ON chosen.id = e.id
""",
                "table",
            )
        ],
        defaults={"noValue": "-", "custom": {"align": "auto", "filterable": False, "inspect": False}},
        overrides=[
            override("started", displayName="When", custom__width=180),
            override("seconds", displayName="Length", unit="s", decimals=1),
            override("camera", displayName="Camera"),
            override("label", displayName="Label"),
            override("probability", displayName="Probability", unit="percentunit", decimals=0),
            override("labels", displayName="All labels"),
            override("snippets", displayName="Snippets", unit="short"),
            override("motion", displayName="Most motion", unit="percentunit", decimals=0),
            override("clip", displayName="Clip", links=link("Play the clip", "${__data.fields.clip_url}")),
            *hidden("clip_url"),
        ],
        options={"showHeader": True, "cellHeight": "sm"},
    )


def why() -> Json:
    """Return each label with what it reached, and what it had to reach."""
    return panel(
        "table",
        "Why",
        (0, 17, 24, 7),
        [query(REASONS, "table")],
        description="Each label in the moment in which it was the surest. The page says it in a sentence, with the "
        "pictures that decided and what fitted them better.",
        links=link("Show it on the page", "$page/#$event_id"),
        defaults={"noValue": "-", "custom": {"align": "auto", "filterable": False, "inspect": False}},
        overrides=[
            override("label", displayName="Label"),
            override("accepted", displayName="Accepted", custom__width=100),
            override("peak", displayName="Score", unit="percentunit", decimals=0, custom__width=100),
            override("threshold", displayName="Wanted", unit="percentunit", decimals=0, custom__width=100),
            override(
                "background", displayName="Background", unit="percentunit", decimals=0, custom__width=120
            ),
            override("held", displayName="Held", unit="s", decimals=1, custom__width=100),
            override("why", displayName="Why"),
        ],
        options={"showHeader": True, "cellHeight": "sm"},
    )


def weather() -> Json:
    """Return the report that the event points to, one number a field."""
    return panel(
        "stat",
        "The weather then",
        (0, 24, 24, 4),
        [
            query(
                f"""
SELECT COALESCE(w.words, 'no report') AS sky, w.temperature_c AS temperature, w.humidity_percent AS humidity,
  w.precipitation_mm AS precipitation, w.wind_speed_ms AS wind, w.wind_direction_deg AS wind_from,
  w.cloud_percent AS clouds, w.pressure_hpa AS pressure, w.visibility_m AS visibility
FROM events e JOIN {CHOSEN} chosen ON chosen.id = e.id
  LEFT JOIN weather_reports w ON w.id = e.weather_id
""",
                "table",
            )
        ],
        description="By the provider that the recorder asks; a camera without a place has none.",
        defaults={"noValue": "-", "decimals": 1, "color": {"mode": "fixed", "fixedColor": "text"}},
        overrides=[
            override(name, displayName=name.capitalize().replace("_", " "), unit=unit)
            for name, unit in WEATHER_UNITS.items()
        ]
        + [override("sky", displayName="Sky")],
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "/.*/", "values": False},
            "colorMode": "value",
            "graphMode": "none",
            "textMode": "value_and_name",
            "justifyMode": "center",
        },
    )


def its_snippets() -> Json:
    """Return the pieces that can be played, and what the classifier said of each."""
    return panel(
        "table",
        "Its snippets",
        (0, 28, 24, 10),
        [
            query(
                f"""
SELECT {media_url("s.thumbnail_name")} AS picture, s.snippet, s.started_at AS started,
  {seconds("s.started_at", "s.ended_at")} AS seconds,
  COALESCE(NULLIF(s.reason, ''), 'accepted') AS said,
  {seconds("s.ended_at", "s.labelled_at")} AS answered, s.model, s.clip_bytes AS size,
  {play("s.clip_name")} AS clip, {media_url("s.clip_name")} AS clip_url
FROM snippets s JOIN {CHOSEN} chosen ON chosen.id = s.event_id
ORDER BY s.snippet
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
            override("snippet", displayName="Snippet", unit="none", custom__width=80),
            override("started", displayName="From", custom__width=180),
            override("seconds", displayName="Length", unit="s", decimals=1, custom__width=90),
            override("said", displayName="What was said"),
            override("answered", displayName="Answered after", unit="s", decimals=1, custom__width=130),
            override("model", displayName="Model"),
            override("size", displayName="Clip's size", unit="bytes", custom__width=110),
            override(
                "clip",
                displayName="Clip",
                custom__width=80,
                links=link("Play the clip", "${__data.fields.clip_url}"),
            ),
            *hidden("clip_url"),
        ],
        options={"showHeader": True, "cellHeight": "lg"},
    )


def carried() -> str:
    """Return the query of an annotation: from when to when the event carried each of its labels."""
    return f"""
SELECT d.started_at AS time, d.ended_at AS timeend, d.label AS text, {named("d.camera")} AS tags
FROM detections d JOIN {CHOSEN} chosen ON chosen.id = d.event_id
ORDER BY 1
"""


def event_dashboard() -> Json:
    """Return the dashboard Event."""
    return dashboard(
        EVENT_UID,
        "Event",
        "One event: what the model said of each moment, picture, clip and weather.",
        [scores(), picture(), what_it_was(), why(), weather(), its_snippets(), shares()],
        links=[to_dashboards(), to_page("$page/#$event_id")],
        annotations=[annotation("Labels", "green", carried())],
        variables=variables(),
    )
