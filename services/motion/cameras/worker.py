"""Runs one camera in threads of its own, so that it never delays another: a file, or a camera on the network.

A file is read by one thread, in order and without loss, so that reading it again gives the same snippets. A network
camera has a thread that reads (it may hang in the network; it is then left behind) and one that looks at the newest
frame; packets are kept meanwhile, so a late look loses no picture of the clip.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from services.motion.detection.baseline import start_from
from services.motion.detection.values import DetectorState, Gray
from services.motion.events.watcher import EventOpened, EventWatcher, Scaler, SnippetRequest, WatcherOutput
from services.motion.live.latest import LiveViews
from services.motion.media.frame import Frame
from services.motion.media.packets import Packet, StreamFacts
from services.motion.media.ring import PacketRing
from services.motion.settings import MotionServiceSettings
from services.motion.snippets.maker import SnippetJob, SnippetMaker
from services.motion.sources.file import open_file
from services.motion.sources.folder import FolderFiles, Identity, identity_of
from services.motion.sources.idle import LONGEST_GROUP_S, Idler
from services.motion.sources.live_source import Limits, Visit, open_live
from services.motion.sources.probe import probe, videos_in
from services.motion.sources.timing import HOLE_S, LONGEST_HOLE_S, Hole
from services.motion.sources.video import Read, SourceAway, Stream, Video, measured
from services.motion.sources.webrtc.whip import Door
from services.motion.spool.folder import is_short_of_means
from services.motion.spool.journal import Journal, JournalHeader
from services.motion.spool.outbox import Outbox
from services.motion.spool.recordings import Recording
from services.motion.status import CameraStatus
from shared.cameras import LEAST_LOOKS_HZ, Camera, kind_of, whip_token
from shared.clock import WallClock, from_epoch_ms, steady_s, uuid7
from shared.errors import ConfigError
from shared.logs import get_logger

log = get_logger(__name__)

RECONNECT_MIN_S = 0.5
MOST_LEFT_BEHIND = 3  # readers that hang in the network; no further one is started until one of them ends
UNDECODABLE_READS = 3  # times READ_S with packets but no frame, after which a stream is given up
WARM_UP_S = 1.0
TRUNCATED_S = 1.0
REPLAY_WAIT_S = 5.0  # a frame that is decoded late waits this long for the detector, so that none is left out
LOOK_AHEAD_FRAMES = 20
REPLACED_S = 5.0  # a looped file that cannot be used any more is tried again so much later
LOOK_S = 1.0  # how often a folder is looked into while there is nothing to read
LONGEST_PAUSE_S = 5.0  # more than a group of pictures of which the key frames alone are decoded
MOST_KEYS_AHEAD = 40  # of a file whose every frame is a key frame all frames are as cheap


@dataclass(frozen=True, slots=True)
class LookAhead:
    """Which frames of a file's first `length_s` are looked at before it is played."""

    length_s: float
    only_keys: bool


KEYS_AHEAD, FRAMES_AHEAD = LookAhead(12.0, only_keys=True), LookAhead(4.0, only_keys=False)


