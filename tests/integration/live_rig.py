"""A motion service with one camera, and what watches it: an aiortc viewer in a loop of its own."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtp import RtpPacket
from av.video.frame import VideoFrame

from tests.integration.test_motion_service import Motion, Rig
from tests.unit.motion.videos import scene, write_video

CAMERAS = """\
# the cameras of the house
cameras:
  - id: cam   # by the door
    url: {url}
    labels: [a square]   # what we look for
    motion:
      threshold: auto   # follows the noise
      quiet_s: 1
"""
_Result = TypeVar("_Result")


@contextmanager
def watched_service(folder: Path, redis_url: str, **environment: Any) -> Iterator[Motion]:  # Any: settings
    """Run a service whose one camera is a looped video: 2.4 s still, then a square crosses for 3.6 s."""
    video = write_video(folder / "square.mp4", scene(60, 320, 240, moves=range(24, 60)))
    (folder / "cameras.yml").write_text(CAMERAS.format(url=video))
    rig = Rig(folder, redis_url)
    try:
        yield rig.start(**environment)
    finally:
        rig.stop_all()


class Service(Protocol):
    """A service with HTTP on this machine."""

    @property
    def port(self) -> int: ...


def ask(
    motion: Service, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers (names in small letters) and body of an answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{motion.port}{path}",
        body,
        {name.replace("_", "-"): value for name, value in headers.items()},
        method=method,
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, {k.lower(): v for k, v in exc.headers.items()}, exc.read()


def told(motion: Service, method: str, path: str, n: int, body: object = None) -> list[dict[str, Any]]:
    """Return the first `n` events of a stream of looks."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{motion.port}{path}",
        None if body is None else json.dumps(body).encode(),
        {} if body is None else {"Content-Type": "application/json"},
        method=method,
    )
    found: list[dict[str, Any]] = []
    with urllib.request.urlopen(request, timeout=60) as answer:
        for line in answer:
            if line.startswith(b'data: {"t"'):
                found.append(json.loads(line[6:]))
                if len(found) == n:
                    break
    return found


class Viewer:
    """Receives a video."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue(4)
        self._connection = self.call(self._make())

    def call(self, work: Coroutine[Any, Any, _Result]) -> _Result:  # Any: asyncio's own
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def offer(self) -> str:
        return self.call(self._offer())

    def accept(self, sdp: str) -> list[int]:
        """Begin to watch; return the RTP timestamps of the packets that come, which grow while it does."""
        (receiver,) = self._connection.getReceivers()
        handle, timestamps = receiver._handle_rtp_packet, list[int]()

        async def handled(packet: RtpPacket, arrival_time_ms: int) -> None:
            timestamps.append(packet.timestamp)
            await handle(packet, arrival_time_ms)

        receiver._handle_rtp_packet = handled  # type: ignore[method-assign]
        self.call(self._connection.setRemoteDescription(RTCSessionDescription(sdp, "answer")))
        return timestamps

    def frames(self, n: int) -> list[VideoFrame]:
        """Return the next `n` frames."""
        return self.call(self._frames(n))

    @property
    def state(self) -> str:
        return str(self._connection.connectionState)

    def close(self) -> None:
        self.call(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _make(self) -> RTCPeerConnection:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connection.addTransceiver("video", direction="recvonly")
        connection.on("track", self._tracks.put_nowait)
        return connection

    async def _offer(self) -> str:
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return str(self._connection.localDescription.sdp)

    async def _frames(self, n: int) -> list[VideoFrame]:
        track = await self._tracks.get()
        found: list[VideoFrame] = []
        while len(found) < n:
            frame = await track.recv()
            assert isinstance(frame, VideoFrame)
            found.append(frame)
        self._tracks.put_nowait(track)
        return found
