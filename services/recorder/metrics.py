"""What the recorder counts, for Prometheus."""

from __future__ import annotations

from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

LATENCY_S = (0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 30, 60, 120, 300, 900, 3600)


class RecorderMetrics:
    """The recorder's own metrics; StreamMetrics holds those of the queue."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        # One function because it is a list: a metric a statement, then the labels that are shown from the start.
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, buckets=LATENCY_S, registry=registry)
        self.events = counter("clipwatch_events_recorded_total", "Events of which a first row was made.")
        self.snippets = counter(
            "clipwatch_snippets_recorded_total",
            "Snippets committed: new, or again (delivered before, or labelled anew).",
            ["kind"],
        )
        self.latency = histogram(
            "clipwatch_record_latency_seconds",
            "From the end of a snippet's clip to its committed row; recordings of files count as they are.",
        )
        self.labelled_latency = histogram(
            "clipwatch_record_labelled_latency_seconds",
            "From the classifier's decision to the committed row.",
        )
        self.media_bytes = counter("clipwatch_media_written_bytes_total", "Bytes of clips kept.")
        self.media_lost = counter(
            "clipwatch_media_lost_total",
            "Snippets recorded without their clip: none (was never sent), gone, broken (or another snippet's), "
            "full (disk and queue had no room), refused (the disk will never take it).",
            ["reason"],
        )
        self.media_waiting = gauge(
            "clipwatch_media_waiting_clips",
            "Clips that wait in the queue because the disk does not take them; their events are recorded.",
        )
        self.closed = counter(
            "clipwatch_events_closed_quiet_total", "Events closed because no further snippet came."
        )
        self.weather = counter(
            "clipwatch_weather_fetches_total",
            "Requests to the weather provider: ok, none (it has no data), away, limited, refused, garbage.",
            ["outcome"],
        )
        self.weather_completed = counter(
            "clipwatch_weather_completed_events_total", "Events that were given their weather."
        )
        self.streams = gauge("clipwatch_page_streams_open", "Pages that follow the events now.")
        self.streams_dropped = counter(
            "clipwatch_page_streams_dropped_total",
            "Pages cut off: slow (did not read), full (too many).",
            ["reason"],
        )
        self.database_connected = gauge(
            "clipwatch_database_connected_ratio", "1 while the database answers, else 0."
        )
        self.classifier_due = gauge(
            "clipwatch_classifier_due_ratio",
            "1 while a classifier is to be there; 0 while CLASSIFIER_START_S says that one is started once a snippet "
            "waits, and none has waited for so long.",
        )
        self.classifier_due.set(1)  # until the queue was looked at
        self.removed = counter(
            "clipwatch_events_removed_total",
            "Events that retention removed: age, space (size or free disk space).",
            ["reason"],
        )
        self.media_free_bytes = gauge("clipwatch_media_free_bytes", "Free space where the media folder is.")
        self.orphans = counter(
            "clipwatch_media_orphans_removed_total",
            "Clips removed from the queue a day after their snippet went to the dead letters.",
        )
        self.totals_corrected = counter(
            "clipwatch_totals_corrected_total",
            "Sums of a day and camera that did not say what is recorded, and were counted anew.",
        )
        for reason in ("age", "space"):
            self.removed.labels(reason)
        self.notices_sent = counter(
            "clipwatch_notices_sent_total", "Notices that the other side has acknowledged.", ["channel"]
        )
        self.notice_failures = counter(
            "clipwatch_notice_failures_total",
            "Attempts that failed: away (nobody answers), refused (this notice was turned down).",
            ["channel", "outcome"],
        )
        self.notices_dropped = counter(
            "clipwatch_notices_dropped_total",
            "Notices given up because the other side did not take them within give_up_h.",
            ["channel"],
        )
        self.gaps_open = gauge(
            "clipwatch_gaps_open",
            "Gaps that last: cameras away, services gone, a full disk, targets that take no notice.",
            ["kind"],
        )
        self.logins = counter(
            "clipwatch_logins_total",
            "Logins: ok, wrong (name or password), limited (tried too often), busy (too many at once).",
            ["outcome"],
        )
        self.gaps_dropped = counter(
            "clipwatch_gaps_dropped_total",
            "Begins and ends of gaps that were not written: the database was away for too long.",
        )
        self.precision = gauge(
            "clipwatch_precision_ratio",
            "Share of a camera's events with a label that are right, of the last 30 days, by what people said of drawn "
            "ones: the estimate, and the low and high end of its 95 % interval.",
            ["camera", "label", "bound"],
        )
        self.missed_events = gauge(
            "clipwatch_missed_events",
            "Events without a label that show it all the same, of the last 30 days, estimated likewise.",
            ["camera", "label", "bound"],
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
        for outcome in ("ok", "wrong", "limited", "busy"):
            self.logins.labels(outcome)
        for kind in ("new", "again"):
            self.snippets.labels(kind)
