"""A network camera as a source: RTSP over TCP. Every open and every read has a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

import av

from services.motion.packets import StreamFacts
from services.motion.sources.timing import LiveTimes
from services.motion.sources.video import SourceAway, Video, open_container, say

OPTIONS = {
    "rtsp_transport": "tcp",
    "fflags": "+discardcorrupt",
    "analyzeduration": "3000000",
    "probesize": "2000000",
}


def open_camera(url: str, open_s: float, read_s: float, on_drop: Callable[[str], None]) -> Video:
    """Connect to the camera at `url`; raise SourceAway, without credentials, when it does not answer in time."""
    try:
        container = open_container(url, (open_s, read_s), dict(OPTIONS))
    except (av.FFmpegError, OSError, ValueError) as exc:
        raise SourceAway(say(exc)) from exc
    if not container.streams.video:
        container.close()
        raise SourceAway("the camera offers no video stream")

    def make_times(facts: StreamFacts) -> LiveTimes:
        return LiveTimes(1 / facts.frame_rate)

    return Video(container, make_times, time.time, on_drop, is_live=True)
