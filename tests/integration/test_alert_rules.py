"""Every alert rule with its part well, sick and dead, by promtool: a dead part has no series at all.

Grafana's rule becomes one of Prometheus (query, threshold, duration); time is promtool's, 26 hours in a second.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from services.motion.settings import MotionServiceSettings
from tests.programs import find_promtool

RULES_FILE = Path(__file__).resolve().parents[2] / "grafana-provisioning" / "alerting" / "alerts.json"
RULES = json.loads(RULES_FILE.read_text(encoding="utf-8"))["groups"][0]["rules"]
HOURS = 26
CHANGE_MIN = 25 * 60  # when something happens; looked at HOURS after the beginning
STEP_MIN = 2  # between two samples
Json = dict[str, Any]  # Any: promtool's file
Firing = set[tuple[str, str]]  # rule and the value of its label

GONE = "stale"
DUE = "clipwatch_classifier_due_ratio"
SERIES = {
    'up{service="motion",instance="10.0.0.2:8080"}': "1",
    'up{service="classifier",instance="10.0.0.3:8080"}': "1",
    'up{service="classifier",instance="10.0.0.4:8080"}': "1",
    'up{service="recorder",instance="10.0.0.5:8080"}': "1",
    'clipwatch_camera_up_ratio{service="motion",camera="gate"}': "1",
    'clipwatch_cameras_unheld{service="motion",instance="10.0.0.2:8080"}': "0",
    'clipwatch_cameras_unheld{service="motion",instance="10.0.0.6:8080"}': "0",
    'clipwatch_redis_connected_ratio{service="classifier",instance="10.0.0.3:8080"}': "1",
    'clipwatch_redis_connected_ratio{service="classifier",instance="10.0.0.4:8080"}': "1",
    'clipwatch_redis_connected_ratio{service="recorder"}': "1",
    'clipwatch_database_connected_ratio{service="recorder"}': "1",
    'clipwatch_classifier_due_ratio{service="recorder",instance="10.0.0.5:8080"}': "1",
    'clipwatch_classifier_due_ratio{service="recorder",instance="10.0.0.7:8080"}': "1",
    'clipwatch_stream_oldest_seconds{service="recorder",stream="snippets.v1"}': "0",
    'clipwatch_stream_dead_letters_entries{service="recorder",stream="snippets.v1"}': "0",
    'clipwatch_media_free_bytes{service="recorder"}': "1e10",
    'clipwatch_media_lost_total{service="recorder",reason="full"}': "0",
    'clipwatch_snippets_recorded_total{service="recorder"}': "0+1",
}


def of(service: str, value: str = GONE) -> dict[str, str]:
    """Return all series of a service, gone; `up` is `value`."""
    named = f'service="{service}"'
    return {name: value if name.startswith("up{") else GONE for name in SERIES if named in name}


def one(begin: str, value: str) -> dict[str, str]:
    found = [name for name in SERIES if name.startswith(begin)]
    assert found, begin
    return dict.fromkeys(found, value)


@dataclass(frozen=True)
class Case:
    """What becomes of the series, and what fires an hour later."""

    name: str
    changes: Mapping[str, str]
    firing: Firing
    series: Mapping[str, str] = field(default_factory=lambda: SERIES)
    hours: int = HOURS


CASES = [
    Case("all is well", {}, set()),
    *(
        Case(f"{service} {how}", of(service, up), {("clipwatch-service-down", service)})
        for service in ("motion", "classifier", "recorder")
        for how, up in (("is gone", GONE), ("does not answer", "0"))
    ),
    Case("no classifier is there, and none is due", of("classifier") | one(DUE, "0"), set()),
    Case(
        "no classifier answers, and none is due: one is being started",
        of("classifier", "0") | one(DUE, "0"),
        set(),
    ),
    Case(
        "a classifier is due again, and none was started",
        one(DUE, "1"),
        {("clipwatch-service-down", "classifier")},
        series={
            name: value for name, value in (SERIES | one(DUE, "0")).items() if name not in of("classifier")
        },
    ),
    Case(
        "one recorder of two says that a classifier is due",
        of("classifier") | one(DUE + '{service="recorder",instance="10.0.0.5', "0"),
        {("clipwatch-service-down", "classifier")},
    ),
    Case(
        "motion is gone while no classifier is due",
        of("motion") | one(DUE, "0"),
        {("clipwatch-service-down", "motion")},
    ),
    Case(
        "no recorder is there to say that no classifier is due",
        of("recorder") | of("classifier"),
        {("clipwatch-service-down", "recorder"), ("clipwatch-service-down", "classifier")},
        series=SERIES | one(DUE, "0"),
    ),
    Case(
        "all services are gone",
        dict.fromkeys(SERIES, GONE),
        {("clipwatch-service-down", name) for name in ("motion", "classifier", "recorder")},
    ),
    Case(
        "nothing was ever there",
        {},
        {("clipwatch-service-down", name) for name in ("motion", "classifier", "recorder")},
        series={},
    ),
    Case(
        "one classifier of two is gone",
        one('up{service="classifier",instance="10.0.0.4', GONE)
        | one('clipwatch_redis_connected_ratio{service="classifier",instance="10.0.0.4', GONE),
        {("clipwatch-replica-gone", "classifier")},
    ),
    Case(
        "Redis is gone",
        one("clipwatch_redis_connected_ratio", "0"),
        {("clipwatch-redis-away", "classifier"), ("clipwatch-redis-away", "recorder")},
    ),
    Case(
        "the database is gone",
        one("clipwatch_database_connected_ratio", "0"),
        {("clipwatch-database-away", "recorder")},
    ),
    Case("a camera is gone", one("clipwatch_camera_up_ratio", "0"), {("clipwatch-camera-away", "gate")}),
    Case(
        "one process of two sees that nobody reads two cameras",
        one('clipwatch_cameras_unheld{service="motion",instance="10.0.0.6', "2"),
        {("clipwatch-cameras-unheld", "")},
    ),
    Case("entries wait", one("clipwatch_stream_oldest_seconds", "300"), {("clipwatch-lag", "snippets.v1")}),
    Case(
        "an entry is dead",
        one("clipwatch_stream_dead_letters_entries", "1"),
        {("clipwatch-dead-letters", "snippets.v1")},
    ),
    Case("the disk is full", one("clipwatch_media_free_bytes", "1e9"), {("clipwatch-disk", "")}),
    Case("clips are lost", one("clipwatch_media_lost_total", "0+1"), {("clipwatch-clips-lost", "")}),
    Case(
        "nothing is recorded for a day",
        {},
        {("clipwatch-nothing-recorded", "")},
        series={**SERIES, 'clipwatch_snippets_recorded_total{service="recorder"}': "7"},
    ),
    Case(
        "nothing is recorded in the first hours",
        {},
        set(),
        series={**SERIES, 'clipwatch_snippets_recorded_total{service="recorder"}': "0"},
        hours=6,
    ),
]


def as_prometheus(rule: Json) -> Json:
    """Return Prometheus' form of a rule of Grafana."""
    query, threshold = rule["data"]
    [condition] = threshold["model"]["conditions"]
    sign = {"gt": ">", "lt": "<"}[condition["evaluator"]["type"]]
    return {
        "alert": rule["uid"],
        "expr": f"({query['model']['expr']}) {sign} {condition['evaluator']['params'][0]}",
        "for": rule["for"],
    }


