"""Opens any live source: a network camera, a publisher that comes to us, a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from services.motion.sources.device import open_device
from services.motion.sources.http_mjpeg import open_mjpeg
from services.motion.sources.rtsp import open_camera
from services.motion.sources.stream import SourceAway, SourceStream
from services.motion.sources.webrtc.whep import open_whep
from services.motion.sources.webrtc.whip import WhipEndpoint
from shared.cameras import kind_of


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Deadlines in seconds, for opening and for the next packet; and how RTSP is carried."""

    open_s: float
    read_s: float
    transport: Literal["tcp", "udp"] = "tcp"


@dataclass(frozen=True, slots=True)
class WhipIngest:
    """Where a publisher connects, if this camera has one; `is_waiting` says, twice a second, whether to wait on."""

    endpoint: WhipEndpoint | None
    is_waiting: Callable[[], bool]


def open_live(
    url: str, limits: ConnectionOptions, on_drop: Callable[[str], None], whip: WhipIngest
) -> SourceStream:
    """Open `url`; raise SourceAway, without credentials, when that fails or takes too long."""
    kind = kind_of(url)
    if kind == "http":
        return open_mjpeg(url, limits.open_s, limits.read_s, on_drop)
    if kind == "whep":
        return open_whep(url, limits.open_s, limits.read_s, on_drop)
    if kind == "device":
        return open_device(url, limits.open_s, limits.read_s, on_drop)
    if kind == "whip":
        if whip.endpoint is None:
            raise SourceAway("no publisher can come in here")
        return whip.endpoint.wait(whip.is_waiting, limits.read_s)
    return open_camera(url, limits.open_s, limits.read_s, on_drop, limits.transport)
