"""The detector's values: what goes in (settings), what comes out (motion), and what it knows of a scene. Pure.

Arrays of a state have the plane's shape and are replaced, never written to, so a state may be shared without a copy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from services.motion.detection import tuning
from shared.cameras import MotionSettings, Point

Gray = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]  # of pixels in a plane that is flattened to one row


@dataclass(frozen=True, slots=True)
class Blob:
    """A moving object: its rectangle, in px of the full frame once it leaves the detector."""

    x: int
    y: int
    w: int
    h: int
    weight: float = 0.0  # px of the plane that changed lately
    fill: float = 1.0  # share of the rectangle that changed
    track: int = -1  # number of the thing that it shows, the same in each frame; -1: not known

    @property
    def area(self) -> int:
        return self.w * self.h


@dataclass(frozen=True, slots=True)
class Motion:
    """The detector's answer for one frame."""

    score: float
    is_active: bool
    boxes: tuple[Blob, ...] = ()
    is_blind: bool = False  # the scene changed as a whole: nothing can be said of this frame
    since_s: float = math.inf  # when what moves began to; known only once it has gone some way
    n_frames: int = 0  # in how many frames it was followed since
    period_s: float = 0.0  # the usual interval between two frames; 0: not known
    is_sure: bool = False  # as in the frame before, something is there that has been on its way for SURE_S


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """The camera's settings, in px of the plane."""

    gaussian_ksize: int
    threshold: float | Literal["auto"]
    dilate_iterations: int
    min_area_px: float
    masks: tuple[tuple[Point, ...], ...]
    frame_width: int
    frame_height: int
    warm_up_s: float = 0.0  # nothing fires this long after the first frame (a camera that just came back)

    @classmethod
    def of(
        cls,
        motion: MotionSettings,
        plane_width: int,
        frame_width: int,
        frame_height: int,
        warm_up_s: float = 0.0,
    ) -> DetectorSettings:
        scale = plane_width / tuning.AREA_WIDTH_PX
        return cls(
            gaussian_ksize=motion.gaussian_ksize,
            threshold=motion.threshold,
            dilate_iterations=math.ceil(motion.dilate_iterations * plane_width / tuning.AREA_WIDTH_PX),
            min_area_px=motion.min_contour_area * scale**2,
            masks=motion.masks,
            frame_width=frame_width,
            frame_height=frame_height,
            warm_up_s=warm_up_s,
        )


@dataclass(frozen=True, slots=True)
class Position:
    """Where a thing was at a time: middle and size, px of the plane."""

    t_s: float
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Track:
    """The last positions of one thing, oldest first."""

    number: int
    positions: tuple[Position, ...]
    travelled_s: float = -math.inf  # when it was last seen to have travelled
    since_s: float = math.inf  # when the way began that made it believed
    rooted_s: float = -math.inf  # when it was last found only to sway

    def is_believed(self, t_s: float, period_s: float = 0.0) -> bool:
        return t_s - self.travelled_s <= max(tuning.BELIEVED_S, tuning.BELIEVED_FRAMES * period_s)


@dataclass(frozen=True, slots=True)
class DetectorState:
    """What is known of the scene. Times are epoch seconds."""

    t_s: float
    mean: Floats  # the baseline, grey levels
    steady: Floats  # the same learned everywhere alike: it has no edges but the scene's
    steadied_s: float  # when that was last learned
    variance: Floats  # of quiet pixels around it
    onsets_hz: Floats  # how often a pixel begins to differ
    foreground: Mask
    heat: Floats  # 1 where something just changed, falling to 0 within HEAT_S
    history: tuple[tuple[float, Gray], ...]  # recent planes, oldest first
    started_s: float  # first frame
    learned_s: float  # when the baseline was last made anew
    is_guess: bool  # it was made of a single frame: what stood in it leaves a ghost
    noise: float  # standard deviation of a still pixel, grey levels
    drowned_s: float  # how long most of the picture has differed from the baseline
    is_active: bool
    is_on_way: bool = False  # the last frame showed something that had been on its way for SURE_S
    tracks: tuple[Track, ...] = ()
    next_track: int = 0  # number of the next new one
    known: Floats | None = None  # baseline before the scene last changed as a whole
    known_s: float = 0.0  # when that was
    flat_share: float = 0.0  # largest share of pixels of one level, in the last good frame
    intervals_s: tuple[float, ...] = ()  # between the last frames

    @property
    def period_s(self) -> float:
        """The usual interval between two frames: the shortest of late, 2.2 s at most; 0 before the second."""
        intervals_s = [s for s in self.intervals_s if s >= tuning.SHORTEST_PERIOD_S]
        return min(*intervals_s, tuning.LONGEST_PERIOD_S) if intervals_s else 0.0

    @property
    def too_rare_hz(self) -> float | None:
        """How many frames a second there are, when that is too few to tell motion; else None."""
        rare = (
            len(self.intervals_s) >= tuning.INTERVALS // 2
            and min(self.intervals_s) >= tuning.LONGEST_PERIOD_S
        )
        return 1 / min(self.intervals_s) if rare else None

    def elapsed_s(self, t_s: float) -> float:
        """Return for how long a frame at `t_s` counts."""
        return min(max(t_s - self.t_s, 1e-3), max(1.0, self.period_s))

    def past_plane(self, t_s: float) -> Gray:
        """Return the newest plane that is LOOK_BACK_S older than `t_s`, else the oldest there is."""
        past = (plane for at_s, plane in reversed(self.history) if t_s - at_s >= tuning.LOOK_BACK_S)
        return next(past, self.history[0][1])


@dataclass(frozen=True, slots=True)
class Observation:
    """A new plane of the scene, blurred."""

    plane: Gray
    t_s: float
    dt_s: float  # how long it counts
    flat_share: float  # of the plane before it was blurred


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plane beside the baseline: what differs, by how much, and what changed lately. Arrays have its shape."""

    plane: Gray
    t_s: float
    dt_s: float
    noise: float
    difference: Floats  # from the baseline, signed, without what all pixels share
    size: Floats  # of it
    limit: Floats  # size from which a pixel counts
    foreground: Mask  # where it does
    heat: Floats


@dataclass(frozen=True, slots=True)
class Patch:
    """A connected part of the plane."""

    area: tuple[slice, slice]  # rows and columns of its rectangle
    inside: Mask  # of the area's shape


def as_floats(array: Any) -> Floats:  # Any: OpenCV's stubs say MatLike
    result: Floats = array
    return result


def as_gray(plane: Any) -> Gray:  # Any: OpenCV's stubs say MatLike
    result: Gray = plane
    return result
