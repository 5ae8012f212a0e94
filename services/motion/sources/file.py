"""Opens a recording."""

from __future__ import annotations

from collections.abc import Callable

import av

from services.motion.media.packets import StreamFacts
from services.motion.sources.ffmpeg import FfmpegStream, ReadOptions, error_text, open_recording
from services.motion.sources.timing import MAX_DISCONTINUITY_S, Discontinuity, FileTimes
from shared.errors import ConfigError


def open_file(  # noqa: PLR0913  # keywords with defaults
    path: str,
    starts_s: float,
    on_drop: Callable[[str], None],
    *,
    is_hurried: bool = False,
    max_discontinuity_s: float = MAX_DISCONTINUITY_S,
    on_discontinuity: Callable[[Discontinuity], None] = lambda _discontinuity: None,
) -> FfmpegStream:
    """Open `path`; its first frame is taken to be of `starts_s`, epoch seconds. `is_hurried`: decode with all cores.
    `max_discontinuity_s`, `on_discontinuity`: see FileTimes.

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
        on_discontinuity(discontinuity)

    def make_times(facts: StreamFacts) -> FileTimes:
        return FileTimes(starts_s, 1 / facts.frame_rate, max_discontinuity_s, report)

    options = ReadOptions(lambda: 0.0, is_live=False, is_hurried=is_hurried)
    video = FfmpegStream(container, make_times, on_drop, options)
    return video
