"""Shows cameras to browsers by WebRTC: the sending side of WHEP (draft-ietf-wish-whep), by aiortc. Knows no HTTP.

A viewer gets the frames that the detector saw, scaled, and encoded for that viewer alone in threads of the event loop;
clips stay as the camera encoded them. All of it runs in one loop, which is made for the first viewer.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from aiortc import (
    MediaStreamError,
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from av.video.frame import VideoFrame

from services.motion.live.latest import PICTURE_PX, LiveFrame, LiveView, ViewerSlot
from services.motion.media.picture_format import BT601_525
from services.motion.media.rendering import Renderer
from services.motion.sources.webrtc.ice import PeerNetwork, require_candidates
from services.motion.sources.webrtc.peer import CLOSE_S, FAULTS, NEGOTIATE_S, EventLoopThread, one_line
from services.motion.sources.webrtc.session_description import BadSessionDescription, bounded
from shared.open_streams import OpenStreams, StreamKind

UNCONNECTED_S = 30.0  # a viewer that does not connect this long after the answer gives its slot back
ASK_S = 1.0
SHORTEST_S = 0.04  # between two frames: aiortc's encoders count in steps of 1/30 s
LONGEST_S = 3600.0  # a camera that was away for longer goes on as if it had not been away
_CLOCK = Fraction(1, 90_000)
_CYCLE = 2**32
_LAST_TIMESTAMP = "_RTCRtpSender__rtp_timestamp"


@dataclass(frozen=True, slots=True)
class IceServers:
    """STUN and TURN servers, for viewers outside this network; without them viewers need a way to our own addresses."""

    urls: tuple[str, ...] = ()
    username: str | None = None
    password: str | None = None

    def configuration(self) -> RTCConfiguration:
        return RTCConfiguration(
            iceServers=[
                RTCIceServer(urls=url, username=self.username, credential=self.password) for url in self.urls
            ]
        )


class LiveTrack(MediaStreamTrack):
    """A viewer's frames as a video track. It stands still while the camera is away."""

    kind = "video"

    def __init__(self, slot: ViewerSlot) -> None:
        super().__init__()
        self._slot = slot
        self._taken_s: float | None = None  # capture time of the last frame, epoch seconds
        self._sent_s = 0.0  # its time in the stream
        self.sender: RTCRtpSender | None = None
        self._sent_rtp: int | None = None
        self.rtp_zero: int | None = None  # see WhepSender.rtp_zero

    async def recv(self) -> VideoFrame:
        self._learn_zero()
        while self.readyState == "live":
            latest = await self._slot.next(ASK_S)
            if latest is None or not self._is_sent(latest.frame.t_s):
                continue
            frame = await asyncio.to_thread(viewer_picture, latest)
            frame.pts, frame.time_base = round(self._sent_s / _CLOCK), _CLOCK
            return frame
        raise MediaStreamError

    def _learn_zero(self) -> None:
        """Learn from the frame before which timestamp it got: none when the encoder dropped it to keep its rate."""
        if self.sender is None:
            return
        sent, before = rtp_timestamp_of_last(self.sender), self._sent_rtp
        self._sent_rtp = sent
        if self._taken_s is not None and sent != before:
            self.rtp_zero = (sent - round(self._taken_s / _CLOCK)) % _CYCLE

    def _is_sent(self, t_s: float) -> bool:
        """Return whether the frame of `t_s` is sent: not when it comes too soon after the last one.

        Frames keep the distances of their capture times, by which the page tells which frame it shows, except where
        a camera's clock was set back.
        """
        step_s = 0.0 if self._taken_s is None else t_s - self._taken_s
        if self._taken_s is not None and 0 <= step_s < SHORTEST_S:
            return False
        self._taken_s = t_s
        self._sent_s += step_s if 0 <= step_s <= LONGEST_S else SHORTEST_S
        return True


def rtp_timestamp_of_last(sender: RTCRtpSender) -> int:
    """Return the RTP timestamp of the packet that was sent last.

    It is not public in aiortc (1.16), which starts to count at random: each frame is sent before the next one is asked
    for, and only that tells which frame has which timestamp.
    """
    return int(getattr(sender, _LAST_TIMESTAMP))


def viewer_picture(latest: LiveFrame) -> VideoFrame:
    """Return a copy of the picture for an encoder: 4:2:0, even sides, at most PICTURE_PX long.

    It is in BT.601, limited range: aiortc's streams do not state their colour, and browsers assume that one for WebRTC.
    """
    frame = latest.frame
    scale = min(1.0, PICTURE_PX / max(frame.format.size))
    width, height = (max(2, round(side * scale) & ~1) for side in frame.format.size)
    made = Renderer().clip_frame(frame, width, height, BT601_525)
    return VideoFrame.from_ndarray(made.to_ndarray(), "yuv420p") if made is frame.image else made


@dataclass(slots=True)
class _Viewer:
    camera: str
    connection: RTCPeerConnection
    track: LiveTrack
    leave: contextlib.ExitStack
    left: asyncio.Event = field(default_factory=asyncio.Event)
    watch: asyncio.Task[None] | None = None


