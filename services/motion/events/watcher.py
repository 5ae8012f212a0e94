"""Looks at the frames of one open stream: detector, segmenter and choice of pictures put together.

Knows no thread, file or queue: a frame goes in, orders come out. An order says that an event opened, or which
snippet is to be made of what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from av.video.reformatter import ColorRange, VideoReformatter

from services.motion.detection import detector
from services.motion.detection.planes import plane_size
from services.motion.detection.values import DetectorSettings, DetectorState, Gray, Motion
from services.motion.detection.zones import only_in
from services.motion.events import segmenter
from services.motion.events.moments import (
    Moment,
    MomentSelection,
    choose,
    moments_that_fit,
    quality_of,
)
from services.motion.events.segmenter import EventEnd, EventStart, Segmenter, SnippetCut, SnippetSpan
from services.motion.media.frame import Frame
from services.motion.media.packets import StreamFacts
from services.motion.media.picture_format import PictureFormat
from services.motion.media.rendering import oriented, plane_view
from shared.cameras import Camera

FIRST_STRETCH_S = 0.25
REST_PERIOD_S = 0.21  # looks further apart than this are all taken
_LUMA_FIRST = ("yuv4", "yuvj4", "nv12", "nv21", "gray")


@dataclass(frozen=True, slots=True)
class EventOpened:
    """An event began; its clip will begin at `starts_s` or at the key frame before."""

    event_id: str
    event_started_s: float
    starts_s: float
    wall_offset_s: float = 0.0  # see SnippetRequest


@dataclass(frozen=True, slots=True)
class SnippetRequest:
    """A snippet is to be made: `piece` of the stream, shown by `moments`.

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
        self._fitting: PictureFormat | None = (
            None  # the value that the last frame that fits shared with others
        )
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
        self.event_id: str | None = None
        self._is_rested = False  # the next look comes later because one is left out
        self.is_sure = False  # an event is open, and surely goes on until after the next look
        self.motion = Motion(0.0, is_active=False)

    @property
    def facts(self) -> StreamFacts:
        return self._facts

    @property
    def scene(self) -> DetectorState | None:
        """What is known of the scene after the last look."""
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

    def look(
        self, frame: Frame, camera: Camera, *, must_cut: bool = False, may_rest: bool = False
    ) -> list[WatcherOutput]:
        """Look at `frame` and return what is to be done, in order.

        `may_rest`: every second look may be left out while an event surely goes on.
        """
        self._schedule(frame.t_s, camera)
        settings = camera.motion
        self._state, self.motion = self._step(frame, camera)
        if self._is_rested:
            self._state = detector.after_skip(self._state)
        self._remember(frame)
        self._segmenter, actions = segmenter.step(
            self._segmenter,
            frame.t_s,
            self.motion.is_active,
            self.motion.score,
            settings,
            is_blind=self.motion.is_blind,
            must_cut=must_cut,
            travel=segmenter.Travel(self.motion.since_s, self.motion.n_frames, self.motion.period_s),
        )
        self.is_sure = segmenter.may_rest(self._segmenter, frame.t_s, self.motion.is_sure)
        self._is_rested = may_rest and self.is_sure and self._state.period_s <= REST_PERIOD_S
        if self._is_rested:
            self._due_s += 1 / camera.motion.detect_fps
        outputs = self._outputs(actions, camera)
        if not self._segmenter.is_watching:
            self._reset(camera, frame)
        return outputs

    def peek(self, frame: Frame, camera: Camera) -> bool:
        """Look at a key frame between which and the last look nothing was looked at; tell whether it shows anything.

        If so nothing is learned of it: the frames before it are to be looked at first.
        """
        state, motion = self._step(frame, camera)
        if motion.is_active or _is_anything(state, motion):
            return True
        self._state = detector.after_peek(state, self._state)
        self._due_s = max(self._due_s, frame.t_s + 1 / camera.motion.detect_fps)
        return False

    @property
    def is_busy(self) -> bool:
        """Whether the last look saw anything at all, believed or not, or an event is open."""
        return self._segmenter.is_watching or self._state is None or _is_anything(self._state, self.motion)

    @property
    def too_rare_hz(self) -> float | None:
        """How many looks a second there are, when that is too few to tell motion; else None."""
        return None if self._state is None else self._state.too_rare_hz

    @property
    def looked_s(self) -> float:
        """When the newest frame was taken that was learned of."""
        return float("-inf") if self._state is None else self._state.t_s

    def _schedule(self, t_s: float, camera: Camera) -> None:
        """Set when the look after the one at `t_s` is due."""
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

    def observe(self, frame: Frame, camera: Camera, *, is_of_event: bool) -> None:
        """Look at a frame of a resumed event, which is known to go on, in place of `look`.

        A frame that is not `is_of_event` lies before the event: it teaches only what the scene is like.
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
        """The chosen moments of the open event; one without boxes when nothing was seen to move."""
        moments = tuple(moment for _, moment in self._selection.moments)
        if moments or self._spare is None:
            return moments
        return (Moment(self._spare.t_s, 0.0, (), self._spare),)

    def finish(self, t_s: float, camera: Camera) -> list[WatcherOutput]:
        """End what is open: there are no more frames."""
        self._segmenter, actions = segmenter.finish(self._segmenter, t_s, camera.motion)
        return self._outputs(actions, camera)

    def pass_discontinuity(self, last_s: float, next_s: float, camera: Camera) -> list[WatcherOutput]:
        """End what is open at `last_s`: the recording goes on at `next_s`, and nobody knows what was between."""
        outputs = self.finish(last_s, camera)
        self._segmenter = segmenter.after_discontinuity(self._segmenter, next_s)
        if self._state is not None:
            self._state = detector.after_gap(self._state)
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
                    self.event_id, action.span, self.moments, camera, self._facts, self._wall_offset_s
                )
                outputs.append(request)
                self._reset(camera, None)
                if isinstance(action, EventEnd):
                    self.event_id = None
        return outputs

    def _reset(self, camera: Camera, frame: Frame | None) -> None:
        limit = (
            camera.motion.pictures if frame is None else moments_that_fit(camera.motion.pictures, frame.image)
        )
        if frame is None:
            limit = min(limit, self._selection.limit)
        self._selection = MomentSelection(limit, FIRST_STRETCH_S)
        self._spare = None


def _is_anything(state: DetectorState, motion: Motion) -> bool:
    return motion.is_blind or any(track.positions[-1].t_s == state.t_s for track in state.tracks)


class PlaneScaler:
    """Makes the detector's planes of a stream's frames. Not for several threads at once."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()  # keeps what it worked out for one size

    def luma_plane(self, frame: Frame) -> Gray:
        """Return the shown picture's brightness as uint8[H, W], of the detector's size; no colour is converted.

        FFmpeg averages a 1080p plane in a third of the time that OpenCV takes, within one level of it.
        """
        image, shown = frame.image, frame.format
        width, height = shown.turned_back(*plane_size(*shown.size))
        is_plane = image.format.name.startswith(_LUMA_FIRST) and image.format.components[0].bits == 8
        if is_plane and (image.width, image.height) == (width, height):
            return np.ascontiguousarray(oriented(plane_view(image.planes[0]), shown.orientation))
        # one range for both: the levels are wanted as they are coded
        ranges = (ColorRange.JPEG, ColorRange.JPEG) if is_plane else (None, None)
        with frame.lock:
            gray = self._reformatter.reformat(
                image,
                width=width,
                height=height,
                format="gray",
                interpolation="AREA",
                src_color_range=ranges[0],
                dst_color_range=ranges[1],
                threads=1,
            )
        return np.ascontiguousarray(oriented(plane_view(gray.planes[0]), shown.orientation))


def luma_plane(frame: Frame) -> Gray:
    """Return the plane of a single frame; see PlaneScaler."""
    return PlaneScaler().luma_plane(frame)
