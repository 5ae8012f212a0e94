"""Opens a recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import av

from services.motion.media.packets import StreamFacts
from services.motion.sources.ffmpeg import FfmpegStream, ReadOptions, error_text, open_recording
from services.motion.sources.timing import MAX_DISCONTINUITY_S, Discontinuity, FileTimes
from shared.errors import ConfigError


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How a recording is read: with all cores or not, and what is done about discontinuities (see FileTimes)."""

    is_hurried: bool = False
    max_discontinuity_s: float = MAX_DISCONTINUITY_S
    on_discontinuity: Callable[[Discontinuity], None] = lambda _discontinuity: None


def open_file(
    path: str, starts_s: float, on_drop: Callable[[str], None], file: FileOptions = FileOptions()
) -> FfmpegStream:
    """Open `path`; its first frame is taken to be of `starts_s`, epoch seconds.

    Raises ConfigError, one line, when there is no video in it.
    """
    try:
        container = open_recording(path)
    except (av.FFmpegError, OSError) as exc:
        raise ConfigError(f"{path}: cannot be opened as a video: {error_text(exc)}") from exc
    if not container.streams.video:
        container.close()
        raise ConfigError(f"{path}: has no video stream")

    def report(discontinuity: Discontinuity) -> None:
        video.is_interrupted = True
        file.on_discontinuity(discontinuity)

    def make_times(facts: StreamFacts) -> FileTimes:
        return FileTimes(starts_s, 1 / facts.frame_rate, file.max_discontinuity_s, report)

    options = ReadOptions(lambda: 0.0, is_live=False, is_hurried=file.is_hurried)
    video = FfmpegStream(container, make_times, on_drop, options)
    return video
