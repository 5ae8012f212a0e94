"""Fills a MariaDB with a million events and asks what page and dashboards ask: times and EXPLAIN, JSON.

    python -m bench.fill_record [--events N]

Starts a private MariaDB (tests/servers.py), makes the tables by the recorder's migrations, and fills them inside the
server, from its sequence engine: one snippet an event, 40 % of events with a label, eight labels, twelve cameras, two
years, a weather report an hour. Frame tables are filled for 2,000 events: they are only ever read by an event's key.
Then it asks what every panel, variable and annotation of Grafana's dashboards asks (bench/dashboards.py).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import event, insert, text, true
from sqlalchemy.ext.asyncio import AsyncConnection

from bench import dashboards
from services.recorder.record import queries
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.queries import EventFilter
from services.recorder.record.schema import day_totals
from services.recorder.record.totals import differing, shares
from services.recorder.search.hindsight_rows import count_events, page_of_events
from services.recorder.search.hindsight_values import HindsightRequest
from tests.servers import MariaDBServer

START = datetime(2024, 12, 1, tzinfo=UTC)
EVERY_S = 60
ROUNDS = 5
Ask = Callable[[AsyncConnection], Awaitable[object]]

_ID = (
    "CONCAT(LPAD(HEX(FLOOR(t / 65536)), 8, '0'), '-', LPAD(HEX(t MOD 65536), 4, '0'), "
    "'-7000-8000-', LPAD(HEX(seq), 12, '0'))"
)
_SEQUENCE = (
    "(SELECT seq, LOWER({id}) AS id, at, seq MOD 5 < 2 AS is_accepted, 'bench' AS model, "
    "CONCAT('label ', (seq DIV 5) MOD 8) AS label, CONCAT('camera-', seq MOD 12) AS camera, "
    "TIMESTAMPADD(SECOND, 10, at) AS ended "
    "FROM (SELECT seq, 1733011200000 + seq * 60000 AS t, "
    "TIMESTAMPADD(SECOND, seq * 60, '2024-12-01 00:00:00.000') AS at FROM seq_{first}_to_{last}) AS s) AS e"
)
_EVENTS = """
INSERT INTO events (id, camera, started_at, ended_at, is_open, is_accepted, label, probability, n_snippets, motion_peak,
clip_name, thumbnail_name, weather_id, created_at, updated_at)
SELECT id, camera, at, ended, 0, is_accepted, IF(is_accepted, label, NULL), IF(is_accepted, 0.8, NULL), 1, 0.5,
CONCAT('2026/01/01/', LPAD(HEX(seq), 32, '0'), '.mp4'), CONCAT('2026/01/01/', LPAD(HEX(seq), 32, '0'), '.jpg'),
1 + seq DIV 60, ended, ended
FROM {source}"""
_WEATHER = """
INSERT INTO weather_reports (id, provider, latitude, longitude, observed_at, fetched_at, temperature_c, wind_speed_ms,
precipitation_mm, words)
SELECT seq, 'open_meteo', 52.5, 13.4, at, at, seq MOD 30, seq MOD 12, 0, 'clear sky'
FROM (SELECT seq, TIMESTAMPADD(HOUR, seq, '2024-11-30 23:00:00.000') AS at FROM seq_1_to_{last}) AS s"""
_SNIPPETS = """
INSERT INTO snippets (event_id, snippet, started_at, ended_at, event_started_at, event_ended_at, is_last, motion_peak,
clip_bytes, is_media_lost, model, reason, label_set, decision, accepted, peaks, labelled_at, recorded_at)
SELECT id, 0, at, ended, at, ended, 1, 0.5, 1000000, 0, model, '', '{{"labels":["label 0"],"background":[]}}',
'{{"threshold":0.5}}', '[]', '{{}}', ended, ended
FROM {source}"""
_DETECTIONS = """
INSERT INTO detections (event_id, label, camera, event_started_at, probability, started_at, ended_at, snippet)
SELECT id, label, camera, at, 0.8, at, ended, 0 FROM {source} WHERE is_accepted"""
_FRAMES = """
INSERT INTO frame_probabilities (event_id, snippet, moment, kind, label, captured_at, probability)
SELECT id, 0, m.seq, 'target', CONCAT('label ', c.seq), at, 0.25 FROM {source}, seq_0_to_11 AS m, seq_0_to_3 AS c"""


def statements(first: int, last: int) -> list[str]:
    """Return what fills events `first` to `last`."""
    source = _SEQUENCE.format(id=_ID, first=first, last=last)
    return [template.format(source=source) for template in (_EVENTS, _SNIPPETS, _DETECTIONS)]


def frames(last: int) -> str:
    """Return what fills the probabilities of the first events: 12 moments of 4 columns."""
    return _FRAMES.format(source=_SEQUENCE.format(id=_ID, first=1, last=last))


async def fill(database: Database, n: int) -> float:
    """Fill the tables; return the seconds it took."""
    began = time.perf_counter()
    portion = 100_000
    async with database.writing() as connection:
        await connection.execute(text(_WEATHER.format(last=1 + n // 60).replace(":", "\\:")))
    for first in range(1, n + 1, portion):
        for statement in statements(first, min(first + portion - 1, n)):
            async with database.writing() as connection:
                await connection.execute(text(statement.replace(":", "\\:")))
    async with database.writing() as connection:
        await connection.execute(text(frames(min(2000, n)).replace(":", "\\:")))
    async with database.writing() as connection:
        await connection.execute(text("ANALYZE TABLE events, snippets, detections, weather_reports"))
    return time.perf_counter() - began


def questions(n: int, middle_id: str) -> dict[str, Ask]:
    """Return what page, API and search ask, by name."""
    middle = START + timedelta(seconds=EVERY_S * (n // 2))

    def page(**wanted: Any) -> Ask:  # Any: of EventFilter
        return lambda connection: queries.find_events(connection, EventFilter(**wanted), 48)

    request = HindsightRequest(("a fox",), (), None, middle, middle + timedelta(days=7))
    return {
        "accepted, newest": page(),
        "accepted, from the middle": page(before=(middle, middle_id)),
        "all, newest": page(accepted_only=False),
        "one camera": page(camera="camera-3"),
        "one camera, all": page(camera="camera-3", accepted_only=False),
        "one label": page(label="label 3"),
        "label and camera": page(label="label 3", camera="camera-3"),
        "a week in the middle": page(since=middle, until=middle + timedelta(days=7)),
        "open events": page(is_open=True, accepted_only=False),
        "one event": lambda connection: queries.find_event(connection, middle_id),
        "its frames": lambda connection: queries.find_frames(connection, middle_id),
        "cameras": queries.seen_cameras,
        "labels": queries.seen_labels,
        "changes": lambda connection: queries.changed_events(
            connection, START + timedelta(seconds=EVERY_S * n), "", 200
        ),
        "hindsight, count of a week": lambda connection: count_events(connection, request),
        "hindsight, page of a week": lambda connection: page_of_events(connection, request, None),
        "totals": queries.find_totals,
        "check of a day": lambda connection: differing(connection, middle.date()),
    }


async def count(database: Database) -> float:
    """Fill the sums from the rows, as an upgrade of an older record does; return the seconds it took."""
    began = time.perf_counter()
    async with database.writing() as connection:
        found = await shares(connection, true())
        rows = [{"day": day, "camera": camera, **asdict(share)} for (day, camera), share in found.items()]
        await connection.execute(insert(day_totals), rows)
    return time.perf_counter() - began


async def measure(database: Database, n: int) -> dict[str, dict[str, object]]:
    """Return times and plans of every question."""
    async with database.reading() as connection:
        found = await connection.execute(
            text("SELECT id FROM events ORDER BY started_at LIMIT 1 OFFSET :n"), {"n": n // 2}
        )
        middle_id = str(found.scalar_one())
    asked: list[tuple[str, Any]] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def seen(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            asked.append((statement, parameters))

    figures: dict[str, dict[str, object]] = {}
    for name, ask in questions(n, middle_id).items():
        times = []
        for _ in range(ROUNDS):
            asked.clear()
            async with database.reading() as connection:
                began = time.perf_counter()
                await ask(connection)
                times.append(time.perf_counter() - began)
        plans = [
            plan for statement, values in list(asked) for plan in await _explain(database, statement, values)
        ]
        figures[name] = {
            "ms_median": round(1000 * statistics.median(times), 1),
            "ms_worst": round(1000 * max(times), 1),
            "plan": sorted({f"{row['table']}: {row['type']} {row['key']}" for row in plans}),
            "full_scans": sorted({str(row["table"]) for row in plans if row["type"] == "ALL"}),
        }
    return figures


async def _explain(database: Database, statement: str, values: Any) -> list[dict[str, Any]]:
    async with database.reading() as connection:
        found = await connection.exec_driver_sql(f"EXPLAIN {statement}", values)
        return [dict(row) for row in found.mappings() if row["table"]]


async def run(n: int) -> dict[str, object]:
    """Fill, measure and say on what."""
    server = MariaDBServer(["--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M"])
    server.start()
    try:
        name = server.new_database()
        url = server.url(name)
        database = await open_database(url, asyncio.Event(), 30, 1800)
        async with database.reading() as connection:
            version = str((await connection.execute(text("SELECT VERSION()"))).scalar_one())
        filled_s = await fill(database, n)
        counted_s = await count(database)
        figures = await measure(database, n)
        async with database.reading() as connection:
            first_id = str(await connection.scalar(text("SELECT MIN(event_id) FROM frame_probabilities")))
        await database.close()
        with contextlib.closing(server.connect(name)) as asking:
            shown = dashboards.measure(asking, START + timedelta(seconds=EVERY_S * n), first_id)
    finally:
        server.close()
    return {
        "server": version,
        "events": n,
        "filled_s": round(filled_s),
        "counted_s": round(counted_s, 1),
        "cores": os.cpu_count(),
        "load_1min": round(os.getloadavg()[0], 1),
        "questions": figures,
        "dashboards": shown,
    }


def main() -> None:
    """Measure and print; exit with 1 when a dashboard reads a table whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    n = parser.parse_args().events
    said = asyncio.run(run(n))
    print(json.dumps(said, indent=1))
    found = dashboards.faults(cast("dict[str, dashboards.Figures]", said["dashboards"]))
    if found and n >= 1_000_000:  # of a small table much is read whole, and rightly
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
