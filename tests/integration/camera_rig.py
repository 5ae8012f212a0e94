"""One live camera of the motion service in this process, with a real outbox, and what it says of itself."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from services.motion.cameras.context import CameraContext
from services.motion.cameras.live_worker import LiveWorker
from services.motion.metrics import MotionMetrics
from services.motion.settings import MotionServiceSettings
from services.motion.spool.outbox import Outbox, OutboxEntry
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.contract import MediaMessage, SnippetMessage
from tests.servers import wait_until

MIB = 1024 * 1024


@dataclass
class CameraRig:
    """A running camera."""

    worker: LiveWorker
    outbox: Outbox
    folder: Path
    lines: list[MutableMapping[str, Any]]  # Any: the fields of a line

    @property
    def status(self) -> CameraStatus:
        return self.worker.status

    def wait_for(self, condition: Callable[[], bool], what: str, limit_s: float = 60) -> None:
        try:
            wait_until(condition, limit_s, what)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; {self.status.as_json()}") from None

    def wait_for_state(self, state: str, limit_s: float = 60) -> None:
        self.wait_for(lambda: self.status.state == state, f"the state {state}", limit_s)

    def snippets(self) -> list[tuple[MediaMessage, SnippetMessage]]:
        """Return what is in the outbox, oldest first."""
        paths = sorted((self.folder / "outbox").glob("*.snippet"))
        read = [self.outbox.read(OutboxEntry(path.name, path.stat().st_size)) for path in paths]
        return [(MediaMessage.decode(media), SnippetMessage.decode(snippet)) for media, snippet in read]

    def told(self, level: str) -> list[str]:
        return [str(line["event"]) for line in self.lines if line["log_level"] == level]


def n_frames_of(media: MediaMessage) -> tuple[str, int]:
    """Return codec and number of frames of a clip, decoded from its first to its last."""
    with av.open(io.BytesIO(media.clip), "r") as clip:
        return clip.streams.video[0].codec_context.name, len(list(clip.decode(video=0)))


@contextmanager
def live_camera(
    folder: Path, deadline_s: float = 2, **fields: Any
) -> Iterator[CameraRig]:  # Any: YAML values
    """Run a live camera until the block ends; it must end in time."""
    settings = MotionServiceSettings(
        open_s=deadline_s + 1, read_s=deadline_s, reconnect_max_s=1, ring_max_mib=32
    )
    camera = Camera.model_validate({"id": "cam", "labels": ["a ball"], **fields})
    metrics = MotionMetrics(CollectorRegistry())
    (folder / "journal").mkdir(exist_ok=True)
    outbox = Outbox(folder / "outbox", 512 * MIB, metrics)
    context = CameraContext(settings, outbox, b"s" * 32, folder / "journal")
    worker = LiveWorker(camera, context, CameraStatus("cam", camera.url, metrics))
    with capture_logs() as lines:
        worker.start()
        try:
            yield CameraRig(worker, outbox, folder, lines)
        finally:
            worker.stop()
            assert worker.join(15), "the camera did not end"