@dataclass(frozen=True, slots=True)
class CameraContext:
    """What all cameras of the process share."""

    settings: MotionServiceSettings
    outbox: Outbox
    secret: bytes
    journals: Path
    views: LiveViews = field(default_factory=LiveViews)


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
        self._is_journal_refused = False  # told; the next one that can be written ends it
        self._maker = SnippetMaker(
            context.outbox,
            context.secret,
            status,
            is_lossless=camera.is_file,
            is_stopping=self._stop.is_set,
        )
        self._is_too_rare = False  # pictures come too rarely to tell motion
        self._idler: Idler | None = None  # of the stream that is looked at; None: all of it is decoded
        self._thread = threading.Thread(target=self._run, name=f"camera {camera.id}", daemon=True)
        self._clip_facts: StreamFacts | None = (
            None  # of the clips' stream, when motion is looked for in another
        )
        self.on_end: Callable[[], None] = lambda: None
        self.is_broken = False  # ended by a bug; logged by threading.excepthook
        self._wall = WallClock()

    def start(self) -> None:
        self._thread.start()

    def change(self, camera: Camera) -> None:
        """Take other labels, thresholds and motion settings, from the next frame and snippet on."""
        self.camera = camera
        self._ring.set_keep(_keep_s(camera))
        idler = self._idler
        if idler is not None:
            self._tell(idler)

    def stop(self) -> None:
        """Ask it to end: an open event is cut into the outbox."""
        self._stop.set()

    def join(self, within_s: float) -> bool:
        """Wait for its end; tell whether it came."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def _run(self) -> None:
        self.is_broken = True
        try:
            self._work()
            self.is_broken = False
        finally:
            if self.is_broken:
                self.status.last_error = "a bug ended this camera, see the log"
                self.status.become("failed")
            self._maker.close(5.0)
            self.on_end()

    def _work(self) -> None:
        raise NotImplementedError

    # -- packets, frames, orders

    def _keep(self, read: Read) -> None:
        if read.packet is None:
            return
        with self._lock:
            lost = self._ring.append(read.packet)
            self._write_journal((read.packet,))
        if lost:
            self.status.drop("ring_full", lost)

    def _look(self, watcher: EventWatcher, frame: Frame) -> None:
        must_cut = self._ring.n_bytes > 0.6 * self._context.settings.ring_max_bytes
        outputs = watcher.look(frame, self.camera, must_cut=must_cut, may_rest=not self.view.is_watched)
        if self._idler is not None:
            self._tell(self._idler)
            self._idler.saw(frame.t_s, is_busy=watcher.is_busy, is_sure=watcher.is_sure)
            for output in outputs:
                if isinstance(output, EventOpened):
                    self._idler.opened(output.event_started_s, frame.t_s)
        self._execute(outputs, watcher)
        self._judge_rate(watcher.too_rare_hz)
        self.view.show(frame, watcher.motion, watcher.scene)

    def _judge_rate(self, too_rare_hz: float | None) -> None:
        """Say once that pictures come too rarely to tell motion, and once that they come often enough again."""
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
        """Look at a key frame for which the camera was not woken."""
        if self._idler is None:
            return
        self._tell(self._idler)
        if watcher.peek(frame, self.camera):
            self._idler.notice()

    def _begin_idling(self, video: Stream) -> None:
        """Let an idler choose what of `video` is decoded, if it is of a kind that allows it."""
        self._idler = None
        if isinstance(video, Video):
            self._idler = Idler(self.camera.id)
            self._tell(self._idler)
            video.idler = self._idler

    def _tell(self, idler: Idler) -> None:
        """Tell an idler what is wanted now: the user may have changed it, somebody may have begun to watch."""
        idler.is_on = self._may_idle
        idler.period_s = 1 / self.camera.motion.detect_fps

    @property
    def _may_idle(self) -> bool:
        """Whether the user wants it, and nobody watches: the live view shows every look."""
        return self.camera.motion.idle == "auto" and not self.view.is_watched

    def _finish(self, watcher: EventWatcher | None, t_s: float) -> None:
        if watcher is not None:
            self._execute(watcher.finish(t_s, self.camera), watcher)
        self._ring.need_from(None)
        self.status.open_event = None

    def _execute(self, outputs: list[WatcherOutput], watcher: EventWatcher) -> None:
        for output in outputs:
            if isinstance(output, EventOpened):
                self._open(output, watcher)
            else:
                self._make(output)
        self.status.open_event = watcher.event_id

    def _open(self, opened: EventOpened, watcher: EventWatcher) -> None:
        self.status.n_events += 1
        self.status.metrics.events.labels(self.status.id).inc()
        log.info("event started", camera=self.camera.id, event_id=opened.event_id)
        self._ring.need_from(opened.starts_s)
        if self._is_journaled:
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

    def _make(self, request: SnippetRequest) -> None:
        piece = request.piece
        packets = tuple(self._ring.between(piece.starts_s, piece.ends_s))
        done = self._journal
        if piece.is_last:
            log.info(
                "event ended", camera=self.camera.id, event_id=request.event_id, snippets=piece.number + 1
            )
            self._ring.need_from(None)
            with self._lock:
                self._journal = None
        else:
            self._ring.need_from(piece.ends_s)
            if self._is_journaled:
                self._begin_journal(
                    JournalHeader(
                        request.event_id,
                        piece.number + 1,
                        piece.event_started_s,
                        piece.ends_s,
                        self.camera,
                        self._clip_facts or request.facts,
                        request.wall_offset_s,
                    )
                )
        self._maker.take(SnippetJob(request, packets, done, self._clip_facts))

    @property
    def _is_journaled(self) -> bool:
        return not (self.camera.is_file and not self.camera.loop)

    def _begin_journal(self, header: JournalHeader) -> None:
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
            self._journal.close()  # it goes with its snippet: left behind, it would end the event once more


class FileWorker(CameraWorker):
    """A recording. `recording` is None when it is looped: it then plays the part of a live camera."""

    def __init__(
        self, camera: Camera, context: CameraContext, status: CameraStatus, recording: Recording | None
    ) -> None:
        super().__init__(camera, context, status)
        self._recording = recording
        self._url = camera.url
        self._holes: deque[Hole] = deque()  # of what is read now; those that no frame has passed yet
        self._closed_s = 0.0

    def _work(self) -> None:
        self.status.is_file = True
        if self._recording is not None and self._recording.is_finished:
            self.status.message = "was read to its end before"
            self.status.become("ended")
        elif self._read_file(repeats=self._recording is None):
            self.status.become("ended")

    def _read_file(self, *, repeats: bool) -> bool:
        """Read the file once, or again and again until the stop; return whether it was read to its end."""
        recording = self._recording
        if not self._can_be_used():
            return False
        n_plays = 0
        starts_s = recording.starts_s if recording else steady_s()
        if recording:
            self._mark(recording.begin)
        while not self._stop.is_set():
            try:
                ends_s = self._play(starts_s)
            except (ConfigError, SourceAway) as exc:
                if is_short_of_means(exc) and self._can_be_used():
                    continue
                self._failed(str(exc))
                if not (repeats and n_plays):
                    return False
                self._pause(REPLACED_S)  # it could be used before: somebody replaces it
                starts_s = max(starts_s, steady_s())
                continue
            if self._stop.is_set():
                break
            n_plays += 1
            if recording is not None:
                self._mark(recording.finish)
                log.info("file read to its end", camera=self.camera.id, message=self.status.message or None)
            if not repeats:
                return True
            starts_s = ends_s if self.camera.pace == "fast" else max(ends_s, steady_s() - 1.0)
        return False

    def _can_be_used(self) -> bool:
        """Probe the file and say what is wrong with it; wait while it is the machine that cannot open it."""
        is_told = False
        while not self._stop.is_set():
            self.status.beat()
            try:
                probe(Path(self._url))
            except ConfigError as exc:
                if not is_short_of_means(exc):
                    self._failed(str(exc))
                    return False
                self.status.message = str(exc)
                if not is_told:
                    log.warning("the file cannot be opened now", camera=self.camera.id, error=str(exc))
                is_told = True
                self._stop.wait(1.0)
                continue
            if is_told:
                self.status.message = ""
                log.info("the file can be opened again", camera=self.camera.id)
            return True
        return False

    def _mark(self, write: Callable[[], None]) -> None:
        """Write a mark of the recording; wait while the disk does not take it. Stopped meanwhile it stays unwritten,
        and the file is read again, with the same ids.
        """
        refused_since_s: float | None = None
        while not self._stop.is_set():
            self.status.beat()
            try:
                write()
            except OSError as exc:
                if refused_since_s is None:
                    refused_since_s = time.monotonic()
                    self.status.message = f"waits for the disk: {exc.strerror}"
                    log.warning("the mark of a file cannot be written", camera=self.camera.id, error=exc)
                self._stop.wait(1.0)
                continue
            if refused_since_s is not None:
                self.status.message = ""
                refused_s = round(time.monotonic() - refused_since_s, 1)
                log.info("the mark of a file is written", camera=self.camera.id, refused_s=refused_s)
            return

    def _pause(self, seconds: float) -> None:
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0 and not self._stop.is_set():
            self.status.beat()
            self._stop.wait(min(1.0, left_s))

    def _failed(self, message: str) -> None:
        self.status.last_error = self.status.message = message
        self.status.become("failed")
        log.error("the file cannot be used", camera=self.camera.id, error=message)

    def _play(self, starts_s: float) -> float:
        """Read the file once; return when it ended, epoch seconds."""
        is_hurried = self.camera.pace == "fast"
        self._holes.clear()
        self._closed_s = 0.0
        video = open_file(
            self._url,
            starts_s,
            self.status.drop,
            is_hurried=is_hurried,
            longest_hole_s=LONGEST_HOLE_S
            if self._recording
            else HOLE_S,  # looped, it is as late as it is now
            on_hole=self._note_hole,
        )
        self._begin_idling(video)
        self.status.duration_s = video.duration_s
        self._ring.clear()
        watcher: EventWatcher | None = None
        pace = Pace(starts_s, time.monotonic())
        last_s = starts_s
        n_frames = 0
        try:
            for read in video.read():
                self._keep(read)
                if read.is_skipped and read.packet is not None:
                    self.status.skipped_frame()
                    self.status.beat()
                    last_s = max(last_s, read.packet.t_s)  # the file goes on, though nobody looks
                for frame in read.frames:
                    if self._stop.is_set():
                        break
                    if read.is_replay and watcher is not None and frame.t_s <= watcher.looked_s:
                        continue  # looked at before it slept, or as a key frame
                    self._pass_holes(watcher, frame.t_s, last_s)
                    if self.camera.pace == "realtime":
                        pace.wait(frame.t_s, self._stop, self.status.beat)
                    last_s = max(last_s, frame.t_s)
                    n_frames += 1
                    if read.is_peek and watcher is not None and watcher.fits(frame):
                        self._saw_file_frame(frame, starts_s)
                        self._peek(watcher, frame)
                        continue
                    watcher = self._see(watcher, video, frame, starts_s)
                if self._stop.is_set():
                    break
        except SourceAway as exc:
            self.status.last_error = str(exc)
        finally:
            if not (self._stop.is_set() and self._recording is not None):
                self._finish(watcher, last_s + 1 / video.facts.frame_rate)
            else:
                self._abandon()
            video.close()
        if n_frames == 0 and not self._stop.is_set():
            raise ConfigError(f"{self._url}: no frame of it can be decoded")
        ends_s = last_s + 1 / video.facts.frame_rate
        if not self._stop.is_set():
            self._judge_end(ends_s - starts_s + self._closed_s, video.duration_s)
        return ends_s

    def _note_hole(self, hole: Hole) -> None:
        self._holes.append(hole)
        self._closed_s += hole.closed_s

    def _pass_holes(self, watcher: EventWatcher | None, t_s: float, last_s: float) -> None:
        """End the event and forget the packets before a hole that the frame of `t_s` lies behind."""
        while self._holes and t_s >= self._holes[0].t_s - 1e-6:
            hole = self._holes.popleft()
            log.debug("a hole in the recording", camera=self.camera.id, closed_s=round(hole.closed_s, 3))
            if watcher is None:
                continue
            self._execute(watcher.pass_hole(last_s, hole.t_s, self.camera), watcher)
            self._ring.need_from(None)
            self._ring.drop_before(hole.t_s)

    def _see(self, watcher: EventWatcher | None, video: Video, frame: Frame, starts_s: float) -> EventWatcher:
        if watcher is None or not watcher.fits(frame):
            if watcher is not None:
                self._finish(watcher, frame.t_s)
                video.measure(frame)
                self._ring.drop_before(frame.t_s)
            state = self._look_ahead(frame.t_s) if watcher is None else None
            watcher = EventWatcher(
                video.facts, self._event_id, state=state, wall_offset_s=self._wall_offset_s
            )
            self.status.fps = video.facts.frame_rate
            self.status.become("running")
        self._saw_file_frame(frame, starts_s)
        if watcher.is_due(frame.t_s):
            if self.camera.pace == "fast":
                self._maker.wait_for_room()
            self._look(watcher, frame)
        return watcher

    def _saw_file_frame(self, frame: Frame, starts_s: float) -> None:
        self.status.saw_frame()
        self.status.beat()
        self.status.position_s = frame.t_s - starts_s

    def _look_ahead(self, starts_s: float) -> DetectorState | None:
        """Read the first seconds once more for a baseline, so that motion in the first frame is not lost.

        Key frames alone tell as much for a sixth of the decoding, where they come often enough.
        """
        for way in (KEYS_AHEAD, FRAMES_AHEAD):
            planes = self._planes_ahead(starts_s, way)
            state = start_from(planes, starts_s, self.camera.motion.gaussian_ksize)
            if state is not None or self._stop.is_set():
                return state
        return None

    def _planes_ahead(self, starts_s: float, way: LookAhead) -> list[Gray]:
        video = open_file(self._url, starts_s, lambda _reason: None)
        video.only_keys = way.only_keys
        video.codec_context.thread_count = 1 if way.only_keys else 0  # nothing is left in threads at the end
        scaler = Scaler()
        planes: list[Gray] = []
        due_s = starts_s
        n_frames = 0
        try:
            for read in video.read():
                for frame in read.frames:
                    if frame.t_s >= due_s:
                        planes.append(scaler.luma_plane(frame))
                        due_s = frame.t_s + way.length_s / LOOK_AHEAD_FRAMES
                n_frames += len(read.frames)
                if len(planes) >= LOOK_AHEAD_FRAMES or self._stop.is_set():
                    break
                if way.only_keys and (n_frames > MOST_KEYS_AHEAD or _is_later(read, starts_s + way.length_s)):
                    break
        except SourceAway:
            return []
        finally:
            video.close()
        return planes

    def _event_id(self, event_started_s: float) -> str:
        if self._recording is not None:
            return self._recording.event_id(event_started_s)
        return uuid7(from_epoch_ms(round(event_started_s * 1000)))

    def _wall_offset_s(self) -> float:
        """A recording has the times that it has; one that is looped plays now."""
        return 0.0 if self._recording is not None else self._wall.offset_s()

    def _abandon(self) -> None:
        """Leave an open event of a finite file alone: it is read again from its start."""
        self._ring.need_from(None)
        self.status.open_event = None

    def _judge_end(self, read_s: float, claimed_s: float | None) -> None:
        if claimed_s is None or read_s >= claimed_s - max(TRUNCATED_S, 0.02 * claimed_s):
            return
        self.status.is_truncated = True
        self.status.message = f"ends at {read_s:.1f} s of {claimed_s:.1f} s"
        log.warning("the file is cut off", camera=self.camera.id, message=self.status.message)


class FolderWorker(FileWorker):
    """A folder of recordings, read in the order of their names, each as a file of its own: marked when it is read
    (not looped), left out when it cannot be used.

    What is added or changed later is read as well, once it is whole; only a service that ends when all is read
    (`exit_when_done`) takes what is there at the start as it is.
    """

    def __init__(
        self,
        camera: Camera,
        context: CameraContext,
        status: CameraStatus,
        find: Callable[[Camera], Recording | None],
    ) -> None:
        super().__init__(camera, context, status, None)
        self._find = find
        self._is_followed = camera.loop or not context.settings.exit_when_done
        self._files = FolderFiles(camera.loop)
        if not self._is_followed:
            self._files.settle_s = 0.0
        self._next_at = camera.starts_at  # when the next file is taken to begin
        self._why_bad = ""
        self._is_readable = True

    def _work(self) -> None:
        self.status.is_file = True
        while not self._stop.is_set():
            n_read = self._read_folder()
            if self._stop.is_set():
                return
            self._conclude()
            if not self._is_followed:
                return
            if not n_read:
                self._pause(LOOK_S)

    def _read_folder(self) -> int:
        """Read what is whole and not read yet; return how many files were."""
        self._files.see(self._look_into(), time.monotonic())
        n_read = 0
        for path in self._files.ready(time.monotonic(), in_order=self._next_at is not None):
            if self._stop.is_set():
                break
            n_read += self._read_one(path)
        return n_read

    def _look_into(self) -> dict[Path, Identity]:
        try:
            found = {path: identity_of(path) for path in videos_in(Path(self.camera.url))}
        except OSError as exc:
            self._is_readable = False
            self._say_failed(f"{self.camera.url}: the folder cannot be read: {exc.strerror}")
            return {}
        self._is_readable = True
        return {path: one for path, one in found.items() if one is not None}

    def _read_one(self, path: Path) -> bool:
        """Read a file, unless that was done in an earlier run; return whether it was read now."""
        self._url = str(path)
        before = identity_of(path)
        self._recording = self._find(
            self.camera.model_copy(update={"url": self._url, "starts_at": self._next_at})
        )
        is_known = self._recording is not None and self._recording.is_finished
        is_read = not is_known and self._read_file(repeats=False)
        if self._stop.is_set() or identity_of(path) is None:
            return is_read  # gone while it was looked at: that is no fault of the file
        if is_read and self._recording is not None and self._is_followed and identity_of(path) != before:
            self._mark(self._recording.begin)  # it went on growing: it is read again when it is whole
        self._files.note(path, "read" if is_read or is_known else "bad")
        if self._next_at is not None:
            self._next_at += timedelta(seconds=_length_s(path))
        return is_read

    def _failed(self, message: str) -> None:
        """Note what is wrong with one file; the others are read all the same."""
        self._why_bad = message
        log.error("the file cannot be used", camera=self.camera.id, error=message)

    def _say_failed(self, message: str) -> None:
        if self.status.message != message:
            log.error("nothing of the folder can be used", camera=self.camera.id, error=message)
        self.status.last_error = self.status.message = message
        self.status.become("failed")

    def _conclude(self) -> None:
        """Say how the folder stands, now that all that could be read was."""
        files, url = self._files, self.camera.url
        if not files.n_files:
            if not self._is_followed:
                self._say_failed(f"{url}: none of its 0 video files can be used")
            elif self._is_readable:
                self._wait_for("waits for a video file, the folder holds none")
        elif files.n_bad == files.n_files:
            self._say_failed(
                f"{url}: none of its {files.n_files} video files can be used; the last one: {self._why_bad}"
            )
        elif (path := files.unfinished) is not None and self._is_followed:
            self._wait_for(f"waits until {path.name} is complete")
        else:
            bad = f"{files.n_bad} of {files.n_files} files could not be used" if files.n_bad else ""
            self.status.message = bad
            if not self.camera.loop:
                self.status.last_error = ""
                self.status.become("ended")

    def _wait_for(self, message: str) -> None:
        """Say what is waited for; between two files of a loop the camera goes on running."""
        self.status.message, self.status.last_error = message, ""
        if self.status.state == "failed" or not self.camera.loop:
            self.status.become("connecting")


def _is_later(read: Read, t_s: float) -> bool:
    return read.packet is not None and read.packet.t_s > t_s


def _length_s(path: Path) -> float:
    """Return how long the file says it is; 0 when it cannot be used, so that the next one begins where it would."""
    with contextlib.suppress(ConfigError):
        return probe(path).duration_s or 0.0
    return 0.0


@dataclass(slots=True)
class Pace:
    """Holds a recording back to its own speed. A reader that fell behind by more than 2 s is not made to catch up; at a
    hole it waits LONGEST_PAUSE_S.
    """

    _media_s: float
    _wall_s: float
    _now_s: Callable[[], float] = time.monotonic

    def wait(self, t_s: float, stop: threading.Event, beat: Callable[[], None]) -> None:
        ahead_s = self._ahead_s(t_s)
        if ahead_s < -2.0:
            self._wall_s += -ahead_s
        if ahead_s > LONGEST_PAUSE_S:
            self._wall_s -= ahead_s - LONGEST_PAUSE_S
            ahead_s = LONGEST_PAUSE_S
        while ahead_s > 0 and not stop.is_set():
            stop.wait(min(ahead_s, 1.0))
            beat()
            ahead_s = self._ahead_s(t_s)

    def _ahead_s(self, t_s: float) -> float:
        return (t_s - self._media_s) - (self._now_s() - self._wall_s)


@dataclass(frozen=True, slots=True)
class PendingFrame:
    """A frame on its way to the detector, and the stream that it is of."""

    frame: Frame
    video: Stream
    is_peek: bool = False
    is_replay: bool = False


@dataclass(slots=True)
class FrameSlot:
    """The newest frame between the reader and the detector: newest wins, what was not looked at is counted."""

    _ready: threading.Condition = field(default_factory=threading.Condition)
    _frame: PendingFrame | None = None
    ended: str | None = None  # why the reader ended
    heard_s: float | None = None  # monotonic time of the last packet
    seen_s: float | None = None  # monotonic time of the last decoded frame, or of the first packet

    def put(self, taken: PendingFrame, wait_s: float = 0.0) -> bool:
        """Leave a frame; return False when one that nobody looked at, for `wait_s`, had to go."""
        with self._ready:
            was_free = self._ready.wait_for(lambda: self._frame is None, wait_s)
            self._frame = taken
            self._ready.notify_all()
            return was_free

    def hear(self, read: Read) -> None:
        """Note that a packet came, and whether frames did."""
        self.heard_s = time.monotonic()
        if read.frames or self.seen_s is None:
            self.seen_s = self.heard_s

    def end(self, why: str) -> None:
        with self._ready:
            self.ended = why
            self._ready.notify_all()

    def take(self, timeout_s: float) -> PendingFrame | None:
        with self._ready:
            if self._frame is None and self.ended is None:
                self._ready.wait(timeout_s)
            taken, self._frame = self._frame, None
            self._ready.notify_all()  # a reader that replays waits for room
            return taken


class LiveWorker(CameraWorker):
    """A camera on the network or a device: connect, look, and when it goes, wait and connect again."""

    def __init__(self, camera: Camera, context: CameraContext, status: CameraStatus) -> None:
        super().__init__(camera, context, status)
        is_visited = kind_of(camera.url) == "whip"
        self.door = (
            Door(whip_token(camera.url), status.drop, context.settings.peer_network) if is_visited else None
        )
        self._readers: list[threading.Thread] = []
        self._looked_until_s = float("-inf")  # of all connections: what a server sends again was looked at

    def _work(self) -> None:
        try:
            self._connect_again_and_again()
        finally:
            if self.door is not None:
                self.door.close()

    def _connect_again_and_again(self) -> None:
        backoff_s = RECONNECT_MIN_S
        while not self._stop.is_set():
            while sum(reader.is_alive() for reader in self._readers) >= MOST_LEFT_BEHIND:
                self._stop.wait(1.0)  # without a beat: nobody knows whether a thread that hangs ever ends
                if self._stop.is_set():
                    return
            why, ran_s = self._session()
            if self._stop.is_set():
                break
            self._went(why)
            if ran_s > 10:
                backoff_s = RECONNECT_MIN_S
            self._wait(backoff_s * random.uniform(0.7, 1.3))  # noqa: S311  # jitter, no secret
            if self.door is None:  # a publisher that comes again is not kept waiting
                backoff_s = min(backoff_s * 2, self._context.settings.reconnect_max_s)

    def _session(self) -> tuple[str, float]:
        """Connect and look until the camera goes; return why it went, and how long it ran."""
        gone = threading.Event()  # tells the readers that nobody waits for them any more
        self._ring.clear()
        self._clip_facts = None
        slot = self._start_reader(self.camera.detect_url or self.camera.url, gone, self._read)
        kept = self._start_reader(self.camera.url, gone, self._read_main) if self.camera.detect_url else None
        opened_by_s = time.monotonic() + self._context.settings.open_s + self._context.settings.read_s + 5
        watcher: EventWatcher | None = None
        began_s = last_s = None
        try:
            while not self._stop.is_set():
                self.status.beat()
                taken = slot.take(0.5)
                if taken is None or kept is not None:
                    why = self._why_gone(slot, opened_by_s) or (kept and self._why_gone(kept, opened_by_s))
                    if why:
                        return why, time.monotonic() - began_s if began_s else 0.0
                if taken is None:
                    continue
                frame, video = taken.frame, taken.video
                if kept is not None and self._clip_facts is None:
                    self.status.drop("no_main_stream_yet")
                    continue
                if began_s is None:
                    began_s = time.monotonic()
                    self._returned(video, frame.t_s)
                if watcher is None or not watcher.fits(frame):
                    if watcher is not None:
                        log.info("the camera changed its picture size", camera=self.camera.id)
                        self._finish(watcher, frame.t_s)
                        video.measure(frame)
                        if kept is None:
                            self._ring.drop_before(frame.t_s)
                    watcher = EventWatcher(
                        video.facts, _random_id, WARM_UP_S, wall_offset_s=self._wall.offset_s
                    )
                last_s = frame.t_s
                if taken.is_peek and watcher.looked_s > float("-inf"):
                    self._peek(watcher, frame)
                elif watcher.is_due(frame.t_s) and not (
                    taken.is_replay and frame.t_s <= max(watcher.looked_s, self._looked_until_s)
                ):
                    self._look(watcher, frame)
            return "stopped", 0.0
        finally:
            gone.set()
            self._looked_until_s = max(self._looked_until_s, last_s or 0.0)
            self._finish(watcher, last_s or 0.0)

    def _start_reader(
        self, url: str, gone: threading.Event, use: Callable[[Stream, FrameSlot, threading.Event], None]
    ) -> FrameSlot:
        """Open `url` and `use` it in a thread that may hang; return what tells of it."""
        slot = FrameSlot()
        reader = threading.Thread(
            target=self._run_reader, args=(url, slot, gone, use), name=f"read {self.camera.id}", daemon=True
        )
        self._readers = [*(known for known in self._readers if known.is_alive()), reader]
        reader.start()
        return slot

    def _why_gone(self, slot: FrameSlot, opened_by_s: float) -> str | None:
        """Say why a reader is given up: it ended, or stands still. FFmpeg's own deadline took twice its time."""
        if slot.ended is not None:
            return slot.ended
        read_s = self._context.settings.read_s
        now_s = time.monotonic()
        if now_s > (opened_by_s if slot.heard_s is None else slot.heard_s + read_s + 0.5):
            self.status.drop("reader_left_behind")
            return "no answer in time"
        if slot.seen_s is not None and now_s > slot.seen_s + UNDECODABLE_READS * read_s:
            self.status.drop("reader_left_behind")
            return "nothing of what the camera sends can be decoded"
        return None

    def _run_reader(
        self,
        url: str,
        slot: FrameSlot,
        gone: threading.Event,
        use: Callable[[Stream, FrameSlot, threading.Event], None],
    ) -> None:
        """Read packets until the camera goes, in a thread that may hang."""
        settings = self._context.settings
        video: Stream | None = None

        def wait_for_visit() -> bool:
            slot.heard_s = time.monotonic()  # a publisher comes when it likes: this is no silence
            return not gone.is_set()

        try:
            limits = Limits(settings.open_s, settings.read_s, self.camera.transport)
            video = open_live(url, limits, self.status.drop, Visit(self.door, wait_for_visit))
            use(video, slot, gone)
            slot.end("the camera ended the stream")
        except SourceAway as exc:
            slot.end(str(exc))
        finally:
            if slot.ended is None:
                slot.end("the reader failed")
            if video is not None:
                video.close()

    def _read(self, video: Stream, slot: FrameSlot, gone: threading.Event) -> None:
        """Leave the frames that the detector wants in `slot`; keep the packets when they are those of the clips."""
        watch_due_s = 0.0
        is_gap = False
        self._begin_idling(video)
        for read in video.read():
            if gone.is_set():
                return
            slot.hear(read)
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
                taken = PendingFrame(frame, video, is_replay=read.is_replay)
                if not slot.put(taken, REPLAY_WAIT_S if read.is_replay else 0.0):
                    self.status.drop("detector_busy")

    def _read_main(self, video: Stream, slot: FrameSlot, gone: threading.Event) -> None:
        """Keep the packets of the clips, and decode no more of them than tells their size."""
        for read in video.read():
            if gone.is_set():
                return
            slot.hear(read)
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
            fps = min(1 / (frame.t_s - status.last_frame_s), 240.0)
            status.fps += 0.05 * (fps - status.fps)
        status.last_frame_s = frame.t_s

    def _went(self, why: str) -> None:
        self.status.last_error = why
        if self.status.away_since_s is None:
            self.status.away_since_s = time.monotonic()
            log.warning("the camera is away, trying again", camera=self.camera.id, error=why)
        self.status.become("away")
        self.status.fps = 0.0
        self.status.last_frame_s = None

    def _returned(self, video: Stream, first_frame_s: float) -> None:
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
        status.fps = video.facts.frame_rate
        status.first_frame_s = first_frame_s
        status.become("running")

    def _wait(self, seconds: float) -> None:
        ends_s = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < ends_s:
            self.status.beat()
            self._stop.wait(min(1.0, max(0.01, ends_s - time.monotonic())))


def _keep_s(camera: Camera) -> float:
    """Return how much of the past the ring holds: pre-roll, what confirming motion and looking late take, and a group
    that is decoded only when the key frame after it shows something."""
    return camera.motion.pre_roll_s + 5.0 + (LONGEST_GROUP_S if camera.motion.idle == "auto" else 0.0)


def _random_id(event_started_s: float) -> str:
    return uuid7(from_epoch_ms(round(event_started_s * 1000)))
