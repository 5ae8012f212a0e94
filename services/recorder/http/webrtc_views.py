"""Ends the WebRTC views of cameras whose viewers may not watch any more. Knows no route.

A view is begun by one request to motion and then runs from motion to the browser, so that no request of it is left to
be cut off, as live pictures are (shared/open_streams.py). Each view that this recorder knows is asked about every
second, and ended in motion. A recorder that is killed forgets its views; the next one, or another beside it, knows a
view again once its viewer asks about it. A page asks at the beginning and when pictures are out of step with their
boxes, so a view may stay unknown until it ends.
Where several motion processes share the cameras, a view stays with the one that began it.
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


@dataclass(frozen=True, slots=True)
class WebrtcView:
    """Who watches, and the address of the motion process that sends it; None: not known.

    `is_own`: it began here; another's outlasts the stop of this recorder.
    """

    viewer: Identity
    address: str | None = None
    is_own: bool = True


@dataclass(slots=True)
class WebrtcViews:
    """The views that this recorder knows, by the path that ends them in motion."""

    motion: MotionClient
    is_current: Callable[[Identity], Awaitable[bool]]
    every_s: float = RECHECK_S
    _views: OrderedDict[str, WebrtcView] = field(default_factory=OrderedDict)
    _to_end: dict[str, WebrtcView] = field(default_factory=dict)

    def begun(self, path: str, identity: Identity, address: str | None = None) -> None:
        """Note a view; `path`: the Location that motion gave it; `address`: of the process that did."""
        self._note(path, WebrtcView(identity, address))

    def seen(self, path: str, identity: Identity, address: str) -> None:
        """Note a view that its viewer asked about, unless it is known: it began through another recorder."""
        if path not in self._views and path not in self._to_end:
            self._note(path, WebrtcView(identity, address, is_own=False))

    def _note(self, path: str, view: WebrtcView) -> None:
        self._views[path] = view
        if len(self._views) > VIEWS_MAX:
            oldest, dropped = self._views.popitem(last=False)
            if dropped.is_own:
                self._to_end[oldest] = dropped

    def address_of(self, path: str) -> str | None:
        """Return the address of the process that sends a view; None: not known."""
        view = self._views.get(path)
        return view.address if view is not None else None

    def ended(self, path: str) -> None:
        """Forget a view that its viewer left."""
        self._views.pop(path, None)

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """End views until `stop`, then all that began here and are left."""
        while not stop.is_set():
            await pause(self.every_s, stop)
            await self._recheck()
            beat()
        self._to_end.update({path: view for path, view in self._views.items() if view.is_own})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                await self._end()

    async def _recheck(self) -> None:
        for path, view in list(self._views.items()):
            if not await self.is_current(view.viewer):
                self._views.pop(path, None)
                self._to_end[path] = view
        await self._end()

    async def _end(self) -> None:
        """End them together: a process that does not answer holds up none of another."""
        await asyncio.gather(*(self._end_one(path, view) for path, view in self._to_end.items()))

    async def _end_one(self, path: str, view: WebrtcView) -> None:
        if await self.motion.end_view(path, view.address):  # else motion does not answer: again in a moment
            self._to_end.pop(path, None)
            log.info("a live view was ended: its viewer may not watch any more", path=path)