def values(before: str, after: str | None) -> str:
    """Return a series' samples in promtool's notation."""
    n_before, n_after = CHANGE_MIN // STEP_MIN, (HOURS * 60 - CHANGE_MIN) // STEP_MIN
    if after is None:
        return f"{before}x{n_before + n_after}"
    return f"{before}x{n_before} " + (f"stale _x{n_after}" if after == GONE else f"{after}x{n_after}")


def as_promtool(case: Case) -> Json:
    labels = ("service", "camera", "stream")
    name_of = {uid: next((x for x in labels if f"by ({x})" in expr), "") for uid, expr in expressions()}
    expected: dict[str, list[Json]] = {rule["uid"]: [] for rule in RULES}
    for uid, label in sorted(case.firing):
        kept = {name_of[uid]: label} if label else {}
        expected[uid].append({"exp_labels": kept})
    return {
        "interval": f"{STEP_MIN}m",
        "input_series": [
            {"series": name, "values": values(value, case.changes.get(name))}
            for name, value in case.series.items()
        ],
        "alert_rule_test": [
            {"eval_time": f"{case.hours}h", "alertname": uid, "exp_alerts": alerts}
            for uid, alerts in expected.items()
        ],
    }


def expressions() -> list[tuple[str, str]]:
    return [(rule["uid"], rule["data"][0]["model"]["expr"]) for rule in RULES]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_fires_when(case: Case, tmp_path: Path) -> None:
    rules = {"groups": [{"name": "clipwatch", "interval": "5m", "rules": [as_prometheus(r) for r in RULES]}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "5m", "tests": [as_promtool(case)]}
    (tmp_path / "test.yml").write_text(json.dumps(test))
    done = subprocess.run(
        [find_promtool(), "test", "rules", "test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_fires_in_a_case() -> None:
    assert {uid for case in CASES for uid, _ in case.firing} == {rule["uid"] for rule in RULES}


def test_every_series_that_a_rule_asks_for_is_among_the_cases() -> None:
    asked = {name for _, expr in expressions() for name in SERIES if name.split("{")[0] in expr}
    assert asked == set(SERIES)


def test_a_takeover_after_a_kill_is_over_before_its_rule_fires() -> None:
    """The longest lease ends, and the settling rounds of another one have gone by."""
    longest_s = next(
        one.le for one in MotionServiceSettings.model_fields["camera_lease_s"].metadata if hasattr(one, "le")
    )
    [rule] = [rule for rule in RULES if rule["uid"] == "clipwatch-cameras-unheld"]
    assert 60 * int(rule["for"].removesuffix("m")) > 2 * longest_s


def test_only_the_rule_that_always_has_an_answer_takes_silence_for_an_alarm() -> None:
    """Silence of the others is a dead service, or a part that is not used."""
    states = {rule["uid"]: rule["noDataState"] for rule in RULES}
    assert {uid for uid, state in states.items() if state == "Alerting"} == {"clipwatch-service-down"}
    assert set(states.values()) == {"Alerting", "OK"}
