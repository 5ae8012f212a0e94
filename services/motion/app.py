"""The motion service, put together: cameras in, snippets in Redis out. Everything is built here.

camera threads --> outbox on disk --> publisher --> Redis --receipts--> what is recorded leaves the disk
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
from redis.asyncio import Redis

from services.motion.cameras.registry import CameraRegistry, enabled
from services.motion.cameras.worker import CameraContext, CameraWorker, FileWorker, FolderWorker, LiveWorker
from services.motion.http.cameras import add_routes
from services.motion.http.live import LiveContext, add_view_routes
from services.motion.http.page import add_page_routes
from services.motion.http.whip import add_whip_routes
from services.motion.live.latest import LiveViews
from services.motion.live.sender import IceServers, WhepSender
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.snippets.recovery import Recovery
from services.motion.sources.probe import camera_faults
from services.motion.sources.video import quiet_ffmpeg
from services.motion.sources.webrtc.whip import Door
from services.motion.spool.folder import Secret, find_secret, prepare_folder
from services.motion.spool.outbox import Outbox
from services.motion.spool.publisher import Publisher, owner_of
from services.motion.spool.receipts import Receipts
from services.motion.spool.recordings import Recording, find_recording
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.cameras.store import CameraFileStore
from shared.errors import ConfigError, Permanent, redact
from shared.files import write_durably
from shared.logs import get_logger
from shared.plurals import plural
from shared.presence import CAMERAS_MAX, CameraReport, Presence, announce
from shared.redis_client import make_redis, redis_faults
from shared.runtime import Runtime
from shared.waits import unless_stopped
from shared.yaml_files import read_yaml

log = get_logger(__name__)

STALLED_S = 60.0  # a camera's threads and the publisher must move within this, whatever the camera does
WATCH_FILE_S = 2.0
STOP_CAMERAS_S = 2.5
RESTART_BROKEN_S = 10.0
RESTARTS = 3  # of a recording
WATCH_DISK_S = 2.0


async def check(settings: MotionServiceSettings) -> Sequence[str]:
    """Return every fault of the configuration."""
    quiet_ffmpeg()
    faults: list[str] = []
    try:
        prepare_folder(settings.data_dir)
    except ConfigError as exc:
        faults += exc.faults
    try:
        document = read_yaml(settings.cameras_file)
    except ConfigError as exc:
        return [*faults, *exc.faults]
    is_finite = settings.exit_when_done
    return [*faults, *camera_faults(document, settings.cameras_file, os.environ, is_finite=is_finite)]


async def main(settings: MotionServiceSettings, runtime: Runtime) -> None:
    """Watch all cameras until `runtime.stop`, or (EXIT_WHEN_DONE) until every file is read and in Redis."""
    quiet_ffmpeg()
    cv2.setNumThreads(1)  # cameras are the parallelism; planes are too small to share out
    store = CameraFileStore(settings.cameras_file)
    version = store.read()
    folder = prepare_folder(settings.data_dir)
    secret = find_secret(folder)
    metrics = MotionMetrics()
    outbox = Outbox(folder / "outbox", settings.outbox_max_bytes, metrics)
    journals = folder / "journal"
    recovery = Recovery(journals, outbox, secret.value, metrics)
    views = LiveViews(settings.live_viewers_max)
    sender = WhepSender(_ice(settings), views.of, settings.peer_network)
    context = CameraContext(settings, outbox, secret.value, journals, views)
    supervisor = CameraSupervisor(context, folder / "recordings", runtime, metrics)
    registry = CameraRegistry(store, supervisor, version)
    add_routes(runtime.app, registry, lambda: _status_of(supervisor), settings.api_token)
    add_view_routes(runtime.app, LiveContext(registry, views, sender, settings.api_token))
    add_page_routes(runtime.app)
    add_whip_routes(runtime.app, supervisor.door_of)
    _log_thread_bugs()
    redis = _redis(settings)
    owner = owner_of(secret.value)
    publisher = Publisher(outbox, redis, settings.backlog_max, owner, metrics)
    receipts = Receipts(outbox, redis, owner, metrics)
    expect = runtime.health.expect
    ends = asyncio.Event()  # of what goes on until the cameras have stopped
    disk = _watch_disk(outbox, recovery, secret, runtime.stop, expect("disk", STALLED_S))
    storing = asyncio.create_task(disk, name="disk")
    watching = asyncio.create_task(_watch_file(registry, runtime.stop), name="camera file")
    presence = announce(
        redis, partial(_presence, supervisor, registry, owner), ends, partial(_mark, supervisor, registry)
    )
    talking = [
        asyncio.create_task(publisher.run(ends, expect("publisher", STALLED_S)), name="publisher"),
        asyncio.create_task(receipts.run(ends, expect("receipts", STALLED_S)), name="receipts"),
        asyncio.create_task(presence, name="presence"),
    ]
    try:
        await unless_stopped(asyncio.to_thread(recovery.find), runtime.stop)
        await unless_stopped(asyncio.to_thread(recovery.recover), runtime.stop)  # seconds for each journal
        supervisor.start(enabled(version))
        registry.begin()
        await _until_done(
            supervisor, outbox, runtime, [*talking, storing, watching], exits=settings.exit_when_done
        )
    finally:
        watching.cancel()
        storing.cancel()
        leaving = asyncio.create_task(asyncio.to_thread(sender.close), name="viewers leave")
        await asyncio.to_thread(supervisor.stop, STOP_CAMERAS_S)
        await leaving
        ends.set()
        publisher.nudge()
        await _end(talking, 1.0)
        is_sent = await publisher.flush(min(2.0, settings.drain_s / 2))
        if not is_sent:
            log.warning("snippets stay on disk for the next start", entries=outbox.n_entries)
        await redis.aclose()
        _leave_status(folder, supervisor)
        gc.freeze()  # the interpreter's last collections took 1 to 3 s of the 5 s that a stop may last
    supervisor.judge()


async def _end(tasks: Sequence[asyncio.Task[None]], within_s: float) -> None:
    """Wait for tasks that were told to end, then cancel them; raise what one of them failed of."""
    _, late = await asyncio.wait(tasks, timeout=within_s)
    for task in late:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _until_done(
    supervisor: CameraSupervisor,
    outbox: Outbox,
    runtime: Runtime,
    tasks: Sequence[asyncio.Task[None]],
    *,
    exits: bool,
) -> None:
    """Wait for `stop`, or, if the service `exits` by itself, for the ends of all files and nothing left to send: what
    Redis has may wait for its receipts until the next start. One of `tasks` that fails ends the service.
    """
    is_told = False
    while not runtime.stop.is_set():
        for task in tasks:
            if task.done():
                task.result()
        is_done = supervisor.is_done and outbox.n_entries == 0
        if is_done and exits:
            return
        if is_done and not is_told:
            log.info(
                "every recording was read to its end; the service stays up", cameras=len(supervisor.workers)
            )
        is_told = is_done
        supervisor.restart_broken()
        runtime.health.is_ready = not outbox.is_refusing and not supervisor.is_broken
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runtime.stop.wait(), 0.1)


async def _watch_disk(
    outbox: Outbox, recovery: Recovery, secret: Secret, stop: asyncio.Event, beat: Callable[[], None]
) -> None:
    """After a refusal of the disk, see when it takes files again; then write what had to wait."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WATCH_DISK_S)
            return
        beat()
        await asyncio.to_thread(outbox.try_disk)
        if recovery.is_begun and not outbox.is_refusing:
            await asyncio.to_thread(recovery.recover)
        with contextlib.suppress(OSError):  # told at the start
            await asyncio.to_thread(secret.keep)


