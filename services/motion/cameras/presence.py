"""Reports this process and its cameras, for the record's page."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.motion.cameras.registry import CameraRegistry
from services.motion.cameras.supervisor import CameraSupervisor
from services.motion.cameras.worker import CameraWorker
from shared.cameras import Camera
from shared.errors import redact
from shared.plurals import plural
from shared.presence import CAMERAS_MAX, ELSEWHERE, CameraReport, Presence


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """The cameras that are held by leases; from when to when nobody read some, milliseconds since 1970."""

    held: frozenset[str]
    unread_ms: Mapping[str, tuple[int, int]]


def presence_of(
    supervisor: CameraSupervisor,
    registry: CameraRegistry,
    leased: Callable[[], LeaseReport | None],
    owner: str,
) -> Presence:
    """Return what the record's page shows of this process and its cameras, the disabled ones among them.

    `leased` returns None where there are no leases.
    """
    workers = {worker.camera.id: worker for worker in list(supervisor.workers.values())}
    known = {camera.id: camera for camera in registry.version.cameras.cameras}
    known |= {worker.camera.id: worker.camera for worker in workers.values()}
    leases = leased()
    cameras = [_report_of(camera, workers.get(camera.id), leases) for camera in known.values()]
    # what is read here comes first, where not all have room
    cameras.sort(key=lambda one: one.state == ELSEWHERE)
    n_spooled, instance = supervisor.context.outbox.n_entries, supervisor.context.settings.instance
    return Presence(
        service="motion",
        name=instance or f"{socket.gethostname()}-{os.getpid()}",
        about=f"{plural(n_spooled, 'snippet waits', 'snippets wait')} on its disk" if n_spooled else "",
        cameras=tuple(cameras[:CAMERAS_MAX]),
        owner=owner,
        address=supervisor.context.settings.reached_at,
        is_complete=registry.has_begun and len(cameras) <= CAMERAS_MAX,
    )


def _report_of(camera: Camera, worker: CameraWorker | None, leases: LeaseReport | None) -> CameraReport:
    group = camera.example_group or ""
    is_elsewhere = leases is not None and camera.id not in leases.held
    unread_ms = leases.unread_ms.get(camera.id) if leases is not None else None
    if worker is None or is_elsewhere:
        state = "disabled" if not camera.enabled else ELSEWHERE if is_elsewhere else "connecting"
        return CameraReport(
            id=camera.id,
            name=camera.name,
            state=state,
            example_group=group,
            unread_ms=unread_ms,
            is_moving=False,
        )
    status = worker.status
    return CameraReport(
        id=camera.id,
        name=camera.name,
        state=status.state,
        message=redact(status.message or status.last_error)[:500],
        example_group=group,
        unread_ms=unread_ms,
        is_moving=status.open_event is not None,
    )


def urgent_state(
    supervisor: CameraSupervisor, registry: CameraRegistry, leased: Callable[[], LeaseReport | None]
) -> object:
    """Return what is announced at once when it changes."""
    statuses = [worker.status for worker in list(supervisor.workers.values())]
    moving = tuple((one.id, one.state, one.open_event is not None) for one in statuses)
    return registry.version.revision, registry.has_begun, moving, leased()
