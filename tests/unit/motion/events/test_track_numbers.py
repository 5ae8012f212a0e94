"""The numbers that an event gives to what the detector follows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.motion.detection.values import Blob
from services.motion.events.moments import Moment
from services.motion.events.track_numbers import PER_SNIPPET, TrackNumbers, numbered, resumed


def shown(*moments: tuple[int, ...]) -> list[Moment[None]]:
    """Return moments that show the tracks with these numbers."""
    return [
        Moment(float(at), 1.0, tuple(Blob(0, 0, 8, 8, track=track) for track in tracks), None)
        for at, tracks in enumerate(moments)
    ]


def numbers_of(moments: tuple[Moment[None], ...]) -> list[tuple[int, ...]]:
    return [tuple(blob.track for blob in moment.blobs) for moment in moments]


def test_an_event_counts_what_it_shows_from_zero_and_in_the_detectors_order() -> None:
    _, moments = numbered(TrackNumbers(), shown((71, 70), (70,), (70, 75)), ())
    assert numbers_of(moments) == [(1, 0), (0,), (0, 2)]


def test_what_is_still_followed_keeps_its_number_in_the_next_snippet() -> None:
    after, _ = numbered(TrackNumbers(), shown((70, 71)), followed={71, 75})
    _, moments = numbered(after, shown((71, 75)), ())
    assert numbers_of(moments) == [(1, 2)]


def test_a_box_that_nobody_followed_has_no_number() -> None:
    _, moments = numbered(TrackNumbers(), shown((-1, 4)), ())
    assert numbers_of(moments) == [(-1, 0)]


@given(st.lists(st.lists(st.sets(st.integers(0, 40), max_size=5), max_size=4), min_size=1, max_size=5))
def test_two_objects_never_share_a_number_and_what_is_remembered_stays_small(
    snippets: list[list[set[int]]],
) -> None:
    numbers = TrackNumbers()
    given_to: dict[int, set[int]] = {}  # which tracks a number was given to
    for snippet in snippets:
        followed = snippet[-1] if snippet else set()
        wanted = shown(*(tuple(sorted(tracks)) for tracks in snippet))
        numbers, moments = numbered(numbers, wanted, followed)
        assert numbers.by_track.keys() <= followed
        for before, after in zip(wanted, moments, strict=True):
            for one, other in zip(before.blobs, after.blobs, strict=True):
                given_to.setdefault(other.track, set()).add(one.track)
    assert all(len(tracks) == 1 for tracks in given_to.values())


def test_an_event_that_another_process_takes_up_uses_none_of_the_numbers_before() -> None:
    crowd = shown(*(tuple(range(16 * at, 16 * at + 16)) for at in range(64)))
    after, _ = numbered(TrackNumbers(), crowd, ())
    assert after.next_number == PER_SNIPPET
    _, moments = numbered(resumed(1), shown((0,)), ())
    assert numbers_of(moments) == [(PER_SNIPPET,)]
