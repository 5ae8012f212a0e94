"""Tells things that travel from things that only change in place: a clock, a bush, flakes. Pure.

Blobs are followed from frame to frame. A track is believed once its middle went one way: a straight line fitted to
its last positions explains a way of several px, and what the line leaves over is small against that way.

Times are in seconds, for looks that come often. Where they come rarely (`period_s` between two), each lasts so many
looks: a thing that is seen once a second is known again after two seconds.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

# Tuned on the bench's tuning plan, see docs/design/motion.md; px of the 320 px plane.
WINDOW_S = 1.5  # positions that are looked at
KEEP_S = 0.6  # a track that was not seen this long is forgotten
WINDOW_LOOKS, KEEP_LOOKS, ROOTED_LOOKS, BELIEVED_LOOKS = 5.5, 2.5, 1.5, 1.5  # the same, at least, in looks
RARE_S = 0.4  # between two looks further apart than this a thing goes beyond the usual reach:
REACH_A_SECOND = 0.6  # so much further a second, in shares of the usual one
GAP_S = 0.25, 0.7  # nobody looked for so long: tracks are taken up where they will have gone to
ROOTED_S = 0.3  # one look in which what sways was not recognised is no proof
BELIEVED_S = 2.0  # a track that travelled goes on counting this long
WAY_PX, WAY_SIZES = 5.0, 0.35  # shortest way after 5 looks: px, and shares of the shorter side
DASH_PX, DASH_SIZES = 16.0, 0.6  # the same after 3 looks
STRAIGHT = 4.0  # how many times longer than what the line leaves over the way must be
SLOW_SIZES = 0.25  # a step of more than this share of the longer side is a dash's
STEADY = 0.4  # shortest step of a dash, in shares of the mean one; the longest is its inverse
GAPS = 2.5  # a dash is seen in every look: longest by shortest time between two
SAME_SIZE = 1.8  # by what a side may grow or shrink on the way
FOLLOWED = 0.3  # how far one end must come along, in shares of the other's way
NEAR_LOOKS, NEAR_SIZES = 10, 0.25  # growth of what comes near
MAX_TRACKS = 24
MAX_SPOTS = 32
SPOTS_APART_S = 0.07  # positions nearer in time than this are one: 60 looks a second say no more than 14


class Box(Protocol):
    """A rectangle in px of the plane."""

    @property
    def x(self) -> int: ...
    @property
    def y(self) -> int: ...
    @property
    def w(self) -> int: ...
    @property
    def h(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a thing was at a time: middle and size, px of the plane."""

    t_s: float
    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Track:
    """The last positions of one thing, oldest first. `travelled_s`: when it last was seen to have travelled."""

    spots: tuple[Spot, ...]
    travelled_s: float = float("-inf")
    since_s: float = float("inf")  # when the way began that made it believed
    rooted_s: float = float("-inf")  # when it last was found to sway only

    def is_believed(self, t_s: float, period_s: float = 0.0) -> bool:
        return t_s - self.travelled_s <= max(BELIEVED_S, BELIEVED_LOOKS * period_s)


