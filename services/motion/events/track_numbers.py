"""Numbers the objects of an event: the detector's tracks, counted anew in each event. Pure.

The detector counts its tracks for as long as a stream is open. An event counts those that it shows from 0, so that its
messages say the same when a recording is read again, and the numbers stay small. What was forgotten never comes back
under its number, so only tracks that are still followed are remembered from one snippet to the next.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from services.motion.detection import tuning
from services.motion.events.moments import Moment
from shared.contract import MAX_PICTURES

Shown = TypeVar("Shown")
PER_SNIPPET = MAX_PICTURES * tuning.MAX_BLOBS  # a snippet shows no more


@dataclass(frozen=True, slots=True)
class TrackNumbers:
    """`by_track`: the event's number of each of the detector's tracks; `next_number`: that of the next new one."""

    next_number: int = 0
    by_track: Mapping[int, int] = field(default_factory=dict)


def resumed(snippet: int) -> TrackNumbers:
    """Return the numbers of an event from `snippet` on, of which it is not known any more what was followed.

    No snippet before it used one of these, so nobody takes two objects for one.
    """
    return TrackNumbers(snippet * PER_SNIPPET)


def numbered(
    numbers: TrackNumbers, moments: Sequence[Moment[Shown]], followed: Collection[int]
) -> tuple[TrackNumbers, tuple[Moment[Shown], ...]]:
    """Return the moments of a snippet with the event's numbers, and the numbers of tracks that are still `followed`."""
    by_track, next_number = dict(numbers.by_track), numbers.next_number
    for track in sorted({blob.track for moment in moments for blob in moment.blobs if blob.track >= 0}):
        if track not in by_track:
            by_track[track] = next_number
            next_number += 1
    kept = {track: number for track, number in by_track.items() if track in followed}
    return TrackNumbers(next_number, kept), tuple(
        replace(
            moment,
            blobs=tuple(replace(blob, track=by_track.get(blob.track, -1)) for blob in moment.blobs),
        )
        for moment in moments
    )
