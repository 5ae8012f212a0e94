"""Shares the cameras of the camera file with other motion processes by leases in Redis (CAMERA_LEASES)."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from services.motion.cameras.leased import LeasedCameras
from services.motion.cameras.presence import LeaseReport
from services.motion.cameras.registry import WATCH_FILE_S
from services.motion.cameras.supervisor import STOP_CAMERAS_S, CameraSupervisor
from services.motion.leases.camera_leases import CameraLeases, OwnProcess
from services.motion.leases.redis_leases import RedisLeases
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from shared.leases import LeaseSettings
from shared.redis_client import make_redis

CALL_S = 2.0  # a Redis that needs longer counts as away


class CameraSharing:
    """This process's part of the cameras; `workers` is what the registry changes."""

    def __init__(
        self, settings: MotionServiceSettings, supervisor: CameraSupervisor, metrics: MotionMetrics
    ) -> None:
        """Nothing is connected yet; raises ConfigError for a REDIS_URL that cannot be used."""
        self.workers = LeasedCameras(supervisor)
        self._handover_s = settings.camera_handover_s
        self._redis = make_redis(
            settings.redis_address,
            socket_timeout=CALL_S,
            socket_connect_timeout=CALL_S,
            socket_keepalive=True,
        )
        holder = settings.instance or f"{socket.gethostname()}-{os.getpid()}"
        leases = RedisLeases(self._redis, LeaseSettings(holder, settings.camera_lease_s))
        own = OwnProcess(
            settings.camera_lease_s,
            settings.camera_load_max,
            settings.camera_location,
            unlisted_s=2 * WATCH_FILE_S,
        )
        self._leases = CameraLeases(leases, self.workers, own, lambda: self.workers.list_name, metrics)
        self.workers.changed = self._leases.stopped

    def report(self) -> LeaseReport:
        """Return which cameras this process holds, and when nobody read some."""
        return LeaseReport(frozenset(self._leases.held), self._leases.unread_times)

    async def run(self, ends: asyncio.Event, beat: Callable[[], None]) -> None:
        """Keep the leases, and run what is held, until `ends`; raises what waiting does not cure."""
        tasks = [
            asyncio.create_task(self.workers.run(ends), name="leased cameras"),
            asyncio.create_task(self._leases.run(ends, beat), name="leases"),
        ]
        try:  # without either of them nothing is right: leases of cameras that nobody starts, or the reverse
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def leave(self) -> None:
        """Stop what is held and hand it over; `run` must go on meanwhile. If it failed, all is stopped at once."""
        await self._leases.leave(self._handover_s, STOP_CAMERAS_S)

    async def close(self) -> None:
        await self._redis.aclose()
