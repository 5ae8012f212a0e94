"""The receiving end of one WebRTC connection, by aiortc: coded pictures in a bounded receive buffer. Knows no HTTP.

aiortc puts every coded picture into an unbounded queue, decodes it in a thread of its own and puts the frames into
another unbounded queue. Here the first queue is replaced by a tap before the connection starts: the coded pictures
come to us (H.264 is copied into the clips as it is), aiortc's decoder sleeps, and what nobody fetches is thrown away,
oldest first. Browsers send a key frame only when asked: one is asked for every KEY_EVERY_S, and after every loss.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from aiortc import (
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError

from services.motion.sources.coded_pictures import CodedPicture, CodedPictureStream, is_key
from services.motion.sources.stream import SourceAway
from services.motion.sources.webrtc.ice import PeerNetwork, require_candidates
from services.motion.sources.webrtc.session_description import BadSessionDescription, bounded
from shared.clock import steady_s
from shared.errors import shortened
from shared.logs import get_logger

log = get_logger(__name__)

MAX_WAITING = 120  # coded pictures that may wait for the reader: 4 s at 30 a second
MAX_WAITING_BYTES = 16 * 1024 * 1024
KEY_EVERY_S = 2.0  # a clip begins at a key frame
ASK_AGAIN_S = 0.5
NEGOTIATE_S = 10.0
CLOSE_S = 3.0
# Private names of aiortc 1.16; test_peer.py says when another version has others.
_CODED = "_RTCRtpReceiver__decoder_queue"
_LOST = "_RTCRtpReceiver__decoder_error"
# what aiortc was seen to raise for malformed descriptions
FAULTS = (
    ValueError,
    LookupError,
    AssertionError,
    TypeError,
    AttributeError,
    ArithmeticError,
    InvalidAccessError,
    InvalidStateError,
    OSError,
)

_Result = TypeVar("_Result")


class EventLoopThread:
    """An event loop in a thread of its own: one camera's packets never wait for another's, or for HTTP."""

    def __init__(self, name: str, network: PeerNetwork | None = None) -> None:
        self._loop = (network or PeerNetwork()).new_loop()
        self._loop.set_exception_handler(lambda _loop, context: log.debug("webrtc", fault=context["message"]))
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(
        self,
        work: Coroutine[Any, Any, _Result],  # Any: what a coroutine yields is asyncio's own
    ) -> concurrent.futures.Future[_Result]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, _Result], within_s: float) -> _Result:  # Any: as above
        """Run `work` there and wait for it; raises TimeoutError."""
        future = self.submit(work)
        try:
            return future.result(within_s)
        except concurrent.futures.TimeoutError as exc:
            future.cancel()
            raise TimeoutError from exc

    def close(self) -> None:
        """End it; what still runs in it is cancelled."""
        if self._loop.is_closed():
            return
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            if left:
                self._loop.run_until_complete(asyncio.wait(left, timeout=CLOSE_S / 2))
        finally:
            self._loop.close()


@dataclass(slots=True)
class ReceiveBuffer:
    """Coded pictures between the connection and the reader. When too many wait, all go up to the next key frame."""

    on_drop: Callable[[str], None]
    ask_for_key: Callable[[], None] = lambda: None
    ended: str | None = None
    _pictures: deque[CodedPicture] = field(default_factory=deque)
    _n_bytes: int = 0
    _needs_key: bool = False
    _ready: threading.Condition = field(default_factory=threading.Condition)

    def put(self, picture: CodedPicture) -> None:
        with self._ready:
            if self._needs_key and not is_key(picture.codec, picture.data):
                self.on_drop("webrtc_backlog")
                return
            self._needs_key = False
            if len(self._pictures) >= MAX_WAITING or self._n_bytes + len(picture.data) > MAX_WAITING_BYTES:
                for _ in range(len(self._pictures) + 1):
                    self.on_drop("webrtc_backlog")
                self._pictures.clear()
                self._n_bytes, self._needs_key = 0, True
                self.ask_for_key()
                return
            self._pictures.append(picture)
            self._n_bytes += len(picture.data)
            self._ready.notify()

    def end(self, why: str) -> None:
        with self._ready:
            self.ended = self.ended or why
            self._ready.notify()

    def take(self, timeout_s: float) -> CodedPicture | None:
        """Return the oldest picture; None when none came in time."""
        with self._ready:
            if not self._pictures and self.ended is None:
                self._ready.wait(timeout_s)
            if not self._pictures:
                return None
            picture = self._pictures.popleft()
            self._n_bytes -= len(picture.data)
            return picture


class _Tap:
    """Takes the place of aiortc's queue of coded pictures; its decoder thread waits here until the end."""

    def __init__(self, use: Callable[[str, bytes, int], None]) -> None:
        self._use = use
        self._ended = threading.Event()

    def put(self, item: tuple[Any, Any] | None) -> None:  # Any: aiortc's codec and JitterFrame
        if item is None:
            self._ended.set()
            return
        codec, coded = item
        self._use(codec.name.lower(), coded.data, coded.timestamp)

    def get(self) -> None:
        self._ended.wait()