def follow(
    tracks: Sequence[Track],
    boxes: Sequence[Box],
    t_s: float,
    size: tuple[int, int],
    doubt: float = 1.0,
    is_rooted: Callable[[int], bool] = lambda _index: False,
    bridged_s: float = 0.0,
    period_s: float = 0.0,
) -> tuple[tuple[Track, ...], tuple[Track, ...]]:
    """Return all tracks after the frame at `t_s`, and for each box the track that it belongs to.

    `boxes` come largest first; a box continues the track whose last rectangle is nearest, within reach.
    `size`: width and height of the plane. `doubt`: by how much longer a way must be than usual.
    `is_rooted`: whether the box of an index only sways; asked of those alone that would be believed.
    `bridged_s`: for how long nobody looked, if that is to be bridged (see `bridged`), else 0.
    `period_s`: the usual time between two looks.
    """
    keep_s = max(KEEP_S, KEEP_LOOKS * period_s) + bridged_s
    free = [track for track in tracks if t_s - track.spots[-1].t_s <= keep_s]
    is_rare = period_s > RARE_S
    lasts = [_expected(track, t_s) if bridged_s or is_rare else track.spots[-1] for track in free]
    reach = 1.0 + REACH_A_SECOND * (period_s - RARE_S) if is_rare else 1.0
    found: list[Track] = []
    for index, box in enumerate(boxes):
        spot = Spot(t_s, box.x + box.w / 2, box.y + box.h / 2, box.w, box.h)
        apart, nearest = min(
            ((_apart(last, spot) / reach, i) for i, last in enumerate(lasts)), default=(2.0, 0)
        )
        if apart > 1.0:
            found.append(Track((spot,)))
            continue
        known = free.pop(nearest)
        del lasts[nearest]
        window_s = max(WINDOW_S, WINDOW_LOOKS * period_s)
        spots = tuple(s for s in (*_thinned(known.spots), spot) if t_s - s.t_s <= window_s)[-MAX_SPOTS:]
        track = replace(known, spots=spots)
        if _travels(spots, size, doubt):
            if is_rooted(index):
                track = replace(track, rooted_s=t_s)
            elif t_s - track.rooted_s > max(ROOTED_S, ROOTED_LOOKS * period_s):
                since_s = track.since_s if track.is_believed(t_s, period_s) else spots[0].t_s
                track = replace(track, travelled_s=t_s, since_s=since_s)
        found.append(track)
    return (*found, *free)[:MAX_TRACKS], tuple(found)


def _thinned(spots: tuple[Spot, ...]) -> tuple[Spot, ...]:
    """Leave out the last position when the one before is nearly as new: a track is to reach back WINDOW_S."""
    is_near = len(spots) > 1 and spots[-1].t_s - spots[-2].t_s < SPOTS_APART_S
    return spots[:-1] if is_near else spots


def bridged(unseen_s: float) -> float:
    """Return the time without a look after which tracks are taken up again, or 0: it is none, or too long."""
    return unseen_s if GAP_S[0] < unseen_s < GAP_S[1] else 0.0


def _expected(track: Track, t_s: float) -> Spot:
    """Return where a track will be at `t_s`, if it goes on as it did; where it was last, if it went no way."""
    last = track.spots[-1]
    if not track.is_believed(t_s) or len(track.spots) < 3:
        return last
    velocity, _ = _line(track.spots, [(spot.x, spot.y) for spot in track.spots])
    ahead_s = t_s - last.t_s
    return replace(last, x=last.x + velocity[0] * ahead_s, y=last.y + velocity[1] * ahead_s)


def _apart(last: Spot, spot: Spot) -> float:
    """Return how far apart two rectangles lie, in units of what a thing may go between two looks."""
    reach_x = (last.w + spot.w) / 2 + 0.35 * max(last.w, spot.w) + 6
    reach_y = (last.h + spot.h) / 2 + 0.2 * max(last.h, spot.h) + 4
    return max(abs(last.x - spot.x) / reach_x, abs(last.y - spot.y) / reach_y)


def _travels(spots: Sequence[Spot], size: tuple[int, int], doubt: float) -> bool:
    """Tell whether a straight way explains the last positions; also looked at is the latest part of them."""
    return (
        _is_way(spots, size, doubt)
        or (len(spots) > 8 and _is_way(spots[-8:], size, doubt))
        or _comes_near(spots)
    )


