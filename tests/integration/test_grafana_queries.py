"""Every SQL of every Grafana dashboard, run on a real MariaDB and MySQL with the macros expanded as Grafana does it.

No Grafana is needed: what a panel type needs of its columns is checked (tests/grafana.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql  # type: ignore[import-untyped]  # ships no types
import pytest
from sqlalchemy import create_engine, insert, make_url

from services.recorder.record import schema
from services.recorder.record.bootstrap import open_database
from shared.clock import uuid7
from tests.grafana import (
    Query,
    Range,
    Result,
    Values,
    check_columns,
    check_result,
    dashboards,
    expand,
    interpolate,
    sql_queries,
)
from tests.servers import SqlServer

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)  # a Sunday
END = BEGIN + timedelta(hours=1)

Json = dict[str, Any]  # Any: rows of every table


# --- the record that is looked at -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One event of the test's record."""

    id: str
    camera: str
    minute: int
    labels: Mapping[str, float]
    refused: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # averaged score and background


SEEN = (
    Seen(uuid7(BEGIN, "a"), "gate", 5, {"a pedestrian": 0.91, "a dog's \\ tail": 0.62}),
    Seen(uuid7(BEGIN, "b"), "yard", 20, {"a pedestrian": 0.77}),
    Seen(uuid7(BEGIN, "c"), "gate", 40, {}),
    Seen(uuid7(BEGIN, "d"), "yard", 90, {"a bicycle": 0.8}),  # after the time range
)
REFUSED = Seen(
    uuid7(BEGIN, "h"), "yard", 95, {}, {"a cat": (0.44, 0.1), "a van": (0.7, 0.68), "a bird": (0.6, 0.1)}
)


@pytest.fixture(scope="module", params=["mariadb", "mysql"])
def server(request: pytest.FixtureRequest) -> SqlServer:
    found: SqlServer = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(scope="module")
def record(server: SqlServer) -> Iterator[str]:
    """A database with the recorder's tables and the events SEEN; its name."""
    database = server.new_database()
    url = server.url(database)

    async def make_tables() -> None:
        await (await open_database(url, asyncio.Event(), 10, 30)).close()

    asyncio.run(make_tables())
    engine = create_engine(make_url(url).set(drivername="mysql+pymysql"))
    with engine.begin() as connection:
        weather = connection.execute(insert(schema.weather_reports), weather_row()).inserted_primary_key
        assert weather is not None
        for seen in (*SEEN, REFUSED):
            is_first = seen is SEEN[0]
            connection.execute(insert(schema.events), event_row(seen, weather[0] if is_first else None))
            connection.execute(insert(schema.snippets), snippet_row(seen))
            if seen.labels:
                connection.execute(insert(schema.detections), detection_rows(seen))
            connection.execute(insert(schema.frame_probabilities), probability_rows(seen))
        connection.execute(insert(schema.gaps), gap_rows())
        connection.execute(insert(schema.cameras), {"id": "yard", "name": "Back yard", "owner": "here"})
    engine.dispose()
    yield database
    server.drop_database(database)


def started(seen: Seen) -> datetime:
    return BEGIN + timedelta(minutes=seen.minute)


def gap_rows() -> list[Json]:
    ended = {"kind": "camera.away", "subject": "gate", "camera": "gate", "reason": "no route to host"}
    lasts = {"kind": "motion.gone", "subject": "motion", "camera": None, "reason": "gone"}
    return [
        ended
        | {"id": uuid7(BEGIN, "e"), "started_at": started(SEEN[0]), "open_key": None}
        | {"ended_at": started(SEEN[0]) + timedelta(seconds=30)},
        lasts
        | {"id": uuid7(BEGIN, "f"), "started_at": started(SEEN[1]), "open_key": "motion.gone motion"}
        | {"ended_at": None},
    ]


def weather_row() -> Json:
    return {
        "provider": "open_meteo",
        "latitude": 52.5,
        "longitude": 13.4,
        "observed_at": BEGIN,
        "fetched_at": BEGIN,
        "temperature_c": -3.5,
        "wind_speed_ms": 4.2,
        "precipitation_mm": 0.4,
        "words": "light snow",
    }


