"""Opens a network camera: RTSP over TCP or UDP. Every open and every read has a deadline."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Literal

import av

from services.motion.media.packets import StreamFacts
from services.motion.sources.ffmpeg import FfmpegStream, ReadOptions, error_text, open_container
from services.motion.sources.stream import SourceAway
from services.motion.sources.timing import LiveTimes
from shared.clock import steady_s
from shared.errors import redact

FORMAT = "rtsp"
OPTIONS = {
    # what a camera may have us open: no http (a tunnel to anywhere), no file, no playlist
    "protocol_whitelist": "rtsp,rtp,srtp,udp,tcp,tls",
    "fflags": "+discardcorrupt",
    "analyzeduration": "3000000",
    "probesize": "2000000",
    # sound is not asked for: while it came, a camera whose picture had stopped was not silent
    "allowed_media_types": "video",
}
UDP_OPTIONS = {
    # what a camera may have us open: no http (a tunnel to anywhere), no file, no playlist
    "protocol_whitelist": "rtsp,rtp,srtp,udp,tcp,tls",
    "buffer_size": "1048576",  # bytes the kernel holds while we are late: a key frame of 4K comes in one burst
    "reorder_queue_size": "128",  # packets that may wait for one that overtook them
    "max_delay": "500000",  # µs that they wait at most
}


def open_camera(
    url: str,
    open_s: float,
    read_s: float,
    on_drop: Callable[[str], None],
    transport: Literal["tcp", "udp"] = "tcp",
) -> FfmpegStream:
    """Connect to the camera at `url`; raise SourceAway, without credentials, when it does not answer in time."""
    options = {**OPTIONS, "rtsp_transport": transport, **(UDP_OPTIONS if transport == "udp" else {})}
    try:
        container = open_container(url, (open_s, read_s), options, FORMAT)
    except (av.FFmpegError, OSError, ValueError) as exc:
        raise SourceAway(f"{redact(url)}: {_why_not(exc, transport)}") from exc
    if not container.streams.video:
        container.close()
        raise SourceAway(f"{redact(url)}: the camera offers no video stream")

    def make_times(facts: StreamFacts) -> LiveTimes:
        return LiveTimes(1 / facts.frame_rate)

    return FfmpegStream(container, make_times, on_drop, ReadOptions(steady_s, is_live=True, silence_s=read_s))


def _why_not(exc: Exception, transport: Literal["tcp", "udp"]) -> str:
    """Say what FFmpeg means; a camera that answers 461, Unsupported Transport, is 'Protocol not supported' to it."""
    if getattr(exc, "errno", None) != errno.EPROTONOSUPPORT:
        return error_text(exc)
    other = "udp" if transport == "tcp" else "tcp"
    return (
        f"the camera does not send by {transport.upper()}, which `transport: {transport}` asks for; "
        f"set `transport: {other}` for it"
    )
