"""Reports this process and its cameras, for the record's page."""

from __future__ import annotations

import os
import socket

from services.motion.cameras.registry import CameraRegistry
from services.motion.cameras.supervisor import CameraSupervisor
from services.motion.cameras.worker import CameraWorker
from shared.cameras import Camera
from shared.errors import redact
from shared.plurals import plural
from shared.presence import CAMERAS_MAX, CameraReport, Presence


def presence_of(supervisor: CameraSupervisor, registry: CameraRegistry, owner: str) -> Presence:
    """Return what the record's page shows of this process and its cameras, the disabled ones among them."""
    workers = {worker.camera.id: worker for worker in list(supervisor.workers.values())}
    known = {camera.id: camera for camera in registry.version.cameras.cameras}
    known |= {worker.camera.id: worker.camera for worker in workers.values()}
    cameras = [_report_of(camera, workers.get(camera.id)) for camera in known.values()]
    n_spooled, instance = supervisor.context.outbox.n_entries, supervisor.context.settings.instance
    return Presence(
        service="motion",
        name=instance or f"{socket.gethostname()}-{os.getpid()}",
        about=f"{plural(n_spooled, 'snippet waits', 'snippets wait')} on its disk" if n_spooled else "",
        cameras=tuple(cameras[:CAMERAS_MAX]),
        owner=owner,
        is_complete=registry.has_begun and len(cameras) <= CAMERAS_MAX,
    )


def _report_of(camera: Camera, worker: CameraWorker | None) -> CameraReport:
    group = camera.example_group or ""
    if worker is None:
        state = "connecting" if camera.enabled else "disabled"
        return CameraReport(id=camera.id, name=camera.name, state=state, example_group=group, is_moving=False)
    status = worker.status
    return CameraReport(
        id=camera.id,
        name=camera.name,
        state=status.state,
        message=redact(status.message or status.last_error)[:500],
        example_group=group,
        is_moving=status.open_event is not None,
    )


def urgent_state(supervisor: CameraSupervisor, registry: CameraRegistry) -> object:
    """Return what is announced at once when it changes."""
    statuses = [worker.status for worker in list(supervisor.workers.values())]
    moving = tuple((one.id, one.state, one.open_event is not None) for one in statuses)
    return registry.version.revision, registry.has_begun, moving