def event_row(seen: Seen, weather_id: int | None) -> Json:
    label = max(seen.labels, key=seen.labels.__getitem__, default=None)
    return {
        "id": seen.id,
        "camera": seen.camera,
        "started_at": started(seen),
        "ended_at": started(seen) + timedelta(seconds=7.5),
        "is_open": False,
        "is_accepted": bool(seen.labels),
        "label": label,
        "probability": seen.labels.get(label or ""),
        "n_snippets": 1,
        "motion_peak": 0.3,
        "clip_name": f"2026/03/01/{seen.minute:032x}.mp4" if seen.labels else None,
        "thumbnail_name": f"2026/03/01/{seen.minute:032x}.jpg" if seen.labels else None,
        "weather_id": weather_id,
        "created_at": started(seen),
        "updated_at": started(seen),
    }


def snippet_row(seen: Seen) -> Json:
    ended = started(seen) + timedelta(seconds=7.5)
    return {
        "event_id": seen.id,
        "snippet": 0,
        "started_at": started(seen) - timedelta(seconds=3),
        "ended_at": ended,
        "event_started_at": started(seen),
        "event_ended_at": ended,
        "is_last": True,
        "motion_peak": 0.3,
        "clip_bytes": 1000,
        "is_media_lost": False,
        "model": "mini",
        "reason": "",
        "label_set": json.dumps({"labels": list(seen.labels) or ["a cat"], "background": ["a path"]}),
        # three moments are recorded of each: too few for the first
        "decision": json.dumps(
            {"threshold": 0.55, "margin": 0.05, "min_moments": 4 if seen is SEEN[0] else 2}
        ),
        "accepted": "[]",
        "peaks": "{}",
        "labelled_at": ended,
        "recorded_at": ended,
    }


def detection_rows(seen: Seen) -> list[Json]:
    return [
        {
            "event_id": seen.id,
            "label": label,
            "camera": seen.camera,
            "event_started_at": started(seen),
            "probability": probability,
            "started_at": started(seen),
            "ended_at": started(seen),
            "snippet": 0,
        }
        for label, probability in seen.labels.items()
    ]


def probability_rows(seen: Seen) -> list[Json]:
    scores = {label: (score, 0.125) for label, score in seen.labels.items()} | dict(seen.refused)
    columns = [*(("target", label) for label in scores), ("background", "a path"), ("other", "other")]
    return [
        {
            "event_id": seen.id,
            "snippet": 0,
            "moment": moment,
            "kind": kind,
            "label": label,
            "captured_at": started(seen) + timedelta(milliseconds=500 * moment),
            "probability": 1 / len(columns),
            "score": scores[label][0] if kind == "target" else None,
            "background": scores[label][1] if kind == "target" else None,
        }
        for moment in range(3)
        for kind, label in columns
    ]


# --- asking -----------------------------------------------------------------------------------------------------------

ALL: Values = {
    "camera": "'__all'",
    "label": "'__all'",
    "named": "1",
    "event": "latest",
    "page": "http://page:8080",
}
CHOICES: dict[str, Values] = {
    "as it opens": ALL,
    "all motion": {**ALL, "named": "0"},
    "one camera and two labels": {
        **ALL,
        "camera": ["gate"],
        "label": ["a pedestrian", "a dog's \\ tail"],
        "event": SEEN[0].id,
    },
}
SCORES, SHARES = "Scores, moment by moment", "Shares, moment by moment"
QUERIES = [query for dashboard in dashboards().values() for query in sql_queries(dashboard)]


class Grafana:
    """Asks as Grafana does: a session at +00:00 that only reads."""

    def __init__(self, connection: Any) -> None:  # Any: pymysql ships no types
        self.connection = connection

    def ask(self, sql: str, values: Values, timezone: str = "utc") -> Result:
        with self.connection.cursor() as cursor:
            cursor.execute(expand(interpolate(sql, values), Range(BEGIN, END, timezone=timezone)))
            return Result(tuple(field[0] for field in cursor.description), tuple(cursor.fetchall()))

    def ask_part(self, dashboard: str, part: str, values: Values = ALL, timezone: str = "utc") -> Result:
        [query] = [
            query for query in QUERIES if query.dashboard == f"clipwatch-{dashboard}" and query.part == part
        ]
        return self.ask(query.sql, values, timezone)


@pytest.fixture(scope="module")
def grafana(record: str, server: SqlServer) -> Iterator[Grafana]:
    with contextlib.closing(server.connect(record)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',ONLY_FULL_GROUP_BY')")
            cursor.execute("SET SESSION TRANSACTION READ ONLY")  # its user may only SELECT
        yield Grafana(connection)


# --- tests ------------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.mariadb


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.dashboard}: {query.part}")
def test_every_query_gives_the_columns_that_are_shown(grafana: Grafana, query: Query, choice: str) -> None:
    check_result(query.kind, query.form, grafana.ask(query.sql, CHOICES[choice]))