def _is_way(spots: Sequence[Spot], size: tuple[int, int], doubt: float) -> bool:
    if len(spots) < 3:
        return False
    side = statistics.median([min(spot.w, spot.h) for spot in spots])
    longer = statistics.median([max(spot.w, spot.h) for spot in spots])
    is_long = len(spots) >= 5
    least = doubt * max(WAY_PX, WAY_SIZES * side) if is_long else doubt * max(DASH_PX, DASH_SIZES * side)
    if math.hypot(spots[-1].x - spots[0].x, spots[-1].y - spots[0].y) < 0.7 * least:
        return False
    velocity, left = _line(spots, [(spot.x, spot.y) for spot in spots])
    way = math.hypot(*velocity) * (spots[-1].t_s - spots[0].t_s)
    is_straight = way >= least and way >= STRAIGHT * left
    is_slow = is_long and way <= SLOW_SIZES * longer * (len(spots) - 1)
    return is_straight and (is_slow or _is_steady(spots)) and _is_followed(spots, size)


def _is_steady(spots: Sequence[Spot]) -> bool:
    """Tell whether every step went on about as far as the others: few looks are believed only then."""
    x, y = spots[-1].x - spots[0].x, spots[-1].y - spots[0].y
    way = math.hypot(x, y)
    steps = [((b.x - a.x) * x + (b.y - a.y) * y) / way for a, b in itertools.pairwise(spots)]
    mean = way / len(steps)
    gaps = [b.t_s - a.t_s for a, b in itertools.pairwise(spots)]
    if max(gaps) > GAPS * min(gaps):
        return False
    return min(steps) >= STEADY * mean and max(steps) <= mean / STEADY


def _is_followed(spots: Sequence[Spot], size: tuple[int, int]) -> bool:
    """Tell whether the far end came along: what only grows to one side is a bush that left its first place.

    A rectangle that touches the picture's border comes in or goes out: there one end stands.
    """
    first, last = spots[0], spots[-1]
    if abs(last.x - first.x) * 3 >= abs(last.y - first.y) * 4:
        ends = [(s.x - s.w / 2, s.x + s.w / 2) for s in (first, last)]
        limit = size[0]
    else:
        ends = [(s.y - s.h / 2, s.y + s.h / 2) for s in (first, last)]
        limit = size[1]
    if any(low <= 2 for low, _ in ends) or any(high >= limit - 2 for _, high in ends):
        return True
    if any(max(a, b) > SAME_SIZE * min(a, b) for a, b in ((first.w, last.w), (first.h, last.h))):
        return False
    low, high = ends[1][0] - ends[0][0], ends[1][1] - ends[0][1]
    return low * high > 0 and min(abs(low), abs(high)) >= FOLLOWED * max(abs(low), abs(high))


def _comes_near(spots: Sequence[Spot]) -> bool:
    """Tell whether a thing grew steadily to all sides."""
    if len(spots) < NEAR_LOOKS:
        return False
    growth, left = _line(spots, [(spot.w, spot.h) for spot in spots])
    lasts_s = spots[-1].t_s - spots[0].t_s
    grown = [speed * lasts_s for speed in growth]
    return (
        grown[0] >= NEAR_SIZES * spots[0].w
        and grown[1] >= NEAR_SIZES * spots[0].h
        and math.hypot(*grown) >= STRAIGHT * left
    )


def _line(spots: Sequence[Spot], values: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], float]:
    """Return how fast two values change, by least squares, and what is left over (RMS).

    Plain floats: for a few spots that takes a fifth of the time that arrays take.
    """
    n = len(spots)
    mean_t = math.fsum(spot.t_s for spot in spots) / n
    mean_a = sum(a for a, _ in values) / n
    mean_b = sum(b for _, b in values) / n
    rows = [(spot.t_s - mean_t, a - mean_a, b - mean_b) for spot, (a, b) in zip(spots, values, strict=True)]
    spread = max(sum(t * t for t, _, _ in rows), 1e-9)
    speed_a = sum(t * a for t, a, _ in rows) / spread
    speed_b = sum(t * b for t, _, b in rows) / spread
    left = sum((a - t * speed_a) ** 2 + (b - t * speed_b) ** 2 for t, a, b in rows)
    return (speed_a, speed_b), math.sqrt(left / n)
