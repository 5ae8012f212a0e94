"""The thread that makes a camera's snippets: a bug costs the snippet that met it, and a wait for it has an end."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from services.motion.events.segmenter import SnippetSpan
from services.motion.events.watcher import SnippetRequest
from services.motion.metrics import MotionMetrics
from services.motion.snippets.maker import WAITING_JOBS, SnippetJob, SnippetMaker
from services.motion.spool.outbox import Outbox
from services.motion.status import CameraStatus
from shared.cameras import Camera
from shared.clock import from_epoch_ms, uuid7
from shared.contract import MediaMessage, SnippetMessage
from tests.unit.motion.videos import read_packets, scene, write_video

EVENT = uuid7(from_epoch_ms(1_000_000), "event")


class Stumbling(Outbox):
    """Fails in a way that nobody thought of, for one snippet."""

    def put(self, media: MediaMessage, snippet: SnippetMessage) -> bool:
        if snippet.header.snippet == 1:
            raise ZeroDivisionError("a bug")
        return super().put(media, snippet)


class Hanging(Outbox):
    """Takes nothing until it is let go: a disk that hangs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1 << 24)
        self.go_on = threading.Event()

    def put(self, media: MediaMessage, snippet: SnippetMessage) -> bool:
        self.go_on.wait(60)
        return super().put(media, snippet)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> SnippetJob:
    video = write_video(tmp_path_factory.mktemp("video") / "in.mp4", scene(10))
    facts, packets = read_packets(video, 1000.0)
    span = SnippetSpan(0, 1000.0, 1001.0, 1000.0, 1000.5, 0.5, is_last=False)
    camera = Camera(id="gate", url="rtsp://10.0.0.7/1", labels=("a square",))
    return SnippetJob(SnippetRequest(EVENT, span, (), camera, facts), tuple(packets))


def nth(job: SnippetJob, number: int) -> SnippetJob:
    return replace(job, request=replace(job.request, span=replace(job.request.span, number=number)))


def status() -> CameraStatus:
    return CameraStatus("gate", "rtsp://10.0.0.7/1", MotionMetrics(CollectorRegistry()))


@pytest.mark.parametrize("is_lossless", [False, True])
def test_a_bug_in_one_snippet_costs_that_one(tmp_path: Path, job: SnippetJob, is_lossless: bool) -> None:
    outbox, said = Stumbling(tmp_path, 1 << 24), status()
    maker = SnippetMaker(outbox, b"s" * 32, said, is_lossless, lambda: False)
    for number in range(WAITING_JOBS + 4):
        maker.take(nth(job, number))
    maker.close(60)
    assert said.drops == {"bug": 1}
    assert outbox.n_entries == WAITING_JOBS + 3


def test_a_wait_for_a_thread_that_stands_still_does_not_beat_and_ends_with_the_camera(
    tmp_path: Path, job: SnippetJob
) -> None:
    outbox, said = Hanging(tmp_path), status()
    beats: list[int] = []
    said.beat = lambda: beats.append(1)
    turns: list[int] = []

    def is_stopping() -> bool:
        turns.append(1)
        return len(turns) > 1

    maker = SnippetMaker(outbox, b"s" * 32, said, False, is_stopping, stopping_s=0.0)
    try:
        for number in range(WAITING_JOBS + 1):  # one in hand
            maker.take(nth(job, number))
        n_beats = len(beats)
        maker.take(nth(job, WAITING_JOBS + 1))
        assert len(turns) > 1
        assert len(beats) - n_beats <= 1  # the thread's own, as it took up the first
        assert said.drops == {"not_made": 1}
    finally:
        outbox.go_on.set()
        maker.close(60)
    assert outbox.n_entries == WAITING_JOBS + 1
