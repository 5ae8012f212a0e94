"""Guesses from the sizes of packets whether something moves in a scene that is not decoded. Pure.

A picture coded as its difference from the one before takes bytes for what changed. How many it takes while nothing
moves is learned for each place in the group of pictures (encoders spend more after a key frame), and apart for pictures
that no other needs. A hint is a run of sizes above what is usual there.
An encoder that holds its bit rate spends the same bytes on noise as on a walker. So the statistics first say how well
sizes would tell: what a thing of SEEN_SHARE of the picture costs (that share of a key frame's bytes) against how much
sizes scatter while nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.motion.media import h264

RUN = 12  # sizes that are taken together (of 1, 5, 12 and 25 it told a walker best, docs/design/capture.md)
HINT = 4.0  # a run this many mean deviations over the usual is a hint
SEPARATES = 4.0  # a thing of SEEN_SHARE must lie so many mean deviations over the usual
SEEN_SHARE = 0.01
MOVED_COST = (
    0.8  # bytes of a thing that moves, by the bytes of its place in a key frame (measured, same page)
)
MEMORY = 40  # sizes that a mean remembers
LEARNED_AT = 4  # sizes after which a place can be judged
LEARNED = 150  # sizes after which the stream can be judged
LEAST_DEVIATION = 0.02  # of the usual size: equal sizes are no proof of exactness
MOST_PLACES = 1024


@dataclass(frozen=True, slots=True)
class PacketSize:
    """Bytes of coded pictures in a packet, without padding. `place`: how many packets after the key frame."""

    n_bytes: int
    is_key: bool
    place: int
    is_disposable: bool = False  # no other picture is decoded from it
    is_fresh: bool = False  # nothing from here on needs what came before


def size_of(data: bytes, is_key: bool, place: int, codec: str, length_size: int) -> PacketSize:
    """Measure a packet. Of H.264 only the slices count; `length_size`: of NAL lengths, 0 for start codes."""
    if codec != "h264":
        return PacketSize(len(data), is_key, place)
    n_bytes, is_disposable, is_fresh = 0, False, False
    for at, end in h264.nal_units(data, length_size):
        kind = h264.nal_type(data, at)
        if h264.SLICE <= kind <= h264.IDR:
            n_bytes += min(end, len(data)) - at
            is_disposable = h264.is_disposable(data, at)
            is_fresh = kind == h264.IDR
    return PacketSize(n_bytes or len(data), is_key, place, is_disposable and not is_key, is_fresh and is_key)


@dataclass(frozen=True, slots=True)
class RunningMean:
    """A value's mean and its mean deviation; the first MEMORY values count alike, later ones fade."""

    mean: float = 0.0
    deviation: float = 0.0
    n: int = 0

    def learn(self, value: float) -> RunningMean:
        n = min(self.n + 1, MEMORY)
        mean = self.mean + (value - self.mean) / n
        return RunningMean(mean, self.deviation + (abs(value - mean) - self.deviation) / n, n)


class SizeStatistics:
    """The sizes of one stream while nothing moves. Bounded by MOST_PLACES. For one thread."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, bool], RunningMean] = {}
        self._all = RunningMean()  # every size that others are decoded from
        self._keys = RunningMean()
        self._runs = RunningMean()  # mean excess of RUN sizes while it is calm
        self._run: tuple[float, ...] = ()
        self._n_learned = 0

    def see(self, size: PacketSize, *, is_calm: bool) -> float:
        """Return how surprising the sizes up to this one are (1: a hint) and, when `is_calm`, learn from it."""
        if size.is_key:
            self._keys = self._keys.learn(float(size.n_bytes))
            return 0.0
        key = (size.place, size.is_disposable)
        place = self._places.get(key, RunningMean())
        if place.n >= LEARNED_AT:
            self._run = (*self._run[1 - RUN :], (size.n_bytes - place.mean) / self._scale(place))
        together = sum(self._run) / RUN
        surprise = together / (HINT * self._scatter) if self.is_learned else 0.0
        if is_calm:
            self._n_learned = min(self._n_learned + 1, LEARNED)
            if place.n or len(self._places) < MOST_PLACES:
                self._places[key] = place.learn(float(size.n_bytes))
            if not size.is_disposable:
                self._all = self._all.learn(float(size.n_bytes))
            if len(self._run) == RUN:
                # the mean of the runs is 0 by construction; a run counts once a RUN, its neighbours are its own sizes
                spread = self._runs.deviation + (abs(together) - self._runs.deviation) / min(
                    self._runs.n + 1, RUN * MEMORY
                )
                self._runs = RunningMean(0.0, spread, min(self._runs.n + 1, RUN * MEMORY))
        return surprise

    def _scale(self, place: RunningMean) -> float:
        """Return what a place's excess is divided by: few sizes may lie near each other by chance."""
        return max(place.deviation, 0.5 * self._all.deviation, LEAST_DEVIATION * self._all.mean, 1.0)

    @property
    def _scatter(self) -> float:
        return max(self._runs.deviation, 0.1)

    @property
    def is_learned(self) -> bool:
        return self._n_learned >= LEARNED and self._runs.n >= 2 * RUN

    @property
    def separation(self) -> float:
        """Return how many mean deviations a thing of SEEN_SHARE would lie over the usual; 0 while it is not known."""
        if not self.is_learned or not self._keys.n:
            return 0.0
        rise = MOVED_COST * SEEN_SHARE * self._keys.mean / self._scale(self._all)
        return rise / self._scatter
