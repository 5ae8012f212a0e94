"""The motion service, put together: cameras in, snippets for Redis out. Everything is built here.

camera threads --> outbox on disk --> publisher --> Redis --receipts--> what is recorded leaves the disk
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
from redis.asyncio import Redis

from services.motion.cameras.context import CameraContext
from services.motion.cameras.leased import is_leasable
from services.motion.cameras.presence import presence_of, urgent_state
from services.motion.cameras.registry import WATCH_FILE_S, CameraRegistry, by_id
from services.motion.cameras.sharing import CameraSharing
from services.motion.cameras.supervisor import STALLED_S, STOP_CAMERAS_S, CameraSupervisor, enabled
from services.motion.http.cameras import CameraRoutes, add_camera_routes
from services.motion.http.live import LiveRoutes, add_picture_routes
from services.motion.http.looks import add_look_routes
from services.motion.http.rules import PATTERNS, RULES
from services.motion.http.whep import add_whep_routes
from services.motion.http.whip import add_whip_routes
from services.motion.live.latest import LiveViews
from services.motion.live.sender import IceServers, WhepSender
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.snippets.recovery import JournalRecovery
from services.motion.sources.ffmpeg import quiet_ffmpeg
from services.motion.sources.probe import camera_faults
from services.motion.sources.webrtc.whip import WhipEndpoint
from services.motion.spool.folder import DirectorySecret, find_secret, prepare_folder
from services.motion.spool.outbox import Outbox
from services.motion.spool.publisher import Publisher, owner_of
from services.motion.spool.receipts import ReceiptReader
from shared.cameras.store import CameraFileStore
from shared.errors import ConfigError
from shared.files import write_durably
from shared.http_api import describe
from shared.logs import get_logger
from shared.presence import announce
from shared.redis_client import make_redis, redis_faults
from shared.runtime import Runtime
from shared.waits import pause, unless_stopped
from shared.yaml_files import read_yaml

log = get_logger(__name__)

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
    faults += camera_faults(document, settings.cameras_file, os.environ, is_finite=is_finite)
    return [*faults, *_lease_faults(settings, has_faults=bool(faults))]


def _lease_faults(settings: MotionServiceSettings, *, has_faults: bool) -> list[str]:
    """Return what is wrong with sharing these cameras by leases; of a camera file with faults nothing is said."""
    if not settings.camera_leases:
        return []
    faults = [settings.lease_fault] if settings.lease_fault else []
    cameras = [] if has_faults else enabled(by_id(CameraFileStore(settings.cameras_file).read())).values()
    unleasable = [camera.id for camera in cameras if not is_leasable(camera)]
    if unleasable:
        faults.append(
            f"{settings.cameras_file}: {', '.join(unleasable[:20])}: recordings that are read once, which the marks in "
            "one DATA_DIR remember; with CAMERA_LEASES set loop: true, or read them by a motion service without it"
        )
    return faults


async def main(settings: MotionServiceSettings, runtime: Runtime) -> None:
    """Watch all cameras until `runtime.stop`, or (EXIT_WHEN_DONE) until every file is read and in Redis."""
    _prepare_process()
    store = CameraFileStore(settings.cameras_file)
    version = store.read()
    folder = prepare_folder(settings.data_dir)
    secret = find_secret(folder)
    metrics = MotionMetrics()
    outbox = Outbox(folder / "outbox", settings.outbox_max_bytes, metrics)
    journals = folder / "journal"
    recovery = JournalRecovery(journals, outbox, secret.value, metrics)
    views = LiveViews(settings.live_viewers_max)
    sender = WhepSender(_ice(settings), views.of, settings.peer_network)
    context = CameraContext(settings, outbox, secret.value, journals, views)
    supervisor = CameraSupervisor(context, folder / "recordings", runtime, metrics)
    sharing = CameraSharing(settings, supervisor, metrics) if settings.camera_leases else None
    registry = CameraRegistry(store, sharing.workers if sharing else supervisor, version)
    routes = CameraRoutes(registry, supervisor.as_json)
    live = LiveRoutes(registry, views, sender)
    add_routes(runtime, routes, live, supervisor.endpoint_of)
    redis = _redis(settings)
    owner = owner_of(secret.value)
    publisher = Publisher(outbox, redis, settings.backlog_max, owner, metrics)
    receipts = ReceiptReader(outbox, redis, owner, metrics)
    expect = runtime.health.expect
    ends = asyncio.Event()  # of the tasks that go on until the cameras have stopped
    disk = _watch_disk(outbox, recovery, secret, ends, expect("disk", STALLED_S))
    disk_task = asyncio.create_task(disk, name="disk")
    file_task = asyncio.create_task(_watch_file(registry, ends), name="camera file")
    told = supervisor, registry, sharing.report if sharing else lambda: None
    presence = announce(redis, partial(presence_of, *told, owner), ends, partial(urgent_state, *told))
    redis_tasks = _send_and_tell(publisher, receipts, presence, ends, expect)
    try:
        await unless_stopped(asyncio.to_thread(recovery.find), runtime.stop)
        await unless_stopped(asyncio.to_thread(recovery.recover), runtime.stop)  # seconds for each journal
        await asyncio.to_thread(sharing.workers.change if sharing else supervisor.start, by_id(version))
        if sharing:
            leasing = sharing.run(ends, expect("camera leases", STALLED_S))
            redis_tasks.append(asyncio.create_task(leasing, name="camera leases"))
        registry.begin()
        tasks = [*redis_tasks, disk_task, file_task]
        await _until_done(supervisor, outbox, runtime, tasks, exits=settings.exit_when_done)
    finally:
        if sharing:  # for CAMERA_HANDOVER_S: what is not handed over yet is recorded and watched as before
            await sharing.leave()
        file_task.cancel()
        disk_task.cancel()
        viewers_task = asyncio.create_task(asyncio.to_thread(sender.close), name="viewers leave")
        await asyncio.to_thread(supervisor.stop, STOP_CAMERAS_S)
        await viewers_task
        ends.set()
        await _send_last(publisher, redis_tasks, outbox, min(2.0, settings.drain_s / 2))
        await redis.aclose()
        if sharing:
            await sharing.close()
        _write_status(folder, supervisor)
        gc.freeze()  # the interpreter's last collections took 1 to 3 s of the 5 s that a stop may last
    supervisor.raise_if_unusable()


def add_routes(
    runtime: Runtime,
    routes: CameraRoutes,
    live: LiveRoutes,
    find_endpoint: Callable[[str], WhipEndpoint | None],
) -> None:
    """Add all routes and their rules."""
    runtime.access.rules.update(RULES)
    runtime.access.patterns.update(PATTERNS)
    app = runtime.app
    add_camera_routes(app, routes)
    add_whep_routes(app, live)
    add_picture_routes(app, live)
    add_look_routes(app, live)
    add_whip_routes(app, find_endpoint, lambda camera_id: live.registry.camera(camera_id))
    describe(app)


def _send_and_tell(
    publisher: Publisher,
    receipts: ReceiptReader,
    presence: Coroutine[Any, Any, None],
    ends: asyncio.Event,
    expect: Callable[[str, float], Callable[[], None]],
) -> list[asyncio.Task[None]]:
    """Return the tasks that talk to Redis until `ends`."""
    return [
        asyncio.create_task(publisher.run(ends, expect("publisher", STALLED_S)), name="publisher"),
        asyncio.create_task(receipts.run(ends, expect("receipts", STALLED_S)), name="receipts"),
        asyncio.create_task(presence, name="presence"),
    ]


async def _send_last(
    publisher: Publisher, tasks: Sequence[asyncio.Task[None]], outbox: Outbox, within_s: float
) -> None:
    """Wait for tasks that were told to end, then send what is left."""
    publisher.nudge()
    await _end(tasks, 1.0)
    if not await publisher.flush(within_s):
        log.warning("snippets stay on disk for the next start", entries=outbox.n_entries)


async def _end(tasks: Sequence[asyncio.Task[None]], within_s: float) -> None:
    """Wait for tasks that were told to end, then cancel them; raise the exception of one that failed."""
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
    """Wait for `stop`; if the service `exits` by itself, return once all files are read and all snippets are sent.

    Receipts may wait for the next start. A task of `tasks` that fails ends the service.
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
        await pause(0.1, runtime.stop)


