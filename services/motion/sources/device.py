"""Opens a camera at this machine (/dev/video0, Video4Linux). Asks for MJPEG first, then takes raw pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable

import av

from services.motion.media.packets import StreamFacts
from services.motion.sources.ffmpeg import FfmpegStream, ReadOptions, error_text, open_container
from services.motion.sources.stream import SourceAway
from services.motion.sources.timing import LiveTimes
from shared.clock import steady_s

FORMAT = "v4l2"
# raw pictures of 640x480 are 18 MB a second: the ring holds 5 s of them
_INPUT_OPTIONS: tuple[dict[str, str], ...] = (
    {"input_format": "mjpeg"},
    {},
)


def open_device(
    path: str,
    open_s: float,
    read_s: float,
    on_drop: Callable[[str], None],
    format_name: str = FORMAT,
) -> FfmpegStream:
    """Open the device at `path`; raise SourceAway, one line, when it is not there, in use or no camera."""
    if not any(format_name in names.split(",") for names in av.formats_available):
        raise SourceAway(f"{path}: devices can be read on Linux only (this is {sys.platform})")
    fault: Exception | None = None
    for actions in _INPUT_OPTIONS:
        try:
            container = open_container(
                path, (open_s, read_s), {**actions, "protocol_whitelist": "file"}, format_name
            )
        except (av.FFmpegError, OSError, ValueError) as exc:
            fault = fault or exc
            continue
        if container.streams.video:
            options = ReadOptions(steady_s, is_live=True, silence_s=read_s)
            return FfmpegStream(container, _times, on_drop, options)
        container.close()
    raise SourceAway(f"{path}: {error_text(fault) if fault else 'is no camera'}") from fault


def _times(facts: StreamFacts) -> LiveTimes:
    return LiveTimes(1 / facts.frame_rate)
