"""Cameras that are read while their leases are held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from services.motion.cameras.leased import LeasedCameras
from services.motion.cameras.supervisor import CameraSupervisor
from services.motion.cameras.worker import CameraWorker
from shared.cameras import Camera
from tests.unit.motion.cameras.test_supervisor import make_supervisor
from tests.unit.motion.videos import scene, write_video


class Rig:
    """A supervisor of real workers, and what says which of them are held."""

    def __init__(self, folder: Path) -> None:
        self.url = str(write_video(folder / "a.mp4", scene(20)))
        self.supervisor: CameraSupervisor = make_supervisor(folder, {})
        self.n_changes = 0
        self.leased = LeasedCameras(self.supervisor, self.count)
        self.ends = asyncio.Event()
        self.task = asyncio.create_task(self.leased.run(self.ends))

    def count(self) -> None:
        self.n_changes += 1

    def camera(self, id_: str, **more: object) -> Camera:
        return Camera.model_validate({"id": id_, "url": self.url, "labels": ["a square"], **more})

    async def list(self, *cameras: Camera) -> None:
        await asyncio.to_thread(self.leased.change, {camera.id: camera for camera in cameras})

    async def runs(self, *ids: str) -> dict[str, CameraWorker]:
        """Wait until exactly these cameras have workers, none of which was told to stop."""
        async with asyncio.timeout(60):
            while sorted(self.leased.running()) != sorted(ids) or any(
                worker.is_done for worker in self.supervisor.workers.values()
            ):
                await asyncio.sleep(0.01)
        return dict(self.supervisor.workers)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.ends.set()
    await made.task
    await asyncio.to_thread(made.supervisor.stop, 20)


async def test_a_camera_is_read_while_it_is_in_the_list_and_held(rig: Rig) -> None:
    await rig.list(rig.camera("gate"), rig.camera("yard"))
    assert rig.leased.running() == set()
    rig.leased.hold({"gate", "other"})
    await rig.runs("gate")
    rig.leased.hold({"gate", "yard"})
    await rig.runs("gate", "yard")
    await rig.list(rig.camera("yard"))
    await rig.runs("yard")
    rig.leased.hold(())
    await rig.runs()
    assert rig.n_changes >= 4


async def test_a_worker_that_is_not_held_any_more_is_told_at_once(rig: Rig) -> None:
    await rig.list(rig.camera("gate"))
    rig.leased.hold({"gate"})
    worker = (await rig.runs("gate"))["gate"]
    rig.leased.hold(())
    assert worker._stop.is_set()


async def test_a_camera_that_is_held_again_before_it_has_stopped_gets_a_new_worker(rig: Rig) -> None:
    await rig.list(rig.camera("gate"))
    rig.leased.hold({"gate"})
    first = (await rig.runs("gate"))["gate"]
    rig.leased.hold(())
    rig.leased.hold({"gate"})
    async with asyncio.timeout(60):
        while rig.supervisor.workers.get("gate") in (first, None):
            await asyncio.sleep(0.01)
    second = (await rig.runs("gate"))["gate"]
    assert not second._stop.is_set()


async def test_a_recording_that_is_read_once_is_left_out_and_told(rig: Rig) -> None:
    with capture_logs() as lines:
        await rig.list(rig.camera("gate"), rig.camera("once", loop=False))
    assert list(rig.leased.locations()) == ["gate"]
    assert [line["camera"] for line in lines if line["log_level"] == "error"] == ["once"]


async def test_a_paused_camera_is_in_the_list_and_is_not_read(rig: Rig) -> None:
    await rig.list(rig.camera("gate"), rig.camera("yard", enabled=False))
    assert list(rig.leased.locations()) == ["gate"]
    assert set(rig.leased.paused()) == {"yard"}
    rig.leased.hold({"gate", "yard"})
    await rig.runs("gate")
    await rig.list(rig.camera("gate"), rig.camera("yard"))
    await rig.runs("gate", "yard")
    assert not rig.leased.paused()


async def test_a_device_is_bound_to_its_host(rig: Rig) -> None:
    usb = rig.camera("usb", url="/dev/video0", location="north")
    await rig.list(rig.camera("gate"), usb)
    assert set(rig.leased.bound()) == {"usb"}


async def test_lists_of_the_same_cameras_have_the_same_name(rig: Rig) -> None:
    await rig.list(rig.camera("gate"), rig.camera("yard"))
    name = rig.leased.list_name
    await rig.list(rig.camera("yard", name="Yard"), rig.camera("gate", location="north"))
    assert rig.leased.list_name == name
    assert rig.leased.locations() == {"yard": "", "gate": "north"}
    await rig.list(rig.camera("gate"))
    assert rig.leased.list_name != name


async def test_a_camera_weighs_its_pixels_times_its_rate_once_it_delivers(rig: Rig) -> None:
    await rig.list(rig.camera("gate"))
    assert rig.leased.weight_of("gate") is None
    rig.leased.hold({"gate"})
    await rig.runs("gate")
    async with asyncio.timeout(60):
        while (weight := rig.leased.weight_of("gate")) is None:
            await asyncio.sleep(0.01)
    assert weight == pytest.approx(160 * 120 * 10 / 1e6)