class WhepSender:
    """Sends live video to its viewers: as many as LiveViews has slots."""

    def __init__(
        self, ice: IceServers, find_view: Callable[[str], LiveView], network: PeerNetwork | None = None
    ) -> None:
        self._ice = ice
        self._network = network or PeerNetwork()
        self._find_view = find_view
        self._lock = threading.Lock()
        self._loop: EventLoopThread | None = None
        self._is_closed = False
        self._viewers: dict[str, _Viewer] = {}
        self._streams = OpenStreams()  # in its loop only

    @property
    def n_viewers(self) -> int:
        return len(self._viewers)

    async def offer(self, camera: str, sdp: str, caller: str = "") -> tuple[str, str]:
        """Admit a viewer; return our answer and the session's name. `caller`: for whom it counts.

        Raises BadSessionDescription, TooManyStreams, TooManyViewers, TimeoutError.
        """
        with self._lock:
            if self._is_closed:
                raise BadSessionDescription("the service is being stopped")
            self._loop = self._loop or EventLoopThread("live view", self._network)
            future = self._loop.submit(self._admit(camera, sdp, caller))
        try:
            async with asyncio.timeout(NEGOTIATE_S + CLOSE_S):
                return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if self._is_closed:  # the loop was stopped, and the request with it
                raise BadSessionDescription("the service is being stopped") from None
            raise

    def rtp_zero(self, camera: str, session: str) -> int | None:
        """Return the RTP timestamp that a frame of `session` taken at 0 (epoch) would have; None until one is sent.

        A frame's timestamp minus that, modulo 2**32, is its capture time in ticks of 1/90,000 s: so a viewer knows
        which of the camera's frames it shows. It changes where a camera's clock was set back. Raises KeyError.
        """
        viewer = self._viewers[session]
        if viewer.camera != camera:
            raise KeyError(session)
        return viewer.track.rtp_zero

    async def leave(self, camera: str, session: str) -> bool:
        """End `session` of `camera`; False when there is none."""
        with self._lock:
            if self._loop is None:
                return False
            future: concurrent.futures.Future[bool] = self._loop.submit(self._end_session(camera, session))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """End all sessions and admit no more."""
        with self._lock:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is None:
            return
        with contextlib.suppress(TimeoutError):
            loop.call(self._end_all(), CLOSE_S)
        loop.close()

    async def _admit(self, camera: str, sdp: str, caller: str) -> tuple[str, str]:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._streams.opened(StreamKind.VIDEOS, caller))
            slot = stack.enter_context(self._find_view(camera).slot())
            connection = RTCPeerConnection(self._ice.configuration())
            track = LiveTrack(slot)
            try:
                async with asyncio.timeout(NEGOTIATE_S):
                    answer = await _answer(connection, sdp, track)
            except BaseException:
                await connection.close()
                raise
            viewer = _Viewer(camera, connection, track, stack.pop_all())
        session = secrets.token_hex(16)
        self._viewers[session] = viewer
        connection.on("connectionstatechange", lambda: _end_if_disconnected(viewer))
        viewer.watch = asyncio.create_task(self._wait_for_end(session, viewer), name="viewer")
        return self._network.describe(answer), session

    async def _wait_for_end(self, session: str, viewer: _Viewer) -> None:
        """Wait until the viewer has left, or has not connected in time; then give its slot back."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(UNCONNECTED_S):
                    await viewer.left.wait()
            if viewer.connection.connectionState == "connected":
                await viewer.left.wait()
        finally:
            viewer.leave.close()
            self._viewers.pop(session, None)
            await viewer.connection.close()

    async def _end_session(self, camera: str, session: str) -> bool:
        viewer = self._viewers.get(session)
        if viewer is None or viewer.camera != camera:
            return False
        viewer.left.set()
        if viewer.watch is not None:
            await viewer.watch
        return True

    async def _end_all(self) -> None:
        viewers = list(self._viewers.values())
        for viewer in viewers:
            viewer.left.set()
        await asyncio.gather(*(viewer.watch for viewer in viewers if viewer.watch is not None))


async def _answer(connection: RTCPeerConnection, sdp: str, track: LiveTrack) -> str:
    try:
        await connection.setRemoteDescription(RTCSessionDescription(bounded(sdp), "offer"))
        if not any(
            known.kind == "video" and known.direction != "stopped" for known in connection.getTransceivers()
        ):
            raise BadSessionDescription("the offer cannot be answered: it takes no video")
        track.sender = connection.addTrack(track)
        await connection.setLocalDescription(await connection.createAnswer())
    except FAULTS as exc:
        raise BadSessionDescription(f"the offer cannot be answered: {one_line(exc)}") from exc
    return require_candidates(str(connection.localDescription.sdp))


def _end_if_disconnected(viewer: _Viewer) -> None:
    if viewer.connection.connectionState in ("failed", "closed"):
        viewer.left.set()
