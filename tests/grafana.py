"""What Grafana does with the provisioned dashboards, and what it needs of them; knows no server.

Variables and macros are expanded as Grafana 13.2 documents it for its MySQL data source. Each `check_…` fails with one
line that names the dashboard's part and its fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PROVISIONING = Path(__file__).resolve().parents[1] / "grafana-provisioning"
DASHBOARDS = sorted((PROVISIONING / "dashboards").rglob("*.json"))
# links from outside hold them: they never change
UIDS = {"events": "clipwatch-events", "event": "clipwatch-event", "pipeline": "clipwatch-pipeline"}
BUILT_IN_PANELS = {"stat", "timeseries", "table", "text"}
MACROS = {"__timeFilter", "__timeFrom", "__timeTo", "__timeGroup", "__timeGroupAlias"}
GLOBALS = {"__data", "__interval", "__rate_interval", "__timezone", "__all"}

Json = dict[str, Any]  # Any: Grafana's model is JSON
Values = Mapping[str, str | Sequence[str]]


def load(path: Path) -> Json:
    """Return the JSON document."""
    document: Json = json.loads(path.read_text(encoding="utf-8"))
    return document


def dashboards() -> dict[str, Json]:
    """Return every provisioned dashboard by its uid."""
    return {dashboard["uid"]: dashboard for dashboard in map(load, DASHBOARDS)}


def sources() -> dict[str, str]:
    """Return the type of every provisioned data source by its uid."""
    files = sorted((PROVISIONING / "datasources").glob("*.yml"))
    documents = [YAML(typ="safe").load(path.read_text(encoding="utf-8")) for path in files]
    found = [source for document in documents for source in document["datasources"]]
    assert len({source["name"] for source in found}) == len(found), "two data sources have one name"
    return {source["uid"]: source["type"] for source in found}


@dataclass(frozen=True, slots=True)
class Query:
    """One SQL text of a dashboard, and what it is for."""

    dashboard: str
    part: str  # a panel's title and the target's letter, a variable's or an annotation's name
    kind: str  # of the panel, or variable, or annotation
    form: str  # table or time_series
    sql: str


def sql_queries(dashboard: Json) -> list[Query]:
    """Return every query of the record that the dashboard sends."""
    uid = dashboard["uid"]
    panels = [
        Query(
            uid,
            f"{panel['title'].split(':')[0]} {target['refId']}",
            panel["type"],
            target["format"],
            target["rawSql"],
        )
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
        if "rawSql" in target
    ]
    variables = [
        Query(uid, f"variable {variable['name']}", "variable", "table", variable["query"])
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    ]
    annotations = [
        Query(
            uid,
            f"annotation {item['name']}",
            "annotation",
            item["target"]["format"],
            item["target"]["rawSql"],
        )
        for item in dashboard["annotations"]["list"]
    ]
    return [*panels, *variables, *annotations]


# --- variables and macros ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Range:
    """What is chosen at the top of a dashboard; `interval_s` follows from the range and a panel's width."""

    begin: datetime
    end: datetime
    interval_s: int = 60
    timezone: str = "utc"  # or an IANA name


