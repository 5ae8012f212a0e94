"""Makes events and snippets of what the detector says of each frame. Pure: no clock, no I/O, no pictures.

    motion      ....mmmmmmmmmmmmmmmmmmmmmmmmmm.......
    event           [----------------------]            first to last frame with motion
    snippets    [---0---][----1----][----2-----]        pre-roll before 0, post-roll after the last

An event starts when `min_frames` consecutive frames showed motion, and then dates from the first of them. It ends
when no motion was seen for `quiet_s`, or for `post_roll_s` when that is longer: the post-roll of a clip is complete
before another event may open, so at most one event is open. Snippet 0 is cut early, after `first_snippet_s` of
motion; further ones after `longest_snippet_s`. A cut is only made at a frame with motion, so a short event is one
snippet, and the last snippet always exists and carries is_last. Where motion never stops (a busy street), an event
of `longest_event_s` ends at a frame with motion, with which the next one may begin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from services.motion.detection.values import Motion
from shared.cameras import MotionSettings

BLIND_HOLDS = (
    3  # quiet times that blind frames may delay an event's end: a strobe must not keep it open for ever
)
SHORTEST_FORCED_S = 1.0  # a stream too fat for its ring must not become a snippet a frame
SETTLED_S = 3.0  # in an event this old, a sure frame says all that the next one could
BACKDATED_S = 2.0  # the ring of packets holds 5 s more than the pre-roll
# where frames are rare, an event begins as many frames back as it took to believe it, and outlasts one that missed it
BACKDATED_FRAMES, LONGEST_BACKDATED_S = 3.0, 4.5
HOLD_FRAMES = 2.5


@dataclass(frozen=True, slots=True)
class SnippetSpan:
    """What snippet `number` shall show, in epoch seconds. Motion lies in event_started_s..last_motion_s."""

    number: int
    starts_s: float
    ends_s: float
    event_started_s: float
    last_motion_s: float
    motion_peak: float
    is_last: bool


@dataclass(frozen=True, slots=True)
class EventStart:
    """An event began at `event_started_s`; its first snippet shall begin at `starts_s`."""

    event_started_s: float
    starts_s: float


@dataclass(frozen=True, slots=True)
class SnippetCut:
    """A snippet is complete and the event goes on."""

    span: SnippetSpan


@dataclass(frozen=True, slots=True)
class EventEnd:
    """The event is over with this snippet."""

    span: SnippetSpan


Action = EventStart | SnippetCut | EventEnd


@dataclass(frozen=True, slots=True)
class Segmenter:
    """State between two frames. `started_s` is None while no event is open."""

    run: int = 0  # consecutive frames with motion, while no event is open
    run_started_s: float = 0.0
    run_peak: float = 0.0
    started_s: float | None = None
    number: int = 0
    span_starts_s: float = 0.0
    cut_s: float = 0.0  # where the last cut was made, or the event's start
    last_motion_s: float = 0.0
    blind_s: float = float("-inf")  # last blind frame: the quiet time begins after it
    peak: float = 0.0
    last_seen_s: float = float("-inf")
    ended_s: float = float("-inf")  # end of the event before: the next one cannot begin earlier
    floor_s: float = float("-inf")  # end of the last discontinuity: no clip begins earlier

    @property
    def is_open(self) -> bool:
        return self.started_s is not None

    @property
    def is_watching(self) -> bool:
        """Whether frames may belong to an event: one is open, or motion is being confirmed."""
        return self.is_open or self.run > 0


def step(
    state: Segmenter, t_s: float, motion: Motion, settings: MotionSettings, *, must_cut: bool = False
) -> tuple[Segmenter, tuple[Action, ...]]:
    """Take the motion of the frame at `t_s` (epoch seconds, ascending); return the new state and what is to be done.

    A blind frame never opens an event, and the quiet time that ends one begins after it. The frames in which what
    moves was followed before it was believed count as a run of motion. `must_cut` asks for a cut at the next frame
    with motion (memory runs short), SHORTEST_FORCED_S after the last one.
    """
    t_s = max(t_s, state.last_seen_s)
    state = replace(state, last_seen_s=t_s)
    if state.started_s is None:
        return _idle(state, t_s, motion, settings)
    hold_s = max(settings.quiet_s, settings.post_roll_s, HOLD_FRAMES * motion.period_s)
    quiet_from_s = max(state.last_motion_s, min(state.blind_s, state.last_motion_s + BLIND_HOLDS * hold_s))
    if t_s - quiet_from_s >= hold_s:
        ended, actions = _end(state, state.last_motion_s + settings.post_roll_s)
        after, more = _idle(replace(ended, last_seen_s=t_s), t_s, motion, settings)
        return after, actions + more
    if motion.is_blind:
        return replace(state, blind_s=t_s), ()
    if not motion.is_active:
        return state, ()
    started_s = state.started_s
    state = replace(state, last_motion_s=t_s, peak=max(state.peak, motion.score))
    limit_s = settings.first_snippet_s if state.number == 0 else settings.longest_snippet_s
    length_s = t_s - state.cut_s
    is_due = length_s >= min(limit_s, settings.longest_snippet_s)
    if not (is_due or (must_cut and length_s >= SHORTEST_FORCED_S)) or t_s <= state.span_starts_s:
        return state, ()
    if t_s - started_s >= settings.longest_event_s:
        ended, actions = _end(state, t_s)
        after, more = _idle(ended, t_s, replace(motion, n_frames=0), settings)  # what was before is told
        return after, actions + more
    cut = SnippetCut(_span(state, t_s, is_last=False))
    return replace(state, number=state.number + 1, span_starts_s=t_s, cut_s=t_s, peak=motion.score), (cut,)


def resumed(event_started_s: float, number: int, starts_s: float) -> Segmenter:
    """Return the state of an event that another process opened, at the beginning of its snippet `number`."""
    return Segmenter(
        started_s=event_started_s,
        number=number,
        span_starts_s=starts_s,
        cut_s=starts_s,
        last_motion_s=event_started_s,
    )


def prolong(state: Segmenter, t_s: float, score: float) -> Segmenter:
    """Take a frame with motion of an event that surely goes on."""
    return replace(state, last_motion_s=max(state.last_motion_s, t_s), peak=max(state.peak, score))


def may_skip(state: Segmenter, t_s: float, is_sure: bool) -> bool:
    """Tell whether the frame after the one at `t_s` may be left out.

    The event is old enough to be believed, and what made it was on its way in this frame and the one before
    (`is_sure`), so it goes on for longer than two frames take.
    """
    return is_sure and state.started_s is not None and t_s - state.started_s > SETTLED_S


def finish(state: Segmenter, t_s: float, settings: MotionSettings) -> tuple[Segmenter, tuple[Action, ...]]:
    """End what is open: the source ended at `t_s`, or the service stops."""
    if not state.is_open:
        return Segmenter(last_seen_s=state.last_seen_s, ended_s=state.ended_s, floor_s=state.floor_s), ()
    return _end(state, min(max(t_s, state.last_motion_s), state.last_motion_s + settings.post_roll_s))


def after_discontinuity(state: Segmenter, t_s: float) -> Segmenter:
    """Go on at `t_s`, after a time of which there are no frames: neither events nor clips reach back over it."""
    return Segmenter(last_seen_s=state.last_seen_s, ended_s=t_s, floor_s=t_s)


def _idle(
    state: Segmenter, t_s: float, motion: Motion, settings: MotionSettings
) -> tuple[Segmenter, tuple[Action, ...]]:
    if not motion.is_active or motion.is_blind:
        return replace(state, run=0, run_peak=0.0), ()
    started_s = t_s if state.run == 0 else state.run_started_s
    peak = max(state.run_peak, motion.score)
    run = state.run + 1
    if motion.n_frames > run:
        run = motion.n_frames
        back_s = max(BACKDATED_S, min(BACKDATED_FRAMES * motion.period_s, LONGEST_BACKDATED_S))
        started_s = min(started_s, max(motion.since_s, t_s - back_s, state.ended_s))
    if run < settings.min_frames:
        return replace(state, run=run, run_started_s=started_s, run_peak=peak), ()
    starts_s = max(started_s - settings.pre_roll_s, min(state.floor_s, started_s))
    opened = Segmenter(
        started_s=started_s,
        span_starts_s=starts_s,
        cut_s=started_s,
        last_motion_s=t_s,
        peak=peak,
        last_seen_s=t_s,
        floor_s=state.floor_s,
    )
    return opened, (EventStart(started_s, starts_s),)


def _end(state: Segmenter, ends_s: float) -> tuple[Segmenter, tuple[Action, ...]]:
    span = _span(state, max(ends_s, state.span_starts_s), is_last=True)
    ended = Segmenter(last_seen_s=state.last_seen_s, ended_s=span.ends_s, floor_s=state.floor_s)
    return ended, (EventEnd(span),)


def _span(state: Segmenter, ends_s: float, *, is_last: bool) -> SnippetSpan:
    assert state.started_s is not None
    return SnippetSpan(
        number=state.number,
        starts_s=state.span_starts_s,
        ends_s=ends_s,
        event_started_s=state.started_s,
        last_motion_s=state.last_motion_s,
        motion_peak=min(1.0, max(0.0, state.peak)),
        is_last=is_last,
    )