def _leave_status(folder: Path, supervisor: CameraSupervisor) -> None:
    try:
        write_durably(folder / "status.json", json.dumps(_status_of(supervisor)).encode())
    except OSError as exc:
        log.warning("the last state of the cameras cannot be written", error=exc)


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
        """Start a worker for each camera."""
        for camera in cameras.values():
            self._start(camera)

    def change(self, cameras: dict[str, Camera]) -> None:
        """Follow an edited camera file: start, change, restart and stop what differs."""
        for camera_id in [known for known in self.workers if known not in cameras]:
            log.info("camera removed", camera=camera_id)
            self._stop(camera_id)
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
        """Give a camera whose worker a bug ended another one, after a while; a recording RESTARTS times at most, since
        what it stumbles over stays in it. It is read from its start, with the ids of before.
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
        for worker in self.workers.values():
            worker.stop()
        ends = time.monotonic() + within_s
        for worker in self.workers.values():
            if not worker.join(max(0.01, ends - time.monotonic())):
                log.warning("a camera did not stop in time", camera=worker.camera.id)

    @property
    def is_done(self) -> bool:
        """Whether every camera was a finite file and has ended, or failed."""
        workers = list(self.workers.values())  # a copy: they change in a thread; none: all are paused
        return bool(workers) and all(isinstance(w, FileWorker) and self._has_ended(w) for w in workers)

    def _has_ended(self, worker: CameraWorker) -> bool:
        return worker.is_done and not (worker.is_broken and self._may_restart(worker))

    def judge(self) -> None:
        """At the end: raise Permanent when no camera could be used."""
        if self.runtime.stop.is_set():
            return
        states = [worker.status.state for worker in self.workers.values()]
        if states and all(state == "failed" for state in states):
            faults = "; ".join(f"{w.camera.id}: {w.status.last_error}" for w in self.workers.values())
            raise Permanent(f"no camera could be used: {faults}")

    def door_of(self, camera_id: str) -> Door | None:
        """Return where a publisher of this camera comes in; None when it is no such camera."""
        worker = self.workers.get(camera_id)
        return worker.door if isinstance(worker, LiveWorker) else None

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
            if not worker.is_broken:  # one that is not started again shows as standing still
                health.forget(part, beat)  # its own: the camera may have another worker by now

        worker.on_end = end
        worker.start()  # first: one that is seen before it runs looks as if it were done
        self.workers[camera.id] = worker

    def _recording(self, camera: Camera) -> Recording | None:
        return None if camera.loop else find_recording(self.recordings, camera)

    def _stop(self, camera_id: str) -> None:
        worker = self.workers.pop(camera_id)
        worker.stop()
        worker.join(STOP_CAMERAS_S)


def _source_of(camera: Camera) -> tuple[object, ...]:
    return camera.url, camera.detect_url, camera.transport, camera.pace, camera.loop, camera.starts_at


async def _watch_file(registry: CameraRegistry, stop: asyncio.Event) -> None:
    """Follow the camera file."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WATCH_FILE_S)
            return
        await registry.follow()