def interpolate(text: str, values: Values) -> str:
    """Put variables in, as Grafana's SQL sources do: several values quoted, one with its quotes doubled."""

    def put(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name.startswith("__"):
            return match[0]
        value = values[name]
        if not isinstance(value, str):
            return ",".join("'" + item.replace("\\", "\\\\").replace("'", "''") + "'" for item in value)
        return value if value == "'__all'" else value.replace("'", "''")

    return re.sub(r"\$(?:\{(\w+)[^}]*\}|(\w+))", put, text)


def expand(sql: str, chosen: Range) -> str:
    """Expand the macros of the MySQL data source; raise AssertionError when one is not known."""
    begin, end = int(chosen.begin.timestamp()), int(chosen.end.timestamp())

    def macro(match: re.Match[str]) -> str:
        name, arguments = match[1], [part.strip() for part in match[2].split(",")]
        assert name in MACROS, f"unknown macro ${name}"
        if name == "__timeFilter":
            return f"{arguments[0]} BETWEEN FROM_UNIXTIME({begin}) AND FROM_UNIXTIME({end})"
        if name in ("__timeFrom", "__timeTo"):
            return f"FROM_UNIXTIME({begin if name == '__timeFrom' else end})"
        seconds = _interval_s(arguments[1].strip("'\""))
        group = f"UNIX_TIMESTAMP({arguments[0]}) DIV {seconds} * {seconds}"
        return group if name == "__timeGroup" else f'{group} AS "time"'

    sql = sql.replace("$__interval", f"{chosen.interval_s}s").replace("$__timezone", chosen.timezone)
    expanded = re.sub(r"\$([_a-zA-Z0-9]+)\(([^)]*)\)", macro, sql)
    left = re.search(r"\$[A-Za-z_{]\w*", expanded)
    assert left is None, f"not expanded: {left and left[0]}"
    return expanded


def _interval_s(text: str) -> int:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return int(text[:-1]) * units[text[-1]]


# --- what a panel needs of an answer ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """Columns and rows, as the server gave them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]  # Any: database values

    def column(self, name: str) -> list[Any]:
        return [row[self.columns.index(name)] for row in self.rows]


def check_result(kind: str, form: str, result: Result) -> None:
    """Fail when a panel of this kind, a variable or an annotation cannot show the answer."""
    assert len(set(result.columns)) == len(result.columns), f"a column is named twice: {result.columns}"
    assert result.rows, "no rows"
    if kind == "timeseries":
        _check_series(form, result)
        return
    assert form == "table", f"a {kind} takes a table, found {form}"
    if kind == "stat":
        assert len(result.rows) == 1, "a stat shows one row"
        assert result.rows[0][0] is not None, "the first number is NULL"
    elif kind == "annotation":
        _check_marks(result)
    elif kind == "variable":
        is_pair = set(result.columns) == {"__text", "__value"}
        assert is_pair or len(result.columns) == 1, "a variable takes one column, or __text and __value"
        assert None not in result.rows[0], "a variable's value is NULL"
    else:
        assert kind == "table", f"unknown panel type {kind}"


def _check_series(form: str, result: Result) -> None:
    assert form == "time_series", f"a timeseries takes time_series, found {form}"
    assert "time" in result.columns, "no column time"
    times = result.column("time")
    assert all(isinstance(time, datetime | int) for time in times), "time is no time"
    assert times == sorted(times), "Grafana wants the rows in the order of time"
    texts = [name for name in result.columns if name != "time" and _is_text(result.column(name))]
    assert texts in ([], ["metric"]), "a series is named by one column, metric"
    numbers = set(result.columns) - {"time", *texts}
    assert numbers, "no values"
    if texts:
        assert len(numbers) == 1, "with metric one value column, or names get doubled"


def _check_marks(result: Result) -> None:
    known = {"time", "timeend", "text", "tags"}
    assert set(result.columns) <= known, f"unknown columns: {sorted(set(result.columns) - known)}"
    assert {"time", "text"} <= set(result.columns), "an annotation needs time and text"
    assert all(isinstance(time, datetime) for time in result.column("time")), "time is no time"


def _is_text(values: Sequence[Any]) -> bool:  # Any: database values
    return any(isinstance(value, str) for value in values)


def check_columns(panel: Json, columns: set[str]) -> None:
    """Fail when an override or a link of the panel names a column that its queries do not give."""
    named = {item["matcher"]["options"] for item in panel["fieldConfig"]["overrides"]}
    used = set(re.findall(r"__data\.fields\.(\w+)", json.dumps(panel)))
    assert named | used <= columns, f"{panel['title']}: no column {sorted((named | used) - columns)}"


# --- what a dashboard needs, as a file --------------------------------------------------------------------------------


def check_uid(dashboard: Json) -> None:
    """Fail when the uid is not the one that links from outside hold."""
    assert dashboard["uid"] in UIDS.values(), f"uid {dashboard['uid']} is not among {sorted(UIDS.values())}"
    assert "id" not in dashboard, "id: a number of one Grafana's database"


def check_sources(dashboard: Json) -> None:
    """Fail when something asks a data source that is not provisioned, or another than its panel."""
    known = sources()
    named = list(_named("datasource", dashboard))
    assert named, "no data source"
    for source in named:
        assert known.get(source["uid"]) == source["type"], f"no data source {source}"
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            assert target["datasource"] == panel["datasource"], f"{panel['title']}: two data sources"
            wanted = {"mysql": "rawSql", "prometheus": "expr"}[target["datasource"]["type"]]
            assert wanted in target, f"{panel['title']}: a query of another data source"


def check_variables(dashboard: Json) -> None:
    """Fail when a variable is used that nobody defines, or defined and never used."""
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    used = _used(json.dumps(dashboard))
    built_in = {name for name in used if name.startswith("__")}
    assert built_in <= MACROS | GLOBALS, f"Grafana has no {sorted(built_in - MACROS - GLOBALS)}"
    assert used - built_in <= defined, f"undefined: {sorted(used - built_in - defined)}"
    assert defined <= used, f"never used: {sorted(defined - used)}"


def check_links(dashboard: Json, others: Mapping[str, Json]) -> None:
    """Fail when a link leads to a dashboard, or sets a variable, that does not exist."""
    for url in _named("url", dashboard):
        match = re.match(r"/d/([\w-]+)\?(.*)", url)
        if match is None:
            continue
        assert match[1] in others, f"{url}: no dashboard {match[1]}"
        there = {variable["name"] for variable in others[match[1]]["templating"]["list"]}
        given = set(re.findall(r"\bvar-(\w+)=", match[2])) | set(
            re.findall(r"\$\{(\w+):queryparam\}", match[2])
        )
        assert given <= there, f"{url}: {match[1]} has no variable {sorted(given - there)}"


def check_layout(dashboard: Json) -> None:
    """Fail when panels share a number or a place, or reach out of the grid."""
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels), "two panels have one id"
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        across = range(place["x"], place["x"] + place["w"])
        own = {(x, y) for x in across for y in range(place["y"], place["y"] + place["h"])}
        assert not own & taken, f"{panel['title']}: lies over another panel"
        assert across.stop <= 24, f"{panel['title']}: reaches out of the grid"
        taken |= own


