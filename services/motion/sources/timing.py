"""Turns the timestamps of a stream into seconds: of a recording's own time, or of the steady clock (shared/clock.py).

Pure: arrival times are given.

Streams lie: timestamps are missing, jump, wrap around or stand still. Shown times must not go back, except within a
group that is stored out of order (B-frames).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from shared.errors import Transient

REORDER_S = (
    2.0  # a timestamp that falls back by less is a frame stored out of order; by more, the clock jumped
)
LIVE_JUMP_S = 5.0
JITTER_S = 0.1  # decoding times that go back by less are a sender's rounding
REORDERED_S = 0.8  # what is shown before the latest for longer is not out of order, unless frames are rare
DRIFT_HZ = 0.05  # share of the lateness that is taken for drift, a second
PATIENCE_S = 1.0  # packets later than LIVE_JUMP_S for longer: it is the sender's clock that stood still
REMEMBERED = 1024
SETTLE_S, HOLD_MAX_S = 0.5, 3.0
MOST_HELD, MOST_HELD_BYTES = 1024, 32 * 1024 * 1024
AT_ONCE_S = 0.005  # packets nearer than this came together
DISCONTINUITY_S = 10.0  # a recording without a picture for longer is interrupted: an open event ends
MAX_DISCONTINUITY_S = (
    12 * 3600.0
)  # of a longer one the clock jumped: a night's pause is believed, a day's is not
WRAP_S = 2**33 / 90_000  # MPEG-TS counts 33 bits at 90 kHz (ISO/IEC 13818-1 §2.4.3.7)


class StreamTimes(Protocol):
    """Turns the timestamps of one stream into seconds."""

    def of_packet(self, pts_s: float | None, arrived_s: float, dts_s: float | None = None) -> float: ...

    def of_frame(self, pts_s: float | None) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """Where a recording was interrupted; its next picture is of `t_s`."""

    t_s: float
    closed_s: float = 0.0  # time that was taken out


@dataclass(slots=True)
class FileTimes:
    """The times of a recording: its first frame is at `starts_s`, the others where their timestamps put them.

    A discontinuity of up to `max_discontinuity_s` stays as it is. A longer one, and a clock that falls back, is closed:
    the next frame is then shown `frame_s` after the last one. `on_discontinuity` is called for each of them.
    """

    starts_s: float
    frame_s: float  # usual distance of two frames, for those without a timestamp
    max_discontinuity_s: float = MAX_DISCONTINUITY_S
    on_discontinuity: Callable[[Discontinuity], None] = lambda _discontinuity: None
    _offset_s: float | None = None
    _latest_s: float = 0.0
    _clock_s: float = 0.0
    _started: bool = False
    _known: OrderedDict[float, float] = field(default_factory=OrderedDict)

    def of_packet(self, pts_s: float | None, arrived_s: float, dts_s: float | None = None) -> float:  # noqa: ARG002  # one port for both
        """Return when the packet with presentation time `pts_s` is shown."""
        if pts_s is None:
            self._latest_s = self._next_s
            self._started = True
            return self._latest_s
        if self._offset_s is None:
            self._offset_s = self._next_s - pts_s
            self._clock_s = pts_s if dts_s is None else dts_s
        # decoding times never go back, however far frames are reordered
        self._follow(pts_s, pts_s if dts_s is None else dts_s)
        shown_s = pts_s + self._offset_s
        self._started = True
        self._latest_s = max(self._latest_s, shown_s)
        self._known[pts_s] = shown_s
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return shown_s

    def of_frame(self, pts_s: float | None) -> float | None:
        """Return the same for a decoded frame; None when it has no timestamp.

        A decoder gives out frames late: the clock may have jumped since their packets came.
        """
        if pts_s is None or self._offset_s is None:
            return None
        return self._known.get(pts_s, pts_s + self._offset_s)

    @property
    def _next_s(self) -> float:
        return self._latest_s + self.frame_s if self._started else self.starts_s

    def _follow(self, pts_s: float, clock_s: float) -> None:
        """Take the clock's next value; close a gap in it that is no time that passed."""
        assert self._offset_s is not None
        gap_s, self._clock_s = clock_s - self._clock_s, clock_s
        if not self._started or -REORDER_S <= gap_s <= DISCONTINUITY_S:
            return
        closed_s = 0.0
        if not 0 < gap_s <= self.max_discontinuity_s:
            closed_s = pts_s + self._offset_s - self._next_s
            self._offset_s -= closed_s
        if abs(gap_s + WRAP_S) > DISCONTINUITY_S:  # a counter that ran over is no interruption
            self.on_discontinuity(Discontinuity(pts_s + self._offset_s, closed_s))


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a packet came (steady seconds, see shared/clock.py), and what it says of its own time."""

    pts_s: float | None
    arrived_s: float
    dts_s: float | None = None


@dataclass(slots=True)
class LiveTimes:
    """The times of a camera: arrival by a clock that nobody can set, smoothed by the stream's own timestamps.

    The offset between the two clocks falls at once (nothing arrives before it was taken: an early packet shows that the
    others were late) and rises slowly (the clocks drift).
    """

    frame_s: float
    _offset_s: float | None = None
    _latest_s: float = 0.0
    _latest_pts_s: float = 0.0
    _before: Arrival | None = None  # the last one with a timestamp
    _below_since_s: float | None = None  # since when packets are no later than the latest
    _late_since_s: float | None = None
    _known: OrderedDict[float, float] = field(default_factory=OrderedDict)

    def begin(self, held: Sequence[Arrival]) -> list[float]:
        """Return when each of a connection's first packets was taken.

        The newest was taken now, the others as far apart as their timestamps are, or else as the rate is.
        """
        if not held:
            return []
        stamps = [one.pts_s for one in held if one.pts_s is not None]
        if len(stamps) < len(held):
            shown = _spaced(held, self.frame_s)
            self._latest_s = max(shown)
            return shown
        first, offset_s = 0, 0.0
        parts: list[list[float]] = []  # newest first
        ends = [*(i for i in range(1, len(held)) if _is_jump(held[i - 1], held[i])), len(held)]
        for first, end in reversed(list(zip([0, *ends[:-1]], ends, strict=True))):
            if parts:
                offset_s = min(parts[-1]) - self.frame_s - max(stamps[first:end])
            else:
                offset_s = min(
                    one.arrived_s - pts for one, pts in zip(held[first:], stamps[first:], strict=True)
                )
                self._offset_s, self._latest_pts_s = offset_s, max(stamps[first:])
            parts.append([pts + offset_s for pts in stamps[first:end]])
        shown = [t_s for part in reversed(parts) for t_s in part]
        self._latest_s, self._before = max(shown), held[-1]
        for pts_s, shown_s in zip(stamps, shown, strict=True):
            self._remember(pts_s, shown_s)
        return shown

    def of_packet(self, pts_s: float | None, arrived_s: float, dts_s: float | None = None) -> float:
        """Return when the packet that arrived at `arrived_s` was taken."""
        now = Arrival(pts_s, arrived_s, dts_s)
        before, self._before = self._before, now if pts_s is not None else self._before
        if pts_s is None or (
            before is not None and pts_s == before.pts_s
        ):  # a clock that stands still says nothing
            self._latest_s = max(arrived_s, self._latest_s + 1e-3)
            if pts_s is not None:
                self._remember(pts_s, self._latest_s)
            return self._latest_s
        if self._offset_s is None:
            self._set(pts_s, arrived_s)
        assert self._offset_s is not None
        late_s = arrived_s - (pts_s + self._offset_s)
        is_jump = before is not None and _is_jump(before, now)
        if is_jump or late_s < -LIVE_JUMP_S or self._is_below(now) or self._is_late(late_s, arrived_s):
            self._set(pts_s, arrived_s)
        elif late_s < 0:
            self._offset_s += late_s
        elif late_s <= LIVE_JUMP_S:
            passed_s = arrived_s - before.arrived_s if before is not None else 0.0
            self._offset_s += (
                DRIFT_HZ * min(passed_s, 0.1) * late_s
            )  # a burst says nothing of the clocks' speed
        shown_s = pts_s + self._offset_s
        if pts_s > self._latest_pts_s:
            shown_s = max(shown_s, self._latest_s + 1e-3)
            self._latest_pts_s = pts_s
        self._latest_s = max(self._latest_s, shown_s)
        self._remember(pts_s, shown_s)
        return shown_s

    def of_frame(self, pts_s: float | None) -> float | None:
        """Return the time that the frame's packet got; None when it is not known."""
        return None if pts_s is None else self._known.get(pts_s)

    def _set(self, pts_s: float, arrived_s: float) -> None:
        """Trust that the packet was taken when it arrived."""
        self._offset_s = arrived_s - pts_s
        self._latest_pts_s = pts_s - 1e-6
        self._below_since_s = self._late_since_s = None

    def _is_below(self, now: Arrival) -> bool:
        """Tell whether packets lie before the latest for so long that the sender's clock was set back a little."""
        assert now.pts_s is not None
        if now.pts_s > self._latest_pts_s:
            self._below_since_s = None
        elif self._below_since_s is None:
            self._below_since_s = now.arrived_s
        return self._below_since_s is not None and now.arrived_s - self._below_since_s > REORDERED_S

    def _is_late(self, late_s: float, arrived_s: float) -> bool:
        """Tell whether packets are so late for so long that the sender stood still.

        After a network that stood still they come in a burst, which soon catches up: their times are right.
        """
        if late_s <= LIVE_JUMP_S:
            self._late_since_s = None
        elif self._late_since_s is None:
            self._late_since_s = arrived_s
        return self._late_since_s is not None and arrived_s - self._late_since_s > PATIENCE_S

    def _remember(self, pts_s: float, shown_s: float) -> None:
        self._known[pts_s] = shown_s
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _is_jump(before: Arrival, now: Arrival) -> bool:
    """Tell whether the sender's clock was set between two packets.

    Decoding times never go back, however far frames are reordered; presentation times do, a little.
    """
    assert before.pts_s is not None
    assert now.pts_s is not None
    if before.dts_s is not None and now.dts_s is not None:
        return not -JITTER_S <= now.dts_s - before.dts_s <= LIVE_JUMP_S + now.arrived_s - before.arrived_s
    return not -REORDER_S <= now.pts_s - before.pts_s <= LIVE_JUMP_S + now.arrived_s - before.arrived_s


