"""Hands each camera's newest frame, with what the detector found in it, to its viewers. Knows no WebRTC and no HTTP.

A camera's thread calls `show` for each frame that the detector saw. Without viewers that costs one comparison, and
nothing is kept or converted. A viewer always gets the newest frame; a slow one misses the frames between.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.motion.detection.values import DetectorState, Motion
from services.motion.media.frame import Frame
from services.motion.media.jpeg import FramePictures
from shared.errors import Transient

VIEWERS_MAX = 32  # of all cameras together, unless LIVE_VIEWERS_MAX says otherwise
PICTURE_PX = 960  # longest side of a viewer's picture


class TooManyViewers(Transient):
    """There are as many viewers as LIVE_VIEWERS_MAX allows."""


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """A frame that the detector saw, what it found there, and what it knows of the scene since."""

    number: int
    frame: Frame
    motion: Motion
    scene: DetectorState | None


@dataclass(slots=True)
class ViewerSlot:
    """The place of one viewer, in one event loop."""

    _view: LiveView
    _loop: asyncio.AbstractEventLoop
    _is_new: asyncio.Event = field(default_factory=asyncio.Event)

    async def next(self, within_s: float) -> LiveFrame | None:
        """Return the newest frame that this viewer has not had yet; None when none comes in time."""
        try:
            async with asyncio.timeout(within_s):
                await self._is_new.wait()
        except TimeoutError:
            return None
        self._is_new.clear()
        return self._view.newest

    def notify(self) -> None:
        """Announce a new frame; from any thread."""
        with contextlib.suppress(RuntimeError):  # its loop was closed: the viewer is about to leave
            self._loop.call_soon_threadsafe(self._is_new.set)


class LiveView:
    """The live view of one camera: its newest frame, kept only while somebody watches."""

    def __init__(self, views: LiveViews) -> None:
        self._views = views
        self._lock = threading.Lock()
        self._slots: tuple[ViewerSlot, ...] = ()
        self._jpeg: tuple[int, bytes] | None = None
        self._n = 0
        self.newest: LiveFrame | None = None

    @property
    def is_watched(self) -> bool:
        return bool(self._slots)

    def show(self, frame: Frame, motion: Motion, scene: DetectorState | None) -> None:
        """Show a frame to the viewers; from the camera's thread."""
        if not self._slots:
            return
        with self._lock:
            self._n += 1
            if self._slots:
                self.newest = LiveFrame(self._n, frame, motion, scene)
        for slot in self._slots:
            slot.notify()

    @contextlib.contextmanager
    def slot(self) -> Iterator[ViewerSlot]:
        """Watch, in the running event loop, until the block ends; raises TooManyViewers."""
        self._views.acquire()
        slot = ViewerSlot(self, asyncio.get_running_loop())
        with self._lock:
            self._slots = (*self._slots, slot)
        try:
            yield slot
        finally:
            with self._lock:
                self._slots = tuple(other for other in self._slots if other is not slot)
                if not self._slots:
                    self.newest = self._jpeg = None
            self._views.release()

    def jpeg(self, latest: LiveFrame) -> bytes:
        """Return `latest` as a JPEG, made once for all viewers. Takes a few ms: call it in a thread."""
        known = self._jpeg
        if known is not None and known[0] == latest.number:
            return known[1]
        data = FramePictures(latest.frame).whole(PICTURE_PX).data
        with self._lock:
            if self._slots:
                self._jpeg = (latest.number, data)
        return data


class LiveViews:
    """The live views of all cameras in the camera file; they outlive the cameras' workers."""

    def __init__(self, n_slots: int = VIEWERS_MAX) -> None:
        self.n_slots = n_slots
        self.n_viewers = 0
        self._lock = threading.Lock()
        self._views: dict[str, LiveView] = {}

    def of(self, camera_id: str) -> LiveView:
        with self._lock:
            return self._views.setdefault(camera_id, LiveView(self))

    def acquire(self) -> None:
        with self._lock:
            if self.n_viewers >= self.n_slots:
                raise TooManyViewers(
                    f"{self.n_viewers} watch already, LIVE_VIEWERS_MAX allows no more; try again later"
                )
            self.n_viewers += 1

    def release(self) -> None:
        with self._lock:
            self.n_viewers -= 1
