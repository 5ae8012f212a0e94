"""The bench's scorer on cases made by hand: what must not win, does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.motion import motion_spans
from bench.motion_score import Span, tally, total
from bench.scenes_stage import FPS, HEIGHT, WIDTH, Actor, Stage

TRUTH = (Span(5, 10), Span(20, 26))
LENGTH_S = 40.0


def test_the_truth_itself_is_perfect() -> None:
    counted = tally(TRUTH, TRUTH, LENGTH_S)
    assert (counted.recall, counted.n_false, counted.fragments, counted.start_error_s) == (1.0, 0, 1.0, 0.0)
    assert counted.covered == 0
    assert counted.free_s == pytest.approx(4 + 8 + 13)


def test_an_output_that_never_closes_is_false_and_hits_one_event_at_most() -> None:
    counted = tally(TRUTH, [Span(0, 40)], LENGTH_S)
    assert (counted.n_false, counted.n_hit) == (1, 1)
    assert counted.covered == 1.0


def test_silence_finds_nothing_and_makes_nothing_up() -> None:
    counted = tally(TRUTH, [], LENGTH_S)
    assert (counted.recall, counted.n_false, counted.covered, counted.fragments) == (0.0, 0, 0.0, None)


def test_an_output_beside_the_truth_is_false_also_when_it_is_short() -> None:
    counted = tally(TRUTH, [Span(14, 14.2)], LENGTH_S)
    assert (counted.n_false, counted.n_hit) == (1, 0)
    assert counted.false_per_hour == pytest.approx(3600 / 25)


def test_two_outputs_for_one_event_are_two_fragments_and_the_first_counts_for_the_start() -> None:
    counted = tally(TRUTH, [Span(5.4, 6), Span(8, 10), Span(20.1, 26)], LENGTH_S)
    assert counted.fragments == 1.5
    assert counted.start_errors_s == pytest.approx((0.4, 0.1))


def test_an_output_may_hold_on_a_little_but_not_for_long() -> None:
    assert tally(TRUTH, [Span(5, 15.5)], LENGTH_S).n_false == 0
    assert tally(TRUTH, [Span(5, 16.5)], LENGTH_S).n_false == 1


def test_two_events_close_together_may_be_one_output() -> None:
    counted = tally((Span(5, 10), Span(14, 18)), [Span(5, 18)], LENGTH_S)
    assert (counted.recall, counted.n_false) == (1.0, 0)


def test_scenes_add_up() -> None:
    both = total([tally(TRUTH, TRUTH, LENGTH_S), tally((), [Span(1, 2)], 10.0)])
    assert (both.n_true, both.n_hit, both.n_false, both.free_s) == (2, 2, 1, 35.0)
    assert both.covered_s == 1.0


def test_a_program_that_plays_a_scene_again_is_scored_on_its_first_playing(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("open 100\nstart 113.5\nend 130\nstart 129\nend 150\nstart 144\nend 160\n")
    assert motion_spans(notes, 32.0) == [Span(13.5, 26), Span(29, 32)]


spans = st.lists(st.floats(0, 40), min_size=0, max_size=12).map(
    lambda times: [Span(a, b) for a, b in zip(sorted(times)[::2], sorted(times)[1::2], strict=False) if b > a]
)


@settings(deadline=None)
@given(spans, spans)
def test_counts_stay_within_their_bounds(truth: list[Span], outputs: list[Span]) -> None:
    counted = tally(truth, outputs, LENGTH_S)
    assert 0 <= counted.n_hit <= counted.n_true == len(truth)
    assert 0 <= counted.n_false <= len(outputs)
    assert -1e-9 <= counted.covered_s <= counted.free_s + 1e-9
    assert counted.n_fragments >= counted.n_hit


def test_a_drawn_thing_is_where_the_truth_says() -> None:
    ground = np.full((HEIGHT, WIDTH), 100, np.float32)
    stage = Stage(ground, (), 1.0, np.random.default_rng(1))
    thing = np.full((40, 20), 220, np.uint8)
    actor = Actor(thing, np.ones((40, 20), np.float32), 1.0, 2.0, lambda t_s: (300 + 10 * t_s, 200))
    before, n_before = stage.frame(0, 0.9, [actor])
    luma, n_in_view = stage.frame(1, 1.0, [actor])
    assert (n_before, n_in_view) == (0, 1)
    rows, columns = np.where(luma.astype(int) - before > 60)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (180, 219, 300, 319)


@pytest.mark.parametrize("disturbance", ["rain", "lamp", "clock", "sway", "shake", "infrared", "reconnect"])
def test_a_disturbance_changes_the_picture_and_moves_nothing(disturbance: str) -> None:
    ground = np.random.default_rng(3).uniform(60, 180, (HEIGHT, WIDTH)).astype(np.float32)
    plain = Stage(ground, (), 1.0, np.random.default_rng(2))
    stage = Stage(ground, (disturbance,), 1.0, np.random.default_rng(2))
    times_s = [round(stage_s * FPS) / FPS for stage_s in (1.0, 7.1, 12.3, 15.0, 17.9)]
    shares = []
    for t_s in times_s:
        luma, n_in_view = stage.frame(0, t_s, [])
        assert n_in_view == 0
        still, _ = plain.frame(0, t_s, [])
        shares.append(float((np.abs(luma.astype(int) - still) > 12).mean()))
    assert max(shares) > 0.001
