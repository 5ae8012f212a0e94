"""Receives what a publisher sends for one camera: WebRTC-HTTP ingestion (WHIP, RFC 9725). Knows no HTTP itself."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import queue
import secrets
import threading
from collections.abc import Callable
from functools import partial

from services.motion.sources.coded_pictures import CodedPictureStream
from services.motion.sources.stream import SourceAway
from services.motion.sources.webrtc.ice import PeerNetwork
from services.motion.sources.webrtc.peer import CLOSE_S, NEGOTIATE_S, EventLoopThread, Peer, stream_of
from services.motion.sources.webrtc.session_description import BadSessionDescription

ASK_S = 0.5


class WhipEndpoint:
    """Takes one publisher at a time. The newest wins, since a phone that lost its network comes again."""

    def __init__(
        self, token: str, on_drop: Callable[[str], None], network: PeerNetwork | None = None
    ) -> None:
        self._token = token.encode()
        self._network = network or PeerNetwork()
        self._on_drop = on_drop
        self._lock = threading.Lock()
        self._loop: EventLoopThread | None = None
        self._is_closed = False
        self._new_peers: queue.Queue[Peer] = queue.Queue(1)
        self._session = ""
        self._peer: Peer | None = None
        self._busy = asyncio.Lock()

    def accepts_token(self, token: str) -> bool:
        """Whether `token` is the camera's."""
        return hmac.compare_digest(token.encode(), self._token)

    async def offer(self, sdp: str) -> tuple[str, str]:
        """Return our answer and the name of the session. Raises BadDescription; TimeoutError after NEGOTIATE_S."""
        with self._lock:
            if self._is_closed:
                raise BadSessionDescription("the camera is being stopped")
            self._loop = self._loop or EventLoopThread("webrtc", self._network)
            future = self._loop.submit(self._begin_session(sdp))
        async with asyncio.timeout(NEGOTIATE_S + CLOSE_S):
            return await asyncio.wrap_future(future)

    async def leave(self, session: str) -> bool:
        """End `session`; False when it is not the one that runs."""
        if self._loop is None or self._is_closed:
            return False
        return await asyncio.wrap_future(self._loop.submit(self._end_session(session)))

    def wait(self, is_waiting: Callable[[], bool], read_s: float) -> CodedPictureStream:
        """Wait, as long as `is_waiting` says so, for a publisher; return what it sends."""
        while is_waiting() and not self._is_closed:
            with contextlib.suppress(queue.Empty):
                peer = self._new_peers.get(timeout=ASK_S)
                return stream_of(peer, read_s, self._on_drop, partial(self._close_peer, peer))
        raise SourceAway("nobody waits for a publisher any more")

    def close(self) -> None:
        """Close the session and accept no other."""
        with self._lock:
            self._is_closed = True
            loop, self._loop = self._loop, None
        if loop is None:
            return
        with contextlib.suppress(TimeoutError):
            loop.call(self._end_session(self._session), CLOSE_S)
        loop.close()

    async def _begin_session(self, sdp: str) -> tuple[str, str]:
        async with self._busy:
            peer = Peer(self._on_drop)
            try:
                async with asyncio.timeout(NEGOTIATE_S):
                    answer = await peer.answer(sdp)
            except BaseException:
                await peer.close()
                raise
            if self._peer is not None:
                await self._peer.close("another publisher came")
            with contextlib.suppress(queue.Empty):
                self._new_peers.get_nowait()
            self._new_peers.put_nowait(peer)
            self._peer, self._session = peer, secrets.token_hex(16)
            return self._network.describe(answer), self._session

    async def _end_session(self, session: str) -> bool:
        if self._peer is None or not hmac.compare_digest(session.encode(), self._session.encode()):
            return False
        peer, self._peer, self._session = self._peer, None, ""
        await peer.close("the publisher left")
        return True

    def _close_peer(self, peer: Peer) -> None:
        """Close a peer that the reader gave up."""
        with self._lock:
            if self._loop is not None:
                self._loop.submit(peer.close())