@pytest.mark.parametrize("uid", dashboards())
def test_overrides_and_links_name_columns_that_exist(grafana: Grafana, uid: str) -> None:
    for panel in dashboards()[uid]["panels"]:
        results = [
            grafana.ask(target["rawSql"], ALL) for target in panel.get("targets", []) if "rawSql" in target
        ]
        check_columns(panel, {name for result in results for name in result.columns})


def test_a_panel_that_names_a_missing_column_fails(grafana: Grafana) -> None:
    [sql] = [query.sql for query in QUERIES if query.part == "Latest event A"]
    with pytest.raises(pymysql.err.OperationalError, match="begun_at"):
        grafana.ask(sql.replace("e.started_at", "e.begun_at"), ALL)


def test_a_query_that_writes_fails(grafana: Grafana) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="READ ONLY transaction"):
        grafana.ask("DELETE FROM events", ALL)


def test_a_link_and_an_override_that_name_a_missing_column_fail(grafana: Grafana) -> None:
    [panel] = [panel for panel in dashboards()["clipwatch-events"]["panels"] if panel["title"] == "Events"]
    columns = set(grafana.ask_part("events", "Events A").columns)
    broken = json.loads(json.dumps(panel).replace("fields.clip_url", "fields.clip_address"))
    with pytest.raises(AssertionError, match="no column \\['clip_address'\\]"):
        check_columns(broken, columns)
    with pytest.raises(AssertionError, match="no column \\['wind'\\]"):
        check_columns(panel, columns - {"wind"})


def test_a_series_without_time_order_or_with_two_names_fails() -> None:
    with pytest.raises(AssertionError, match="order of time"):
        check_result("timeseries", "time_series", Result(("time", "n"), ((2, 1), (1, 1))))
    with pytest.raises(AssertionError, match="named by one column"):
        check_result(
            "timeseries", "time_series", Result(("time", "camera", "label", "n"), ((1, "a", "b", 1),))
        )


def test_the_table_shows_the_named_events_of_the_range_newest_first(grafana: Grafana) -> None:
    rows = grafana.ask_part("events", "Events A", {**ALL, "page": "http://page:8080/"})
    begin_ms = int(started(SEEN[1]).timestamp() * 1000)
    assert rows.column("id") == [SEEN[1].id, SEEN[0].id]
    assert rows.column("picture")[0] == f"http://page:8080/media/2026/03/01/{20:032x}.jpg"
    assert rows.column("clip_url")[0] == f"http://page:8080/media/2026/03/01/{20:032x}.mp4"
    assert rows.column("labels")[1] == "a pedestrian, a dog's \\ tail"
    assert rows.column("weather") == [None, "light snow"]
    assert rows.column("from_ms")[0] == str(begin_ms - 5000)
    assert rows.column("to_ms")[0] == str(begin_ms + 7500 + 5000)
    assert float(rows.column("seconds")[0]) == 7.5


def test_all_motion_shows_events_that_got_no_label_too(grafana: Grafana) -> None:
    rows = grafana.ask_part("events", "Events A", {**ALL, "named": "0"})
    assert rows.column("id") == [SEEN[2].id, SEEN[1].id, SEEN[0].id]
    assert (rows.column("label")[0], rows.column("clip")[0], rows.column("clip_url")[0]) == (None, None, "")


def test_people_read_a_cameras_name_and_choose_by_its_id(grafana: Grafana) -> None:
    rows = grafana.ask_part("events", "Events A", {**ALL, "named": "0"})
    assert rows.column("camera") == ["gate", "Back yard", "gate"]
    offered = grafana.ask_part("events", "variable camera")
    pairs = list(zip(offered.column("__text"), offered.column("__value"), strict=True))
    assert pairs[:1] == [("Back yard", "yard")]
    assert ("gate", "gate") in pairs
    assert grafana.ask_part("event", "What it was A", {**ALL, "event": SEEN[1].id}).column("camera") == [
        "Back yard"
    ]


def test_camera_and_label_narrow_the_table(grafana: Grafana) -> None:
    one = grafana.ask_part("events", "Events A", {**ALL, "camera": ["yard", "cellar"]})
    assert one.column("id") == [SEEN[1].id]
    other = grafana.ask_part("events", "Events A", {**ALL, "label": ["a dog's \\ tail"]})
    assert other.column("id") == [SEEN[0].id], "a label is found that is not the event's best"


