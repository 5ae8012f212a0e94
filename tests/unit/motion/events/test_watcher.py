"""How often a stream is looked at: as often as is asked for, and half as often while an event surely goes on."""

from __future__ import annotations

import math

import av
import numpy as np

from services.motion.events.track_numbers import PER_SNIPPET
from services.motion.events.watcher import EventOpened, EventWatcher, SnippetRequest, WatcherOutput
from services.motion.media.frame import Frame
from services.motion.media.packets import StreamFacts
from shared.cameras import Camera

WIDTH, HEIGHT, FPS = 640, 360, 25
CAMERA = Camera.model_validate({"id": "cam", "url": "rtsp://127.0.0.1/none", "labels": ["x"]})
FACTS = StreamFacts("h264", WIDTH, HEIGHT, b"", FPS, "gray")
CROSSES_S, STANDS_S = 5.0, 17.0  # from when to when a square goes its way; then it sways in its place


def frames(length_s: float) -> list[Frame]:
    """Return a textured place that a square crosses in 12 s; at the far side it sways."""
    ground = np.kron(np.random.default_rng(7).integers(60, 140, (45, 80)), np.ones((8, 8))).astype(np.uint8)
    made = []
    for index in range(round(length_s * FPS)):
        t_s = index / FPS
        luma = ground.copy()
        if t_s >= CROSSES_S:
            x = round(40 * (min(t_s, STANDS_S) - CROSSES_S) + 12 * math.sin(9 * max(0.0, t_s - STANDS_S)))
            luma[150:210, x : x + 60] = 230
        made.append(Frame(1000.0 + t_s, av.VideoFrame.from_ndarray(luma, format="gray")))
    return made


def looks_of(*, may_skip: bool) -> list[float]:
    """Return when a watch looked, seconds from the beginning."""
    watcher = EventWatcher(FACTS, lambda _t_s: "event")
    looked = []
    for frame in frames(25.0):
        if watcher.is_due(frame.t_s):
            watcher.detect(frame, CAMERA, may_skip=may_skip)
            looked.append(frame.t_s - 1000.0)
    return looked


def per_second(looked: list[float], starts_s: float, ends_s: float) -> float:
    return sum(starts_s <= t_s < ends_s for t_s in looked) / (ends_s - starts_s)


def test_while_an_event_surely_goes_on_every_second_look_is_left_out() -> None:
    looked = looks_of(may_skip=True)
    fps = CAMERA.motion.detect_fps
    assert abs(per_second(looked, 0.0, 7.0) - fps) <= 0.5  # nothing, and its first seconds
    assert abs(per_second(looked, 10.0, 16.0) - fps / 2) <= 0.5
    assert abs(per_second(looked, 18.5, 25.0) - fps) <= 0.5  # believed for a while, but not surely on its way


def test_whoever_watches_sees_every_look() -> None:
    looked = looks_of(may_skip=False)
    assert abs(per_second(looked, 10.0, 16.0) - CAMERA.motion.detect_fps) <= 0.5


def test_looks_that_were_not_possible_are_not_made_up_for() -> None:
    watcher = EventWatcher(FACTS, lambda _t_s: "event")
    looked = []
    for frame in frames(3.0):
        t_s = frame.t_s - 1000.0
        if not 1.0 < t_s < 1.6 and watcher.is_due(frame.t_s):
            watcher.detect(frame, CAMERA)
            looked.append(t_s)
    after = [t_s for t_s in looked if t_s > 1.59]
    assert abs(after[0] - 1.6) < 1e-6
    assert per_second(looked, 1.59, 2.59) <= CAMERA.motion.detect_fps + 0.5


def test_an_event_keeps_the_wall_clock_that_it_began_with() -> None:
    offsets = iter([100.0, -5000.0])  # the clock is set while the first event is open
    asked: list[float] = []

    def event_id(started_s: float) -> str:
        asked.append(started_s)
        return f"event {len(asked)}"

    watcher = EventWatcher(FACTS, event_id, wall_offset_s=lambda: next(offsets))
    outputs: list[WatcherOutput] = []
    for frame in frames(14.0):
        outputs += watcher.detect(frame, CAMERA)
    outputs += watcher.finish(1014.0, CAMERA)
    assert len(outputs) >= 3  # it is opened, and has two snippets or more
    assert {output.wall_offset_s for output in outputs} == {100.0}
    opened = outputs[0]
    assert isinstance(opened, EventOpened)
    assert asked == [opened.event_started_s + 100.0]


def tracks_of(outputs: list[WatcherOutput]) -> list[set[int]]:
    """Return the numbers of what each snippet shows."""
    requests = [output for output in outputs if isinstance(output, SnippetRequest)]
    return [{blob.track for moment in one.moments for blob in moment.blobs} for one in requests]


def test_one_object_has_one_number_in_all_snippets_of_an_event() -> None:
    watcher = EventWatcher(FACTS, lambda _t_s: "event")
    outputs: list[WatcherOutput] = []
    for frame in frames(16.0):
        outputs += watcher.detect(frame, CAMERA)
    outputs += watcher.finish(1016.0, CAMERA)
    tracks = tracks_of(outputs)
    assert len(tracks) >= 2
    assert set.intersection(*tracks) == {0}  # the square, all the way


def test_each_event_counts_anew() -> None:
    watcher = EventWatcher(FACTS, lambda _t_s: "event")
    outputs: list[WatcherOutput] = []
    for _ in range(2):
        for frame in frames(8.0):
            outputs += watcher.detect(frame, CAMERA)
        outputs += watcher.pass_discontinuity(1008.0, 1000.0, CAMERA)
    assert [min(tracks) for tracks in tracks_of(outputs)] == [0, 0]


def test_an_event_that_was_taken_up_says_nothing_of_objects_before() -> None:
    watcher = EventWatcher(FACTS, lambda _t_s: "event")
    watcher.resume(EventOpened("event", 1000.0, 1000.0), 3, 1000.0)
    for frame in frames(8.0):
        if watcher.is_due(frame.t_s):
            watcher.observe(frame, CAMERA, is_of_event=True)
    (tracks,) = tracks_of(watcher.finish(1008.0, CAMERA))
    assert min(tracks) == 3 * PER_SNIPPET
