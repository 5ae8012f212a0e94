"""The provisioned files of Grafana as files: in step with their generator, and whole. Queries: tests/integration."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests import grafana as dashboard_checks
from tests.grafana import DASHBOARDS, PROVISIONING, UIDS, Json, dashboards, load, sources

ROOT = PROVISIONING.parent


def read(path: Path) -> Json:
    document: Json = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return document


def source() -> Json:
    [found] = read(PROVISIONING / "datasources" / "mysql.yml")["datasources"]
    assert isinstance(found, dict)
    return found


def grafana() -> Json:
    service: Json = read(ROOT / "docker-compose.yml")["services"]["grafana"]
    return service


def check_links(dashboard: Json) -> None:
    dashboard_checks.check_links(dashboard, dashboards())


def check_rules(alerting: Json) -> None:
    """Fail when an alert rule asks an unknown source, or its condition is none of its parts."""
    rules = [rule for group in alerting["groups"] for rule in group["rules"]]
    assert len({rule["uid"] for rule in rules}) == len(rules), "two rules have one uid"
    for rule in rules:
        asked = {part["datasourceUid"] for part in rule["data"]} - {"__expr__"}
        assert asked <= set(sources()), f"{rule['title']}: no data source {sorted(asked)}"
        parts = {part["refId"]: part["model"] for part in rule["data"]}
        assert rule["condition"] in parts, f"{rule['title']}: no part {rule['condition']}"
        threshold = parts[rule["condition"]]
        assert threshold["expression"] in parts, f"{rule['title']}: no part {threshold['expression']}"
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        kept = set(re.findall(r"by \((\w+)\)", parts[threshold["expression"]]["expr"]))
        assert named <= kept, (
            f"{rule['title']}: the summary names {sorted(named - kept)}, which the query drops"
        )


CHECKS: list[Callable[[Json], None]] = [
    dashboard_checks.check_uid,
    dashboard_checks.check_sources,
    dashboard_checks.check_variables,
    check_links,
    dashboard_checks.check_layout,
    dashboard_checks.check_macros,
    dashboard_checks.check_order,
    dashboard_checks.check_plugins,
]


def test_the_files_are_what_the_generator_writes() -> None:
    done = subprocess.run(
        [sys.executable, PROVISIONING / "build.py", "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path: Path, check: Callable[[Json], None]) -> None:
    check(load(path))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_its_uid_is_that_of_its_name(path: Path) -> None:
    assert load(path)["uid"] == UIDS[path.stem]


def test_the_alert_rules_are_whole() -> None:
    check_rules(load(PROVISIONING / "alerting" / "alerts.json"))


def test_alert_rules_watch_what_was_promised() -> None:
    [group] = load(PROVISIONING / "alerting" / "alerts.json")["groups"]
    assert {rule["uid"] for rule in group["rules"]} >= {
        "clipwatch-service-down",
        "clipwatch-replica-gone",
        "clipwatch-redis-away",
        "clipwatch-database-away",
        "clipwatch-camera-away",
        "clipwatch-cameras-unheld",
        "clipwatch-lag",
        "clipwatch-dead-letters",
        "clipwatch-disk",
        "clipwatch-nothing-recorded",
    }


@pytest.mark.parametrize(("name", "title"), [("events", "Events"), ("event", "Its snippets")])
def test_tables_show_pictures_and_lead_to_clips(name: str, title: str) -> None:
    panels = dashboards()[UIDS[name]]["panels"]
    [table] = [panel for panel in panels if panel["title"] == title]
    properties = {
        override["matcher"]["options"]: {item["id"]: item["value"] for item in override["properties"]}
        for override in table["fieldConfig"]["overrides"]
    }
    assert properties["picture"]["custom.cellOptions"]["type"] == "image"
    assert properties["clip"]["links"][0]["url"] == "${__data.fields.clip_url}"


def test_the_table_leads_to_one_event() -> None:
    panels = dashboards()[UIDS["events"]]["panels"]
    [table] = [panel for panel in panels if panel["title"] == "Events"]
    links = [
        item["value"][0]["url"]
        for override in table["fieldConfig"]["overrides"]
        for item in override["properties"]
        if item["id"] == "links" and override["matcher"]["options"] == "started"
    ]
    assert links[0].startswith("/d/clipwatch-event?var-event=${__data.fields.id}&")


# --- broken on purpose ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Broken:
    """What is done to a file, and what the check says of it; docs/reference/dashboards.md lists these."""

    name: str
    file: str
    check: Callable[[Json], None]
    do: Callable[[Json], None]
    says: str


def panel_of(dashboard: Json, title: str) -> Json:
    [found] = [panel for panel in dashboard["panels"] if panel["title"].startswith(title)]
    assert isinstance(found, dict)
    return found


def put(*keys: Any, value: Any) -> Callable[[Json], None]:  # Any: keys and values of JSON
    """Return what sets the value at a path of keys; a text in place of an index of `panels` is a title."""

    def do(document: Json) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = panel_of(document, key) if place is document.get("panels") else place[key]
        place[keys[-1]] = value

    return do


def replace(old: str, new: str) -> Callable[[Json], None]:
    """Return what replaces a text in all queries and links."""

    def walk(value: Any) -> Any:  # Any: JSON
        if isinstance(value, dict):
            return {key: walk(item) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item) for item in value]
        return value.replace(old, new) if isinstance(value, str) else value

    def do(document: Json) -> None:
        changed = walk(copy.deepcopy(document))
        assert changed != document, f"{old} stands nowhere"
        document.update(changed)

    return do


BROKEN = [
    Broken(
        "another uid",
        "event",
        dashboard_checks.check_uid,
        put("uid", value="clipwatch-one"),
        "uid clipwatch-one is not among",
    ),
    Broken(
        "a number of one Grafana's database",
        "events",
        dashboard_checks.check_uid,
        put("id", value=7),
        "a number of one Grafana's database",
    ),
    Broken(
        "a data source that is not provisioned",
        "events",
        dashboard_checks.check_sources,
        put("panels", "Latest event", "datasource", value={"type": "mysql", "uid": "my-sql"}),
        "no data source {'type': 'mysql', 'uid': 'my-sql'}",
    ),
    Broken(
        "a data source of another type",
        "pipeline",
        dashboard_checks.check_sources,
        replace("clipwatch-prometheus", "clipwatch-mysql"),
        "no data source",
    ),
    Broken(
        "a variable that nobody defines",
        "events",
        dashboard_checks.check_variables,
        replace("IN ($camera)", "IN ($cameras)"),
        "undefined: ['cameras']",
    ),
    Broken(
        "a variable that nobody uses",
        "event",
        dashboard_checks.check_variables,
        replace("${event_picture:raw}", ""),
        "never used: ['event_picture']",
    ),
    Broken(
        "a macro that Grafana does not have",
        "events",
        dashboard_checks.check_variables,
        replace("$__timeFilter", "$__timeRange"),
        "Grafana has no ['__timeRange']",
    ),
    Broken(
        "a function in a macro's arguments",
        "events",
        dashboard_checks.check_macros,
        replace("$__timeGroupAlias(e.started_at", "$__timeGroupAlias(COALESCE(e.started_at"),
        "a parenthesis in (COALESCE(e.started_at",
    ),
    Broken(
        "a time series without an order",
        "event",
        dashboard_checks.check_order,
        replace("\nORDER BY 1, 2", ""),
        "Scores, moment by moment A: not ordered by time",
    ),
    Broken(
        "a link to a dashboard that does not exist",
        "events",
        check_links,
        replace("/d/clipwatch-event?", "/d/clipwatch-one?"),
        "no dashboard clipwatch-one",
    ),
    Broken(
        "a link that sets a variable which the other dashboard does not have",
        "events",
        check_links,
        replace("var-event=", "var-id="),
        "clipwatch-event has no variable ['id']",
    ),
    Broken(
        "a panel over another one",
        "event",
        dashboard_checks.check_layout,
        put("panels", "Picture", "gridPos", "x", value=8),
        "Picture: lies over another panel",
    ),
    Broken(
        "a panel type that would have to be downloaded",
        "events",
        dashboard_checks.check_plugins,
        put("panels", "Events by hour", "type", value="marcusolsson-hourly-heatmap-panel"),
        "panel type marcusolsson-hourly-heatmap-panel",
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_what_is_broken_is_found(broken: Broken) -> None:
    dashboard = copy.deepcopy(dashboards()[UIDS[broken.file]])
    broken.check(dashboard)
    broken.do(dashboard)
    with pytest.raises(AssertionError, match=re.escape(broken.says)):
        broken.check(dashboard)


BROKEN_RULES = [
    ("another data source", replace("clipwatch-prometheus", "prometheus"), "no data source ['prometheus']"),
    (
        "a summary that names a label which the query drops",
        replace("$labels.camera", "$labels.name"),
        "the summary names ['name'], which the query drops",
    ),
]


@pytest.mark.parametrize(("name", "do", "says"), BROKEN_RULES, ids=[name for name, _, _ in BROKEN_RULES])
def test_a_broken_rule_is_found(name: str, do: Callable[[Json], None], says: str) -> None:
    alerting = load(PROVISIONING / "alerting" / "alerts.json")
    do(alerting)
    with pytest.raises(AssertionError, match=re.escape(says)):
        check_rules(alerting)


# --- the sources and Grafana itself -----------------------------------------------------------------------------------


def test_the_source_is_read_only_in_utc_and_its_password_comes_from_the_environment() -> None:
    assert source()["user"] == "grafana"
    assert source()["jsonData"]["timezone"] == "+00:00"
    assert source()["editable"] is False
    assert source()["secureJsonData"] == {"password": "$__env{MYSQL_GRAFANA_PASSWORD}"}
    assert "MYSQL_GRAFANA_PASSWORD" in grafana()["environment"]


def test_the_source_asks_the_composed_database() -> None:
    mysql = read(ROOT / "docker-compose.yml")["services"]["mysql"]
    assert source()["url"] == "mysql:3306"
    assert source()["jsonData"]["database"] == mysql["environment"]["MYSQL_DATABASE"]
    assert set(mysql["networks"]) <= set(grafana()["networks"])


def test_grafana_finds_the_dashboards_where_they_are_mounted() -> None:
    [provider] = read(PROVISIONING / "dashboards" / "clipwatch.yml")["providers"]
    mounts = dict(volume.split(":")[:2] for volume in grafana()["volumes"])
    start = (ROOT / "deploy" / "grafana" / "start.sh").read_text()  # copies them, with PAGE_URL in them
    assert f"source=${{DASHBOARDS:-{mounts['./grafana-provisioning/dashboards']}}}" in start
    assert f"target=${{DASHBOARDS_TARGET:-{provider['options']['path']}}}" in start
    assert mounts["./deploy/grafana"] == "/start"
    home = grafana()["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert (PROVISIONING / "dashboards" / Path(home).name).is_file()


def test_grafana_fetches_nothing_at_its_start_and_lets_nobody_in_without_a_password() -> None:
    environment = grafana()["environment"]
    assert environment["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    assert environment["GF_PLUGINS_PREINSTALL_AUTO_UPDATE"] == "false"
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "false"
    assert environment["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")
    assert "GF_INSTALL_PLUGINS" not in environment