def _spaced(held: Sequence[Arrival], frame_s: float) -> list[float]:
    """Return times for packets without timestamps: the newest as it came, the ones before no nearer to each other than
    the last ones came, or `frame_s` when all came at once."""
    newest_s = held[-1].arrived_s
    n_tail = sum(newest_s - one.arrived_s <= SETTLE_S / 2 for one in held)
    tail = [one.arrived_s for one in held[-max(2, n_tail) :]]
    step_s = (newest_s - tail[0]) / (len(tail) - 1) if len(tail) > 1 else frame_s
    step_s = min(step_s if step_s > AT_ONCE_S else frame_s, 1.0)
    shown = [newest_s]
    for one in reversed(held[:-1]):
        shown.append(min(one.arrived_s, shown[-1] - step_s))
    return shown[::-1]


Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class TimedPacket(Generic[Item]):
    """A packet, when it was taken, and whether it was held back at the start of its connection."""

    item: Item
    t_s: float
    is_late: bool


def with_times(
    packets: Iterator[Item],
    arrival_of: Callable[[Item], Arrival],
    n_bytes_of: Callable[[Item], int],
    times: LiveTimes,
) -> Iterator[TimedPacket[Item]]:
    """Yield a connection's packets with their times.

    What FFmpeg read while it looked at the stream, and what a server kept for whoever comes, arrives in a burst. When
    its packets were taken is known once they come as they are taken: the first ones are held until then, for
    SETTLE_S at least and HOLD_MAX_S at most.
    """
    held: list[Item] = []
    arrivals: list[Arrival] = []
    n_bytes = 0
    try:
        for item in packets:
            held.append(item)
            arrivals.append(arrival_of(item))
            n_bytes += n_bytes_of(item)
            if n_bytes > MOST_HELD_BYTES or has_settled(arrivals):
                break
    except Transient:  # SourceAway
        yield from _released(held, times.begin(arrivals))
        raise
    yield from _released(held, times.begin(arrivals))
    for item in packets:
        now = arrival_of(item)
        yield TimedPacket(item, times.of_packet(now.pts_s, now.arrived_s, now.dts_s), is_late=False)


def _released(held: Sequence[Item], shown: Sequence[float]) -> Iterator[TimedPacket[Item]]:
    for number, (item, t_s) in enumerate(zip(held, shown, strict=True), 1):
        yield TimedPacket(item, t_s, is_late=number < len(held))


def has_settled(arrivals: Sequence[Arrival]) -> bool:
    """Tell whether the last packets came as they were taken, not in a burst; true as well when too many were held."""
    first, last = arrivals[0], arrivals[-1]
    held_s = last.arrived_s - first.arrived_s
    if held_s < SETTLE_S:
        return len(arrivals) >= MOST_HELD
    recent = next(one for one in arrivals if last.arrived_s - one.arrived_s <= SETTLE_S)
    if recent is last or recent.pts_s is None or last.pts_s is None:
        return True
    took_s = last.arrived_s - recent.arrived_s
    return last.pts_s - recent.pts_s <= 1.5 * took_s or held_s >= HOLD_MAX_S or len(arrivals) >= MOST_HELD
