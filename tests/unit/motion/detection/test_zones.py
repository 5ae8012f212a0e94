"""Zones leave of a motion what touches them."""

from __future__ import annotations

from services.motion.detection.values import Blob, Motion
from services.motion.detection.zones import only_in

WIDTH, HEIGHT = 640, 480
RIGHT_HALF = (((0.5, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 1.0)),)
LEFT, EDGE, RIGHT = Blob(100, 200, 40, 80), Blob(280, 200, 60, 80), Blob(500, 100, 40, 80)


def seen(*boxes: Blob) -> Motion:
    return Motion(0.8, is_active=True, boxes=boxes, since_s=3.0, n_frames=7, is_sure=True)


def test_without_zones_nothing_changes() -> None:
    assert only_in(seen(LEFT), (), WIDTH, HEIGHT) == seen(LEFT)


def test_what_is_outside_every_zone_is_no_motion() -> None:
    assert only_in(seen(LEFT), RIGHT_HALF, WIDTH, HEIGHT) == Motion(0.0, is_active=False)


def test_what_reaches_into_a_zone_counts_and_what_stays_outside_is_left_out() -> None:
    found = only_in(seen(LEFT, EDGE, RIGHT), RIGHT_HALF, WIDTH, HEIGHT)
    assert found.is_active
    assert found.score == 0.8
    assert found.boxes == (EDGE, RIGHT)


def test_the_event_begins_at_the_zone_and_not_where_the_thing_was_first_followed() -> None:
    found = only_in(seen(EDGE), RIGHT_HALF, WIDTH, HEIGHT)
    assert (found.since_s, found.n_frames) == (float("inf"), 0)
    assert not found.is_sure  # it may have gone on outside


def test_one_of_several_zones_is_enough_and_a_tall_frame_is_measured_by_its_own_sides() -> None:
    corners = (((0.0, 0.0), (0.1, 0.0), (0.0, 0.1)), ((0.9, 0.9), (1.0, 0.9), (1.0, 1.0), (0.9, 1.0)))
    low = Blob(460, 850, 10, 10)
    assert only_in(seen(low), corners, 480, 900).boxes == (low,)
    assert not only_in(seen(Blob(400, 850, 10, 10)), corners, 480, 900).is_active


def test_a_blind_look_stays_blind() -> None:
    blind = Motion(0.0, is_active=False, is_blind=True)
    assert only_in(blind, RIGHT_HALF, WIDTH, HEIGHT) == blind
