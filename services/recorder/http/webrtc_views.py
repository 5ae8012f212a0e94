"""Ends the WebRTC views of cameras whose viewers may not watch any more. Knows no route.

A view is begun by one request to motion and then runs from motion to the browser, so that no request of it is left to
be cut off, as live pictures are (shared/open_streams.py). What this process began is asked about every second,
and ended in motion. A recorder that is killed forgets its views: they last until their viewers leave.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from services.recorder.http.motion_client import MotionClient
from shared.logs import get_logger
from shared.open_streams import RECHECK_S
from shared.permissions import Identity
from shared.waits import pause

log = get_logger(__name__)
VIEWS_MAX = 4096  # motion lets far fewer watch at once; the oldest are ended beyond
_STOP_S = 2.0


@dataclass(slots=True)
class WebrtcViews:
    """The views that were begun through this recorder, by the path that ends them in motion."""

    motion: MotionClient
    is_current: Callable[[Identity], Awaitable[bool]]
    every_s: float = RECHECK_S
    _viewers: OrderedDict[str, Identity] = field(default_factory=OrderedDict)
    _to_end: set[str] = field(default_factory=set)

    def begun(self, path: str, identity: Identity) -> None:
        """Note a view; `path`: the Location that motion gave it."""
        self._viewers[path] = identity
        if len(self._viewers) > VIEWS_MAX:
            self._to_end.add(self._viewers.popitem(last=False)[0])

    def ended(self, path: str) -> None:
        """Forget a view that its viewer left."""
        self._viewers.pop(path, None)

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """End views until `stop`, then all that are left."""
        while not stop.is_set():
            await pause(self.every_s, stop)
            await self._recheck()
            beat()
        self._to_end.update(self._viewers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._end()

    async def _recheck(self) -> None:
        for path, identity in list(self._viewers.items()):
            if not await self.is_current(identity):
                self._viewers.pop(path, None)
                self._to_end.add(path)
        await self._end()

    async def _end(self) -> None:
        for path in sorted(self._to_end):
            if await self.motion.end_view(path):  # else motion does not answer: again in a moment
                self._to_end.discard(path)
                log.info("a live view was ended: its viewer may not watch any more", path=path)
