"""Watches one open stream: puts detector, segmenter and the selection of moments together.

A frame goes in; out comes what is to be done: an event opened, or a snippet is to be made. Knows no thread, file or
queue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.motion.detection import detector
from services.motion.detection.scaling import PlaneScaler
from services.motion.detection.values import DetectorSettings, DetectorState, Motion
from services.motion.detection.zones import only_in
from services.motion.events import segmenter, track_numbers
from services.motion.events.moments import (
    Moment,
    MomentSelection,
    choose,
    moments_that_fit,
    quality_of,
)
from services.motion.events.segmenter import EventEnd, EventStart, Segmenter, SnippetCut, SnippetSpan
from services.motion.events.track_numbers import TrackNumbers
from services.motion.media.frame import Frame
from services.motion.media.packets import StreamFacts
from services.motion.media.picture_format import PictureFormat
from shared.cameras import Camera

FIRST_STRETCH_S = 0.25
SKIP_PERIOD_S = 0.21  # no frame is left out where they are further apart than this


@dataclass(frozen=True, slots=True)
class EventOpened:
    """An event began; its clip will begin at `starts_s` or at the key frame before."""

    event_id: str
    event_started_s: float
    starts_s: float
    wall_offset_s: float = 0.0  # see SnippetRequest


@dataclass(frozen=True, slots=True)
class SnippetRequest:
    """A snippet is to be made: `span` of the stream, shown by `moments`.

    `wall_offset_s` is what people are shown beyond the stream's seconds: the same for all snippets of an event, however
    the wall clock is set meanwhile.
    """

    event_id: str
    span: SnippetSpan
    moments: tuple[Moment[Frame], ...]
    camera: Camera
    facts: StreamFacts
    wall_offset_s: float = 0.0


WatcherOutput = EventOpened | SnippetRequest
MakeEventId = Callable[[float], str]


class EventWatcher:
    """State of one open stream. Not for several threads at once."""

    def __init__(
        self,
        facts: StreamFacts,
        make_event_id: MakeEventId,
        warm_up_s: float = 0.0,
        state: DetectorState | None = None,
        wall_offset_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`state`: what is known of the scene before the first frame. `wall_offset_s` is asked once an event; the id
        is made of the time that people are shown."""
        self._facts = facts
        self._fitting: PictureFormat | None = None  # the very value that frames that fit share
        self._make_event_id = make_event_id
        self._warm_up_s = warm_up_s
        self._state = state
        self._scaler = PlaneScaler()
        self._segmenter = Segmenter()
        self._selection: MomentSelection[Frame] = MomentSelection(12, FIRST_STRETCH_S)
        self._spare: Frame | None = None
        self._due_s = float("-inf")
        self._ask_wall_offset_s = wall_offset_s
        self._wall_offset_s = 0.0  # of the open event
        self._numbers = TrackNumbers()  # of the open event
        self.event_id: str | None = None
        self._skips_next = False  # the next frame is left out
        self.is_sure = False  # an event is open, and surely goes on until after the next frame
        self.motion = Motion(0.0, is_active=False)

    @property
    def facts(self) -> StreamFacts:
        return self._facts

    @property
    def scene(self) -> DetectorState | None:
        """What is known of the scene after the last frame."""
        return self._state

    def fits(self, frame: Frame) -> bool:
        """Whether `frame` is still to be shown as this stream is: its size, orientation and colour."""
        shown = frame.format
        if shown is not self._fitting and shown == self._facts.format:
            self._fitting = shown
        return shown is self._fitting

    def is_due(self, t_s: float) -> bool:
        """Whether the detector wants to see a frame of `t_s` (detect_fps)."""
        return t_s >= self._due_s - 0.004

    def detect(
        self, frame: Frame, camera: Camera, *, must_cut: bool = False, may_skip: bool = False
    ) -> list[WatcherOutput]:
        """Take a frame and return what is to be done, in order.

        `may_skip`: every second frame may be left out while an event surely goes on.
        """
        self._schedule(frame.t_s, camera)
        self._state, self.motion = self._step(frame, camera)
        if self._skips_next:
            self._state = detector.after_skip(self._state)
        self._remember(frame)
        self._segmenter, actions = segmenter.step(
            self._segmenter, frame.t_s, self.motion, camera.motion, must_cut=must_cut
        )
        self.is_sure = segmenter.may_skip(self._segmenter, frame.t_s, self.motion.is_sure)
        self._skips_next = may_skip and self.is_sure and self._state.period_s <= SKIP_PERIOD_S
        if self._skips_next:
            self._due_s += 1 / camera.motion.detect_fps
        outputs = self._outputs(actions, camera)
        if not self._segmenter.is_watching:
            self._reset(camera, frame)
        return outputs

    def peek(self, frame: Frame, camera: Camera) -> bool:
        """Tell whether a key frame, before which frames were skipped, shows anything new.

        If it does, nothing is learned of it: the frames before it are to be taken first.
        """
        state, motion = self._step(frame, camera)
        if motion.is_active or _is_anything(state, motion):
            return True
        self._state = detector.after_peek(state, self._state)
        self._due_s = max(self._due_s, frame.t_s + 1 / camera.motion.detect_fps)
        return False

    @property
    def is_busy(self) -> bool:
        """Whether the last frame showed anything at all, believed or not, or an event is open."""
        return self._segmenter.is_watching or self._state is None or _is_anything(self._state, self.motion)

    @property
    def too_rare_hz(self) -> float | None:
        """How many frames a second there are, when that is too few to tell motion; else None."""
        return None if self._state is None else self._state.too_rare_hz

    @property
    def detected_s(self) -> float:
        """When the newest frame that was learned of was taken."""
        return float("-inf") if self._state is None else self._state.t_s

    def _schedule(self, t_s: float, camera: Camera) -> None:
        """Set when the frame after the one at `t_s` is due."""
        period_s = 1 / camera.motion.detect_fps
        is_late = t_s - self._due_s >= period_s  # nothing came for a while: that is not made up for
        self._due_s = (t_s if is_late else self._due_s) + period_s

    def _step(self, frame: Frame, camera: Camera) -> tuple[DetectorState, Motion]:
        plane = self._scaler.luma_plane(frame)
        width, height = frame.format.size
        settings = DetectorSettings.of(camera.motion, plane.shape[1], width, height, self._warm_up_s)
        state, motion = detector.step(self._state, plane, frame.t_s, settings)
        return state, only_in(motion, camera.motion.zones, width, height)

    def resume(self, opened: EventOpened, number: int, snippet_starts_s: float) -> None:
        """Go on with an event that another process opened, from its snippet `number` on; see `observe`."""
        self.event_id, self._wall_offset_s = opened.event_id, opened.wall_offset_s
        self._segmenter = segmenter.resumed(opened.event_started_s, number, snippet_starts_s)
        self._numbers = track_numbers.resumed(number)

    def observe(self, frame: Frame, camera: Camera, *, is_of_event: bool) -> None:
        """Take a frame of a resumed event, which is known to go on, in place of `detect`.

        A frame from before the event only teaches what the scene is like.
        """
        if self._state is None:
            self._reset(camera, frame)
        self._schedule(frame.t_s, camera)
        self._state, self.motion = self._step(frame, camera)
        if is_of_event:
            self._remember(frame)
            if self.motion.boxes:
                self._segmenter = segmenter.prolong(self._segmenter, frame.t_s, self.motion.score)

    @property
    def moments(self) -> tuple[Moment[Frame], ...]:
        """The selected moments of the open event; one without boxes when nothing was seen to move."""
        moments = tuple(moment for _, moment in self._selection.moments)
        if moments or self._spare is None:
            return moments
        return (Moment(self._spare.t_s, 0.0, (), self._spare),)

    def finish(self, t_s: float, camera: Camera) -> list[WatcherOutput]:
        """End what is open: there are no more frames."""
        self._segmenter, actions = segmenter.finish(self._segmenter, t_s, camera.motion)
        return self._outputs(actions, camera)

    def pass_discontinuity(self, last_s: float, next_s: float, camera: Camera) -> list[WatcherOutput]:
        """End what is open at `last_s`: the recording goes on at `next_s`."""
        outputs = self.finish(last_s, camera)
        self._segmenter = segmenter.after_discontinuity(self._segmenter, next_s)
        if self._state is not None:
            self._state = detector.after_discontinuity(self._state)
        self._due_s = float("-inf")
        return outputs

    def _remember(self, frame: Frame) -> None:
        motion = self.motion
        if not motion.boxes:
            if self._spare is None:
                self._spare = frame
            return
        quality = quality_of(motion.boxes, frame.width, frame.height)
        self._selection = choose(self._selection, Moment(frame.t_s, quality, motion.boxes, frame))

    def _outputs(self, actions: tuple[segmenter.Action, ...], camera: Camera) -> list[WatcherOutput]:
        outputs: list[WatcherOutput] = []
        for action in actions:
            if isinstance(action, EventStart):
                self._wall_offset_s = self._ask_wall_offset_s()
                self.event_id = self._make_event_id(action.event_started_s + self._wall_offset_s)
                times = (action.event_started_s, action.starts_s, self._wall_offset_s)
                outputs.append(EventOpened(self.event_id, *times))
            elif isinstance(action, SnippetCut | EventEnd):
                assert self.event_id is not None
                request = SnippetRequest(
                    self.event_id, action.span, self._numbered(), camera, self._facts, self._wall_offset_s
                )
                outputs.append(request)
                self._reset(camera, None)
                if isinstance(action, EventEnd):
                    self.event_id = None
                    self._numbers = TrackNumbers()
        return outputs

    def _numbered(self) -> tuple[Moment[Frame], ...]:
        """Return the selected moments with the event's own numbers of what is followed."""
        followed = () if self._state is None else {track.number for track in self._state.tracks}
        self._numbers, moments = track_numbers.numbered(self._numbers, self.moments, followed)
        return moments

    def _reset(self, camera: Camera, frame: Frame | None) -> None:
        limit = camera.motion.pictures
        limit = min(limit, self._selection.limit) if frame is None else moments_that_fit(limit, frame.image)
        self._selection = MomentSelection(limit, FIRST_STRETCH_S)
        self._spare = None


def _is_anything(state: DetectorState, motion: Motion) -> bool:
    return motion.is_blind or any(track.positions[-1].t_s == state.t_s for track in state.tracks)
