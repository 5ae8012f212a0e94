"""The page's address in the dashboards: the installation's, and nothing that a viewer's URL or a reader could bend."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.grafana import DASHBOARDS, dashboards, load

ROOT = Path(__file__).parents[3]
START = ROOT / "deploy" / "grafana" / "start.sh"


def start(tmp_path: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Run start.sh with a Grafana that only says what it was given."""
    run = tmp_path / "run.sh"
    run.write_text('#!/bin/sh\necho "grafana $*"\n')
    run.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin",
        "PAGE_URL": address,
        "DASHBOARDS": str(ROOT / "grafana-provisioning" / "dashboards"),
        "DASHBOARDS_TARGET": str(tmp_path / "dashboards"),
        "GRAFANA_RUN": str(run),
    }
    return subprocess.run(["sh", START, "-x"], env=environment, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("uid", dashboards())
def test_no_variable_that_is_text_of_a_viewer_stands_in_a_query_or_a_link(uid: str) -> None:
    dashboard = dashboards()[uid]
    kinds = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert not [name for name, variable in kinds.items() if variable["type"] in ("textbox", "adhoc")]
    if "page" in kinds:
        assert kinds["page"]["type"] == "constant"
        assert kinds["page"]["hide"] == 2
        assert kinds["page"]["skipUrlSync"] is True
    assert "var-page" not in json.dumps(dashboard)
    assert "page:queryparam" not in json.dumps(dashboard)


@pytest.mark.parametrize(
    "address", ["http://clipwatch.lan:8080", "https://nas.example/cam/", "http://192.0.2.7"]
)
def test_the_start_puts_the_address_into_every_dashboard(tmp_path: Path, address: str) -> None:
    for _ in range(2):  # a container that starts again
        done = start(tmp_path, address)
        assert (done.returncode, done.stdout) == (0, "grafana -x\n"), done.stderr
    for path in DASHBOARDS:
        made = (tmp_path / "dashboards").joinpath(*path.parts[path.parts.index("dashboards") + 1 :])
        text = path.read_text().replace("http://127.0.0.1:8080", address.rstrip("/"))
        assert made.read_text() == text
        assert load(made)["uid"] == load(path)["uid"]


@pytest.mark.parametrize(
    "address",
    ["", "javascript:alert(1)", "ftp://a", "http://", "http://a' OR '1'='1", 'http://a"', "http://a|b", "http://a&b", "http://a\\"],
)  # fmt: skip
def test_what_could_end_a_text_of_sql_or_json_is_refused(tmp_path: Path, address: str) -> None:
    done = start(tmp_path, address)
    assert done.returncode == 2
    assert "PAGE_URL" in done.stderr
    assert not (tmp_path / "dashboards").exists()


def test_compose_gives_grafana_the_address_and_the_copied_dashboards() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    assert "PAGE_URL: ${PAGE_URL:-http://127.0.0.1:8080}" in compose
    assert 'entrypoint: ["sh", "/start/start.sh"]' in compose
    provider = (ROOT / "grafana-provisioning" / "dashboards" / "clipwatch.yml").read_text()
    assert re.search(r"path: /tmp/dashboards\b", provider)
