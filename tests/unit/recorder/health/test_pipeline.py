"""What is wrong with the pipeline, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.recorder.health.backlog import Queue
from services.recorder.health.pipeline import Disk, Pipeline, counted, problems
from services.recorder.metrics import RecorderMetrics
from shared.contract import LABELS, SNIPPETS
from shared.presence import CameraReport, Presence, ProcessPresence

GATE = CameraReport(id="gate", state="running")
MOTION = ProcessPresence(Presence(service="motion", name="m1", cameras=(GATE,)), 1.0)
CLASSIFIER = ProcessPresence(Presence(service="classifier", name="c1"), 2.0)
ROOM = Disk(free_bytes=10**12, total_bytes=2 * 10**12)


def pipeline(
    *heard: ProcessPresence, queues: tuple[Queue, ...] = (), fault: str = "", full: int = 0
) -> Pipeline:
    return Pipeline(fault, heard, queues, {"full": full}, is_known=True)


def texts(seen: Pipeline, disk: Disk | None = ROOM) -> list[str]:
    return [f"{one.severity}: {one.text}" for one in problems(seen, disk)]


def test_a_pipeline_that_is_all_there_has_no_problem() -> None:
    queues = (Queue(SNIPPETS, 3, 12.0, 0), Queue(LABELS, 0, 0.0, 0))
    assert texts(pipeline(MOTION, CLASSIFIER, queues=queues)) == []


def test_nothing_is_said_missing_before_somebody_looked() -> None:
    assert texts(Pipeline()) == ["bad: The recorder is not ready: starting."]
    assert texts(Pipeline()) == texts(Pipeline())  # it registers no metric twice


def test_missing_services_are_told_with_what_waits() -> None:
    found = texts(pipeline(queues=(Queue(SNIPPETS, 7, 1.0, 0),)))
    assert found == [
        "bad: No motion service is there: no camera is watched.",
        "bad: No classifier is there: 7 snippets wait, and nothing is recorded.",
    ]


@pytest.mark.parametrize(
    ("waiting", "oldest_s", "said"),
    [
        (0, 0.0, []),
        (7, 60.0, ["warn: A classifier is to be started: 7 snippets wait for it."]),
        (7, 60.1, ["bad: No classifier is there: 7 snippets wait, and nothing is recorded."]),
    ],
)
def test_a_classifier_that_is_started_when_snippets_wait_has_its_time(
    waiting: int, oldest_s: float, said: list[str]
) -> None:
    seen = pipeline(MOTION, queues=(Queue(SNIPPETS, waiting, oldest_s, 0), Queue(LABELS, 1, 900.0, 0)))
    seen.classifier_start_s = 60
    assert [text for text in texts(seen) if "lassifier" in text] == said


def test_a_classifier_that_loads_its_model_is_no_missing_one() -> None:
    loading = ProcessPresence(Presence(service="classifier", name="c2", state="loading"), 1.0)
    seen = pipeline(MOTION, loading, queues=(Queue(SNIPPETS, 7, 1.0, 0),))
    assert texts(seen) == ["warn: The classifier is loading its model: 7 snippets wait until it is ready."]
    assert seen.is_model_loading
    assert texts(pipeline(MOTION, loading, CLASSIFIER)) == []
    assert not pipeline(MOTION, loading, CLASSIFIER).is_model_loading
    silent = replace(loading, age_s=300.0)
    assert not pipeline(MOTION, silent).is_model_loading
    assert "bad: No classifier is there: 0 snippets wait, and nothing is recorded." in texts(
        pipeline(MOTION, silent)
    )


def test_a_camera_is_told_by_the_name_that_people_know() -> None:
    camera = CameraReport(id="gate", state="away", name="Front gate")
    heard = ProcessPresence(MOTION.presence.model_copy(update={"cameras": (camera,)}), 1.0)
    assert texts(pipeline(heard, CLASSIFIER)) == ["bad: Camera 'Front gate' is away."]


def test_a_silent_process_is_not_there_and_its_cameras_are_not_believed() -> None:
    silent = ProcessPresence(
        MOTION.presence.model_copy(update={"cameras": (CameraReport(id="x", state="away"),)}), 300
    )
    found = texts(pipeline(silent, CLASSIFIER))
    assert found == [
        "bad: No motion service is there: no camera is watched.",
        "warn: motion 'm1' has said nothing for 5 min.",
    ]
    assert texts(pipeline(silent, MOTION, CLASSIFIER)) == ["warn: motion 'm1' has said nothing for 5 min."]


@pytest.mark.parametrize(
    ("state", "is_bad"), [("away", True), ("failed", True), ("connecting", False), ("ended", False)]
)
def test_cameras_that_are_down_are_told_with_their_reason(state: str, is_bad: bool) -> None:
    camera = CameraReport(id="gate", state=state, message="no route to host")
    heard = ProcessPresence(MOTION.presence.model_copy(update={"cameras": (camera,)}), 1.0)
    found = texts(pipeline(heard, CLASSIFIER))
    assert found == ([f"bad: Camera 'gate' is {state}: no route to host"] if is_bad else [])


def test_lag_and_dead_letters_are_warnings() -> None:
    queues = (Queue(SNIPPETS, 9, 200.0, 0), Queue(LABELS, 0, 0.0, 2))
    assert texts(pipeline(MOTION, CLASSIFIER, queues=queues)) == [
        "warn: The queue lags: the oldest entry of snippets.v1 waits for 3 min.",
        "warn: 2 entries of labels.v1 could not be handled: see labels.v1:dead.",
    ]


@pytest.mark.parametrize(
    ("free", "wanted", "found"),
    [
        (10**6, 0, ["bad: The disk is full: events are recorded, and their clips wait in the queue."]),
        (5 * 10**8, 0, ["warn: The disk is nearly full: 0.50 GB are free."]),
        (5 * 10**9, 10**10, ["warn: The disk is nearly full: 5.00 GB are free."]),
        (5 * 10**9, 0, []),
    ],
)
def test_a_disk_that_fills_is_told_before_it_is_full(free: int, wanted: int, found: list[str]) -> None:
    assert texts(pipeline(MOTION, CLASSIFIER), Disk(free, 10**12, wanted)) == found


def test_a_small_disk_is_not_always_nearly_full() -> None:
    assert texts(pipeline(MOTION, CLASSIFIER), Disk(5 * 10**8, 10**9)) == []


@pytest.mark.parametrize(
    ("ratio", "found"),
    [
        (0.0, []),
        (0.9, []),
        (0.95, ["warn: Redis is nearly full: 95 % of its memory are used."]),
        (1.0, ["bad: Redis is full: what is new waits on motion's disk, as long as that has room."]),
    ],
)
def test_a_redis_that_fills_is_told(ratio: float, found: list[str]) -> None:
    seen = pipeline(MOTION, CLASSIFIER)
    seen.memory_ratio = ratio
    assert texts(seen) == found


def test_clips_that_wait_for_the_disk_are_told() -> None:
    seen = pipeline(MOTION, CLASSIFIER)
    seen.waiting_clips = 3
    assert texts(seen) == [
        "bad: The disk does not take clips: 3 clips wait in the queue as long as it has room."
    ]


def test_the_worst_comes_first_and_the_recorder_speaks_of_itself() -> None:
    seen = pipeline(MOTION, CLASSIFIER, queues=(Queue(LABELS, 0, 0.0, 1),), fault="database: gone", full=3)
    assert texts(seen) == [
        "bad: The recorder is not ready: database: gone.",
        "warn: 1 entry of labels.v1 could not be handled: see labels.v1:dead.",
        "warn: 3 clips were dropped since the start: the disk took none, and the queue was full.",
    ]


def test_dropped_clips_are_read_from_their_counter() -> None:
    metrics = RecorderMetrics(CollectorRegistry())
    metrics.media_lost.labels("full").inc(2)
    assert counted(metrics.media_lost) == {"none": 0, "gone": 0, "broken": 0, "full": 2, "refused": 0}


def test_a_service_is_as_old_as_its_word_is_known_here_whatever_redis_s_clock_says() -> None:
    seen = Pipeline()

    def ages(now_s: float, said_ms: int, age_s: float) -> float:
        [heard] = seen.hear([replace(MOTION, age_s=age_s, said_ms=said_ms)], now_s)
        return heard.age_s

    assert ages(100, 1_000, age_s=7.0) == 7.0  # heard for the first time: Redis has to say
    assert ages(103, 5_000, age_s=3_600.0) == 0.0  # another word; Redis's clock was set forward since
    assert ages(104, 5_000, age_s=3_601.0) == 1.0
    assert ages(130, 5_000, age_s=0.0) == 27.0  # no other word; the clock was set back
    assert seen.heard[0].is_silent
