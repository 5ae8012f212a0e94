"""Which moments and rectangles are chosen."""

from __future__ import annotations

import av
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.detection.values import Blob
from services.motion.events.moments import (
    Moment,
    MomentSelection,
    choose,
    moments_that_fit,
    quality_of,
    select_crops,
    square_around,
)

rows_s = st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(0, 1)), min_size=1, max_size=300)


def chosen(rows: list[tuple[float, float]], limit: int) -> tuple[list[Moment[int]], list[Moment[int]]]:
    """Return all moments and the chosen ones."""
    selection: MomentSelection[int] = MomentSelection(limit, 0.25)
    t_s, moments = 1000.0, []
    for index, (gap_s, quality) in enumerate(rows):
        t_s += gap_s
        moments.append(Moment(t_s, quality, (), index))
        selection = choose(selection, moments[-1])
    return moments, [moment for _, moment in selection.moments]


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


def test_a_second_object_has_its_turn_when_it_is_apart_and_not_tiny() -> None:
    main, other = Blob(0, 0, 50, 50, 1000, track=0), Blob(200, 0, 40, 40, 500, track=1)
    third, tiny = Blob(300, 0, 40, 40, 400, track=2), Blob(400, 0, 5, 5, 9, track=3)
    inside = Blob(10, 10, 20, 20, 300, track=4)
    crops = select_crops([[main, other, third, tiny, inside]] * 12)
    assert all(row[0] == main and len(row) == 2 for row in crops)
    assert {row[1] for row in crops} == {other, third}
    assert [row[1] for row in crops[:3]] == [other] * 3
    assert select_crops([[main, inside, tiny], []]) == [(main,), ()]


def test_a_rectangle_that_flickers_does_not_take_an_objects_turn() -> None:
    """A rider whose bicycle is another patch in one frame weighs less in it than what else moves there."""
    main = Blob(0, 0, 100, 100, 1000, track=1)
    rider, half = Blob(200, 0, 28, 56, 300, track=2), Blob(200, 0, 28, 24, 180, track=2)
    car = Blob(400, 0, 80, 58, 240, track=3)
    crops = select_crops([[main, car, half], *[[main, rider, car]] * 2])
    assert [row[1] for row in crops] == [half, rider, rider]


def test_a_small_thing_is_shown_with_what_is_around_it() -> None:
    square = square_around(Blob(300, 200, 28, 24), 640, 480)
    assert (square.x, square.y, square.w, square.h) == (282, 180, 64, 64)
    assert square_around(Blob(300, 200, 60, 24), 640, 480).w == 84
    assert square_around(Blob(20, 10, 8, 8), 48, 40) == Blob(0, 0, 48, 40)


def test_few_large_frames_wait_at_once() -> None:
    assert moments_that_fit(12, av.VideoFrame(1920, 1080, "yuv420p")) == 12
    assert moments_that_fit(12, av.VideoFrame(3840, 2160, "yuv420p")) == 8
    assert moments_that_fit(12, av.VideoFrame(7680, 4320, "yuv420p")) == 2
