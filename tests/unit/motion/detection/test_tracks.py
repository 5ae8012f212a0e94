"""What travels is told from what changes in place, on rectangles made by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.detection.tracks import TrackedFrame, bridged_s, follow
from services.motion.detection.tuning import BELIEVED_S, MAX_POSITIONS, MAX_TRACKS
from services.motion.detection.values import Blob, Track

SIZE = (320, 240)


def believed(boxes_at: Callable[[int], list[Blob]], n_frames: int, doubt: float = 1.0) -> list[bool]:
    """Return for each frame whether any of its boxes is believed."""
    tracks: tuple[Track, ...] = ()
    answers = []
    for i in range(n_frames):
        tracks, owners = follow(tracks, boxes_at(i), TrackedFrame(i / 10, SIZE, doubt=doubt))
        answers.append(any(track.is_believed(i / 10) for track in owners))
    return answers


def test_a_walker_is_believed_within_half_a_second_and_dates_from_its_first_frame() -> None:
    tracks: tuple[Track, ...] = ()
    for i in range(6):
        tracks, owners = follow(tracks, [Blob(50 + 4 * i, 100, 20, 40)], TrackedFrame(7 + i / 10, SIZE))
    assert owners[0].is_believed(7.5)
    assert owners[0].since_s == 7.0


def test_what_dashes_is_believed_at_its_third_frame() -> None:
    assert believed(lambda i: [Blob(40 + 30 * i, 100, 40, 40)], 4) == [False, False, True, True]


def test_a_clock_is_not_believed_when_its_digits_change() -> None:
    assert not any(
        believed(lambda i: [Blob(170 - 9 * (i // 10 % 3 == 2), 5, 9 + 9 * (i // 10 % 3 == 2), 7)], 200)
    )


def test_what_swings_a_little_is_not_believed() -> None:
    assert not any(believed(lambda i: [Blob(round(100 + 3 * math.sin(i * 0.8)), 80, 40, 40)], 200))


def test_what_only_grows_to_one_side_is_not_believed_but_what_comes_in_is() -> None:
    assert not any(believed(lambda i: [Blob(150 - 3 * i, 100, 20 + 3 * i, 40)], 8))
    assert any(believed(lambda i: [Blob(0, 100, 6 + 3 * i, 40)], 12))


def test_what_comes_near_is_believed() -> None:
    assert any(believed(lambda i: [Blob(150 - i, 100 - i, 20 + 2 * i, 30 + 2 * i)], 15))


def test_a_thing_that_stands_is_believed_no_longer_than_the_limit() -> None:
    answers = believed(lambda i: [Blob(50 + 4 * min(i, 20), 100, 20, 40)], 80)
    assert answers[20]
    assert not any(answers[20 + round(10 * (BELIEVED_S + 1.6)) :])


def rooted_walker(is_rooted: Callable[[int], bool]) -> list[bool]:
    """Return for each frame whether a walker is believed, who is said only to sway in some frames."""
    tracks: tuple[Track, ...] = ()
    answers = []
    for i in range(60):
        said = is_rooted(i)
        box = Blob(20 + 4 * i, 100, 20, 40)
        frame = TrackedFrame(i / 10, SIZE, is_rooted=lambda _index, said=said: said)  # type: ignore[misc]
        tracks, owners = follow(tracks, [box], frame)
        answers.append(owners[0].is_believed(i / 10))
    return answers


def test_what_only_sways_is_neither_believed_nor_goes_on_being_believed() -> None:
    assert not any(rooted_walker(lambda _i: True))
    left = rooted_walker(lambda i: i >= 20)
    assert all(left[5:20])
    assert not any(left[20 + round(10 * BELIEVED_S) :])


def test_one_frame_in_which_swaying_was_not_recognised_proves_nothing() -> None:
    assert not any(rooted_walker(lambda i: i % 4 != 3))
    assert all(rooted_walker(lambda i: i % 8 == 0)[12:])


def test_doubt_asks_for_a_longer_way() -> None:
    def walker(i: int) -> list[Blob]:
        return [Blob(50 + 3 * i, 100, 20, 40)]

    assert believed(walker, 30, doubt=2.0).index(True) > believed(walker, 30).index(True)


def believed_at(hz: float, boxes_at: Callable[[float], list[Blob]], length_s: float = 12.0) -> list[bool]:
    """Return the same for frames that come `hz` times a second; `boxes_at` takes seconds."""
    tracks: tuple[Track, ...] = ()
    answers = []
    for t_s in np.arange(0, length_s, 1 / hz).tolist():
        tracks, owners = follow(tracks, boxes_at(t_s), TrackedFrame(t_s, SIZE, period_s=1 / hz))
        answers.append(any(track.is_believed(t_s, 1 / hz) for track in owners))
    return answers


@pytest.mark.parametrize("hz", [0.5, 0.7, 1, 1.5, 2, 3])
def test_a_walker_is_believed_by_his_third_frame_where_frames_are_rare(hz: float) -> None:
    assert believed_at(hz, lambda t_s: [Blob(round(25 * t_s), 100, 24, 60)])[:4][-2:] == [True, True]


@pytest.mark.parametrize("hz", [20, 30, 60])
def test_what_is_slow_is_believed_however_many_frames_it_takes(hz: float) -> None:
    assert believed_at(hz, lambda t_s: [Blob(round(50 + 8 * t_s), 100, 20, 40)], 4.0)[-1]


@pytest.mark.parametrize("hz", [0.5, 1, 2])
def test_what_swings_is_not_believed_where_frames_are_rare(hz: float) -> None:
    def swinging(t_s: float) -> list[Blob]:
        return [Blob(round(100 + 5 * math.sin(2.1 * t_s)), 80, 40, 40)]

    assert not any(believed_at(hz, swinging, 300.0))


def after_a_gap(gap_s: float, x: float) -> Track:
    """Let a thing go 80 px a second for a second, see it again `gap_s` later, and return whose box at `x` is."""
    tracks: tuple[Track, ...] = ()
    for i in range(11):
        tracks, _ = follow(tracks, [Blob(40 + 8 * i, 100, 20, 40)], TrackedFrame(i / 10, SIZE))
    frame = TrackedFrame(1.0 + gap_s, SIZE, bridged_s=bridged_s(gap_s))
    _, owners = follow(tracks, [Blob(round(x), 100, 20, 40)], frame)
    return owners[0]


@pytest.mark.parametrize("gap_s", [0.3, 0.6, 0.69])
def test_what_goes_on_while_there_are_no_frames_is_taken_up_where_it_went(gap_s: float) -> None:
    track = after_a_gap(gap_s, 120 + 80 * gap_s)
    assert track.is_believed(1.0 + gap_s)
    assert track.since_s == 0.0


def test_what_appears_elsewhere_after_a_gap_is_another_thing() -> None:
    assert len(after_a_gap(0.6, 120 - 80 * 0.6).positions) == 1
    assert len(after_a_gap(0.6, 120 + 3 * 80 * 0.6).positions) == 1


def test_after_a_long_gap_nothing_is_taken_up() -> None:
    assert len(after_a_gap(0.8, 120 + 80 * 0.8).positions) == 1
    assert len(after_a_gap(0.8, 120).positions) == 1


def test_two_things_that_go_apart_keep_their_tracks() -> None:
    tracks: tuple[Track, ...] = ()
    for i in range(10):
        boxes = [Blob(100 - 4 * i, 50, 20, 40), Blob(130 + 4 * i, 50, 20, 40)]
        frame = TrackedFrame(i / 10, SIZE, next_track=2 * (i > 0))
        tracks, (left, right) = follow(tracks, boxes, frame)
        assert (left.number, right.number) == (0, 1)
    assert left.positions[0].x == 110
    assert right.positions[0].x == 140
    _, (late,) = follow(tracks, [Blob(64, 50, 20, 40)], TrackedFrame(30.0, SIZE, next_track=2))
    assert late.number == 2


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.lists(st.tuples(*[st.integers(0, 300)] * 2, *[st.integers(1, 200)] * 2), max_size=16),
        max_size=30,
    )
)
def test_every_box_has_a_track_and_memory_is_bounded(frames: list[list[tuple[int, int, int, int]]]) -> None:
    tracks: tuple[Track, ...] = ()
    for i, rectangles in enumerate(frames):
        tracks, owners = follow(
            tracks, [Blob(*rectangle) for rectangle in rectangles], TrackedFrame(i / 10, SIZE)
        )
        assert len(owners) == len(rectangles)
        assert len(tracks) <= MAX_TRACKS
        assert all(
            track.positions[-1].t_s == i / 10 and len(track.positions) <= MAX_POSITIONS for track in owners
        )


@pytest.mark.parametrize("seed", range(5))
def test_specks_at_random_places_are_seldom_believed(seed: int) -> None:
    random = np.random.default_rng(seed)
    answers = believed(
        lambda _i: [Blob(int(x), int(y), 6, 14) for x, y in random.integers(0, 230, (2, 2))], 150
    )
    assert sum(answers) <= 0.1 * len(answers)
