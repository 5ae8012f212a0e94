"""A recording played by its worker in this process, and what became of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from prometheus_client import CollectorRegistry

from services.motion.cameras.context import CameraContext
from services.motion.cameras.file_worker import FileWorker
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox, OutboxEntry
from services.motion.spool.recordings import find_recording
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.contract import MediaMessage, SnippetMessage
from tests.unit.motion.videos import Plane

MIB = 1024 * 1024


@dataclass(frozen=True)
class PlayedClip:
    """A snippet; times in seconds from the recording's first frame. `plays_s`, `n_frames`: what a player shows."""

    event_id: str
    snippet: int
    event_s: tuple[float, float]
    clip_s: tuple[float, float]
    plays_s: float
    n_frames: int
    n_bytes: int
    mp4: bytes


@dataclass(frozen=True)
class Played:
    status: CameraStatus
    clips: list[PlayedClip]

    def events_s(self) -> list[tuple[float, float]]:
        """Return from when to when each event went on."""
        last = {clip.event_id: clip.event_s for clip in self.clips}
        return list(last.values())


def context_in(folder: Path, **settings: Any) -> CameraContext:  # Any: settings of any type
    """Return what a worker needs, with its outbox in `folder`."""
    (folder / "journal").mkdir(exist_ok=True)
    outbox = Outbox(folder / "outbox", 512 * MIB, MotionMetrics(CollectorRegistry()))
    return CameraContext(MotionServiceSettings(**settings), outbox, b"s" * 32, folder / "journal")


def clips_in(folder: Path, starts_s: float) -> list[PlayedClip]:
    """Return what is in the outbox, oldest first."""
    outbox = Outbox(folder / "outbox", 512 * MIB, MotionMetrics(CollectorRegistry()))
    paths = sorted((folder / "outbox").glob("*.snippet"))
    return [_clip(outbox.read(OutboxEntry(path.name, path.stat().st_size)), starts_s) for path in paths]


def play(folder: Path, path: Path, **fields: Any) -> Played:  # Any: YAML values
    """Play `path` to its end, as fast as possible unless `fields` say otherwise."""
    context = context_in(folder)
    camera = Camera.model_validate(
        {"id": "cam", "labels": ["x"], "url": str(path), "loop": False, "pace": "fast", **fields}
    )
    recording = find_recording(folder / "recordings", camera)
    status = CameraStatus("cam", camera.url, MotionMetrics(CollectorRegistry()))
    worker = FileWorker(camera, context, status, recording)
    worker.start()
    assert worker.join(60), status.as_json()
    assert not worker.is_broken
    return Played(status, clips_in(folder, recording.starts_s))


def _clip(entry: tuple[dict[bytes, bytes], dict[bytes, bytes]], starts_s: float) -> PlayedClip:
    media, snippet = MediaMessage.decode(entry[0]), SnippetMessage.decode(entry[1])
    header = snippet.header
    assert header.event_ended_at is not None
    with av.open(io.BytesIO(media.clip), "r") as container:
        times = [frame.time or 0.0 for frame in container.decode(video=0)]
    return PlayedClip(
        header.event_id,
        header.snippet,
        (
            round(header.event_started_at.timestamp() - starts_s, 2),
            round(header.event_ended_at.timestamp() - starts_s, 2),
        ),
        (
            round(header.started_at.timestamp() - starts_s, 2),
            round(header.ended_at.timestamp() - starts_s, 2),
        ),
        round(max(times) - min(times), 2),
        len(times),
        len(media.clip),
        media.clip,
    )


def write_at(path: Path, frames: Sequence[tuple[float, Plane]], gop: int = 10, **options: str) -> Path:
    """Write gray `frames`, each with its time in seconds (ascending) on the file's own clock."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast", **options})
        stream.height, stream.width = frames[0][1].shape
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = stream.time_base = Fraction(1, 90_000)
        for t_s, plane in frames:
            frame = av.VideoFrame.from_ndarray(plane, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = round(t_s * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
