"""What is said in seconds holds from 0.5 to 60 pictures a second: one walk is one event, a swaying bush is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import av
import numpy as np
import pytest

from services.motion.events.segmenter import SnippetSpan
from services.motion.events.watcher import EventOpened, EventWatcher, SnippetRequest
from services.motion.media.frame import Frame
from services.motion.media.packets import StreamFacts
from shared.cameras import Camera
from tests.unit.motion.videos import Plane

RATES = [0.5, 1, 2, 5, 10, 60]
WIDTH, HEIGHT = 320, 180
WALKS_S = (16.3, 28.3)  # a figure enters, and has left


@cache
def ground() -> Plane:
    random = np.random.default_rng(7)
    coarse = np.kron(random.integers(70, 150, (HEIGHT // 6, WIDTH // 8)), np.ones((6, 8)))
    return (coarse + random.normal(0, 6, coarse.shape)).clip(0, 255).astype(np.uint8)


@cache
def figure() -> Plane:
    random = np.random.default_rng(8)
    return np.kron(random.integers(0, 255, (8, 4)), np.ones((7, 6))).astype(np.uint8)


def walker(t_s: float, plane: Plane) -> None:
    """Let a figure of 24x56 px cross the picture; it bobs as it walks."""
    share = (t_s - WALKS_S[0]) / (WALKS_S[1] - WALKS_S[0])
    left = round(share * (WIDTH + 24)) - 24
    top = 80 + round(2 * math.sin(9 * t_s))
    seen = slice(max(0, left), min(WIDTH, left + 24))
    if 0 <= share <= 1:
        plane[top : top + 56, seen] = figure()[:, seen.start - left : seen.stop - left]


def bush(t_s: float, plane: Plane) -> None:
    """Let a part of the ground sway by 3 px, in two rhythms."""
    shift = round(2 * math.sin(2 * math.pi * 0.57 * t_s) + math.sin(2 * math.pi * 0.23 * t_s))
    plane[40:110, 60:130] = ground()[40:110, 60 - shift : 130 - shift]


def flicker(t_s: float, plane: Plane) -> None:
    """Let a lamp of mains frequency beat with the shutter: all is 10 % brighter and darker."""
    plane[:] = (plane * (1 + 0.1 * math.sin(2 * math.pi * 3.3 * t_s))).clip(0, 255).astype(np.uint8)


def screen(t_s: float, plane: Plane) -> None:
    """Let a screen show another picture every 1.3 s."""
    plane[100:130, 200:250] = np.random.default_rng(int(t_s / 1.3)).integers(40, 220)


def events(
    fps: float, changes: list[Callable[[float, Plane], None]], length_s: float = 36.0, detect_fps: float = 10
) -> list[SnippetSpan]:
    """Return the last piece of each event of a live camera that sends `fps` pictures a second."""
    camera = Camera.model_validate(
        {"id": "cam", "url": "rtsp://127.0.0.1/none", "labels": ["x"], "motion": {"detect_fps": detect_fps}}
    )
    watcher = EventWatcher(StreamFacts("h264", WIDTH, HEIGHT, b"", fps, "gray"), lambda t_s: f"{t_s}", 1.0)
    random = np.random.default_rng(1)
    noise = [random.normal(0, 1.5, (HEIGHT, WIDTH)) for _ in range(5)]
    opened: list[EventOpened] = []
    ended: list[SnippetSpan] = []
    for index in range(round(length_s * fps)):
        t_s = index / fps
        if not watcher.is_due(1000.0 + t_s):
            continue
        plane = ground().copy()
        for change in changes:
            change(t_s, plane)
        plane = (plane + noise[int(random.integers(5))]).clip(0, 255).astype(np.uint8)
        outputs = watcher.detect(
            Frame(1000.0 + t_s, av.VideoFrame.from_ndarray(plane, format="gray")), camera, may_skip=True
        )
        opened += [output for output in outputs if isinstance(output, EventOpened)]
        ended += [
            output.span for output in outputs if isinstance(output, SnippetRequest) and output.span.is_last
        ]
    ended += [
        output.span
        for output in watcher.finish(1000.0 + length_s, camera)
        if isinstance(output, SnippetRequest)
    ]
    assert len(opened) == len(ended)
    return ended


def bound_s(period_s: float) -> float:
    """Return how far an event's ends may lie from the walk's: what is hardly in the picture, and looks that miss it."""
    return 0.8 + 1.5 * period_s


@pytest.mark.parametrize("fps", RATES)
def test_a_walk_is_one_event_at_every_rate(fps: float) -> None:
    (span,) = events(fps, [walker])
    period_s = max(1 / fps, 0.1)
    assert span.event_started_s - 1000 == pytest.approx(WALKS_S[0], abs=bound_s(period_s))
    assert span.last_motion_s - 1000 == pytest.approx(WALKS_S[1], abs=bound_s(period_s))


@pytest.mark.parametrize("detect_fps", [0.5, 1])
def test_a_walk_is_one_event_however_often_it_is_looked_at(detect_fps: float) -> None:
    (span,) = events(30, [walker], detect_fps=detect_fps)
    assert span.event_started_s - 1000 == pytest.approx(WALKS_S[0], abs=bound_s(1 / detect_fps))
    assert span.last_motion_s - 1000 == pytest.approx(WALKS_S[1], abs=bound_s(1 / detect_fps))


def test_pictures_that_come_too_rarely_to_tell_motion_are_said() -> None:
    looks = {fps: rare_hz_after(fps) for fps in (0.2, 0.5, 1.0, 10.0)}
    assert looks == {0.2: pytest.approx(0.2), 0.5: None, 1.0: None, 10.0: None}


def rare_hz_after(fps: float) -> float | None:
    """Return what a watch says of pictures that come `fps` times a second."""
    camera = Camera.model_validate({"id": "cam", "url": "rtsp://127.0.0.1/none", "labels": ["x"]})
    watcher = EventWatcher(StreamFacts("h264", WIDTH, HEIGHT, b"", 25, "gray"), str)
    image = av.VideoFrame.from_ndarray(ground(), format="gray")
    for index in range(8):
        watcher.detect(Frame(1000 + index / fps, image), camera)
    return watcher.too_rare_hz


@pytest.mark.parametrize("fps", [0.5, 1, 2, 10])
def test_what_sways_flickers_or_changes_in_place_is_no_event_at_any_rate(fps: float) -> None:
    assert not events(fps, [bush, flicker, screen])
