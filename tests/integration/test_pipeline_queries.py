"""Every PromQL of the dashboard Pipeline and of the alert rules, on a real Prometheus.

It scrapes a real recorder, and what motion and the classifier export, from their own metric classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from services.classifier.metrics import ClassifierMetrics
from services.motion.metrics import MotionMetrics
from services.recorder.metrics import RecorderMetrics
from shared.contract import LABELS
from tests.integration.test_recorder_service import Recorder
from tests.servers import HOST, PrometheusServer, RedisServer, wait_until

PROVISIONING = Path(__file__).resolve().parents[2] / "grafana-provisioning"
Json = dict[str, Any]  # Any: Grafana's model is JSON


def load(name: str) -> Json:
    document: Json = json.loads((PROVISIONING / name).read_text(encoding="utf-8"))
    return document


PANELS = load("dashboards/pipeline/pipeline.json")["panels"]
RULES = load("alerting/alerts.json")["groups"][0]["rules"]
QUERIES = [
    *((f"{p['title']} {t['refId']}", t["expr"]) for p in PANELS for t in p["targets"]),
    *((rule["title"], rule["data"][0]["model"]["expr"]) for rule in RULES),
]


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
    start_prometheus: Callable[[dict[str, int]], PrometheusServer],
) -> Iterator[PrometheusServer]:
    folder = tmp_path_factory.mktemp("pipeline")
    redis_server.start()
    redis_server.clear()
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    motion, classifier = MotionMetrics(registry), ClassifierMetrics(registry)
    motion.up.labels("gate").set(0)
    motion.up.labels("yard").set(1)
    motion.drops.labels("gate", "late").inc()
    classifier.gpu_memory.labels("free").set(1)
    classifier.gpu_busy.set(0.5)
    judged = RecorderMetrics(registry)  # as a recorder that has verdicts
    for bound in ("low", "estimate", "high"):
        judged.precision.labels("gate", "a dog", bound).set(0.8)
        judged.missed_events.labels("gate", "a dog", bound).set(3)
    http, thread = start_http_server(0, HOST, registry)
    recorder = Recorder(folder, redis_server.url, f"sqlite:///{folder}/clipwatch.db")
    recorder.start()
    with redis.Redis.from_url(redis_server.url) as client:
        client.xadd(LABELS, {"broken": "entry"})
    server = start_prometheus({"recorder": recorder.port, "motion": http.server_port})
    yield server
    server.close()
    recorder.kill()
    http.shutdown()
    http.server_close()
    thread.join(10)


def ask(server: PrometheusServer, expr: str) -> list[Json]:
    """Return the series of an instant query, macros expanded as Grafana does."""
    said = server.get("/api/v1/query", {"query": expr.replace("$__rate_interval", "1m")})
    assert said["status"] == "success", said
    found: list[Json] = said["data"]["result"]
    return found


def check_answer(expr: str, answer: list[Json]) -> None:
    """Fail when a query gives no series, or its series lack a label that the query or its legend names."""
    assert answer, f"no series: {expr}"
    wanted = {name for match in re.findall(r"by \(([^)]*)\)", expr) for name in match.split(", ")} - {"le"}
    for series in answer:
        missing = wanted - series["metric"].keys()
        assert not missing, f"no label {sorted(missing)}: {expr}"


def check_legend(expr: str, legend: str) -> None:
    """Fail when a legend names a label that the query drops."""
    named = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))
    kept = {name for match in re.findall(r"by \(([^)]*)\)", expr) for name in match.split(", ")}
    assert named <= kept, f"the query drops {sorted(named - kept)}: {expr}"


def missing_metrics(server: PrometheusServer, exprs: Iterable[str]) -> set[str]:
    """Return the metrics that the queries name and nobody exports."""
    named = {name for expr in exprs for name in re.findall(r"\bclipwatch_\w+|\bprocess_\w+", expr)}
    return named - set(server.get("/api/v1/label/__name__/values", {})["data"])


NEEDS_NO_PAST = [
    (title, expr) for title, expr in QUERIES if " offset " not in expr
]  # see test_alert_rules.py


@pytest.mark.parametrize(("title", "expr"), NEEDS_NO_PAST, ids=[title for title, _ in NEEDS_NO_PAST])
def test_every_query_answers_with_series(prometheus: PrometheusServer, title: str, expr: str) -> None:
    wait_until(lambda: bool(ask(prometheus, expr)), 90, f"{title} has series")
    check_answer(expr, ask(prometheus, expr))


def test_every_metric_that_is_named_exists(prometheus: PrometheusServer) -> None:
    exprs = [expr for _, expr in QUERIES]
    wait_until(lambda: not missing_metrics(prometheus, exprs), 90, "all metrics were scraped")


def test_every_legend_names_labels_that_the_query_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            check_legend(target["expr"], target["legendFormat"])


def test_what_is_broken_is_found(prometheus: PrometheusServer) -> None:
    """Broken on purpose; docs/reference/dashboards.md lists these."""
    [expr] = [expr for title, expr in QUERIES if title == "Camera away"]
    wait_until(lambda: bool(ask(prometheus, expr)), 90, "the cameras were scraped")
    check_answer(expr, ask(prometheus, expr))
    assert missing_metrics(prometheus, [expr]) == set()
    gone = expr.replace("_up_ratio", "_upp_ratio")
    assert missing_metrics(prometheus, [gone]) == {"clipwatch_camera_upp_ratio"}
    with pytest.raises(AssertionError, match="no series"):
        check_answer(gone, ask(prometheus, gone))
    other = expr.replace("by (camera)", "by (cameras)")
    with pytest.raises(AssertionError, match=r"no label \['cameras'\]"):
        check_answer(other, ask(prometheus, other))
    with pytest.raises(AssertionError, match=r"the query drops \['name'\]"):
        check_legend(expr, "{{name}}")


def test_rules_fire_for_what_is_wrong(prometheus: PrometheusServer) -> None:
    rules = {rule["uid"]: rule["data"] for rule in RULES}

    def firing(uid: str) -> set[str]:
        query, threshold = rules[uid]
        [condition] = threshold["model"]["conditions"]
        limit = condition["evaluator"]["params"][0]
        is_above = condition["evaluator"]["type"] == "gt"
        found = ask(prometheus, query["model"]["expr"])
        return {
            next(iter(series["metric"].values()), "")
            for series in found
            if (float(series["value"][1]) > limit if is_above else float(series["value"][1]) < limit)
        }

    wait_until(lambda: firing("clipwatch-dead-letters") == {LABELS}, 90, "the dead letter is seen")
    wait_until(lambda: firing("clipwatch-camera-away") == {"gate"}, 90, "the camera is seen to be away")
    assert firing("clipwatch-clips-lost") == set()


def test_every_panel_asks_the_provisioned_source() -> None:
    text = (PROVISIONING / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    uids = {t["datasource"]["uid"] for p in PANELS for t in p["targets"]}
    uids |= {rule["data"][0]["datasourceUid"] for rule in RULES}
    assert uids == {"clipwatch-prometheus"}
    assert "uid: clipwatch-prometheus" in text
    assert load("dashboards/pipeline/pipeline.json")["uid"] == "clipwatch-pipeline"  # links hold it
    assert len({rule["uid"] for rule in RULES}) == len(RULES)
    assert {panel["fieldConfig"]["defaults"]["unit"] for panel in PANELS} <= {
        *("s", "short", "cps", "bytes", "percentunit"),
    }
