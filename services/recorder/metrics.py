"""What the recorder counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

LATENCY_S = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600)


class RecorderMetrics:
    """The recorder's own metrics; StreamMetrics holds those of the queue."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.events = Counter(
            "clipwatch_events_recorded_total", "Events of which a first row was made.", registry=registry
        )
        self.snippets = Counter(
            "clipwatch_snippets_recorded_total",
            "Snippets committed: new, or again (delivered before, or labelled anew).",
            ["kind"],
            registry=registry,
        )
        self.latency = Histogram(
            "clipwatch_record_latency_seconds",
            "From the end of a snippet's clip to its committed row; recordings of files count as they are.",
            buckets=LATENCY_S,
            registry=registry,
        )
        self.labelled_latency = Histogram(
            "clipwatch_record_labelled_latency_seconds",
            "From the classifier's decision to the committed row.",
            buckets=LATENCY_S,
            registry=registry,
        )
        self.media_bytes = Counter(
            "clipwatch_media_written_bytes_total", "Bytes of clips kept.", registry=registry
        )
        self.media_lost = Counter(
            "clipwatch_media_lost_total",
            "Snippets recorded without their clip: none (was never sent), gone, broken (or another snippet's), "
            "full (disk and queue had no room), refused (the disk will never take it).",
            ["reason"],
            registry=registry,
        )
        self.media_waiting = Gauge(
            "clipwatch_media_waiting_clips",
            "Clips that wait in the queue because the disk does not take them; their events are recorded.",
            registry=registry,
        )
        self.closed = Counter(
            "clipwatch_events_closed_quiet_total",
            "Events closed because no further snippet came.",
            registry=registry,
        )
        self.weather = Counter(
            "clipwatch_weather_fetches_total",
            "Requests to the weather provider: ok, none (it has no data), away, limited, refused, garbage.",
            ["outcome"],
            registry=registry,
        )
        self.weather_completed = Counter(
            "clipwatch_weather_completed_events_total",
            "Events that were given their weather.",
            registry=registry,
        )
        self.streams = Gauge(
            "clipwatch_page_streams_open", "Pages that follow the events now.", registry=registry
        )
        self.streams_dropped = Counter(
            "clipwatch_page_streams_dropped_total",
            "Pages cut off: slow (did not read), full (too many).",
            ["reason"],
            registry=registry,
        )
        self.database_connected = Gauge(
            "clipwatch_database_connected_ratio", "1 while the database answers, else 0.", registry=registry
        )
        self.removed = Counter(
            "clipwatch_events_removed_total",
            "Events that retention removed: age, space (size or free disk space).",
            ["reason"],
            registry=registry,
        )
        self.media_free_bytes = Gauge(
            "clipwatch_media_free_bytes", "Free space where the media folder is.", registry=registry
        )
        self.orphans = Counter(
            "clipwatch_media_orphans_removed_total",
            "Clips removed from the queue a day after their snippet went to the dead letters.",
            registry=registry,
        )
        self.totals_corrected = Counter(
            "clipwatch_totals_corrected_total",
            "Sums of a day and camera that did not say what is recorded, and were counted anew.",
            registry=registry,
        )
        for reason in ("age", "space"):
            self.removed.labels(reason)
        self.notices_sent = Counter(
            "clipwatch_notices_sent_total",
            "Notices that the other side has acknowledged.",
            ["channel"],
            registry=registry,
        )
        self.notice_failures = Counter(
            "clipwatch_notice_failures_total",
            "Attempts that failed: away (nobody answers), refused (this notice was turned down).",
            ["channel", "outcome"],
            registry=registry,
        )
        self.notices_dropped = Counter(
            "clipwatch_notices_dropped_total",
            "Notices given up because the other side did not take them within give_up_h.",
            ["channel"],
            registry=registry,
        )
        self.gaps_open = Gauge(
            "clipwatch_gaps_open",
            "Gaps that last: cameras away, services gone, a full disk, targets that take no notice.",
            ["kind"],
            registry=registry,
        )
        self.gaps_dropped = Counter(
            "clipwatch_gaps_dropped_total",
            "Begins and ends of gaps that were not written: the database was away for too long.",
            registry=registry,
        )
        for channel in ("mqtt", "webhook"):
            self.notices_sent.labels(channel)
            self.notices_dropped.labels(channel)
            for outcome in ("away", "refused"):
                self.notice_failures.labels(channel, outcome)
        for reason in ("none", "gone", "broken", "full", "refused"):
            self.media_lost.labels(reason)
        for outcome in ("ok", "none", "away", "limited", "refused", "garbage"):
            self.weather.labels(outcome)
        for kind in ("new", "again"):
            self.snippets.labels(kind)
