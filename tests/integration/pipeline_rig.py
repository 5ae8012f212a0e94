"""Snippets through the three services' own code: motion's outbox in this process, classifier and recorder as processes.

The classifier is the real service with a stand-in model (simulated_classifier.py), which answers at once. Used by tests
and by the benches of the queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast

import httpx
import numpy as np
from PIL import Image
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.motion.metrics import MotionMetrics
from services.motion.spool.outbox import Outbox
from services.motion.spool.publisher import Publisher
from services.motion.spool.receipts import ReceiptReader
from shared.clock import now_utc, uuid7
from shared.contract import (
    RECEIPTS,
    Box,
    LabelSet,
    MediaHeader,
    MediaMessage,
    PictureInfo,
    Receipt,
    SnippetHeader,
    SnippetMessage,
)
from shared.redis_client import make_redis
from tests.servers import HOST, free_port, spawn, wait_until
from tests.unit.classifier.makers import photo

MIB = 2**20
MODULES = {"recorder": "services.recorder", "classifier": "tests.integration.simulated_classifier"}


@dataclass(frozen=True, slots=True)
class SnippetShape:
    """What a snippet is made of: a clip of random bytes, which nothing compresses, and JPEGs of `side_px` squares."""

    clip_bytes: int = 204_000
    n_moments: int = 4  # a whole frame and a crop of each
    picture_bytes: int = 12_000  # at least: a JPEG is filled up to it
    side_px: int = 256
    n_cameras: int = 16


class Snippets:
    """Makes the messages of numbered snippets, each the only one of its event."""

    def __init__(self, shape: SnippetShape) -> None:
        self._shape = shape
        self._clip = os.urandom(shape.clip_bytes)
        self._pictures = [_jpeg(seed, shape) for seed in range(8)]
        self._started_at = now_utc()

    def event_id(self, number: int) -> str:
        return uuid7(self._started_at, seed=str(number))

    def messages(self, number: int) -> tuple[MediaMessage, SnippetMessage]:
        """Return snippet `number`, which has just ended."""
        shape, ended_at = self._shape, now_utc()
        starts_at = ended_at - timedelta(seconds=10)
        pictures = [(moment, kind) for moment in range(shape.n_moments) for kind in ("frame", "crop")]
        infos = tuple(
            PictureInfo(
                moment=moment,
                kind=kind,
                captured_at=starts_at + timedelta(seconds=2 * moment),
                width=shape.side_px,
                height=shape.side_px,
                box=Box(x=0.25, y=0.25, w=0.5, h=0.5) if kind == "crop" else None,
            )
            for moment, kind in pictures
        )
        camera = f"camera-{number % shape.n_cameras}"
        header = SnippetHeader(
            event_id=self.event_id(number),
            snippet=0,
            is_last=True,
            camera=camera,
            event_started_at=starts_at,
            event_ended_at=ended_at,
            started_at=starts_at,
            ended_at=ended_at,
            motion_peak=0.5,
            label_set=LabelSet(labels=("red", "green"), background=("black",)),
            pictures=infos,
        )
        media = MediaHeader(
            event_id=header.event_id,
            snippet=0,
            camera=camera,
            started_at=starts_at,
            ended_at=ended_at,
            media_key=f"{number:032x}",
            width=1280,
            height=720,
        )
        jpegs = tuple(self._pictures[(number + i) % len(self._pictures)] for i in range(len(infos)))
        clip = number.to_bytes(8, "big") + self._clip[8:]
        return MediaMessage(media, clip, jpegs[0]), SnippetMessage(header, jpegs)


def _jpeg(seed: int, shape: SnippetShape) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(photo(shape.side_px, shape.side_px, seed))).save(
        buffer, "JPEG", quality=40
    )
    content = buffer.getvalue()
    filling = max(0, shape.picture_bytes - len(content) - 4)  # as a comment, before the end-of-image marker
    return content[:2] + b"\xff\xfe" + (filling + 2).to_bytes(2, "big") + bytes(filling) + content[2:]


@dataclass
class Motion:
    """Motion's outbox, publisher and reader of receipts, with the snippets that a bench puts in."""

    outbox: Outbox
    snippets: Snippets
    redis: Redis
    registry: CollectorRegistry
    put_at_s: dict[str, float] = field(default_factory=dict)  # event id: epoch seconds, before it was written

    async def put(self, number: int) -> str:
        """Put a snippet into the outbox as motion does; return its event's id."""
        media, snippet = self.snippets.messages(number)
        event_id = snippet.header.event_id
        self.put_at_s[event_id] = time.time()
        await asyncio.to_thread(self.outbox.put, media, snippet)
        return event_id

    @property
    def n_sent_again(self) -> int:
        return int(self.registry.get_sample_value("clipwatch_snippets_sent_again_total") or 0)

    @property
    def n_unrecorded(self) -> int:
        return self.outbox.n_entries + self.outbox.n_kept

    async def recorded_at_s(self) -> dict[str, float]:
        """Return when each receipt was written, by Redis' clock: just after the row was committed."""
        rows = cast("list[tuple[bytes, dict[bytes, bytes]]]", await self.redis.xrange(RECEIPTS))
        receipts = [(Receipt.decode(fields), entry_id) for entry_id, fields in rows]
        return {one.event_id: int(entry_id.split(b"-")[0]) / 1000 for one, entry_id in receipts}


