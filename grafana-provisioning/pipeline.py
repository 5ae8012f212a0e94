"""Writes dashboards/pipeline/pipeline.json and alerting/alerts.json: what Prometheus knows. Knows the metrics' names.

    python grafana-provisioning/pipeline.py           write the files
    python grafana-provisioning/pipeline.py --check   exit 1 when a file is not what this would write

Grafana reads rule files in JSON as well as in YAML. tests/integration/test_pipeline_queries.py runs every query.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = {"type": "prometheus", "uid": "clipwatch-prometheus"}
UID = "clipwatch-pipeline"
Json = dict[str, Any]  # Any: Grafana's model is JSON


@dataclass(frozen=True, slots=True)
class Graph:
    """A panel of lines: pairs of legend and PromQL."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    description: str = ""


def _quantile(share: float) -> str:
    rate = "rate(clipwatch_record_latency_seconds_bucket[$__rate_interval])"
    return f"histogram_quantile({share}, sum by (le) ({rate}))"


GRAPHS = (
    Graph(
        "From the end of a clip to its row",
        "s",
        (("half of them", _quantile(0.5)), ("95 of 100", _quantile(0.95))),
        "Until the row is committed; recordings of files count as they are.",
    ),
    Graph(
        "Waiting in the queue",
        "short",
        (("{{stream}}", "max by (stream) (clipwatch_stream_waiting_entries)"),),
    ),
    Graph(
        "Age of what waits longest",
        "s",
        (("{{stream}}", "max by (stream) (clipwatch_stream_oldest_seconds)"),),
    ),
    Graph(
        "Dead letters", "short", (("{{stream}}", "max by (stream) (clipwatch_stream_dead_letters_entries)"),)
    ),
    Graph("Cameras that deliver", "short", (("{{camera}}", "max by (camera) (clipwatch_camera_up_ratio)"),)),
    Graph(
        "Dropped frames, by reason",
        "cps",
        (("{{reason}}", "sum by (reason) (rate(clipwatch_camera_drops_total[$__rate_interval]))"),),
    ),
    Graph(
        "Clips that were lost, by reason",
        "short",
        (("{{reason}}", "sum by (reason) (increase(clipwatch_media_lost_total[$__rate_interval]))"),),
    ),
    Graph(
        "Told",
        "short",
        (
            (
                "sent by {{channel}}",
                "sum by (channel) (increase(clipwatch_notices_sent_total[$__rate_interval]))",
            ),
            (
                "failed by {{channel}}: {{outcome}}",
                "sum by (channel, outcome) (increase(clipwatch_notice_failures_total[$__rate_interval]))",
            ),
        ),
    ),
    Graph("Free space for clips", "bytes", (("free", "min(clipwatch_media_free_bytes)"),)),
    Graph(
        "Processor time",
        "percentunit",
        (("{{service}}", "sum by (service) (rate(process_cpu_seconds_total[$__rate_interval]))"),),
        "1 is one core.",
    ),
    Graph(
        "GPU memory",
        "bytes",
        (("{{instance}} {{state}}", "max by (instance, state) (clipwatch_classifier_gpu_memory_bytes)"),),
        "Empty without a GPU.",
    ),
    Graph(
        "Pictures the model looked at",
        "cps",
        (("all classifiers", "sum(rate(clipwatch_classifier_pictures_total[$__rate_interval]))"),),
    ),
)