def test_detections_are_counted_by_label_in_their_minute(grafana: Grafana) -> None:
    rows = grafana.ask_part("events", "Detections by label A")
    counted = dict(
        zip(
            zip(rows.column("time"), rows.column("metric"), strict=True),
            rows.column("detections"),
            strict=True,
        )
    )
    minutes = [int(started(seen).timestamp()) for seen in SEEN]
    assert counted == {
        (minutes[0], "a pedestrian"): 1,
        (minutes[0], "a dog's \\ tail"): 1,
        (minutes[1], "a pedestrian"): 1,
    }


def test_weather_stands_beside_the_counts(grafana: Grafana) -> None:
    rows = grafana.ask_part("events", "Events and the weather at the time B")
    assert (rows.column("temperature"), rows.column("wind"), rows.column("precipitation")) == (
        [-3.5],
        [4.2],
        [0.4],
    )


def test_shares_are_those_of_the_newest_event_or_of_the_chosen_one(grafana: Grafana) -> None:
    newest = grafana.ask_part("event", f"{SHARES} A")
    assert set(newest.column("metric")) == {"a pedestrian", "a path (background)", "anything else"}
    chosen = grafana.ask_part("event", f"{SHARES} A", {**ALL, "event": SEEN[0].id})
    assert chosen.column("time")[0] == started(SEEN[0]).replace(tzinfo=None)
    assert len(chosen.rows) == 3 * 4


def test_scores_are_the_numbers_that_decided_beside_one_background(grafana: Grafana) -> None:
    chosen = {**ALL, "event": SEEN[0].id}
    scores = grafana.ask_part("event", f"{SCORES} A", chosen)
    assert set(zip(scores.column("metric"), scores.column("value"), strict=True)) == set(
        SEEN[0].labels.items()
    )
    assert grafana.ask_part("event", f"{SCORES} C", chosen).column("background") == [0.125] * 3


def test_the_threshold_is_drawn_from_the_snippets_begin_to_its_end(grafana: Grafana) -> None:
    rows = grafana.ask_part("event", f"{SCORES} B")
    begin = started(SEEN[1]).replace(tzinfo=None)
    assert rows.column("time") == [begin - timedelta(seconds=3), begin + timedelta(seconds=7.5)]
    assert [float(value) for value in rows.column("threshold")] == [0.55, 0.55]


def test_the_event_variable_offers_the_latest_and_every_event_of_the_range(grafana: Grafana) -> None:
    rows = grafana.ask_part("event", "variable event")
    assert rows.column("__value") == ["latest", SEEN[2].id, SEEN[1].id, SEEN[0].id]
    assert grafana.ask_part("event", "variable event_id").rows == ((SEEN[1].id,),), "the latest with a name"
    assert rows.column("__text")[1:3] == [
        "2026-03-01 12:40:00 UTC, gate, no name",
        "2026-03-01 12:20:00 UTC, Back yard, a pedestrian",
    ]


def test_the_hidden_variables_lead_to_picture_clip_and_time_of_the_event(grafana: Grafana) -> None:
    chosen = {**ALL, "event": SEEN[0].id}
    begin_ms = int(started(SEEN[0]).timestamp() * 1000)
    said = {
        name: grafana.ask_part("event", f"variable event_{name}", chosen).rows[0][0]
        for name in ("picture", "clip", "from", "to")
    }
    assert said == {
        "picture": f"http://page:8080/media/2026/03/01/{5:032x}.jpg",
        "clip": f"http://page:8080/media/2026/03/01/{5:032x}.mp4",
        "from": str(begin_ms - 5000),
        "to": str(begin_ms + 7500 + 5000),
    }


def test_the_event_shows_its_own_row_its_weather_and_its_snippets(grafana: Grafana) -> None:
    chosen = {**ALL, "event": SEEN[0].id}
    row = grafana.ask_part("event", "What it was A", chosen)
    assert row.column("labels") == ["a pedestrian, a dog's \\ tail"]
    assert (row.column("probability"), [float(s) for s in row.column("seconds")]) == ([0.91], [7.5])
    weather = grafana.ask_part("event", "The weather then A", chosen)
    assert (weather.column("sky"), weather.column("temperature")) == (["light snow"], [-3.5])
    snippets = grafana.ask_part("event", "Its snippets A", chosen)
    assert snippets.column("said") == ["accepted"]
    assert [float(s) for s in snippets.column("seconds")] == [10.5]