async def _watch_disk(
    outbox: Outbox,
    recovery: JournalRecovery,
    secret: DirectorySecret,
    stop: asyncio.Event,
    beat: Callable[[], None],
) -> None:
    """When the disk has refused a file, wait until it takes files again; then write what had to wait."""
    while not stop.is_set():
        await pause(WATCH_DISK_S, stop)
        if stop.is_set():
            return
        beat()
        await asyncio.to_thread(outbox.try_disk)
        if recovery.is_begun and not outbox.is_refusing:
            await asyncio.to_thread(recovery.recover)
        with contextlib.suppress(OSError):  # logged at the start
            await asyncio.to_thread(secret.keep)


def _write_status(folder: Path, supervisor: CameraSupervisor) -> None:
    try:
        write_durably(folder / "status.json", json.dumps(supervisor.as_json()).encode())
    except OSError as exc:
        log.warning("the last state of the cameras cannot be written", error=exc)


async def _watch_file(registry: CameraRegistry, stop: asyncio.Event) -> None:
    """Follow the camera file."""
    while not stop.is_set():
        await pause(WATCH_FILE_S, stop)
        if stop.is_set():
            return
        await registry.follow()


def _redis(settings: MotionServiceSettings) -> Redis:
    """Return a client that need not be connected: while Redis is away snippets wait in the outbox."""
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


def _prepare_process() -> None:
    """Quiet FFmpeg, and keep OpenCV from sharing out planes that are too small for it."""
    quiet_ffmpeg()
    cv2.setNumThreads(1)  # cameras are the parallelism
