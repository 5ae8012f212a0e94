"""What the motion service counts. Labels: configured camera ids and reasons, both closed sets."""

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class MotionMetrics:
    """Made once, by app.py."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.up = Gauge(
            "clipwatch_camera_up_ratio", "1 while the camera delivers, else 0.", ["camera"], registry=registry
        )
        self.frames = Counter(
            "clipwatch_camera_frames_total", "Frames that were decoded.", ["camera"], registry=registry
        )
        self.skipped = Counter(
            "clipwatch_camera_skipped_frames_total",
            "Frames that were not decoded: nothing moved (some are decoded later), or no look wanted them.",
            ["camera"],
            registry=registry,
        )
        self.drops = Counter(
            "clipwatch_camera_drops_total",
            "Frames, packets and snippets that were lost, by reason.",
            ["camera", "reason"],
            registry=registry,
        )
        self.events = Counter(
            "clipwatch_motion_events_total", "Events that were opened.", ["camera"], registry=registry
        )
        self.snippets = Counter(
            "clipwatch_motion_snippets_total", "Snippets put into the outbox.", ["camera"], registry=registry
        )
        self.reconnects = Counter(
            "clipwatch_camera_reconnects_total", "Times a camera came back.", ["camera"], registry=registry
        )
        self.outbox_entries = Gauge(
            "clipwatch_outbox_entries", "Snippets that wait on disk.", registry=registry
        )
        self.outbox_bytes = Gauge("clipwatch_outbox_bytes", "What they take.", registry=registry)
        self.outbox_kept_entries = Gauge(
            "clipwatch_outbox_kept_entries",
            "Snippets that Redis has, kept on disk until they are recorded.",
            registry=registry,
        )
        self.outbox_kept_bytes = Gauge("clipwatch_outbox_kept_bytes", "What those take.", registry=registry)
        self.outbox_uncovered = Counter(
            "clipwatch_outbox_uncovered_entries_total",
            "Snippets in Redis that the disk had no room to keep until they are recorded.",
            registry=registry,
        )
        self.receipts = Counter(
            "clipwatch_receipts_total",
            "Kept snippets that were let go, by why: recorded, dead (a dead letter), unanswered.",
            ["outcome"],
            registry=registry,
        )
        self.sent_again = Counter(
            "clipwatch_snippets_sent_again_total",
            "Snippets that Redis lost before they were recorded, and was given again.",
            registry=registry,
        )
        self.outbox_broken = Counter(
            "clipwatch_outbox_broken_entries_total", "Entries that the disk spoiled.", registry=registry
        )
        self.journals = Counter(
            "clipwatch_journals_total",
            "Events taken up after a kill, by outcome.",
            ["outcome"],
            registry=registry,
        )