@contextlib.asynccontextmanager
async def motion(folder: Path, redis_url: str, shape: SnippetShape) -> AsyncIterator[Motion]:
    """Run motion's way out: an outbox in `folder`, sent to Redis and freed by receipts."""
    registry = CollectorRegistry()
    metrics = MotionMetrics(registry)
    redis = make_redis(redis_url, socket_timeout=10, socket_connect_timeout=3, health_check_interval=15)
    outbox = Outbox(folder / "outbox", 2048 * MIB, metrics)
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(Publisher(outbox, redis, 10_000, "rig", metrics).run(stop)),
        asyncio.create_task(ReceiptReader(outbox, redis, "rig", metrics).run(stop)),
    ]
    try:
        yield Motion(outbox, Snippets(shape), redis, registry)
    finally:
        stop.set()
        done, late = await asyncio.wait(tasks, timeout=20)
        for task in late:
            task.cancel()
        await redis.aclose()
        for task in done:
            task.result()


@dataclass(frozen=True)
class Services:
    """The classifiers and recorders, as processes."""

    processes: dict[str, subprocess.Popen[bytes]]
    folder: Path
    ports: list[int]  # of the recorders

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.txt").read_text()

    def check(self) -> None:
        """Fail when one has ended."""
        for name, process in self.processes.items():
            assert process.poll() is None, self.log(name)

    def is_ready(self) -> bool:
        self.check()
        names = [name for name in self.processes if name.startswith("classifier")]
        return all('"event": "ready"' in self.log(name) for name in names) and all(map(_is_ready, self.ports))


def _is_ready(port: int) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://{HOST}:{port}/readyz", timeout=5, trust_env=False).status_code == 200
    return False


@contextlib.contextmanager
def services(
    folder: Path,
    redis_url: str,
    database_url: str,
    n_classifiers: int = 1,
    n_recorders: int = 1,
    **more: str,
) -> Iterator[Services]:
    """Run recorders and classifiers; `more`: variables of them all."""
    model = folder / "model"  # only named: the stand-in loads nothing
    model.mkdir()
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (model / name).write_text("{}")
    ports = [free_port() for _ in range(n_recorders)]
    common = {**os.environ, "REDIS_URL": redis_url, "NO_PROXY": "*", "LOG_FORMAT": "json", **more}
    own = {
        **{
            f"recorder-{number}": {
                "DATABASE_URL": database_url,
                "MEDIA_DIR": str(folder / "media"),
                "INDEX_DIR": str(folder / f"index-{number}"),
                "HTTP_PORT": str(port),
                "WEATHER_PROVIDER": "none",
            }
            for number, port in enumerate(ports)
        },
        **{
            f"classifier-{number}": {
                "MODEL": f"local-dir:{model}",
                "SIMULATED_GPUS": f"GPU-{number}",
                "DEVICE": "cuda",
            }
            for number in range(n_classifiers)
        },
    }
    processes = {}
    for name, environment in own.items():
        module = MODULES[name.partition("-")[0]]
        command = [sys.executable, "-m", module]
        processes[name] = spawn(command, folder / f"{name}.txt", {**common, "INSTANCE": name, **environment})
    running = Services(processes, folder, ports)
    try:
        wait_until(running.is_ready, 60, "the services are ready")
        yield running
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            if process.poll() is None:
                process.kill()
                process.wait()
