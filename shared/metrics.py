"""Prometheus metrics that every service has. Names: clipwatch_<what>_<unit>[_total]; labels from closed sets."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class ClockMetrics:
    """What is counted of the wall clock."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.steps = Counter(
            "clipwatch_clock_steps_total",
            "Times that the wall clock of this service was set by half a second or more: forward, back.",
            ["direction"],
            registry=registry,
        )
        for direction in ("forward", "back"):
            self.steps.labels(direction)


REFUSALS = (
    *(
        "host",
        "length",
        "no_rule",
        "id",
        "origin",
        "credentials",
        "no_credentials",
        "wrong_credentials",
        "limited",
    ),
    *(
        "permission",
        "content_type",
        "body",
        "json",
        "streams",
        "connections",
        "slow",
        "malformed",
        "starting",
        "other",
    ),
)


class HttpMetrics:
    """What is counted of the check before every HTTP app, and of its server."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.refused = Counter(
            "clipwatch_http_refused_total",
            "Requests and connections that were refused, by why.",
            ["reason"],
            registry=registry,
        )
        for reason in REFUSALS:
            self.refused.labels(reason)

    def count_refused(self, reason: str) -> None:
        self.refused.labels(reason if reason in REFUSALS else "other").inc()


class StreamMetrics:
    """What the consumer loop counts."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.settled = Counter(
            "clipwatch_stream_entries_settled_total",
            "Entries by how they ended: done, retry, dead, already (settled before, here or elsewhere).",
            ["stream", "outcome"],
            registry=registry,
        )
        self.batch = Histogram(
            "clipwatch_stream_batch_entries",
            "Entries handled together.",
            ["stream"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128),
            registry=registry,
        )
        self.handling = Histogram(
            "clipwatch_stream_handling_seconds",
            "Time from taking a batch to settling it.",
            ["stream"],
            buckets=SECONDS,
            registry=registry,
        )
        self.dead_dropped = Counter(
            "clipwatch_stream_dead_letters_dropped_total",
            "Dead letters dropped for newer ones: lost for good.",
            ["stream"],
            registry=registry,
        )
        self.connected = Gauge(
            "clipwatch_redis_connected_ratio", "1 while Redis answers, else 0.", registry=registry
        )
