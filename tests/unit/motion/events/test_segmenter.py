"""The segmenter's promises, for any sequence of motion."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services.motion.detection.values import Motion
from services.motion.events.segmenter import (
    BACKDATED_S,
    Action,
    EventEnd,
    EventStart,
    Segmenter,
    SnippetCut,
    SnippetSpan,
    finish,
    step,
)
from shared.cameras import MotionSettings

SETTINGS = MotionSettings()
ANY_TIME = hypothesis_settings(deadline=None)  # the machine may be busy
settings_s = st.builds(
    MotionSettings,
    min_frames=st.integers(1, 5),
    pre_roll_s=st.floats(0, 5),
    post_roll_s=st.floats(0, 6),
    quiet_s=st.floats(0.1, 6),
    first_snippet_s=st.floats(0.2, 8),
    longest_snippet_s=st.floats(0.5, 10),
    longest_event_s=st.sampled_from([10, 12.5, 300]),
)
# (gap to the frame before, motion, blind): mostly regular, with discontinuities
frames_s = st.lists(
    st.tuples(
        st.sampled_from([0.04, 0.1, 0.1, 0.1, 0.5, 3.0, 20.0]),
        st.booleans(),
        st.sampled_from([False] * 9 + [True]),
    ),
    max_size=150,
)


def run(
    frames: list[tuple[float, bool, bool]], settings: MotionSettings
) -> tuple[list[tuple[float, Action]], list[float]]:
    """Return the actions with the time at which they came, and the times of frames with motion."""
    state = Segmenter()
    t_s = 1000.0
    actions: list[tuple[float, Action]] = []
    moving = []
    for gap_s, is_active, is_blind in frames:
        t_s += gap_s
        if is_active and not is_blind:
            moving.append(t_s)
        state, new = step(state, t_s, Motion(0.5, is_active, is_blind=is_blind), settings)
        actions += [(t_s, action) for action in new]
    state, new = finish(state, t_s, settings)
    assert not state.is_open
    return actions + [(t_s, action) for action in new], moving


def events_of(actions: list[tuple[float, Action]]) -> list[tuple[EventStart, list[SnippetSpan]]]:
    events: list[tuple[EventStart, list[SnippetSpan]]] = []
    for _, action in actions:
        if isinstance(action, EventStart):
            events.append((action, []))
        elif isinstance(action, SnippetCut | EventEnd):
            events[-1][1].append(action.span)
    return events


def believed(since_s: float, n_frames: int) -> Motion:
    return Motion(0.5, is_active=True, since_s=since_s, n_frames=n_frames)


def steady(n_frames: int, is_active: bool = True, gap_s: float = 0.1) -> list[tuple[float, bool, bool]]:
    return [(gap_s, is_active, False)] * n_frames


@ANY_TIME
@given(frames_s, settings_s)
def test_at_most_one_event_is_open(frames: list[tuple[float, bool, bool]], settings: MotionSettings) -> None:
    is_open = False
    for _, action in run(frames, settings)[0]:
        assert is_open != isinstance(action, EventStart)
        is_open = not isinstance(action, EventEnd)
    assert not is_open


@ANY_TIME
@given(frames_s, settings_s)
def test_snippets_are_numbered_and_exactly_the_last_ends_the_event(
    frames: list[tuple[float, bool, bool]], settings: MotionSettings
) -> None:
    for start, spans in events_of(run(frames, settings)[0]):
        assert [span.number for span in spans] == list(range(len(spans)))
        assert [span.is_last for span in spans] == [False] * (len(spans) - 1) + [True]
        assert spans[0].starts_s == start.starts_s == start.event_started_s - settings.pre_roll_s
        for before, after in itertools.pairwise(spans):
            assert before.ends_s == after.starts_s


@ANY_TIME
@given(frames_s, settings_s)
def test_every_frame_of_an_events_motion_lies_in_a_snippet(
    frames: list[tuple[float, bool, bool]], settings: MotionSettings
) -> None:
    actions, moving = run(frames, settings)
    for start, spans in events_of(actions):
        last = spans[-1]
        inside = [t for t in moving if start.event_started_s <= t <= last.last_motion_s]
        assert start.event_started_s in moving
        assert last.last_motion_s in moving
        assert all(any(span.starts_s <= t <= span.ends_s for span in spans) for t in inside)


@ANY_TIME
@given(frames_s, settings_s)
def test_motion_outside_events_was_never_long_enough(
    frames: list[tuple[float, bool, bool]], settings: MotionSettings
) -> None:
    actions, _ = run(frames, settings)
    events_s = [(start.event_started_s, spans[-1].last_motion_s) for start, spans in events_of(actions)]
    t_s, length = 1000.0, 0
    for gap_s, is_active, is_blind in frames:
        t_s += gap_s
        is_inside = any(begin <= t_s <= end for begin, end in events_s)
        length = length + 1 if is_active and not is_blind and not is_inside else 0
        assert length < settings.min_frames or is_inside


@ANY_TIME
@given(frames_s, settings_s)
def test_snippets_keep_their_bounds(frames: list[tuple[float, bool, bool]], settings: MotionSettings) -> None:
    gap_s = max((gap for gap, _, _ in frames), default=0.0)
    hold_s = max(settings.quiet_s, settings.post_roll_s)
    for _, spans in events_of(run(frames, settings)[0]):
        for span in spans:
            longest_s = settings.longest_snippet_s + settings.pre_roll_s + 5 * hold_s + 2 * gap_s
            assert span.starts_s <= span.ends_s <= span.starts_s + longest_s
            assert span.ends_s <= span.last_motion_s + settings.post_roll_s


@ANY_TIME
@given(frames_s, settings_s)
def test_a_snippet_is_never_asked_for_before_its_end_has_passed(
    frames: list[tuple[float, bool, bool]], settings: MotionSettings
) -> None:
    for t_s, action in run(frames, settings)[0]:
        if isinstance(action, SnippetCut | EventEnd):
            assert action.span.ends_s <= max(t_s, action.span.starts_s)


def test_an_event_dates_from_the_first_frame_of_the_run_that_confirmed_it() -> None:
    ((start, _),) = events_of(run([*steady(5, is_active=False), *steady(10)], SETTINGS)[0])
    assert abs(start.event_started_s - 1000.6) < 1e-6


def test_two_frames_of_motion_are_no_event_when_three_are_wanted() -> None:
    assert run([*steady(2), *steady(50, is_active=False)], SETTINGS)[0] == []


def test_the_first_snippet_is_cut_early_and_later_ones_are_longer() -> None:
    ((_, spans),) = events_of(run(steady(300), SETTINGS)[0])
    cuts = [round(span.ends_s - spans[0].event_started_s, 1) for span in spans]
    assert cuts[:3] == [3.0, 13.0, 23.0]


def test_a_short_event_is_one_snippet_with_its_post_roll() -> None:
    ((start, spans),) = events_of(run([*steady(15), *steady(100, is_active=False)], SETTINGS)[0])
    (span,) = spans
    assert span.is_last
    assert abs(span.ends_s - (span.last_motion_s + SETTINGS.post_roll_s)) < 1e-6
    assert abs(span.last_motion_s - start.event_started_s - 1.4) < 1e-6


def test_motion_that_never_stops_is_cut_into_events_that_follow_each_other() -> None:
    settings = MotionSettings(longest_event_s=30)
    frames = [(0.1, True, False)] * 800
    events = events_of(run(frames, settings)[0])
    lengths_s = [spans[-1].last_motion_s - start.event_started_s for start, spans in events]
    assert len(lengths_s) == 3
    assert all(
        30 <= length_s < 34 for length_s in lengths_s[:-1]
    )  # 3 + 10 + 10 + 10 s, a frame more at each cut
    for (_, spans), (start, _) in itertools.pairwise(events):
        assert start.event_started_s == spans[-1].ends_s


def test_a_pause_shorter_than_the_quiet_time_does_not_end_an_event() -> None:
    frames = [*steady(20), *steady(35, is_active=False), *steady(20), *steady(60, is_active=False)]
    assert len(events_of(run(frames, SETTINGS)[0])) == 1


def test_a_believed_way_counts_its_frames_and_dates_the_event_back_but_not_far_and_not_into_the_last() -> (
    None
):
    opened = Segmenter(last_seen_s=1000.0)
    _, (start,) = step(opened, 1000.1, believed(999.5, SETTINGS.min_frames), SETTINGS)
    assert isinstance(start, EventStart)
    assert (start.event_started_s, start.starts_s) == (999.5, 999.5 - SETTINGS.pre_roll_s)
    _, (far,) = step(opened, 1000.1, believed(900.0, 30), SETTINGS)
    assert isinstance(far, EventStart)
    assert far.event_started_s == 1000.1 - BACKDATED_S
    _, (after,) = step(Segmenter(last_seen_s=1000.0, ended_s=999.9), 1000.1, believed(998.0, 30), SETTINGS)
    assert isinstance(after, EventStart)
    assert after.event_started_s == 999.9
    _, none = step(opened, 1000.1, believed(999.9, SETTINGS.min_frames - 1), SETTINGS)
    assert none == ()


def test_blind_frames_neither_open_nor_end_an_event() -> None:
    assert run([(0.1, True, True)] * 20, SETTINGS)[0] == []
    frames = [*steady(20), *[(0.1, False, True)] * 60, *steady(20), *steady(60, is_active=False)]
    assert len(events_of(run(frames, SETTINGS)[0])) == 1
    strobe = [*steady(20), *[(0.1, False, True)] * 600]
    ((_, spans),) = events_of(run(strobe, SETTINGS)[0])
    assert spans[-1].is_last


def test_a_frame_after_a_discontinuity_begins_another_event() -> None:
    assert len(events_of(run([*steady(20), (30.0, True, False), *steady(20)], SETTINGS)[0])) == 2


def test_running_short_of_memory_cuts_early_but_not_at_every_frame() -> None:
    state = Segmenter()
    cuts = []
    for index in range(60):
        state, actions = step(state, 1000 + index / 10, Motion(0.5, is_active=True), SETTINGS, must_cut=True)
        cuts += [action.span.ends_s for action in actions if isinstance(action, SnippetCut)]
    assert len(cuts) == 5
