"""Follows blobs from frame to frame, and tells things that travel from things that change in place. Pure.

A clock, a bush and flakes change in place. A track is believed once its middle went one way: a straight line fitted to
its last positions explains a way of several px, and what the line leaves over is small against that way.

Times are in seconds, for frames that come often. Where they come rarely (`period_s` apart), each lasts so many frames:
a thing that is seen once a second is known again after two seconds.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from services.motion.detection import tuning
from services.motion.detection.values import Blob, Position, Track


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """What tracking needs to know of a frame besides its blobs."""

    t_s: float
    size: tuple[int, int]  # width and height of the plane
    next_track: int = 0  # number of the first new track
    doubt: float = 1.0  # by how much longer a way must be than usual
    is_rooted: Callable[[int], bool] = lambda _index: False  # whether the blob of an index only sways
    bridged_s: float = 0.0  # for how long there were no frames, if that is to be bridged (see `bridged_s`)
    period_s: float = 0.0  # the usual interval between two frames


def follow(
    tracks: Sequence[Track], blobs: Sequence[Blob], frame: TrackedFrame
) -> tuple[tuple[Track, ...], tuple[Track, ...]]:
    """Return all tracks after a frame, and for each blob the track that it belongs to.

    Blobs come largest first; each continues the track whose last rectangle is nearest, within reach. `is_rooted` is
    slow, so only those blobs are asked that would be believed.
    """
    t_s, period_s = frame.t_s, frame.period_s
    keep_s = max(tuning.KEEP_S, tuning.KEEP_FRAMES * period_s) + frame.bridged_s
    free = [track for track in tracks if t_s - track.positions[-1].t_s <= keep_s]
    is_rare = period_s > tuning.RARE_S
    lasts = [_expected(track, t_s) if frame.bridged_s or is_rare else track.positions[-1] for track in free]
    reach = 1.0 + tuning.REACH_A_SECOND * (period_s - tuning.RARE_S) if is_rare else 1.0
    owners: list[Track] = []
    number = frame.next_track
    for index, blob in enumerate(blobs):
        position = Position(t_s, blob.x + blob.w / 2, blob.y + blob.h / 2, blob.w, blob.h)
        apart, nearest = min(
            ((_apart(last, position) / reach, i) for i, last in enumerate(lasts)), default=(2.0, 0)
        )
        if apart > 1.0:
            owners.append(Track(number, (position,)))
            number += 1
            continue
        del lasts[nearest]
        owners.append(_continued(free.pop(nearest), position, index, frame))
    return (*owners, *free)[: tuning.MAX_TRACKS], tuple(owners)


def _continued(track: Track, position: Position, index: int, frame: TrackedFrame) -> Track:
    """Return a track after a frame in which its thing is at `position`, as the blob `index`."""
    t_s, period_s = frame.t_s, frame.period_s
    window_s = max(tuning.WINDOW_S, tuning.WINDOW_FRAMES * period_s)
    recent = tuple(p for p in (*_thinned(track.positions), position) if t_s - p.t_s <= window_s)
    positions = recent[-tuning.MAX_POSITIONS :]
    if not _travels(positions, frame.size, frame.doubt):
        return replace(track, positions=positions)
    if frame.is_rooted(index):
        return replace(track, positions=positions, rooted_s=t_s)
    if t_s - track.rooted_s <= max(tuning.ROOTED_S, tuning.ROOTED_FRAMES * period_s):
        return replace(track, positions=positions)
    since_s = track.since_s if track.is_believed(t_s, period_s) else positions[0].t_s
    return replace(track, positions=positions, travelled_s=t_s, since_s=since_s)


def _thinned(positions: tuple[Position, ...]) -> tuple[Position, ...]:
    """Leave out the last position when the one before is nearly as new: a track is to reach back WINDOW_S."""
    is_near = len(positions) > 1 and positions[-1].t_s - positions[-2].t_s < tuning.POSITIONS_APART_S
    return positions[:-1] if is_near else positions


def bridged_s(unseen_s: float) -> float:
    """Return a time without frames after which tracks are taken up again, or 0: it is none, or too long."""
    return unseen_s if tuning.UNSEEN_S[0] < unseen_s < tuning.UNSEEN_S[1] else 0.0


def _expected(track: Track, t_s: float) -> Position:
    """Return where a track will be at `t_s`, if it goes on as it did; where it was last, if it went no way."""
    last = track.positions[-1]
    if not track.is_believed(t_s) or len(track.positions) < 3:
        return last
    velocity, _ = _line(track.positions, [(position.x, position.y) for position in track.positions])
    ahead_s = t_s - last.t_s
    return replace(last, x=last.x + velocity[0] * ahead_s, y=last.y + velocity[1] * ahead_s)


def _apart(last: Position, position: Position) -> float:
    """Return how far apart two rectangles lie, in units of what a thing may go between two frames."""
    reach_x = (last.w + position.w) / 2 + 0.35 * max(last.w, position.w) + 6
    reach_y = (last.h + position.h) / 2 + 0.2 * max(last.h, position.h) + 4
    return max(abs(last.x - position.x) / reach_x, abs(last.y - position.y) / reach_y)


def _travels(positions: Sequence[Position], size: tuple[int, int], doubt: float) -> bool:
    """Tell whether a straight way explains the last positions, or the latest of them."""
    return (
        _is_way(positions, size, doubt)
        or (len(positions) > 8 and _is_way(positions[-8:], size, doubt))
        or _comes_near(positions)
    )


def _is_way(positions: Sequence[Position], size: tuple[int, int], doubt: float) -> bool:
    if len(positions) < 3:
        return False
    side = statistics.median([min(position.w, position.h) for position in positions])
    longer = statistics.median([max(position.w, position.h) for position in positions])
    is_long = len(positions) >= 5
    least = (
        doubt * max(tuning.WAY_PX, tuning.WAY_SIZES * side)
        if is_long
        else doubt * max(tuning.DASH_PX, tuning.DASH_SIZES * side)
    )
    if math.hypot(positions[-1].x - positions[0].x, positions[-1].y - positions[0].y) < 0.7 * least:
        return False
    velocity, left = _line(positions, [(position.x, position.y) for position in positions])
    way = math.hypot(*velocity) * (positions[-1].t_s - positions[0].t_s)
    is_straight = way >= least and way >= tuning.STRAIGHT * left
    is_slow = is_long and way <= tuning.SLOW_SIZES * longer * (len(positions) - 1)
    return is_straight and (is_slow or _is_steady(positions)) and _is_followed(positions, size)


def _is_steady(positions: Sequence[Position]) -> bool:
    """Tell whether every step went about as far as the others: few frames are believed only then."""
    x, y = positions[-1].x - positions[0].x, positions[-1].y - positions[0].y
    way = math.hypot(x, y)
    steps = [((b.x - a.x) * x + (b.y - a.y) * y) / way for a, b in itertools.pairwise(positions)]
    mean = way / len(steps)
    intervals_s = [b.t_s - a.t_s for a, b in itertools.pairwise(positions)]
    if max(intervals_s) > tuning.UNEVEN * min(intervals_s):
        return False
    return min(steps) >= tuning.STEADY_STEP * mean and max(steps) <= mean / tuning.STEADY_STEP


def _is_followed(positions: Sequence[Position], size: tuple[int, int]) -> bool:
    """Tell whether the far end came along: what only grows to one side is a bush that left its first place.

    A rectangle that touches the picture's border comes in or goes out: there one end stands.
    """
    first, last = positions[0], positions[-1]
    if abs(last.x - first.x) * 3 >= abs(last.y - first.y) * 4:
        ends = [(s.x - s.w / 2, s.x + s.w / 2) for s in (first, last)]
        limit = size[0]
    else:
        ends = [(s.y - s.h / 2, s.y + s.h / 2) for s in (first, last)]
        limit = size[1]
    if any(low <= 2 for low, _ in ends) or any(high >= limit - 2 for _, high in ends):
        return True
    if any(max(a, b) > tuning.SAME_SIZE * min(a, b) for a, b in ((first.w, last.w), (first.h, last.h))):
        return False
    low, high = ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]
    return low * high > 0 and min(abs(low), abs(high)) >= tuning.FOLLOWED * max(abs(low), abs(high))


def _comes_near(positions: Sequence[Position]) -> bool:
    """Tell whether a thing grew steadily to all sides."""
    if len(positions) < tuning.NEAR_FRAMES:
        return False
    growth, left = _line(positions, [(position.w, position.h) for position in positions])
    lasts_s = positions[-1].t_s - positions[0].t_s
    grown = [speed * lasts_s for speed in growth]
    return (
        grown[0] >= tuning.NEAR_SIZES * positions[0].w
        and grown[1] >= tuning.NEAR_SIZES * positions[0].h
        and math.hypot(*grown) >= tuning.STRAIGHT * left
    )


def _line(
    positions: Sequence[Position], values: Sequence[tuple[float, float]]
) -> tuple[tuple[float, float], float]:
    """Return how fast two values change, by least squares, and what is left over (RMS).

    Plain floats: for a few positions that takes a fifth of the time that arrays take.
    """
    n = len(positions)
    mean_t = math.fsum(position.t_s for position in positions) / n
    mean_a = sum(a for a, _ in values) / n
    mean_b = sum(b for _, b in values) / n
    rows = [
        (position.t_s - mean_t, a - mean_a, b - mean_b)
        for position, (a, b) in zip(positions, values, strict=True)
    ]
    spread = max(sum(t * t for t, _, _ in rows), 1e-9)
    speed_a = sum(t * a for t, a, _ in rows) / spread
    speed_b = sum(t * b for t, _, b in rows) / spread
    left = sum((a - t * speed_a) ** 2 + (b - t * speed_b) ** 2 for t, a, b in rows)
    return (speed_a, speed_b), math.sqrt(left / n)
