"""A recording as a source."""

from __future__ import annotations

from collections.abc import Callable

import av

from services.motion.media.packets import StreamFacts
from services.motion.sources.timing import MAX_DISCONTINUITY_S, Discontinuity, FileTimes
from services.motion.sources.video import FfmpegStream, open_recording, say
from shared.errors import ConfigError


def open_file(
    path: str,
    starts_s: float,
    on_drop: Callable[[str], None],
    *,
    is_hurried: bool = False,
    max_discontinuity_s: float = MAX_DISCONTINUITY_S,
    on_discontinuity: Callable[[Discontinuity], None] = lambda _hole: None,
) -> FfmpegStream:
    """Open `path`; its first frame is taken to be of `starts_s`, epoch seconds. `is_hurried`: decode with all cores.
    `max_discontinuity_s`, `on_discontinuity`: see FileTimes.

    Raises ConfigError, one line, when there is no video in it.
    """
    try:
        container = open_recording(path)
    except (av.FFmpegError, OSError) as exc:
        raise ConfigError(f"{path}: cannot be opened as a video: {say(exc)}") from exc
    if not container.streams.video:
        container.close()
        raise ConfigError(f"{path}: has no video stream")

    def tell(discontinuity: Discontinuity) -> None:
        video.is_interrupted = True
        on_discontinuity(discontinuity)

    def make_times(facts: StreamFacts) -> FileTimes:
        return FileTimes(starts_s, 1 / facts.frame_rate, max_discontinuity_s, tell)

    video = FfmpegStream(container, make_times, lambda: 0.0, on_drop, is_live=False, is_hurried=is_hurried)
    return video
