"""What every camera's worker does: it keeps packets, runs the detector, and has snippets made.

Each camera runs in threads of its own, so that it never delays another.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from services.motion.cameras.context import CameraContext
from services.motion.events.watcher import EventOpened, EventWatcher, SnippetRequest, WatcherOutput
from services.motion.media.frame import Frame
from services.motion.media.packets import Packet, StreamFacts
from services.motion.media.ring import PacketRing
from services.motion.snippets.maker import SnippetJob, SnippetMaker
from services.motion.sources.decode_policy import LONGEST_GROUP_S, DecodePolicy
from services.motion.sources.ffmpeg import FfmpegStream
from services.motion.sources.stream import ReadResult, SourceStream
from services.motion.spool.journal import Journal, JournalHeader
from services.motion.status import CameraStatus
from shared.cameras import LEAST_LOOKS_HZ, Camera
from shared.clock import WallClock, from_epoch_ms, uuid7
from shared.logs import get_logger

log = get_logger(__name__)


class CameraWorker:
    """One camera: start it, change its settings, stop it, ask whether it is done."""

    def __init__(self, camera: Camera, context: CameraContext, status: CameraStatus) -> None:
        self.camera = camera
        self.status = status
        self._context = context
        self.view = context.views.of(camera.id)
        self._stop = threading.Event()
        self._ring = PacketRing(_keep_s(camera), context.settings.ring_max_bytes)
        self._lock = threading.Lock()  # ring and journal change together
        self._journal: Journal | None = None
        self._is_journal_refused = False  # logged; the next one that can be written ends it
        self._maker = SnippetMaker(
            context.outbox,
            context.secret,
            status,
            is_lossless=camera.is_file,
            is_stopping=self._stop.is_set,
        )
        self._is_too_rare = False  # pictures come too rarely to tell motion
        self._policy: DecodePolicy | None = None  # of the detector's stream; None: all of it is decoded
        self._thread = threading.Thread(target=self._run, name=f"camera {camera.id}", daemon=True)
        self._clip_facts: StreamFacts | None = (
            None  # of the clips' stream, when motion is detected in another
        )
        self.on_end: Callable[[], None] = lambda: None
        self.is_broken = False  # ended by a bug; logged by shared/uncaught.py
        self._wall = WallClock()

    def start(self) -> None:
        self._thread.start()

    def change(self, camera: Camera) -> None:
        """Use other labels, thresholds and motion settings from the next frame and snippet on."""
        self.camera = camera
        self._ring.set_keep(_keep_s(camera))
        policy = self._policy
        if policy is not None:
            self._configure(policy)

    def stop(self) -> None:
        """Ask it to end: what an open event holds goes to the outbox."""
        self._stop.set()

    def join(self, within_s: float) -> bool:
        """Wait for its end; return whether it came."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        self.is_broken = True
        try:
            self._run_camera()
            self.is_broken = False
        finally:
            if self.is_broken:
                self.status.last_error = "a bug ended this camera, see the log"
                self.status.become("failed")
            self._maker.close(5.0)
            self.on_end()

    def _run_camera(self) -> None:
        raise NotImplementedError

    # -- packets, frames, what the watcher asks for

    def _keep(self, read: ReadResult) -> None:
        if read.packet is None:
            return
        with self._lock:
            lost = self._ring.append(read.packet)
            self._write_journal((read.packet,))
        if lost:
            self.status.drop("ring_full", lost)

    def _look(self, watcher: EventWatcher, frame: Frame) -> None:
        must_cut = self._ring.n_bytes > 0.6 * self._context.settings.ring_max_bytes
        outputs = watcher.detect(frame, self.camera, must_cut=must_cut, may_skip=not self.view.is_watched)
        if self._policy is not None:
            self._configure(self._policy)
            self._policy.note_frame(frame.t_s, is_busy=watcher.is_busy, is_sure=watcher.is_sure)
            for output in outputs:
                if isinstance(output, EventOpened):
                    self._policy.note_event(output.event_started_s, frame.t_s)
        self._handle(outputs, watcher)
        self._report_rate(watcher.too_rare_hz)
        self.view.show(frame, watcher.motion, watcher.scene)

    def _report_rate(self, too_rare_hz: float | None) -> None:
        """Report once that pictures come too rarely to tell motion, and once that they come often enough again."""
        if (too_rare_hz is not None) == self._is_too_rare:
            return
        self._is_too_rare = too_rare_hz is not None
        if too_rare_hz is None:
            self.status.message = ""
            log.info("pictures come often enough again", camera=self.camera.id)
            return
        self.status.message = (
            f"{too_rare_hz:.2g} pictures a second come, wanted {LEAST_LOOKS_HZ} at least to tell motion surely: "
            "raise the frame rate of the source"
        )
        log.warning(
            "pictures come too rarely to tell motion surely", camera=self.camera.id, why=self.status.message
        )

    def _peek(self, watcher: EventWatcher, frame: Frame) -> None:
        """Run the detector on a key frame of an idle camera; end the idling when it shows anything."""
        if self._policy is None:
            return
        self._configure(self._policy)
        if watcher.peek(frame, self.camera):
            self._policy.note_change()

    def _begin_policy(self, video: SourceStream) -> None:
        """Let an idler choose what is decoded, for streams of a kind that allows it."""
        self._policy = None
        if isinstance(video, FfmpegStream):
            self._policy = DecodePolicy(self.camera.id)
            self._configure(self._policy)
            video.policy = self._policy

    def _configure(self, policy: DecodePolicy) -> None:
        """Give an idler the settings of now: the user may have changed them, a viewer may have come."""
        policy.is_on = self._may_idle
        policy.period_s = 1 / self.camera.motion.detect_fps

    @property
    def _may_idle(self) -> bool:
        """Whether the user allows it and nobody watches: the live view shows every frame that the detector sees."""
        return self.camera.motion.idle == "auto" and not self.view.is_watched

    def _finish(self, watcher: EventWatcher | None, t_s: float) -> None:
        if watcher is not None:
            self._handle(watcher.finish(t_s, self.camera), watcher)
        self._ring.need_from(None)
        self.status.open_event = None

    def _handle(self, outputs: list[WatcherOutput], watcher: EventWatcher) -> None:
        for output in outputs:
            if isinstance(output, EventOpened):
                self._begin_event(output, watcher)
            else:
                self._request_snippet(output)
        self.status.open_event = watcher.event_id

    def _begin_event(self, opened: EventOpened, watcher: EventWatcher) -> None:
        self.status.n_events += 1
        self.status.metrics.events.labels(self.status.id).inc()
        log.info("event started", camera=self.camera.id, event_id=opened.event_id)
        self._ring.need_from(opened.starts_s)
        self._begin_journal(
            JournalHeader(
                opened.event_id,
                0,
                opened.event_started_s,
                opened.starts_s,
                self.camera,
                self._clip_facts or watcher.facts,
                opened.wall_offset_s,
            )
        )

    def _request_snippet(self, request: SnippetRequest) -> None:
        span = request.span
        packets = tuple(self._ring.between(span.starts_s, span.ends_s))
        journal = self._journal
        if span.is_last:
            log.info(
                "event ended", camera=self.camera.id, event_id=request.event_id, snippets=span.number + 1
            )
            self._ring.need_from(None)
            with self._lock:
                self._journal = None
        else:
            self._ring.need_from(span.ends_s)
            self._begin_journal(
                JournalHeader(
                    request.event_id,
                    span.number + 1,
                    span.event_started_s,
                    span.ends_s,
                    self.camera,
                    self._clip_facts or request.facts,
                    request.wall_offset_s,
                )
            )
        self._maker.take(SnippetJob(request, packets, journal, self._clip_facts))

    def _begin_journal(self, header: JournalHeader) -> None:
        """Write the packets of an event's next snippet to disk from now on. A finite file is read again instead."""
        if self.camera.is_file and not self.camera.loop:
            return
        with self._lock:
            self._journal = None
            try:
                self._journal = Journal(self._context.journals, header)
            except OSError as exc:
                self._journal_failed(exc)
                return
            self._write_journal(self._ring.between(header.starts_s, float("inf")))
            if self._is_journal_refused and self._journal.is_open:
                self._is_journal_refused = False
                log.info("journals can be written again", camera=self.camera.id)

    def _write_journal(self, packets: Sequence[Packet]) -> None:
        if self._journal is None:
            return
        try:
            self._journal.append(packets)
        except OSError as exc:
            self._journal_failed(exc)

    def _journal_failed(self, exc: OSError) -> None:
        if not self._is_journal_refused:
            log.warning(
                "the journal cannot be written, a kill would lose this event",
                camera=self.camera.id,
                error=exc,
            )
        self._is_journal_refused = True
        self.status.drop("journal")
        if self._journal is not None:
            self._journal.close()  # deleted with its snippet: left behind, it would end the event once more

    def _wait(self, seconds: float) -> None:
        """Wait, until the stop at most."""
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0 and not self._stop.is_set():
            self.status.beat()
            self._stop.wait(min(1.0, left_s))


def _keep_s(camera: Camera) -> float:
    """Return how many seconds of the past the ring holds.

    That is the pre-roll, what it takes to confirm motion and to run late, and a group of pictures that is decoded only
    once the key frame after it shows something.
    """
    return camera.motion.pre_roll_s + 5.0 + (LONGEST_GROUP_S if camera.motion.idle == "auto" else 0.0)


def random_event_id(event_started_s: float) -> str:
    """Return a new id for an event that began then."""
    return uuid7(from_epoch_ms(round(event_started_s * 1000)))
