"""Runs a worker for each camera of the camera file: starts, changes, restarts and stops them."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.motion.cameras.context import CameraContext
from services.motion.cameras.file_worker import FileWorker
from services.motion.cameras.folder_worker import FolderWorker
from services.motion.cameras.live_worker import LiveWorker
from services.motion.cameras.worker import CameraWorker
from services.motion.metrics import MotionMetrics
from services.motion.sources.webrtc.whip import WhipEndpoint
from services.motion.spool.recordings import Recording, find_recording
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.errors import Permanent
from shared.logs import get_logger
from shared.runtime import Runtime

log = get_logger(__name__)

STALLED_S = 60.0  # a camera's threads must move within this, whatever the camera does
STOP_CAMERAS_S = 2.5
RESTART_BROKEN_S = 10.0
RESTARTS = 3  # of a recording


def enabled(cameras: Mapping[str, Camera]) -> dict[str, Camera]:
    """Return the cameras that shall run."""
    return {id_: camera for id_, camera in cameras.items() if camera.enabled}


@dataclass(slots=True)
class CameraSupervisor:
    """The workers of all cameras."""

    context: CameraContext
    recordings: Path
    runtime: Runtime
    metrics: MotionMetrics
    workers: dict[str, CameraWorker] = field(default_factory=dict)
    _broken_since: dict[str, float] = field(default_factory=dict)
    _restarts: Counter[str] = field(default_factory=Counter)

    def start(self, cameras: dict[str, Camera]) -> None:
        """Start a worker for each camera that is enabled."""
        for camera in enabled(cameras).values():
            self._start(camera)

    def change(self, cameras: dict[str, Camera]) -> None:
        """Apply an edited camera file: start, change, restart and stop what differs; disabled cameras do not run."""
        cameras = enabled(cameras)
        gone = [known for known in self.workers if known not in cameras]
        for camera_id in gone:
            log.info("camera removed", camera=camera_id)
        self._stop(*gone)
        for camera_id in gone:
            with contextlib.suppress(KeyError):
                self.metrics.up.remove(camera_id)  # 0 would say that it is away
        for camera in cameras.values():
            worker = self.workers.get(camera.id)
            if worker is None:
                log.info("camera added", camera=camera.id)
                self._start(camera)
            elif _source_of(worker.camera) != _source_of(camera):
                log.info("camera has another source", camera=camera.id)
                self._stop(camera.id)
                self._start(camera)
            elif worker.camera != camera:
                log.info("camera has other settings", camera=camera.id)
                worker.change(camera)

    def restart_broken(self, after_s: float = RESTART_BROKEN_S) -> None:
        """Start another worker for a camera whose worker a bug ended `after_s` ago.

        A recording is restarted RESTARTS times at most: what caused the bug stays in it. It is read from its start,
        with the same ids.
        """
        for camera_id, worker in list(self.workers.items()):
            if not (worker.is_done and worker.is_broken) or not self._may_restart(worker):
                continue
            since = self._broken_since.setdefault(camera_id, time.monotonic())
            if time.monotonic() - since >= after_s:
                del self._broken_since[camera_id]
                self._restarts[camera_id] += 1
                self._start(worker.camera)

    def _may_restart(self, worker: CameraWorker) -> bool:
        return isinstance(worker, LiveWorker) or self._restarts[worker.camera.id] < RESTARTS

    @property
    def is_broken(self) -> bool:
        """Whether a bug ended a camera that does not run again yet."""
        return any(worker.is_done and worker.is_broken for worker in list(self.workers.values()))

    def stop(self, within_s: float) -> None:
        """Stop all workers together; those that hang are left behind (their threads are daemons)."""
        _stop_together(list(self.workers.values()), within_s)

    @property
    def is_done(self) -> bool:
        """Whether every camera was a finite file and has ended, or failed."""
        workers = list(self.workers.values())  # a copy: they change in a thread; none: all are paused
        return bool(workers) and all(isinstance(w, FileWorker) and self._has_ended(w) for w in workers)

    def _has_ended(self, worker: CameraWorker) -> bool:
        return worker.is_done and not (worker.is_broken and self._may_restart(worker))

    def raise_if_unusable(self) -> None:
        """At the end: raise Permanent when no camera could be used."""
        if self.runtime.stop.is_set():
            return
        states = [worker.status.state for worker in self.workers.values()]
        if states and all(state == "failed" for state in states):
            faults = "; ".join(f"{w.camera.id}: {w.status.last_error}" for w in self.workers.values())
            raise Permanent(f"no camera could be used: {faults}")

    def as_json(self) -> dict[str, object]:
        """Return what GET /api/cameras answers."""
        outbox = self.context.outbox
        return {
            "cameras": [worker.status.as_json() for worker in list(self.workers.values())],
            "outbox": {
                "entries": outbox.n_entries,
                "bytes": outbox.n_bytes,
                "kept": outbox.n_kept,
                "kept_bytes": outbox.kept_bytes,
            },
        }

    def endpoint_of(self, camera_id: str) -> WhipEndpoint | None:
        """Return where this camera's publisher connects; None for a camera that has none."""
        worker = self.workers.get(camera_id)
        return worker.endpoint if isinstance(worker, LiveWorker) else None

    def _start(self, camera: Camera) -> None:
        part = f"camera {camera.id}"
        health = self.runtime.health
        beat = health.expect(part, STALLED_S)
        status = CameraStatus(camera.id, camera.url, self.metrics, beat=beat)
        status.become("connecting")
        worker: CameraWorker
        if camera.is_file and Path(camera.url).is_dir():
            worker = FolderWorker(camera, self.context, status, self._recording)
        elif camera.is_file:
            worker = FileWorker(camera, self.context, status, self._recording(camera))
        else:
            worker = LiveWorker(camera, self.context, status)

        def end() -> None:
            if not worker.is_broken:  # one that is not restarted shows as stalled
                health.forget(part, beat)  # its own: the camera may have another worker by now

        worker.on_end = end
        worker.start()  # first: a worker that is listed before it runs would look done
        self.workers[camera.id] = worker

    def _recording(self, camera: Camera) -> Recording | None:
        return None if camera.loop else find_recording(self.recordings, camera)

    def _stop(self, *camera_ids: str) -> None:
        stopped: dict[str, CameraWorker] = {}
        # again for a worker that was restarted meanwhile: the table alone knows it
        while left := [self.workers[id_] for id_ in camera_ids if self.workers[id_] is not stopped.get(id_)]:
            _stop_together(left, STOP_CAMERAS_S)
            stopped |= {worker.camera.id: worker for worker in left}
        for camera_id in camera_ids:
            del self.workers[camera_id]


def _stop_together(workers: Sequence[CameraWorker], within_s: float) -> None:
    for worker in workers:
        worker.stop()
    ends = time.monotonic() + within_s
    for worker in workers:
        if not worker.join(max(0.01, ends - time.monotonic())):
            log.warning("a camera did not stop in time", camera=worker.camera.id)


def _source_of(camera: Camera) -> tuple[object, ...]:
    return camera.url, camera.detect_url, camera.transport, camera.pace, camera.loop, camera.starts_at
