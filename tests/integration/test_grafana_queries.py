"""Every query of every Grafana dashboard, run on a real MariaDB with the macros expanded as Grafana does it.

No Grafana is needed: what a panel type needs of its columns is checked here. Macros and quoting follow Grafana's
documentation of the MySQL data source and of variables (13.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pymysql  # type: ignore[import-untyped]  # ships no types
import pytest
from ruamel.yaml import YAML
from sqlalchemy import create_engine, insert, make_url

from services.recorder import schema
from services.recorder.database import open_database
from shared.clock import uuid7
from tests.servers import MariaDBServer

PROVISIONING = Path(__file__).resolve().parents[2] / "grafana-provisioning"
DASHBOARDS = sorted((PROVISIONING / "dashboards").glob("*.json"))
SOURCE_UID = YAML(typ="safe").load((PROVISIONING / "datasources" / "mysql.yml").read_text())["datasources"][
    0
]["uid"]
INTERVAL_S = 60
BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
END = BEGIN + timedelta(hours=1)
BUILT_IN = re.compile(r"^__")  # __data, __interval, __timeFilter, …

Json = dict[str, Any]  # Any: Grafana's model is JSON


# --- the record that is looked at -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """One event of the test's record."""

    id: str
    camera: str
    minute: int
    labels: Mapping[str, float]


SEEN = (
    Seen(uuid7(BEGIN, "a"), "gate", 5, {"a pedestrian": 0.91, "a dog's \\ tail": 0.62}),
    Seen(uuid7(BEGIN, "b"), "yard", 20, {"a pedestrian": 0.77}),
    Seen(uuid7(BEGIN, "c"), "gate", 40, {}),
    Seen(uuid7(BEGIN, "d"), "yard", 90, {"a bicycle": 0.8}),  # after the time range
)


@pytest.fixture(scope="module")
def record(mariadb_server: MariaDBServer) -> Iterator[str]:
    """A database with the recorder's tables and the events SEEN; its name."""
    mariadb_server.start()
    database = mariadb_server.new_database()
    url = mariadb_server.url(database)

    async def make_tables() -> None:
        await (await open_database(url, asyncio.Event(), 10, 30)).close()

    asyncio.run(make_tables())
    engine = create_engine(make_url(url).set(drivername="mysql+pymysql"))
    with engine.begin() as connection:
        weather = connection.execute(insert(schema.weather_reports), weather_row()).inserted_primary_key
        assert weather is not None
        for seen in SEEN:
            is_first = seen is SEEN[0]
            connection.execute(insert(schema.events), event_row(seen, weather[0] if is_first else None))
            connection.execute(insert(schema.snippets), snippet_row(seen))
            if seen.labels:
                connection.execute(insert(schema.detections), detection_rows(seen))
            connection.execute(insert(schema.frame_probabilities), probability_rows(seen))
    engine.dispose()
    yield database
    mariadb_server.drop_database(database)


def started(seen: Seen) -> datetime:
    return BEGIN + timedelta(minutes=seen.minute)


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
        "decision": json.dumps({"threshold": 0.55, "margin": 0.05}),
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
    columns = [*(("target", label) for label in seen.labels), ("background", "a path"), ("other", "other")]
    return [
        {
            "event_id": seen.id,
            "snippet": 0,
            "moment": moment,
            "kind": kind,
            "label": label,
            "captured_at": started(seen) + timedelta(milliseconds=500 * moment),
            "probability": 1 / len(columns),
        }
        for moment in range(3)
        for kind, label in columns
    ]


# --- what Grafana does with a query -----------------------------------------------------------------------------------

Values = Mapping[str, str | Sequence[str]]
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


def interpolate(text: str, values: Values) -> str:
    """Put variables in, as Grafana's SQL sources do: several values quoted, one with its quotes doubled."""

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if BUILT_IN.match(name):
            return match[0]
        value = values[name]
        if not isinstance(value, str):
            return ",".join("'" + item.replace("\\", "\\\\").replace("'", "''") + "'" for item in value)
        return value if value == "'__all'" else value.replace("'", "''")

    return re.sub(r"\$(?:\{(\w+)[^}]*\}|(\w+))", put, text)


