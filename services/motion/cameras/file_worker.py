"""Plays one recording, in order and without loss, so that reading it again gives the same snippets."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from services.motion.cameras.context import CameraContext
from services.motion.cameras.look_ahead import look_ahead
from services.motion.cameras.pace import Pace
from services.motion.cameras.worker import CameraWorker, random_event_id
from services.motion.events.watcher import EventWatcher
from services.motion.media.frame import Frame
from services.motion.sources.ffmpeg import FfmpegStream
from services.motion.sources.file import FileOptions, open_file
from services.motion.sources.probe import probe
from services.motion.sources.stream import ReadResult, SourceAway
from services.motion.sources.timing import DISCONTINUITY_S, MAX_DISCONTINUITY_S, Discontinuity
from services.motion.spool.folder import is_short_of_means
from services.motion.spool.recordings import Recording
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.clock import steady_s
from shared.errors import ConfigError
from shared.logs import get_logger

log = get_logger(__name__)

TRUNCATED_S = 1.0
REPLACED_S = 5.0  # a looped file that cannot be used any more is tried again after this


@dataclass(slots=True)
class Playback:
    """One reading of a file, and how far it has come."""

    video: FfmpegStream
    starts_s: float  # when its first frame is taken to be, epoch seconds
    pace: Pace
    last_s: float  # the newest time that was read
    n_frames: int = 0
    watcher: EventWatcher | None = None
    closed_s: float = 0.0  # by how much those that were passed were shortened
    discontinuities: deque[Discontinuity] = field(default_factory=deque)  # those that no frame has passed yet

    @property
    def ends_s(self) -> float:
        return self.last_s + 1 / self.video.facts.frame_rate

    @property
    def read_s(self) -> float:
        """How many seconds of the file were read, its discontinuities in full."""
        return self.ends_s - self.starts_s + self.closed_s + sum(one.closed_s for one in self.discontinuities)


class FileWorker(CameraWorker):
    """A recording. One that is looped has no `recording`: it stands in for a live camera."""

    def __init__(
        self, camera: Camera, context: CameraContext, status: CameraStatus, recording: Recording | None
    ) -> None:
        super().__init__(camera, context, status)
        self._recording = recording
        self._url = camera.url

    def _run_camera(self) -> None:
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
            self._write_mark(recording.begin)
        while not self._stop.is_set():
            try:
                ends_s = self._play(starts_s)
            except (ConfigError, SourceAway) as exc:
                if is_short_of_means(exc) and self._can_be_used():
                    continue
                self._failed(str(exc))
                if not (repeats and n_plays):
                    return False
                self._wait(REPLACED_S)  # it could be used before: somebody replaces it
                starts_s = max(starts_s, steady_s())
                continue
            if self._stop.is_set():
                break
            n_plays += 1
            if recording is not None:
                self._write_mark(recording.finish)
                log.info("file read to its end", camera=self.camera.id, message=self.status.message or None)
            if not repeats:
                return True
            starts_s = ends_s if self.camera.pace == "fast" else max(ends_s, steady_s() - 1.0)
        return False

    def _can_be_used(self) -> bool:
        """Return whether the file can be read, and report why not; wait while the machine cannot open any file."""
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

    def _write_mark(self, write: Callable[[], None]) -> None:
        """Write a mark of the recording; wait while the disk refuses it. After a stop meanwhile the file is read again,
        with the same ids.
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

    def _failed(self, message: str) -> None:
        self.status.last_error = self.status.message = message
        self.status.become("failed")
        log.error("the file cannot be used", camera=self.camera.id, error=message)

    def _play(self, starts_s: float) -> float:
        """Read the file once; return when it ended, epoch seconds."""
        play = self._begin_playback(starts_s)
        video = play.video
        try:
            for read in video.read():
                self._take(read, play)
                if self._stop.is_set():
                    break
        except SourceAway as exc:
            self.status.last_error = str(exc)
        finally:
            if self._stop.is_set() and self._recording is not None:
                self._forget_event()
            else:
                self._finish(play.watcher, play.ends_s)
            video.close()
        if play.n_frames == 0 and not self._stop.is_set():
            raise ConfigError(f"{self._url}: no frame of it can be decoded")
        if not self._stop.is_set():
            self._report_end(play.read_s, video.duration_s)
        return play.ends_s

    def _begin_playback(self, starts_s: float) -> Playback:
        discontinuities: deque[Discontinuity] = deque()
        # a looped file is of now, so all of its discontinuities are closed
        max_discontinuity_s = MAX_DISCONTINUITY_S if self._recording else DISCONTINUITY_S
        options = FileOptions(self.camera.pace == "fast", max_discontinuity_s, discontinuities.append)
        video = open_file(self._url, starts_s, self.status.drop, options)
        self._begin_policy(video)
        self.status.duration_s = video.duration_s
        self._ring.clear()
        return Playback(
            video, starts_s, Pace(starts_s, time.monotonic()), starts_s, discontinuities=discontinuities
        )

    def _take(self, read: ReadResult, play: Playback) -> None:
        """Keep a packet, and run the detector on the frames that came with it."""
        self._keep(read)
        if read.is_skipped and read.packet is not None:
            self.status.skipped_frame()
            self.status.beat()
            play.last_s = max(play.last_s, read.packet.t_s)  # the file goes on without the detector
        for frame in read.frames:
            if self._stop.is_set():
                return
            if read.is_replay and play.watcher is not None and frame.t_s <= play.watcher.detected_s:
                continue  # the detector saw it before the skipped frames, or as a key frame
            self._pass_discontinuities(play, frame.t_s)
            if self.camera.pace == "realtime":
                play.pace.wait(frame.t_s, self._stop, self.status.beat)
            play.last_s = max(play.last_s, frame.t_s)
            play.n_frames += 1
            if read.is_peek and play.watcher is not None and play.watcher.fits(frame):
                self._count(frame, play)
                self._peek(play.watcher, frame)
            else:
                self._detect(frame, play)

    def _pass_discontinuities(self, play: Playback, t_s: float) -> None:
        """End the event at the first frame after a discontinuity, and forget the packets before it."""
        while play.discontinuities and t_s >= play.discontinuities[0].t_s - 1e-6:
            discontinuity = play.discontinuities.popleft()
            play.closed_s += discontinuity.closed_s
            log.debug(
                "the recording has a discontinuity",
                camera=self.camera.id,
                closed_s=round(discontinuity.closed_s, 3),
            )
            if play.watcher is None:
                continue
            self._handle(
                play.watcher.pass_discontinuity(play.last_s, discontinuity.t_s, self.camera), play.watcher
            )
            self._ring.need_from(None)
            self._ring.drop_before(discontinuity.t_s)

    def _detect(self, frame: Frame, play: Playback) -> None:
        """Run the detector on a frame, if it is due."""
        video, watcher = play.video, play.watcher
        if watcher is None or not watcher.fits(frame):
            state = None
            if watcher is None:
                gaussian_ksize = self.camera.motion.gaussian_ksize
                state = look_ahead(self._url, frame.t_s, gaussian_ksize, self._stop.is_set)
            else:
                self._finish(watcher, frame.t_s)
                video.measure(frame)
                self._ring.drop_before(frame.t_s)
            watcher = EventWatcher(
                video.facts, self._event_id, state=state, wall_offset_s=self._wall_offset_s
            )
            play.watcher = watcher
            self.status.fps = video.facts.frame_rate
            self.status.n_pixels = video.facts.width * video.facts.height
            self.status.become("running")
        self._count(frame, play)
        if watcher.is_due(frame.t_s):
            if self.camera.pace == "fast":
                self._maker.wait_for_room()
            self._look(watcher, frame)

    def _count(self, frame: Frame, play: Playback) -> None:
        self.status.saw_frame()
        self.status.beat()
        self.status.position_s = frame.t_s - play.starts_s

    def _event_id(self, event_started_s: float) -> str:
        if self._recording is not None:
            return self._recording.event_id(event_started_s)
        return random_event_id(event_started_s)

    def _wall_offset_s(self) -> float:
        """A recording keeps its own times; one that is looped plays now."""
        return 0.0 if self._recording is not None else self._wall.offset_s()

    def _forget_event(self) -> None:
        """Forget the open event of a finite file: the file is read again from its start."""
        self._ring.need_from(None)
        self.status.open_event = None

    def _report_end(self, read_s: float, claimed_s: float | None) -> None:
        if claimed_s is None or read_s >= claimed_s - max(TRUNCATED_S, 0.02 * claimed_s):
            return
        self.status.is_truncated = True
        self.status.message = f"ends at {read_s:.1f} s of {claimed_s:.1f} s"
        log.warning("the file is cut off", camera=self.camera.id, message=self.status.message)
