"""Runs those cameras of the camera file that this process holds by leases; knows no Redis.

The registry says which cameras there are (`change`, in a thread), the leases which of them this process reads (`hold`,
in the event loop). What follows from both is done in a thread, one change at a time.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping

from services.motion.cameras.supervisor import CameraSupervisor, enabled
from shared.cameras import Camera, kind_of
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)


def is_leasable(camera: Camera) -> bool:
    """Whether any process can read it. A recording that is read once leaves its marks in one data directory."""
    return camera.loop or not camera.is_file


class LeasedCameras:
    """The cameras of the file, and those of them that are read here."""

    def __init__(self, supervisor: CameraSupervisor, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called in the event loop when a worker ended or the list is another."""
        self._supervisor = supervisor
        self.changed = changed
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()  # the supervisor changes its workers in one thread at a time
        self._cameras: Mapping[str, Camera] = {}
        self._paused: frozenset[str] = frozenset()
        self._held: frozenset[str] = frozenset()
        # cameras whose workers were told to stop, also should they be held again
        self._told: deque[str] = deque()
        self._wake = asyncio.Event()

    # -- of the registry

    def change(self, cameras: dict[str, Camera]) -> None:
        """Take another list: the cameras of the file by id."""
        running = enabled(cameras)
        for camera in running.values():
            if not is_leasable(camera):
                log.error(
                    "a recording that is read once cannot be leased, it is left out: set loop: true, or read it by a "
                    "motion service without CAMERA_LEASES",
                    camera=camera.id,
                )
        self._paused = frozenset(cameras.keys() - running.keys())
        self._cameras = {id_: camera for id_, camera in running.items() if is_leasable(camera)}
        self._apply()
        self._loop.call_soon_threadsafe(self.changed)

    # -- of the leases

    @property
    def list_name(self) -> str:
        """A name of the list: processes with the same one share its cameras."""
        return hashlib.sha256("\n".join(sorted(self._cameras)).encode()).hexdigest()[:16]

    def locations(self) -> Mapping[str, str]:
        """Return where each camera is; empty: anywhere."""
        return {id_: camera.location or "" for id_, camera in self._cameras.items()}

    def bound(self) -> Collection[str]:
        """Return the cameras that only a process at their location can read: devices on its host."""
        return {id_ for id_, camera in self._cameras.items() if kind_of(camera.url) == "device"}

    def paused(self) -> Collection[str]:
        """Return the cameras of the list that nobody is to read."""
        return self._paused

    def hold(self, ids: Collection[str]) -> None:
        """Read exactly these cameras from now on; those that are read and not held are told to stop at once."""
        self._held = frozenset(ids)
        workers = dict(self._supervisor.workers)
        for id_ in workers.keys() - self._held:
            workers[id_].stop()
            self._told.append(id_)
        if workers.keys() != self._held & self._cameras.keys():
            self._wake.set()

    def running(self) -> Collection[str]:
        """Return the cameras that have a worker, also one that is being stopped."""
        return set(self._supervisor.workers)

    def weight_of(self, camera_id: str) -> float | None:
        """Return the megapixels a second of a camera that delivers; None: it does not."""
        worker = self._supervisor.workers.get(camera_id)
        if worker is None or worker.status.state != "running":
            return None
        return worker.status.megapixels_hz

    async def run(self, ends: asyncio.Event) -> None:
        """Start and stop workers until `ends`."""
        while not ends.is_set():
            await pause(None, ends, self._wake)
            self._wake.clear()
            if not ends.is_set():
                await asyncio.to_thread(self._apply)
                self.changed()

    def _apply(self) -> None:
        with self._lock:
            told = {self._told.popleft() for _ in range(len(self._told))}
            held, cameras = self._held, self._cameras
            wanted = {id_: camera for id_, camera in cameras.items() if id_ in held}
            if told & wanted.keys():
                self._supervisor.change({id_: one for id_, one in wanted.items() if id_ not in told})
            self._supervisor.change(wanted)