def test_an_event_without_a_name_and_without_weather_is_shown_too(grafana: Grafana) -> None:
    chosen = {**ALL, "event": SEEN[2].id}
    row = grafana.ask_part("event", "What it was A", chosen)
    assert (row.column("label"), row.column("clip"), row.column("clip_url")) == ([None], [None], [""])
    assert grafana.ask_part("event", "The weather then A", chosen).column("sky") == ["no report"]
    assert len(grafana.ask_part("event", f"{SHARES} A", chosen).rows) == 3 * 2
    assert grafana.ask_part("event", f"{SCORES} A", chosen).rows == ()


def test_the_threshold_of_a_short_snippet_is_raised_as_its_decision_was(grafana: Grafana) -> None:
    rows = grafana.ask_part("event", f"{SCORES} B", {**ALL, "event": SEEN[0].id})
    assert {float(value) for value in rows.column("threshold")} == {(1 + 0.55) / 2}


def test_each_label_says_what_it_reached_and_what_it_lacked(grafana: Grafana) -> None:
    rows = grafana.ask_part("event", "Why A", {**ALL, "event": SEEN[0].id})
    assert rows.column("label") == ["a pedestrian", "a dog's \\ tail"]
    assert rows.column("accepted") == ["yes", "yes"]
    assert [float(value) for value in rows.column("peak")] == [0.91, 0.62]
    assert [float(value) for value in rows.column("threshold")] == [(1 + 0.55) / 2] * 2
    assert [float(value) for value in rows.column("background")] == [0.125] * 2
    assert [float(value) for value in rows.column("held")] == [0, 0]
    refused = grafana.ask_part("event", "Why A", {**ALL, "event": REFUSED.id})
    assert list(zip(refused.column("label"), refused.column("why"), strict=True)) == [
        ("a van", "the background came too near"),
        ("a bird", "too few moments carried it by themselves"),
        ("a cat", "its best score was too low"),
    ]
    assert set(refused.column("accepted")) == {"no"}


def test_the_heat_map_counts_each_hour_of_each_weekday(grafana: Grafana) -> None:
    rows = grafana.ask_part("events", "Events by hour and weekday A", {**ALL, "named": "0"})
    assert rows.column("weekday")[0] == "Monday"
    assert len(rows.rows) == 7
    counted = {
        (day, hour): int(count)
        for day, row in zip(rows.column("weekday"), rows.rows, strict=True)
        for hour, count in zip(rows.columns[1:], row[1:], strict=True)
        if count
    }
    assert counted == {("Sunday", "12"): 3}


def test_the_heat_map_follows_the_time_zone(grafana: Grafana) -> None:
    part = "Events by hour and weekday A"
    tonga = grafana.ask_part("events", part, timezone="+13:00")  # Sunday noon is Monday there
    assert int(tonga.column("01")[0]) == 2
    assert grafana.ask_part("events", part, timezone="Nowhere/Known").column("12")[6] == 2, "UTC then"


def test_events_are_marked_on_the_graphs(grafana: Grafana) -> None:
    for dashboard in ("events", "pipeline"):
        marks = grafana.ask_part(dashboard, "annotation Events")
        assert marks.column("time") == [started(seen).replace(tzinfo=None) for seen in (SEEN[1], SEEN[0])]
        assert marks.column("timeend")[0] == marks.column("time")[0] + timedelta(seconds=7.5)
        assert marks.column("text")[0] == "a pedestrian, Back yard"
        assert marks.column("tags")[0] == "a pedestrian,yard"


def test_gaps_are_marked_on_the_graphs(grafana: Grafana) -> None:
    for dashboard in ("events", "pipeline"):
        marks = grafana.ask_part(dashboard, "annotation Gaps")
        assert marks.column("time") == [started(seen).replace(tzinfo=None) for seen in (SEEN[1], SEEN[0])]
        assert marks.column("text") == ["motion.gone, motion: gone", "camera.away, gate: no route to host"]
        assert marks.column("timeend")[1] == marks.column("time")[1] + timedelta(seconds=30)
        assert marks.column("timeend")[0] > marks.column("time")[0], "one that lasts reaches to the present"
        assert marks.column("tags") == ["motion.gone", "camera.away,gate"]


def test_labels_are_marked_on_the_graph_of_the_event(grafana: Grafana) -> None:
    marks = grafana.ask_part("event", "annotation Labels", {**ALL, "event": SEEN[0].id})
    assert set(marks.column("text")) == {"a pedestrian", "a dog's \\ tail"}
