"""What the motion service counts. Labels: configured camera ids and reasons, both closed sets."""

from functools import partial

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class MotionMetrics:
    """Made once, by app.py."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self.up = gauge("clipwatch_camera_up_ratio", "1 while the camera delivers, else 0.", ["camera"])
        self.frames = counter("clipwatch_camera_frames_total", "Frames that were decoded.", ["camera"])
        self.skipped = counter(
            "clipwatch_camera_skipped_frames_total",
            "Frames that were not decoded: nothing moved (some are decoded later), or the detector did not want them.",
            ["camera"],
        )
        self.drops = counter(
            "clipwatch_camera_drops_total",
            "Frames, packets and snippets that were lost, by reason.",
            ["camera", "reason"],
        )
        self.events = counter("clipwatch_motion_events_total", "Events that were opened.", ["camera"])
        self.snippets = counter(
            "clipwatch_motion_snippets_total", "Snippets put into the outbox.", ["camera"]
        )
        self.camera_leases = gauge(
            "clipwatch_camera_leases", "Cameras that this process holds by leases; 0 without CAMERA_LEASES."
        )
        self.cameras_unheld = gauge(
            "clipwatch_cameras_unheld", "Cameras of the list that no process holds, as this one last saw it."
        )
        self.camera_lease_changes = counter(
            "clipwatch_camera_lease_changes_total",
            "Leases that came and went: claimed, given (to another process), lost (ran out, or taken over).",
            ["change"],
        )
        for change in ("claimed", "given", "lost"):
            self.camera_lease_changes.labels(change)
        self.reconnects = counter(
            "clipwatch_camera_reconnects_total", "Times a camera came back.", ["camera"]
        )
        self.outbox_entries = gauge("clipwatch_outbox_entries", "Snippets that wait on disk.")
        self.outbox_bytes = gauge("clipwatch_outbox_bytes", "What they take.")
        self.outbox_kept_entries = gauge(
            "clipwatch_outbox_kept_entries", "Snippets that Redis has, kept on disk until they are recorded."
        )
        self.outbox_kept_bytes = gauge("clipwatch_outbox_kept_bytes", "What those take.")
        self.outbox_uncovered = counter(
            "clipwatch_outbox_uncovered_entries_total",
            "Snippets in Redis that the disk had no room to keep until they are recorded.",
        )
        self.receipts = counter(
            "clipwatch_receipts_total",
            "Kept snippets that were let go, by why: recorded, dead (a dead letter), unanswered.",
            ["outcome"],
        )
        self.sent_again = counter(
            "clipwatch_snippets_sent_again_total",
            "Snippets that Redis lost before they were recorded, and was given again.",
        )
        self.outbox_broken = counter(
            "clipwatch_outbox_broken_entries_total", "Entries that the disk spoiled."
        )
        self.journals = counter(
            "clipwatch_journals_total", "Events taken up after a kill, by outcome.", ["outcome"]
        )