class Peer:
    """One connection. Everything but `stream` runs in the loop where it was made."""

    def __init__(self, on_drop: Callable[[str], None]) -> None:
        self.received = ReceiveBuffer(on_drop, self.ask_for_key)
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.on("connectionstatechange", self._changed)
        self._video: RTCRtpReceiver | None = None
        self._key_s = self._asked_s = float("-inf")

    async def answer(self, sdp: str) -> str:
        """Return our answer to a publisher's offer; raise BadDescription when it sends no video that we know, and
        TimeoutError when no port is left."""
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(bounded(sdp), "offer"))
            self._tap_all()
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except FAULTS as exc:
            raise BadSessionDescription(f"the offer cannot be answered: {one_line(exc)}") from exc
        return require_candidates(self._connection.localDescription.sdp)

    async def offer(self) -> str:
        """Return an offer to receive video."""
        self._connection.addTransceiver("video", direction="recvonly")
        self._tap_all()
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._connection.localDescription.sdp

    async def accept(self, sdp: str) -> None:
        """Take the answer to our offer; raises BadDescription."""
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(bounded(sdp), "answer"))
        except FAULTS as exc:
            raise BadSessionDescription(f"the answer cannot be used: {one_line(exc)}") from exc

    async def close(self, why: str = "closed") -> None:
        self.received.end(why)
        await self._connection.close()

    def ask_for_key(self) -> None:
        """Have the next packet answered with a picture loss indication (RFC 4585 §6.3.1); from any thread."""
        self._asked_s = time.monotonic()
        if self._video is not None:
            getattr(self._video, _LOST).set()

    def _tap_all(self) -> None:
        """Divert what is received: one video to the buffer, sound and all else to nowhere."""
        for transceiver in self._connection.getTransceivers():
            receiver = transceiver.receiver
            if not isinstance(getattr(receiver, _CODED, None), queue.Queue) or not hasattr(receiver, _LOST):
                raise RuntimeError(
                    "this aiortc keeps coded pictures elsewhere: see services/motion/sources/webrtc/peer.py"
                )
            is_ours = transceiver.kind == "video" and self._video is None
            setattr(receiver, _CODED, _Tap(self._take if is_ours else _ignore))
            if is_ours:
                self._video = receiver
                _prefer_h264(transceiver)
        if self._video is None:
            raise BadSessionDescription("the offer cannot be answered: it offers no video")

    def _take(self, codec: str, data: bytes, ticks: int) -> None:
        now_s = time.monotonic()
        if is_key(codec, data):
            self._key_s = now_s
        elif now_s - self._key_s > KEY_EVERY_S and now_s - self._asked_s > ASK_AGAIN_S:
            self.ask_for_key()
        self.received.put(CodedPicture(codec, data, ticks, steady_s()))

    def _changed(self) -> None:
        state = self._connection.connectionState
        if state in ("failed", "closed"):
            self.received.end("the connection failed" if state == "failed" else "the sender left")


def stream_of(
    peer: Peer, read_s: float, on_drop: Callable[[str], None], close: Callable[[], None]
) -> CodedPictureStream:
    """Return what `peer` receives as a stream; its reader raises SourceAway after `read_s` of silence."""

    def pictures() -> Iterator[CodedPicture]:
        while True:
            picture = peer.received.take(read_s)
            if picture is None:
                raise SourceAway(peer.received.ended or "no answer in time")
            yield picture

    return CodedPictureStream(pictures(), on_drop, close, on_broken=peer.ask_for_key)


def _prefer_h264(transceiver: RTCRtpTransceiver) -> None:
    """Ask for H.264 first: it is copied into clips, VP8 would be decoded and encoded for each."""
    known = RTCRtpReceiver.getCapabilities("video")
    assert known is not None
    ranks = {"video/h264": 0, "video/vp8": 1}
    transceiver.setCodecPreferences(
        sorted(known.codecs, key=lambda codec: ranks.get(codec.mimeType.lower(), 2))
    )


def _ignore(codec: str, data: bytes, ticks: int) -> None:
    """Ignore sound and further videos: they are not wanted, so this is no drop."""


def one_line(exc: BaseException) -> str:
    return shortened(str(exc), 200) or type(exc).__name__
