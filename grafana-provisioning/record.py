"""SQL that the dashboards of the record share. Knows the recorder's tables and Grafana's macros.

Rules that the queries follow, so that they work on MySQL and MariaDB: times are UTC DATETIME(3) and the data source's
session is at +00:00; a macro's arguments hold no parentheses (Grafana's pattern ends at the first one); a variable that
takes several values is quoted by Grafana and stands in IN (…), one with a single value is not and stands in '…'.
tests/integration/test_grafana_queries.py runs every one of them on both.
"""

# ruff: noqa: S608 - the texts are put together from these files only; what users choose is quoted by Grafana

from __future__ import annotations

from model import Json, constant

EVENTS_UID = "clipwatch-events"
EVENT_UID = "clipwatch-event"
MARGIN_MS = 5_000  # shown before and after an event that is looked at

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
ALL_LABELS = """(SELECT GROUP_CONCAT(d.label ORDER BY d.probability DESC SEPARATOR ', ')
    FROM detections d WHERE d.event_id = e.id)"""


def seconds(begin: str, end: str) -> str:
    """Return SQL for the time between two moments, seconds."""
    return f"TIMESTAMPDIFF(MICROSECOND, {begin}, {end}) / 1000000"


def media_url(name: str) -> str:
    """Return SQL for the address of the file that the column `name` names, empty when it names none."""
    return f"IF({name} IS NULL, '', CONCAT(TRIM(TRAILING '/' FROM '$page'), '/media/', {name}))"


def play(name: str) -> str:
    """Return SQL for what stands in a cell that leads to the clip that the column `name` names."""
    return f"IF({name} IS NULL, NULL, '▶ play')"


def named(camera: str, otherwise: str = "") -> str:
    """Return SQL for the name of the camera in the column `camera`; without one `otherwise`, its id."""
    name = f"SELECT c.name FROM cameras c WHERE c.id = {camera}"
    return f"COALESCE(NULLIF(({name}), ''), {otherwise or camera})"


def time_ms(moment: str, shift_ms: int) -> str:
    """Return SQL for a time as Grafana's links take it: milliseconds since 1970, as text, which nothing reformats."""
    return f"CAST(ROUND(UNIX_TIMESTAMP({moment}) * 1000) + {shift_ms} AS CHAR)"


def marks(condition: str) -> str:
    """Return the query of an annotation: the newest 200 events of the time range that meet `condition`."""
    return f"""
SELECT e.started_at AS time, e.ended_at AS timeend,
  CONCAT(COALESCE(e.label, 'no name'), ', ', {named("e.camera")}) AS text,
  CONCAT_WS(',', e.label, e.camera) AS tags
FROM events e
WHERE {condition}
ORDER BY e.started_at DESC LIMIT 200
"""


def gap_marks(condition: str) -> str:
    """Return the query of an annotation: the newest 200 gaps that reach into the time range and meet `condition`."""
    return f"""
SELECT g.started_at AS time, COALESCE(g.ended_at, UTC_TIMESTAMP(3)) AS timeend,
  CONCAT(g.kind, ', ', {named("g.camera", "g.subject")}, ': ', g.reason) AS text,
  CONCAT_WS(',', g.kind, g.camera) AS tags
FROM gaps g
WHERE g.started_at <= $__timeTo()
  AND (g.ended_at IS NULL OR g.ended_at >= $__timeFrom())
  AND {condition}
ORDER BY g.started_at DESC LIMIT 200
"""


def page() -> Json:
    """Return the variable that holds the address of clipwatch's page."""
    return constant(
        "page",
        "Page",
        "http://127.0.0.1:8080",
        "address of clipwatch's page as browsers see it; deploy/grafana/start.sh puts PAGE_URL into its place",
    )
