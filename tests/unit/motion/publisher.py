"""A WebRTC publisher and a WHEP server for tests, by aiortc: a bright square that moves, over the loopback or a LAN."""

from __future__ import annotations

import asyncio
import fractions
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription, VideoStreamTrack
from av.video.frame import VideoFrame

FPS = 15
_Result = TypeVar("_Result")


class SquareTrack(VideoStreamTrack):
    """A square of 40 px that crosses a plain ground, again and again."""

    def __init__(self, width: int = 320, height: int = 240) -> None:
        super().__init__()
        self._n = 0
        ground = np.random.default_rng(7).integers(60, 140, (height // 8, width // 8))
        self._ground = np.kron(ground, np.ones((8, 8))).astype(np.uint8)

    async def recv(self) -> VideoFrame:
        await asyncio.sleep(1 / FPS)
        plane = self._ground.copy()
        x = self._n * 6 % (plane.shape[1] - 40)
        plane[80:120, x : x + 40] = 230
        frame = av.VideoFrame.from_ndarray(plane, format="gray").reformat(format="yuv420p")
        frame.pts, frame.time_base = self._n * (90_000 // FPS), fractions.Fraction(1, 90_000)
        self._n += 1
        return frame


class Publisher:
    """Sends a SquareTrack, in a loop and thread of its own."""

    def __init__(self, codec: str = "video/H264", with_sound: bool = False) -> None:
        self._codec = codec
        self._with_sound = with_sound
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connection = self.call(self._make())

    def call(self, work: Coroutine[Any, Any, _Result]) -> _Result:  # Any: asyncio's own
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def offer(self) -> str:
        """Return an offer to send."""
        return self.call(self._offer())

    def accept(self, sdp: str) -> None:
        """Take the answer to it."""
        self.call(self._connection.setRemoteDescription(RTCSessionDescription(sdp, "answer")))

    def answer(self, sdp: str) -> str:
        """Return an answer to somebody's offer to receive."""
        return self.call(self._answer(sdp))

    def close(self) -> None:
        self.call(self._connection.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _make(self) -> RTCPeerConnection:
        return RTCPeerConnection(RTCConfiguration(iceServers=[]))

    def _add(self) -> None:
        if self._with_sound:
            self._connection.addTransceiver("audio", direction="sendonly")
        sender = self._connection.addTrack(SquareTrack())
        known = RTCRtpSender.getCapabilities("video")
        assert known is not None
        wanted = [codec for codec in known.codecs if codec.mimeType == self._codec]
        for transceiver in self._connection.getTransceivers():
            if transceiver.sender is sender:
                transceiver.setCodecPreferences(wanted)

    async def _offer(self) -> str:
        self._add()
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return str(self._connection.localDescription.sdp)

    async def _answer(self, sdp: str) -> str:
        await self._connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        self._add()
        await self._connection.setLocalDescription(await self._connection.createAnswer())
        return str(self._connection.localDescription.sdp)
