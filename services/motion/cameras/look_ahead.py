"""Reads the first seconds of a file before it is played, so that motion in its first frame is not lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.motion.detection.baseline import start_from
from services.motion.detection.scaling import PlaneScaler
from services.motion.detection.values import DetectorState, Gray
from services.motion.sources.file import open_file
from services.motion.sources.stream import SourceAway

ENOUGH_FRAMES = 20
MOST_KEY_FRAMES = 40  # of a file whose every frame is a key frame all frames are as cheap


@dataclass(frozen=True, slots=True)
class LookAhead:
    """Which frames of a file's first `length_s` tell what the scene looks like."""

    length_s: float
    only_keys: bool


# Key frames alone tell as much for a sixth of the decoding, where they come often enough.
KEY_FRAMES, ALL_FRAMES = LookAhead(12.0, only_keys=True), LookAhead(4.0, only_keys=False)


def look_ahead(
    url: str, starts_s: float, gaussian_ksize: int, is_stopping: Callable[[], bool]
) -> DetectorState | None:
    """Return what the first seconds tell of the scene; None when they tell nothing."""
    for plan in (KEY_FRAMES, ALL_FRAMES):
        planes = _planes_of(url, starts_s, plan, is_stopping)
        state = start_from(planes, starts_s, gaussian_ksize)
        if state is not None or is_stopping():
            return state
    return None


def _planes_of(url: str, starts_s: float, plan: LookAhead, is_stopping: Callable[[], bool]) -> list[Gray]:
    video = open_file(url, starts_s, lambda _reason: None)
    video.only_keys = plan.only_keys
    video.codec_context.thread_count = 1 if plan.only_keys else 0  # nothing is left in threads at the end
    scaler = PlaneScaler()
    planes: list[Gray] = []
    due_s = starts_s
    n_frames = 0
    try:
        for read in video.read():
            for frame in read.frames:
                if frame.t_s >= due_s:
                    planes.append(scaler.luma_plane(frame))
                    due_s = frame.t_s + plan.length_s / ENOUGH_FRAMES
            n_frames += len(read.frames)
            is_past = read.packet is not None and read.packet.t_s > starts_s + plan.length_s
            if len(planes) >= ENOUGH_FRAMES or is_stopping():
                break
            if plan.only_keys and (n_frames > MOST_KEY_FRAMES or is_past):
                break
    except SourceAway:
        return []
    finally:
        video.close()
    return planes
