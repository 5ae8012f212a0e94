"""What follows from a set of snippets, whatever their order."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.media.values import StoredMedia
from services.recorder.record.rows import (
    SnippetState,
    detections_of,
    event_of,
    merged_media,
    snippet_rows,
)
from shared.contract import Column, LabelsMessage
from shared.errors import Permanent
from tests.unit.recorder.messages import Said, labels_message


def state_of(said: Said) -> SnippetState:
    columns = {
        **snippet_rows(labels_message(said)).columns,
        **StoredMedia(said.media_key, said.media_key).columns,
    }
    return SnippetState(**{name: columns[name] for name in SnippetState.__dataclass_fields__})


def event_and_detections(*states: SnippetState) -> tuple[dict[str, object], list[dict[str, object]]]:
    found = detections_of("id", "gate", states)
    return event_of(states, found), found


def test_label_of_the_event_is_the_accepted_one_with_the_highest_peak() -> None:
    event, found = event_and_detections(
        state_of(Said(snippet=0, accepted=[("a dog", 0.6), ("a pedestrian", 0.7)])),
        state_of(Said(snippet=1, accepted=[("a dog", 0.9)])),
        state_of(Said(snippet=2)),
    )
    assert (event["label"], event["probability"], event["n_snippets"]) == ("a dog", 0.9, 3)
    assert [(d["label"], d["probability"], d["snippet"]) for d in found] == [
        ("a dog", 0.9, 1),
        ("a pedestrian", 0.7, 0),
    ]


def test_span_of_a_detection_reaches_over_all_snippets_that_accepted_it() -> None:
    first, last = Said(snippet=0, accepted=[("a dog", 0.9)]), Said(snippet=2, accepted=[("a dog", 0.5)])
    _, found = event_and_detections(state_of(last), state_of(first))
    assert found[0]["started_at"] == labels_message(first).header.moments[0]
    assert found[0]["ended_at"] == labels_message(last).header.moments[-1]


def test_event_without_an_accepted_label_has_none() -> None:
    event, found = event_and_detections(state_of(Said()))
    assert (event["label"], event["probability"], event["is_accepted"], found) == (None, None, False, [])


def test_event_is_open_until_its_last_snippet_came() -> None:
    assert event_and_detections(state_of(Said(snippet=0)))[0]["is_open"] is True
    both = event_and_detections(state_of(Said(snippet=1, is_last=True)), state_of(Said(snippet=0)))
    assert both[0]["is_open"] is False


def test_event_is_shown_by_the_clip_of_its_best_label() -> None:
    event, _ = event_and_detections(
        state_of(Said(snippet=0, motion_peak=0.9)), state_of(Said(snippet=1, accepted=[("a dog", 0.9)]))
    )
    assert event["thumbnail_name"] == Said(snippet=1).media_key


def test_event_is_shown_by_another_clip_when_the_best_one_was_lost() -> None:
    lost = replace(state_of(Said(snippet=1, accepted=[("a dog", 0.9)])), clip_name=None, thumbnail_name=None)
    event, _ = event_and_detections(state_of(Said(snippet=0)), lost)
    assert event["thumbnail_name"] == Said(snippet=0).media_key


@given(
    st.lists(
        st.builds(
            Said,
            snippet=st.integers(0, 5),
            is_last=st.booleans(),
            motion_peak=st.sampled_from([0.1, 0.5, 0.9]),
            accepted=st.lists(
                st.tuples(st.sampled_from(["a dog", "a pedestrian", "A dog"]), st.sampled_from([0.5, 0.75])),
                max_size=2,
                unique_by=lambda pair: pair[0],
            ),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda said: said.snippet,
    ),
    st.randoms(use_true_random=False),
)
def test_order_of_the_snippets_does_not_matter(said: list[Said], random: object) -> None:
    states = [state_of(one) for one in said]
    shuffled = sorted(states, key=lambda _: random.random())  # type: ignore[attr-defined]  # hypothesis' Random
    assert event_and_detections(*states) == event_and_detections(*shuffled)


def test_media_that_was_kept_once_stays() -> None:
    kept, lost = StoredMedia("a.mp4", "a.jpg", 5), StoredMedia()
    assert merged_media(kept, lost) == merged_media(None, kept) == merged_media(lost, kept) == kept


def test_probabilities_become_one_row_a_moment_and_column() -> None:
    rows = snippet_rows(labels_message(Said(n_moments=3))).probabilities
    assert len(rows) == 3 * 4
    assert {(row["kind"], row["label"]) for row in rows} == {
        ("target", "a dog"),
        ("target", "a pedestrian"),
        ("background", "an empty path"),
        ("other", "other"),
    }
    assert {row["probability"] for row in rows} == {0.25}


def test_scores_that_decided_stand_beside_the_shares_of_targets_only() -> None:
    said = labels_message(Said(n_moments=2, accepted=[("a pedestrian", 0.75)]))
    found = {(row["label"], row["score"], row["background"]) for row in snippet_rows(said).probabilities}
    assert found == {
        ("a dog", 0.25, 0.0625),
        ("a pedestrian", 0.75, 0.0625),
        ("an empty path", None, None),
        ("other", None, None),
    }
    older = replace(said, scores=b"", backgrounds=b"")
    assert {row["score"] for row in snippet_rows(older).probabilities} == {None}


def test_embeddings_are_cut_by_picture() -> None:
    rows = snippet_rows(labels_message(Said(n_moments=2, dim=3))).embeddings
    assert [row["picture"] for row in rows] == [0, 1, 2, 3]
    assert all(struct.unpack("<3e", row["embedding"]) == (0.25, 0.25, 0.25) for row in rows)
    assert [row["box_y"] for row in rows] == [None, 0.5, None, 0.5]


def broken(message: LabelsMessage, **changes: object) -> LabelsMessage:
    return replace(message, header=message.header.model_copy(update=changes))


def test_a_picture_keeps_the_number_of_its_object() -> None:
    message = labels_message(Said(n_moments=1))
    frame, crop = message.header.snippet.pictures
    pictures = (frame, crop.model_copy(update={"track": 3}))
    snippet = message.header.snippet.model_copy(update={"pictures": pictures})
    followed = replace(message, header=message.header.model_copy(update={"snippet": snippet}))
    assert [row["track"] for row in snippet_rows(followed).embeddings] == [None, 3]
    assert [row["track"] for row in snippet_rows(message).embeddings] == [None, None]


def test_values_that_no_table_may_hold_are_refused_for_good() -> None:
    fine = labels_message(Said(n_moments=1))
    nan = replace(fine, probabilities=struct.pack("<4e", 0.5, float("nan"), 0.0, 0.0))
    far = replace(fine, probabilities=struct.pack("<4e", 0.5, 1.5, 0.0, 0.0))
    long = broken(fine, columns=tuple(Column(text="x" * 201, kind="target") for _ in range(4)))
    ancient = broken(fine, labelled_at=datetime(1, 1, 1, tzinfo=UTC))
    for message in (nan, far, long, ancient, broken(fine, model="m" * 201)):
        with pytest.raises(Permanent):
            snippet_rows(message)


def test_the_same_words_twice_keep_the_better_evidence() -> None:
    fine = labels_message(Said(n_moments=1))
    doubled = broken(
        fine, columns=tuple(Column(text=t, kind="target") for t in ("a dog", "a dog ", "b", "c"))
    )
    rows = snippet_rows(
        replace(doubled, probabilities=struct.pack("<4e", 0.125, 0.5, 0.25, 0.125))
    ).probabilities
    assert {row["label"]: row["probability"] for row in rows} == {"a dog": 0.5, "b": 0.25, "c": 0.125}


def test_event_never_ends_before_it_starts() -> None:
    message = labels_message(Said())
    early = message.header.snippet.model_copy(
        update={"event_ended_at": message.header.snippet.event_started_at - timedelta(seconds=5)}
    )
    columns = snippet_rows(broken(message, snippet=early)).columns
    assert columns["event_ended_at"] == columns["event_started_at"]
