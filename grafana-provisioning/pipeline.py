"""Dashboard Pipeline and the alert rules: what Prometheus knows. Knows the metrics' names.

Grafana reads rule files in JSON as well as in YAML. tests/integration/test_pipeline_queries.py runs every query.
"""

from __future__ import annotations

from dataclasses import dataclass

from model import METRICS, Json, annotation, dashboard, panel, promql, to_dashboards
from record import gap_marks, marks

UID = "clipwatch-pipeline"
ACCEPTED = "e.is_accepted = 1\n  AND $__timeFilter(e.started_at)"


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


SERVICES = ("motion", "classifier", "recorder")
ANSWERING = f'sum by (service) (up{{service=~"{"|".join(SERVICES)}"}})'
# A stopped container has no address, so Prometheus forgets it: it has no `up` of 0 either. Each service without a
# series counts as 0 here.
ANSWERING_OR_NONE = " or ".join(
    (ANSWERING, *(f'label_replace(vector(0), "service", "{name}", "", "")' for name in SERVICES))
)
# Where KEDA starts classifiers, none may be there on purpose: the recorder says whether one is due, by
# CLASSIFIER_START_S. Of several recorders one is enough that says so. While none answers, a classifier counts as due.
NOT_DUE = 'label_replace(max(clipwatch_classifier_due_ratio) == 0, "service", "classifier", "", "")'
MISSED = f"({ANSWERING_OR_NONE}) unless on (service) {NOT_DUE}"

GRAPHS = (
    Graph("Services that answer", "short", (("{{service}}", ANSWERING_OR_NONE),)),
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
        "Cameras by leases",
        "short",
        (
            ("{{instance}}", "sum by (instance) (clipwatch_camera_leases)"),
            ("read by no process", "max(clipwatch_cameras_unheld)"),
        ),
        "How several motion processes share the cameras; 0 without CAMERA_LEASES.",
    ),
    Graph(
        "Camera leases that came and went",
        "short",
        (
            (
                "{{change}}",
                "sum by (change) (increase(clipwatch_camera_lease_changes_total[$__rate_interval]))",
            ),
        ),
        "claimed; given to another process; lost: ran out, or taken over.",
    ),
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
        "GPU at work",
        "percentunit",
        (("{{instance}}", "max by (instance) (clipwatch_classifier_gpu_busy_ratio)"),),
        "Share of time in which it computed, for whomever. Empty without a GPU.",
    ),
    Graph(
        "Classifier at work",
        "percentunit",
        (
            (
                "{{instance}}",
                "max by (instance) (rate(clipwatch_classifier_forward_seconds_sum[$__rate_interval]))",
            ),
        ),
        "Share of time in which a replica's model computed, on a GPU or a CPU; near 1 it is the bottleneck.",
    ),
    Graph(
        "Precision by verdicts",
        "percentunit",
        (
            (
                "{{camera}}: {{label}}",
                'max by (camera, label) (clipwatch_precision_ratio{bound="estimate"})',
            ),
            (
                "{{camera}}: {{label}}, at least",
                'max by (camera, label) (clipwatch_precision_ratio{bound="low"})',
            ),
        ),
        "Share of the events with a label that are right, of the last 30 days, and the low end of its 95 % interval. "
        "From answers in checks only; empty without any.",
    ),
    Graph(
        "Missed events by verdicts",
        "short",
        (
            (
                "{{camera}}: {{label}}",
                'max by (camera, label) (clipwatch_missed_events{bound="estimate"})',
            ),
            (
                "{{camera}}: {{label}}, at most",
                'max by (camera, label) (clipwatch_missed_events{bound="high"})',
            ),
        ),
        "Events without a label that show it all the same, of the last 30 days, and the high end of its 95 % interval.",
    ),
    Graph(
        "Pictures the model looked at",
        "cps",
        (("all classifiers", "sum(rate(clipwatch_classifier_pictures_total[$__rate_interval]))"),),
    ),
)


def lines(number: int, graph: Graph) -> Json:
    """Return a panel, two in a row."""
    return panel(
        "timeseries",
        graph.title,
        (12 * (number % 2), 8 * (number // 2), 12, 8),
        [promql(expr, legend, chr(ord("A") + index)) for index, (legend, expr) in enumerate(graph.lines)],
        description=graph.description,
        defaults={"unit": graph.unit, "min": 0},
        options={
            "legend": {
                "showLegend": True,
                "displayMode": "list",
                "placement": "bottom",
                "calcs": ["lastNotNull"],
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    )


def pipeline_dashboard() -> Json:
    """Return the dashboard Pipeline."""
    return dashboard(
        UID,
        "Pipeline",
        "How clipwatch itself is doing.",
        [lines(number, graph) for number, graph in enumerate(GRAPHS)],
        links=[to_dashboards()],
        annotations=[
            annotation("Events", "light-blue", marks(ACCEPTED)),
            annotation("Gaps", "red", gap_marks("g.id IS NOT NULL")),
        ],
    )


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
    no_data: str = "OK"  # for what a dead service does not count: "Service down" says that


ALERTS = (
    Alert(
        "clipwatch-service-down",
        "Service down",
        MISSED,
        "lt",
        1,
        "2m",
        "No {{ $labels.service }} answers: docker compose ps -a, docker compose logs {{ $labels.service }}.",
        no_data="Alerting",
    ),
    Alert(
        "clipwatch-replica-gone",
        "Fewer replicas than before",
        f"max_over_time({ANSWERING}[1h:1m]) - ({ANSWERING} > 0)",
        "gt",
        0,
        "10m",
        "Fewer of {{ $labels.service }} answer than within the last hour. Ends by itself where that was meant.",
    ),
    Alert(
        "clipwatch-redis-away",
        "Redis away",
        "min by (service) (clipwatch_redis_connected_ratio)",
        "lt",
        1,
        "2m",
        "Redis does not answer {{ $labels.service }}: docker compose logs redis.",
    ),
    Alert(
        "clipwatch-database-away",
        "Database away",
        "min by (service) (clipwatch_database_connected_ratio)",
        "lt",
        1,
        "2m",
        "The database does not answer the {{ $labels.service }}, snippets wait in Redis: docker compose logs mysql.",
    ),
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
        "clipwatch-cameras-unheld",
        "Cameras that no process reads",
        # each process counts those of its own list, as it last saw it
        "max(clipwatch_cameras_unheld)",
        "gt",
        0,
        "5m",  # a handover takes seconds a camera, a takeover CAMERA_LEASE_S (60 at most) and a few rounds
        "For five minutes no motion process has read some of the cameras: start more, or raise CAMERA_LOAD_MAX; "
        "their logs name the cameras.",
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
        # only where something has been counting for a day
        "sum(increase(clipwatch_snippets_recorded_total[24h]))"
        ' and on () max_over_time(up{service="recorder"}[1h] offset 24h)',
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
        "noDataState": alert.no_data,
        "execErrState": "Error",
        "annotations": {"summary": alert.summary},
        "labels": {"app": "clipwatch"},
        "data": [
            {
                "refId": "A",
                "relativeTimeRange": {"from": 600, "to": 0},
                "datasourceUid": METRICS["uid"],
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