def check_macros(dashboard: Json) -> None:
    """Fail when a macro's arguments hold a parenthesis: Grafana's pattern ends at the first one."""
    for query in sql_queries(dashboard):
        for arguments in re.findall(r"\$__\w+\(([^)]*)\)", query.sql):
            assert "(" not in arguments, f"{query.part}: a parenthesis in ({arguments})"


def check_order(dashboard: Json) -> None:
    """Fail when a time series is not ordered by its first column; rows of a test may be in order by chance."""
    for query in sql_queries(dashboard):
        if query.form == "time_series":
            assert re.search(r"\nORDER BY 1(, 2)?$", query.sql), f"{query.part}: not ordered by time"


def check_plugins(dashboard: Json) -> None:
    """Fail when a panel's type is none of those that Grafana brings."""
    for panel in dashboard["panels"]:
        assert panel["type"] in BUILT_IN_PANELS, f"{panel['title']}: panel type {panel['type']}"


def _used(text: str) -> set[str]:
    return {first or second for first, second in re.findall(r"\$(?:\{(\w+)[^}]*\}|(\w+))", text)}


def _named(key: str, value: object) -> Iterator[Any]:  # Any: Grafana's model is JSON
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for item in value.values():
            yield from _named(key, item)
    elif isinstance(value, list):
        for item in value:
            yield from _named(key, item)