def expand(sql: str) -> str:
    """Expand the macros of the MySQL data source for the test's time range."""
    begin, end = int(BEGIN.timestamp()), int(END.timestamp())

    def macro(match: re.Match[str]) -> str:
        name, arguments = match[1], [part.strip() for part in match[2].split(",")]
        group = ""
        if name.startswith("__timeGroup"):
            seconds = interval_s(arguments[1].strip("'\""))
            group = f"UNIX_TIMESTAMP({arguments[0]}) DIV {seconds} * {seconds}"
        known = {
            "__timeFilter": f"{arguments[0]} BETWEEN FROM_UNIXTIME({begin}) AND FROM_UNIXTIME({end})",
            "__timeFrom": f"FROM_UNIXTIME({begin})",
            "__timeTo": f"FROM_UNIXTIME({end})",
            "__timeGroup": group,
            "__timeGroupAlias": f'{group} AS "time"',
        }
        assert name in known, f"unknown macro {name}"
        return known[name]

    sql = sql.replace("$__interval", f"{INTERVAL_S}s")
    expanded = re.sub(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)", macro, sql)
    assert not re.search(r"\$[A-Za-z_{]", expanded), f"not expanded: {expanded}"
    return expanded


def interval_s(text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return int(text[:-1]) * units[text[-1]]


@dataclass(frozen=True)
class Result:
    """Columns and rows, as the server gave them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]  # Any: database values

    def column(self, name: str) -> list[Any]:
        return [row[self.columns.index(name)] for row in self.rows]


class Grafana:
    """Asks as Grafana does: a session at +00:00."""

    def __init__(self, connection: Any) -> None:  # Any: pymysql ships no types
        self.connection = connection

    def ask(self, sql: str, values: Values) -> Result:
        with self.connection.cursor() as cursor:
            cursor.execute(expand(interpolate(sql, values)))
            return Result(tuple(field[0] for field in cursor.description), tuple(cursor.fetchall()))


@pytest.fixture(scope="module")
def grafana(record: str, mariadb_server: MariaDBServer) -> Iterator[Grafana]:
    with contextlib.closing(mariadb_server.connect(record)) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', sql_mode = CONCAT(@@sql_mode, ',ONLY_FULL_GROUP_BY')")
        yield Grafana(connection)


def load(path: Path) -> Json:
    dashboard: Json = json.loads(path.read_text(encoding="utf-8"))
    return dashboard


def targets() -> list[Any]:  # Any: pytest's own parameter type
    return [
        pytest.param(panel, target, id=f"{path.stem}: {panel['title'].split(':')[0]} {target['refId']}")
        for path in DASHBOARDS
        for panel in load(path)["panels"]
        for target in panel.get("targets", [])
    ]


def check_result(panel: Json, target: Json, result: Result) -> None:
    """Fail when the panel cannot show the result."""
    assert len(set(result.columns)) == len(result.columns), f"a column is named twice: {result.columns}"
    assert result.rows, "no rows"
    if panel["type"] == "timeseries":
        check_series(target, result)
    elif panel["type"] == "stat":
        assert target["format"] == "table"
        assert len(result.rows) == 1
        assert result.rows[0][0] is not None
    else:
        assert panel["type"] == "table"
        assert target["format"] == "table"


def check_series(target: Json, result: Result) -> None:
    assert target["format"] == "time_series"
    times = result.column("time")
    assert all(isinstance(time, datetime | int) for time in times)
    assert times == sorted(times), "Grafana wants the rows in the order of time"
    texts = [name for name in result.columns if name not in ("time",) and is_text(result.column(name))]
    assert texts in ([], ["metric"]), "a series is named by one column, metric"
    numbers = set(result.columns) - {"time", *texts}
    assert numbers, "no values"
    if texts:
        assert len(numbers) == 1, "with metric one value column, or names get doubled"
    for name in numbers:
        assert all(value is None or not isinstance(value, str) for value in result.column(name))


def is_text(values: Sequence[Any]) -> bool:  # Any: database values
    return any(isinstance(value, str) for value in values)


# --- tests ------------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.mariadb


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(("panel", "target"), targets())
def test_every_panel_gets_the_columns_that_it_shows(
    grafana: Grafana, panel: Json, target: Json, choice: str
) -> None:
    assert target["datasource"]["uid"] == SOURCE_UID
    check_result(panel, target, grafana.ask(target["rawSql"], CHOICES[choice]))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_overrides_and_links_name_columns_that_exist(grafana: Grafana, path: Path) -> None:
    for panel in load(path)["panels"]:
        results = [grafana.ask(target["rawSql"], ALL) for target in panel.get("targets", [])]
        columns = {name for result in results for name in result.columns}
        named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
        used = set(re.findall(r"__data\.fields\.(\w+)", json.dumps(panel)))
        assert named | used <= columns, f"{panel['title']}: {sorted((named | used) - columns)} is no column"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_queries_of_variables_give_values(grafana: Grafana, path: Path) -> None:
    for variable in load(path)["templating"]["list"]:
        if variable["type"] == "query":
            assert variable["datasource"]["uid"] == SOURCE_UID
            result = grafana.ask(variable["query"], ALL)
            assert result.rows, variable["name"]
            assert len(result.columns) == 1 or set(result.columns) == {"__text", "__value"}, variable["name"]


def test_a_panel_that_names_a_missing_column_fails(grafana: Grafana) -> None:
    panel = load(PROVISIONING / "dashboards" / "events.json")["panels"][0]
    sql = panel["targets"][0]["rawSql"].replace("e.started_at", "e.begun_at")
    with pytest.raises(pymysql.err.OperationalError, match="begun_at"):
        grafana.ask(sql, ALL)


def test_a_series_without_time_order_or_with_two_names_fails() -> None:
    target = {"format": "time_series"}
    with pytest.raises(AssertionError, match="order of time"):
        check_series(target, Result(("time", "n"), ((2, 1), (1, 1))))
    with pytest.raises(AssertionError, match="named by one column"):
        check_series(target, Result(("time", "camera", "label", "n"), ((1, "a", "b", 1),)))


def ask_panel(grafana: Grafana, kind: str, title: str, values: Values, letter: str = "A") -> Result:
    """Ask what the one panel of this kind and title asks."""
    panels = load(PROVISIONING / "dashboards" / "events.json")["panels"]
    [panel] = [panel for panel in panels if panel["type"] == kind and panel["title"].startswith(title)]
    [target] = [target for target in panel["targets"] if target["refId"] == letter]
    return grafana.ask(target["rawSql"], values)


def test_the_table_shows_the_named_events_of_the_range_newest_first(grafana: Grafana) -> None:
    rows = ask_panel(grafana, "table", "Events", {**ALL, "page": "http://page:8080/"})
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
    rows = ask_panel(grafana, "table", "Events", {**ALL, "named": "0"})
    assert rows.column("id") == [SEEN[2].id, SEEN[1].id, SEEN[0].id]
    assert (rows.column("label")[0], rows.column("clip")[0], rows.column("clip_url")[0]) == (None, None, "")


def test_camera_and_label_narrow_the_table(grafana: Grafana) -> None:
    one = ask_panel(grafana, "table", "Events", {**ALL, "camera": ["yard", "cellar"]})
    assert one.column("id") == [SEEN[1].id]
    other = ask_panel(grafana, "table", "Events", {**ALL, "label": ["a dog's \\ tail"]})
    assert other.column("id") == [SEEN[0].id], "a label is found that is not the event's best"


def test_detections_are_counted_by_label_in_their_minute(grafana: Grafana) -> None:
    rows = ask_panel(grafana, "timeseries", "Detections", ALL)
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
    rows = ask_panel(grafana, "timeseries", "Events and the weather", ALL, "B")
    assert (rows.column("temperature"), rows.column("wind"), rows.column("precipitation")) == (
        [-3.5],
        [4.2],
        [0.4],
    )


def test_probabilities_are_those_of_the_newest_event_or_of_the_chosen_one(grafana: Grafana) -> None:
    newest = ask_panel(grafana, "timeseries", "Probabilities", ALL)
    assert set(newest.column("metric")) == {"a pedestrian", "a path (background)", "anything else"}
    chosen = ask_panel(grafana, "timeseries", "Probabilities", {**ALL, "event": SEEN[0].id})
    assert chosen.column("time")[0] == started(SEEN[0]).replace(tzinfo=None)
    assert len(chosen.rows) == 3 * 4
    gate = ask_panel(grafana, "timeseries", "Probabilities", {**ALL, "camera": ["gate"]})
    assert gate.rows == chosen.rows, "the latest follows the chosen cameras"


def test_the_threshold_is_drawn_from_the_snippets_begin_to_its_end(grafana: Grafana) -> None:
    rows = ask_panel(grafana, "timeseries", "Probabilities", ALL, "B")
    begin = started(SEEN[1]).replace(tzinfo=None)
    assert rows.column("time") == [begin - timedelta(seconds=3), begin + timedelta(seconds=7.5)]
    assert [float(value) for value in rows.column("threshold")] == [0.55, 0.55]


def test_the_event_variable_offers_the_latest_and_every_event_of_the_range(grafana: Grafana) -> None:
    variables = load(PROVISIONING / "dashboards" / "events.json")["templating"]["list"]
    [event] = [variable for variable in variables if variable["name"] == "event"]
    rows = grafana.ask(event["query"], ALL)
    assert rows.column("__value") == ["latest", SEEN[1].id, SEEN[0].id]
    assert rows.column("__text")[1] == "2026-03-01 12:20:00 UTC, yard, a pedestrian"