def _status_of(supervisor: CameraSupervisor) -> dict[str, object]:
    """Return what GET /api/cameras answers; its last answer is left in status.json of the data directory."""
    outbox = supervisor.context.outbox
    return {
        "cameras": [worker.status.as_json() for worker in list(supervisor.workers.values())],
        "outbox": {
            "entries": outbox.n_entries,
            "bytes": outbox.n_bytes,
            "kept": outbox.n_kept,
            "kept_bytes": outbox.kept_bytes,
        },
    }


def _presence(supervisor: CameraSupervisor, registry: CameraRegistry, owner: str) -> Presence:
    """Return what the record's page shows of this process and its cameras, the disabled ones among them."""
    workers = {worker.camera.id: worker for worker in list(supervisor.workers.values())}
    known = {camera.id: camera for camera in registry.version.cameras.cameras}
    known |= {worker.camera.id: worker.camera for worker in workers.values()}
    cameras = [_camera_seen(camera, workers.get(camera.id)) for camera in known.values()]
    n_spooled, instance = supervisor.context.outbox.n_entries, supervisor.context.settings.instance
    return Presence(
        service="motion",
        name=instance or f"{socket.gethostname()}-{os.getpid()}",
        about=f"{plural(n_spooled, 'snippet waits', 'snippets wait')} on its disk" if n_spooled else "",
        cameras=tuple(cameras[:CAMERAS_MAX]),
        owner=owner,
        is_complete=registry.has_begun and len(cameras) <= CAMERAS_MAX,
    )


def _camera_seen(camera: Camera, worker: CameraWorker | None) -> CameraReport:
    if worker is None:
        state = "connecting" if camera.enabled else "disabled"
        return CameraReport(id=camera.id, name=camera.name, state=state, is_moving=False)
    status = worker.status
    return CameraReport(
        id=camera.id,
        name=camera.name,
        state=status.state,
        message=redact(status.message or status.last_error)[:500],
        is_moving=status.open_event is not None,
    )


def _mark(supervisor: CameraSupervisor, registry: CameraRegistry) -> object:
    """Return what is told at once when it changes."""
    statuses = [worker.status for worker in list(supervisor.workers.values())]
    moving = tuple((one.id, one.state, one.open_event is not None) for one in statuses)
    return registry.version.revision, registry.has_begun, moving


def _redis(settings: MotionServiceSettings) -> Redis:
    """Return a client; nobody waits for Redis here: what is cut while it is away waits in the outbox."""
    url = settings.redis_address
    if faults := redis_faults(url):
        raise ConfigError(faults)
    return make_redis(
        url, socket_timeout=10, socket_connect_timeout=3, socket_keepalive=True, health_check_interval=15
    )


def _ice(settings: MotionServiceSettings) -> IceServers:
    password = settings.live_ice_password
    return IceServers(
        settings.live_ice_servers,
        settings.live_ice_username or None,
        password.get_secret_value() if password else None,
    )


def _log_thread_bugs() -> None:
    def hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            log.error(
                "a thread failed: this is a bug",
                thread=args.thread.name if args.thread else None,
                exc_info=args.exc_value,
            )

    threading.excepthook = hook
