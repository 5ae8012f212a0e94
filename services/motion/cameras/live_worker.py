"""Watches a camera on the network or a device, and connects again when it goes.

One thread reads: it may hang in the network, and is then left behind. The other runs the detector on the newest frame;
packets are kept meanwhile, so that a slow detector loses no picture of the clip.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

from services.motion.cameras.context import CameraContext
from services.motion.cameras.frame_slot import FrameSlot, PendingFrame
from services.motion.cameras.worker import CameraWorker, random_event_id
from services.motion.events.watcher import EventWatcher
from services.motion.media.frame import Frame
from services.motion.sources.live_source import ConnectionOptions, WhipIngest, open_live
from services.motion.sources.stream import SourceAway, SourceStream, measured
from services.motion.sources.webrtc.whip import WhipEndpoint
from services.motion.status import CameraStatus
from shared.cameras import Camera, kind_of, whip_token
from shared.logs import get_logger

log = get_logger(__name__)

RECONNECT_MIN_S = 0.5
MOST_LEFT_BEHIND = 3  # readers that hang in the network; no further one is started until one of them ends
UNDECODABLE_READS = 3  # times READ_S with packets but no frame, after which a stream is given up
WARM_UP_S = 1.0
REPLAY_WAIT_S = 5.0  # a frame that is decoded late waits this long for the detector, so that none is left out


class LiveWorker(CameraWorker):
    """A camera on the network or a device: connects, watches, and when the camera goes, waits and connects again."""

    def __init__(self, camera: Camera, context: CameraContext, status: CameraStatus) -> None:
        super().__init__(camera, context, status)
        self.endpoint: WhipEndpoint | None = None
        if kind_of(camera.url) == "whip":
            self.endpoint = WhipEndpoint(whip_token(camera.url), status.drop, context.settings.peer_network)
        self._readers: list[threading.Thread] = []
        self._detected_until_s = float("-inf")  # over all connections: a server may send what it sent before

    def _run_camera(self) -> None:
        try:
            self._keep_connected()
        finally:
            if self.endpoint is not None:
                self.endpoint.close()

    def _keep_connected(self) -> None:
        backoff_s = RECONNECT_MIN_S
        while not self._stop.is_set():
            while sum(reader.is_alive() for reader in self._readers) >= MOST_LEFT_BEHIND:
                self._stop.wait(1.0)  # without a beat: nobody knows whether a thread that hangs ever ends
                if self._stop.is_set():
                    return
            why, ran_s = self._session()
            if self._stop.is_set():
                break
            self._note_away(why)
            if ran_s > 10:
                backoff_s = RECONNECT_MIN_S
            self._wait(backoff_s * random.uniform(0.7, 1.3))  # noqa: S311  # jitter, no secret
            if self.endpoint is None:  # a publisher that comes again is not kept waiting
                backoff_s = min(backoff_s * 2, self._context.settings.reconnect_max_s)

    def _session(self) -> tuple[str, float]:
        """Connect and watch until the camera goes; return why it went, and how long it ran."""
        gone = threading.Event()  # set when nobody waits for the readers any more
        self._ring.clear()
        self._clip_facts = None
        camera, settings = self.camera, self._context.settings
        slot = self._start_reader(camera.detect_url or camera.url, gone, self._read)
        slots = [slot]
        if camera.detect_url:
            slots.append(self._start_reader(camera.url, gone, self._read_main))
        opened_by_s = time.monotonic() + settings.open_s + settings.read_s + 5
        watcher: EventWatcher | None = None
        began_s = last_s = None
        try:
            while not self._stop.is_set():
                self.status.beat()
                pending = slot.take(0.5)
                if (pending is None or len(slots) > 1) and (why := self._why_gone(slots, opened_by_s)):
                    return why, time.monotonic() - began_s if began_s else 0.0
                if pending is None:
                    continue
                if len(slots) > 1 and self._clip_facts is None:
                    self.status.drop("no_main_stream_yet")
                    continue
                last_s = pending.frame.t_s
                if began_s is None:
                    began_s = time.monotonic()
                    self._note_back(pending.video, last_s)
                watcher = self._watcher_of(pending, watcher)
                self._detect(pending, watcher)
            return "stopped", 0.0
        finally:
            gone.set()
            self._detected_until_s = max(self._detected_until_s, last_s or 0.0)
            self._finish(watcher, last_s or 0.0)

    def _watcher_of(self, pending: PendingFrame, watcher: EventWatcher | None) -> EventWatcher:
        """Return `watcher`, or a new one when the camera shows its first frame or another format."""
        frame, video = pending.frame, pending.video
        if watcher is not None and watcher.fits(frame):
            return watcher
        if watcher is not None:
            log.info("the camera changed its picture size", camera=self.camera.id)
            self._finish(watcher, frame.t_s)
            video.measure(frame)
            if self.camera.detect_url is None:
                self._ring.drop_before(frame.t_s)
        return EventWatcher(video.facts, random_event_id, WARM_UP_S, wall_offset_s=self._wall.offset_s)

    def _detect(self, pending: PendingFrame, watcher: EventWatcher) -> None:
        """Run the detector on a frame, unless it comes too soon or was seen before."""
        t_s = pending.frame.t_s
        is_known = pending.is_replay and t_s <= max(watcher.detected_s, self._detected_until_s)
        if pending.is_peek and watcher.detected_s > float("-inf"):
            self._peek(watcher, pending.frame)
        elif watcher.is_due(t_s) and not is_known:
            self._look(watcher, pending.frame)

    def _start_reader(
        self, url: str, gone: threading.Event, use: Callable[[SourceStream, FrameSlot, threading.Event], None]
    ) -> FrameSlot:
        """Open `url` and `use` it in a thread that may hang; return the slot that it fills."""
        slot = FrameSlot()
        reader = threading.Thread(
            target=self._run_reader, args=(url, slot, gone, use), name=f"read {self.camera.id}", daemon=True
        )
        self._readers = [*(known for known in self._readers if known.is_alive()), reader]
        reader.start()
        return slot

    def _why_gone(self, slots: Sequence[FrameSlot], opened_by_s: float) -> str | None:
        """Return why a reader is given up: it ended, or stands still. FFmpeg's own deadline took twice its time."""
        read_s = self._context.settings.read_s
        now_s = time.monotonic()
        for slot in slots:
            if slot.ended is not None:
                return slot.ended
            if now_s > (opened_by_s if slot.packet_s is None else slot.packet_s + read_s + 0.5):
                self.status.drop("reader_left_behind")
                return "no answer in time"
            if slot.frame_s is not None and now_s > slot.frame_s + UNDECODABLE_READS * read_s:
                self.status.drop("reader_left_behind")
                return "nothing of what the camera sends can be decoded"
        return None

    def _run_reader(
        self,
        url: str,
        slot: FrameSlot,
        gone: threading.Event,
        use: Callable[[SourceStream, FrameSlot, threading.Event], None],
    ) -> None:
        """Read packets until the camera goes, in a thread that may hang."""
        settings = self._context.settings
        video: SourceStream | None = None

        def wait_for_publisher() -> bool:
            slot.packet_s = time.monotonic()  # a publisher comes when it likes: this is no silence
            return not gone.is_set()

        try:
            limits = ConnectionOptions(settings.open_s, settings.read_s, self.camera.transport)
            video = open_live(url, limits, self.status.drop, WhipIngest(self.endpoint, wait_for_publisher))
            use(video, slot, gone)
            slot.end("the camera ended the stream")
        except SourceAway as exc:
            slot.end(str(exc))
        finally:
            if slot.ended is None:
                slot.end("the reader failed")
            if video is not None:
                video.close()

    def _read(self, video: SourceStream, slot: FrameSlot, gone: threading.Event) -> None:
        """Put the frames that the detector wants into `slot`; keep the packets when the clips are of this stream."""
        watch_due_s = 0.0
        is_gap = False
        self._begin_policy(video)
        for read in video.read():
            if gone.is_set():
                return
            slot.note(read)
            if self.camera.detect_url is None:
                self._keep(read)
            if read.is_skipped:
                self.status.skipped_frame()
                is_gap = True
            for frame in read.frames:
                self._count(frame, is_steady=not (is_gap or read.is_peek or read.is_replay))
                is_gap = False
                if frame.image.is_corrupt:
                    self.status.drop("corrupt_frame")
                    continue
                if read.is_peek:
                    slot.put(PendingFrame(frame, video, is_peek=True), REPLAY_WAIT_S)
                    continue
                if frame.t_s < watch_due_s - 0.004:
                    continue  # detect_fps: not wanted, so not a drop
                period_s = 1 / self.camera.motion.detect_fps
                watch_due_s = max(watch_due_s, frame.t_s - period_s) + period_s
                pending = PendingFrame(frame, video, is_replay=read.is_replay)
                if not slot.put(pending, REPLAY_WAIT_S if read.is_replay else 0.0):
                    self.status.drop("detector_busy")

    def _read_main(self, video: SourceStream, slot: FrameSlot, gone: threading.Event) -> None:
        """Keep the packets of the clips; decode only what it takes to know their size."""
        for read in video.read():
            if gone.is_set():
                return
            slot.note(read)
            self._keep(read)
            for frame in read.frames:
                facts = measured(video.facts, frame)
                if self._clip_facts is not None and self._clip_facts != facts:
                    raise SourceAway("the camera changed its main stream")
                video.only_keys = True
                self._clip_facts = facts

    def _count(self, frame: Frame, *, is_steady: bool) -> None:
        """Count a frame; `is_steady`: no frame between it and the last one was skipped."""
        status = self.status
        status.saw_frame()
        if is_steady and status.last_frame_s is not None and frame.t_s > status.last_frame_s:
            status.note_interval(frame.t_s - status.last_frame_s)
        status.last_frame_s = frame.t_s

    def _note_away(self, why: str) -> None:
        self.status.last_error = why
        if self.status.away_since_s is None:
            self.status.away_since_s = time.monotonic()
            log.warning("the camera is away, trying again", camera=self.camera.id, error=why)
        self.status.become("away")
        self.status.fps = 0.0
        self.status.last_frame_s = None

    def _note_back(self, video: SourceStream, first_frame_s: float) -> None:
        status = self.status
        if status.away_since_s is not None:
            status.metrics.reconnects.labels(self.camera.id).inc()
            log.info(
                "the camera is back",
                camera=self.camera.id,
                away_s=round(time.monotonic() - status.away_since_s, 1),
            )
        else:
            log.info(
                "the camera delivers",
                camera=self.camera.id,
                codec=video.facts.codec,
                size=f"{video.facts.width}x{video.facts.height}",
            )
        status.away_since_s = None
        facts = self._clip_facts or video.facts
        status.n_pixels = facts.width * facts.height
        status.fps = video.facts.frame_rate
        status.first_frame_s = first_frame_s
        status.become("running")
