"""Leases and workers of a process end together: neither goes on when the other failed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.motion.cameras.sharing import CameraSharing
from services.motion.cameras.supervisor import CameraSupervisor
from services.motion.settings import MotionServiceSettings
from shared.cameras import Camera
from tests.unit.motion.cameras.test_supervisor import make_supervisor

pytestmark = [pytest.mark.redis]


class Unable(CameraSupervisor):
    """Starts no camera."""

    def change(self, cameras: dict[str, Camera]) -> None:
        if cameras:
            raise RuntimeError("no camera can be started")


async def test_leases_on_cameras_that_cannot_be_started_are_not_kept(redis_url: str, tmp_path: Path) -> None:
    made = make_supervisor(tmp_path, {})
    supervisor = Unable(made.context, made.recordings, made.runtime, made.metrics)
    settings = MotionServiceSettings(redis_url=redis_url, camera_leases=True, camera_lease_s=2)
    sharing = CameraSharing(settings, supervisor, made.metrics)
    camera = Camera.model_validate({"id": "gate", "url": "rtsp://127.0.0.1:9/s", "labels": ["a dog"]})
    await asyncio.to_thread(sharing.workers.change, {"gate": camera})
    async with asyncio.timeout(60):
        with pytest.raises(RuntimeError, match="no camera can be started"):
            await sharing.run(asyncio.Event(), lambda: None)
        await sharing.leave()
    assert not {task.get_name() for task in asyncio.all_tasks()} & {"leases", "leased cameras"}
    await sharing.close()


async def test_both_end_when_they_are_told_to(redis_url: str, tmp_path: Path) -> None:
    made = make_supervisor(tmp_path, {})
    settings = MotionServiceSettings(redis_url=redis_url, camera_leases=True, camera_lease_s=2)
    sharing = CameraSharing(settings, made, made.metrics)
    ends = asyncio.Event()
    running = asyncio.create_task(sharing.run(ends, lambda: None))
    await asyncio.sleep(0.5)
    assert not running.done()
    ends.set()
    async with asyncio.timeout(60):
        await running
    await sharing.close()
