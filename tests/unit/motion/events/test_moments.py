"""Which moments and rectangles are chosen, and what the JPEGs show."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.detection.values import Blob
from services.motion.events.moments import (
    Choice,
    FramePictures,
    Moment,
    Tracked,
    Tracks,
    choose,
    follow,
    moments_that_fit,
    quality_of,
    select_crops,
    square_around,
)
from services.motion.media.frame import Frame, format_of
from services.motion.media.picture_format import Orientation

rows_s = st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(0, 1)), min_size=1, max_size=300)


def chosen(rows: list[tuple[float, float]], limit: int) -> tuple[list[Moment[int]], list[Moment[int]]]:
    """Return all moments and the chosen ones."""
    choice: Choice[int] = Choice(limit, 0.25)
    t_s, moments = 1000.0, []
    for index, (gap_s, quality) in enumerate(rows):
        t_s += gap_s
        moments.append(Moment(t_s, quality, (), index))
        choice = choose(choice, moments[-1])
    return moments, [moment for _, moment in choice.moments]


@settings(deadline=None)
@given(rows_s, st.integers(1, 12))
def test_the_choice_is_bounded_in_order_and_not_empty(rows: list[tuple[float, float]], limit: int) -> None:
    _, picked = chosen(rows, limit)
    assert 1 <= len(picked) <= limit
    assert [m.t_s for m in picked] == sorted({m.t_s for m in picked})


@settings(deadline=None)
@given(rows_s, st.integers(1, 12))
def test_the_best_moment_of_all_is_always_chosen(rows: list[tuple[float, float]], limit: int) -> None:
    moments, picked = chosen(rows, limit)
    assert max(m.quality for m in moments) == max(m.quality for m in picked)


@settings(deadline=None)
@given(rows_s)
def test_every_stretch_with_motion_has_its_moment(rows: list[tuple[float, float]]) -> None:
    moments, picked = chosen(rows, 12)
    span_s = moments[-1].t_s - moments[0].t_s
    stretch_s = 0.25
    while span_s / stretch_s >= 12:
        stretch_s *= 2
    for moment in moments:
        assert min(abs(moment.t_s - other.t_s) for other in picked) <= 2 * stretch_s


def test_a_whole_large_object_is_better_than_a_cut_or_scattered_one() -> None:
    whole = quality_of([Blob(100, 100, 80, 80)], 640, 480)
    assert whole > quality_of([Blob(0, 100, 80, 80)], 640, 480)
    assert whole > quality_of([Blob(100, 100, 80, 80, fill=0.2)], 640, 480)
    assert whole > quality_of([Blob(100, 100, 40, 40)], 640, 480)
    assert quality_of([], 640, 480) == 0


boxes_s = st.tuples(st.integers(0, 630), st.integers(0, 470), st.integers(1, 640), st.integers(1, 480))


@settings(deadline=None)
@given(boxes_s)
def test_the_square_lies_inside_the_frame_and_holds_the_object(box: tuple[int, int, int, int]) -> None:
    x, y, w, h = box
    blob = Blob(x, y, min(w, 640 - x), min(h, 480 - y))
    square = square_around(blob, 640, 480)
    assert square.x >= 0
    assert square.y >= 0
    assert square.x + square.w <= 640
    assert square.y + square.h <= 480
    assert square.x <= blob.x
    assert square.x + square.w >= blob.x + blob.w
    assert square.y <= blob.y
    assert square.y + square.h >= blob.y + blob.h
    assert square.w == square.h or square.h == 480


def test_an_object_keeps_its_number_while_it_moves() -> None:
    tracks = Tracks()
    numbers = set()
    for i in range(20):
        tracks, (a, b) = follow(tracks, [Blob(10 * i, 50, 40, 80), Blob(500 - 10 * i, 300, 30, 60)], i / 10)
        numbers.add((a.track, b.track))
    assert len(numbers) == 1
    _, (late,) = follow(tracks, [Blob(200, 50, 40, 80)], 30.0)
    assert late.track not in next(iter(numbers))


def test_a_second_object_has_its_turn_when_it_is_apart_and_not_tiny() -> None:
    main, other = Tracked(0, Blob(0, 0, 50, 50, 1000)), Tracked(1, Blob(200, 0, 40, 40, 500))
    third, tiny = Tracked(2, Blob(300, 0, 40, 40, 400)), Tracked(3, Blob(400, 0, 5, 5, 9))
    inside = Tracked(4, Blob(10, 10, 20, 20, 300))
    crops = select_crops([[main, other, third, tiny, inside]] * 12)
    assert all(row[0] == main.blob and len(row) == 2 for row in crops)
    assert {row[1] for row in crops} == {other.blob, third.blob}
    assert [row[1] for row in crops[:3]] == [other.blob] * 3
    assert select_crops([[main, inside, tiny], []]) == [(main.blob,), ()]


def test_a_rectangle_that_flickers_does_not_take_an_objects_turn() -> None:
    """A rider whose bicycle is another patch in one look weighs less in it than what else moves there."""
    main = Tracked(1, Blob(0, 0, 100, 100, 1000))
    rider, half = Blob(200, 0, 28, 56, 300), Blob(200, 0, 28, 24, 180)
    car = Tracked(3, Blob(400, 0, 80, 58, 240))
    crops = select_crops([[main, car, Tracked(2, half)], *[[main, Tracked(2, rider), car]] * 2])
    assert [row[1] for row in crops] == [half, rider, rider]


def test_a_small_thing_is_shown_with_what_is_around_it() -> None:
    square = square_around(Blob(300, 200, 28, 24), 640, 480)
    assert (square.x, square.y, square.w, square.h) == (282, 180, 64, 64)
    assert square_around(Blob(300, 200, 60, 24), 640, 480).w == 84
    assert square_around(Blob(20, 10, 8, 8), 48, 40) == Blob(0, 0, 48, 40)


def decoded(jpeg: bytes) -> npt.NDArray[np.float64]:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture.astype(np.float64)


def coloured(width: int, height: int, pixels: str = "yuv420p") -> av.VideoFrame:
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2] = (40, 40, 220)
    picture[: height // 2, width // 2 :] = (40, 200, 40)
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=pixels)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "nv12", "bgr24"]
)
def test_pictures_of_any_format_are_not_larger_than_asked(pixels: str) -> None:
    made = FramePictures(Frame(0.0, coloured(800, 600, pixels)))
    whole, crop = made.whole(384), made.crop(Blob(101, 51, 99, 99), 384)
    assert (whole.width, whole.height) == (384, 288)
    assert decoded(whole.data).shape == (288, 384, 3)
    assert 98 <= crop.width <= 101
    assert 98 <= crop.height <= 101


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "nv12"])
def test_crops_show_the_right_place_in_the_right_colour(pixels: str) -> None:
    made = FramePictures(Frame(0.0, coloured(801, 601, pixels)))
    red = decoded(made.crop(Blob(11, 301, 100, 100), 64).data)
    green = decoded(made.crop(Blob(601, 11, 100, 100), 64).data)
    assert red.shape == (64, 64, 3)
    assert np.abs(red.reshape(-1, 3).mean(0) - (40, 40, 220)).max() < 12
    assert np.abs(green.reshape(-1, 3).mean(0) - (40, 200, 40)).max() < 12


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p"])
def test_a_crop_that_is_made_smaller_is_an_average_of_what_it_shows(pixels: str) -> None:
    fine = np.random.default_rng(4).integers(0, 256, (600, 800)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(np.dstack([fine] * 3), format="bgr24").reformat(format=pixels)
    shown = decoded(FramePictures(Frame(0.0, frame)).crop(Blob(100, 50, 500, 500), 200).data)
    wanted = cv2.resize(fine[50:550, 100:600], (200, 200), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.mean(2) - wanted).mean() < 6  # JPEG leaves 4.2; bilinear samples 10


@pytest.mark.parametrize(
    ("rotation", "size"), [(0, (200, 100)), (90, (100, 200)), (180, (200, 100)), (-90, (100, 200))]
)
def test_rotated_frames_are_shown_upright(rotation: int, size: tuple[int, int]) -> None:
    image = coloured(200, 100)
    made = FramePictures(Frame(0.0, image, format_of(image, orientation=Orientation.of_turn(rotation))))
    whole = made.whole(384)
    assert (whole.width, whole.height) == size
    corner = {0: (110, 10), 90: (10, 10), 180: (10, 60), -90: (60, 110)}[rotation]
    green = decoded(made.crop(Blob(*corner, 60 if size[0] > 100 else 30, 30), 384).data)
    assert np.abs(green.reshape(-1, 3).mean(0) - (40, 200, 40)).max() < 12


def test_few_large_frames_wait_at_once() -> None:
    assert moments_that_fit(12, av.VideoFrame(1920, 1080, "yuv420p")) == 12
    assert moments_that_fit(12, av.VideoFrame(3840, 2160, "yuv420p")) == 8
    assert moments_that_fit(12, av.VideoFrame(7680, 4320, "yuv420p")) == 2