def panel(number: int, graph: Graph) -> Json:
    """Return a panel, two in a row."""
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": graph.title,
        "description": graph.description,
        "datasource": SOURCE,
        "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": SOURCE,
                "expr": expr,
                "legendFormat": legend,
                "editorMode": "code",
                "range": True,
            }
            for index, (legend, expr) in enumerate(graph.lines)
        ],
        "fieldConfig": {"defaults": {"unit": graph.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {
                "showLegend": True,
                "displayMode": "list",
                "placement": "bottom",
                "calcs": ["lastNotNull"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def dashboard() -> Json:
    """Return the dashboard Pipeline."""
    return {
        "uid": UID,
        "title": "Pipeline",
        "description": "How clipwatch itself is doing.",
        "tags": ["clipwatch"],
        "schemaVersion": 42,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-6h", "to": "now"},
        "timepicker": {},
        "refresh": "30s",
        "links": [],
        "annotations": {"list": []},
        "templating": {"list": []},
        "panels": [panel(number, graph) for number, graph in enumerate(GRAPHS)],
    }


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule: it fires when `expr` stays above (below) `limit` for `lasts`."""

    uid: str
    title: str
    expr: str
    kind: str  # gt or lt
    limit: float
    lasts: str
    summary: str


ALERTS = (
    Alert(
        "clipwatch-camera-away",
        "Camera away",
        "max by (camera) (clipwatch_camera_up_ratio)",
        "lt",
        1,
        "5m",
        "Camera {{ $labels.camera }} has delivered nothing for five minutes.",
    ),
    Alert(
        "clipwatch-lag",
        "Lag growing",
        "max by (stream) (clipwatch_stream_oldest_seconds)",
        "gt",
        120,
        "5m",
        "What waits longest in {{ $labels.stream }} is older than two minutes.",
    ),
    Alert(
        "clipwatch-dead-letters",
        "Dead letters",
        "max by (stream) (clipwatch_stream_dead_letters_entries)",
        "gt",
        0,
        "1m",
        "Entries of {{ $labels.stream }} could not be handled.",
    ),
    Alert(
        "clipwatch-disk",
        "Disk nearly full",
        "min(clipwatch_media_free_bytes)",
        "lt",
        2e9,
        "5m",
        "Less than 2 GB are free for clips; see docs/guide/retention.md.",
    ),
    Alert(
        "clipwatch-clips-lost",
        "Clips lost on a full disk",
        'sum(increase(clipwatch_media_lost_total{reason="full"}[10m]))',
        "gt",
        0,
        "0s",
        "Events are recorded without their clips: the disk is full.",
    ),
    Alert(
        "clipwatch-nothing-recorded",
        "Nothing recorded for a day",
        "sum(increase(clipwatch_snippets_recorded_total[24h]))",
        "lt",
        1,
        "1h",
        "No snippet was recorded in the last 24 hours.",
    ),
)


def rule(alert: Alert) -> Json:
    """Return a rule: query A, its last value, the threshold."""
    return {
        "uid": alert.uid,
        "title": alert.title,
        "condition": "C",
        "for": alert.lasts,
        "noDataState": "OK",
        "execErrState": "Error",
        "annotations": {"summary": alert.summary},
        "labels": {"app": "clipwatch"},
        "data": [
            {
                "refId": "A",
                "relativeTimeRange": {"from": 600, "to": 0},
                "datasourceUid": SOURCE["uid"],
                "model": {"refId": "A", "expr": alert.expr, "instant": True, "range": False},
            },
            {
                "refId": "C",
                "datasourceUid": "__expr__",
                "model": {
                    "refId": "C",
                    "type": "threshold",
                    "expression": "A",
                    "conditions": [{"evaluator": {"type": alert.kind, "params": [alert.limit]}}],
                },
            },
        ],
    }


def alerting() -> Json:
    """Return the rule file."""
    group = {
        "orgId": 1,
        "name": "clipwatch",
        "folder": "clipwatch",
        "interval": "1m",
        "rules": [rule(alert) for alert in ALERTS],
    }
    return {"apiVersion": 1, "groups": [group]}


def files() -> dict[Path, str]:
    """Return what the generated files hold."""
    return {
        path: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for path, content in (
            (HERE / "dashboards" / "pipeline" / "pipeline.json", dashboard()),
            (HERE / "alerting" / "alerts.json", alerting()),
        )
    }


def main(arguments: Sequence[str]) -> int:
    """Write or check; return the exit code."""
    stale = [
        path
        for path, text in files().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        if "--check" in arguments:
            print(f"{path.name} is not what pipeline.py writes: run python grafana-provisioning/pipeline.py")
        else:
            path.write_text(files()[path], encoding="utf-8")
            print(f"wrote {path.relative_to(HERE)}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
