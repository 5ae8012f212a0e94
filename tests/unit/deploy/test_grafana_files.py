"""The provisioned files of Grafana as files: in step with their generator, and whole. Queries: tests/integration."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[3]
PROVISIONING = ROOT / "grafana-provisioning"
DASHBOARDS = sorted((PROVISIONING / "dashboards").glob("*.json"))
UIDS = {"events": "clipwatch-events"}  # links from outside hold them: they never change

Json = dict[str, Any]  # Any: Grafana's model is JSON


def load(path: Path) -> Json:
    dashboard: Json = json.loads(path.read_text(encoding="utf-8"))
    return dashboard


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


@pytest.mark.parametrize("generator", ["build.py", "pipeline.py"])
def test_the_dashboards_are_what_the_generator_writes(generator: str) -> None:
    done = subprocess.run(
        [sys.executable, PROVISIONING / generator, "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
class TestDashboard:
    def test_its_uid_is_stable(self, path: Path) -> None:
        assert load(path)["uid"] == UIDS[path.stem]
        assert "id" not in load(path), "a number of one Grafana's database"

    def test_it_asks_the_provisioned_source_only(self, path: Path) -> None:
        sources = re.findall(r'"datasource": (\{[^}]*\})', path.read_text())
        assert sources
        assert {json.loads(text)["uid"] for text in sources} == {source()["uid"]}
        assert {json.loads(text)["type"] for text in sources} == {source()["type"]}

    def test_every_variable_that_is_used_is_defined(self, path: Path) -> None:
        dashboard = load(path)
        defined = {variable["name"] for variable in dashboard["templating"]["list"]}
        used = {match[0] or match[1] for match in re.findall(r"\$(?:\{(\w+)[^}]*\}|(\w+))", path.read_text())}
        assert {name for name in used if not name.startswith("__")} <= defined
        assert defined - {name for name in used if not name.startswith("__")} == set(), "defined, never used"

    def test_links_set_only_variables_that_exist(self, path: Path) -> None:
        defined = {variable["name"] for variable in load(path)["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", path.read_text())) <= defined

    def test_panels_have_numbers_of_their_own_and_do_not_overlap(self, path: Path) -> None:
        panels = load(path)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        cells: set[tuple[int, int]] = set()
        for panel in panels:
            place = panel["gridPos"]
            own = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not own & cells, panel["title"]
            assert place["x"] + place["w"] <= 24
            cells |= own

    def test_macros_have_no_parentheses_in_their_arguments(self, path: Path) -> None:
        for panel in load(path)["panels"]:
            for target in panel.get("targets", []):
                for arguments in re.findall(r"\$__\w+\(([^)]*)\)", target["rawSql"]):
                    assert "(" not in arguments, "Grafana's pattern ends at the first parenthesis"

    def test_it_needs_no_plugin_that_must_be_fetched(self, path: Path) -> None:
        assert {panel["type"] for panel in load(path)["panels"]} <= {"stat", "timeseries", "table", "text"}

    def test_it_shows_pictures_and_leads_to_clips(self, path: Path) -> None:
        [table] = [panel for panel in load(path)["panels"] if panel["type"] == "table"]
        properties = {
            override["matcher"]["options"]: {item["id"]: item["value"] for item in override["properties"]}
            for override in table["fieldConfig"]["overrides"]
        }
        assert properties["picture"]["custom.cellOptions"]["type"] == "image"
        assert properties["clip"]["links"][0]["url"] == "${__data.fields.clip_url}"


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
    assert provider["options"]["path"] == mounts["./grafana-provisioning/dashboards"]
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
