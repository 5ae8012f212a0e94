"""What Grafana's dashboards ask of a filled record: times and EXPLAIN of every statement. Part of bench.fill_record."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pymysql  # type: ignore[import-untyped]  # ships no types

from tests.grafana import Range, Values, dashboards, expand, interpolate, sql_queries

ALL: Values = {
    "camera": "'__all'",
    "label": "'__all'",
    "named": "1",
    "event": "latest",
    "page": "http://127.0.0.1:8080",
}
HOUR_S = 3600
EVERYTHING = "everything, 2 years"  # the one view whose answer takes all rows: there a whole index is the way
Figures = dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True)
class View:
    """What is chosen on the dashboards; `rounds` is how often each statement runs."""

    name: str
    length: timedelta
    interval_s: int
    values: Values
    rounds: int = 3


def views(event_id: str) -> list[View]:
    """Return how the dashboards are looked at; `event_id` is an event that has frame probabilities."""
    chosen: Values = {**ALL, "camera": ["camera-3"], "label": ["label 3"], "event": event_id}
    return [
        View("as they open, 6 hours", timedelta(hours=6), 60, ALL),
        View("30 days", timedelta(days=30), HOUR_S, ALL),
        View("30 days, all motion", timedelta(days=30), HOUR_S, {**ALL, "named": "0"}),
        View("30 days, one camera, label and event", timedelta(days=30), HOUR_S, chosen),
        View(EVERYTHING, timedelta(days=731), 12 * HOUR_S, ALL, rounds=1),
    ]


def measure(connection: Any, end: datetime, event_id: str) -> dict[str, Figures]:
    """Return the figures of every statement in every view; `connection` is pymysql's, the record ends at `end`."""
    found: dict[str, Figures] = {}
    for view in views(event_id):
        chosen = Range(end - view.length, end, view.interval_s)
        found[view.name] = {
            name: _figures(connection, expand(interpolate(sql, view.values), chosen), view.rounds)
            for name, sql in _statements()
        }
    return found


def faults(found: dict[str, Figures]) -> list[str]:
    """Return the statements that read a table or an index whole for less than everything."""
    return [
        f"{view}: {statement}: reads {whole} whole"
        for view, figures in found.items()
        if view != EVERYTHING
        for statement, said in figures.items()
        if (whole := [said[kind] for kind in ("full_scans", "index_scans") if said[kind]])
    ]


def _statements() -> Iterator[tuple[str, str]]:
    for dashboard in dashboards().values():
        for query in sql_queries(dashboard):
            yield f"{dashboard['title']}: {query.part}", query.sql


def _figures(connection: Any, sql: str, rounds: int) -> dict[str, object]:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        with connection.cursor() as cursor:
            cursor.execute(sql)
            n_rows = len(cursor.fetchall())
        times.append(time.perf_counter() - began)
    with connection.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(f"EXPLAIN {sql}")
        # without <derived…> and <union…>: those are read whole, and small
        plan = [row for row in cursor.fetchall() if row["table"] and not row["table"].startswith("<")]
    return {
        "ms_median": round(1000 * statistics.median(times), 1),
        "n_rows": n_rows,
        "plan": sorted({f"{row['table']}: {row['type']} {row['key']} ~{row['rows']}" for row in plan}),
        "full_scans": sorted({str(row["table"]) for row in plan if row["type"] == "ALL"}),
        "index_scans": sorted({str(row["table"]) for row in plan if row["type"] == "index"}),
    }
