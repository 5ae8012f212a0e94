"""Whole snippets to labels messages, with embeddings that are chosen, not computed."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.classifier.words.prompts import LabelBank
from shared.clock import now_utc
from shared.contract import DecisionSettings, LabelSet, LabelsMessage, PictureInfo, SnippetMessage
from shared.decisions.labeller import EmbeddedSnippet, deciding_pictures, label
from tests.unit.classifier.makers import BLUE, GREEN, NOON, RED, Colour, ColourModel, jpeg, message

MODEL = ColourModel()
LABELS = ("a person", "a dog", "a pedestrian", "a kite", "a blue wall")
Moments = list[list[tuple[Literal["frame", "crop"], Colour]]]


def labelled(
    moments: Moments,
    labels: tuple[str, ...] = ("a person", "a dog"),
    background: tuple[str, ...] = ("an empty street",),
    decision: DecisionSettings | None = None,
) -> LabelsMessage:
    sent = message(
        [[(kind, jpeg(colour)) for kind, colour in moment] for moment in moments],
        labels,
        background,
        decision,
    )
    pictures = np.stack(
        [
            np.full((3, 2, 2), 0, np.uint8) + np.array(c, np.uint8)[:, None, None]
            for m in moments
            for _, c in m
        ]
    )
    looked = EmbeddedSnippet(sent, MODEL.embed_pictures(pictures), np.ones(len(pictures), dtype=np.bool_))
    return label(looked, LabelBank(MODEL, 4).get(sent.header.label_set), MODEL.facts, now_utc())


def accepted(found: LabelsMessage) -> set[str]:
    return {item.label for item in found.header.accepted}


def test_all_fields_of_the_contract_are_filled() -> None:
    found = labelled([[("frame", BLUE), ("crop", RED)]] * 4)
    again = LabelsMessage.decode(found.encode())
    header = again.header
    assert header.media_id == "1-1"
    assert header.model == "colours"
    assert [column.text for column in header.columns] == ["a person", "a dog", "an empty street", "other"]
    assert len(header.moments) == 4
    assert header.embedding_dim == 4
    rows = np.frombuffer(again.probabilities, "<f2").reshape(4, 4)
    assert rows.sum(axis=1) == pytest.approx([1] * 4, abs=1e-2)
    assert np.linalg.norm(np.frombuffer(again.embeddings, "<f2").reshape(8, 4), axis=1) == pytest.approx(
        [1] * 8, abs=1e-2
    )
    assert set(header.peaks) == {"a person", "a dog", "an empty street"}
    (person,) = header.accepted
    assert person.label == "a person"
    assert person.started_at == NOON
    assert person.ended_at == header.moments[-1]
    assert person.probability == pytest.approx(header.peaks["a person"])


def test_what_stands_in_the_whole_frame_does_not_count_beside_a_crop() -> None:
    parked_and_walking: Moments = [[("frame", GREEN), ("crop", RED)]] * 4
    assert accepted(labelled(parked_and_walking)) == {"a person"}


def test_the_whole_frame_counts_where_there_is_no_crop() -> None:
    assert accepted(labelled([[("frame", GREEN)]] * 4)) == {"a dog"}


def test_the_background_is_a_decision_too() -> None:
    found = labelled([[("crop", BLUE)]] * 4)
    assert accepted(found) == set()
    assert found.header.peaks["an empty street"] > 0.9
    assert found.header.reason.startswith('best was "')


def test_a_synonym_takes_nothing_away() -> None:
    alone = labelled([[("crop", RED)]] * 4, ("a person",))
    both = labelled([[("crop", RED)]] * 4, ("a person", "a pedestrian"))
    assert accepted(both) == {"a person", "a pedestrian"}
    assert both.header.peaks["a person"] == pytest.approx(alone.header.peaks["a person"])


colours = st.sampled_from([RED, GREEN, BLUE, (160, 150, 20), (90, 20, 90), (120, 118, 119)])
events = st.lists(st.tuples(colours, colours), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(events, st.permutations(LABELS[:3]))
def test_the_order_of_labels_does_not_matter(pictures: list[tuple[Colour, Colour]], order: list[str]) -> None:
    moments: Moments = [[("frame", frame), ("crop", crop)] for frame, crop in pictures]
    one, other = labelled(moments, LABELS[:3]), labelled(moments, tuple(order))
    assert accepted(one) == accepted(other)
    for text in (*LABELS[:3], "an empty street"):
        assert one.header.peaks[text] == pytest.approx(other.header.peaks[text], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(events)
def test_adding_an_absent_label_or_a_synonym_never_turns_an_accepted_decision_around(
    pictures: list[tuple[Colour, Colour]],
) -> None:
    moments: Moments = [[("frame", frame), ("crop", crop)] for frame, crop in pictures]
    before = labelled(moments, ("a person",))
    after = labelled(moments, ("a person", "a pedestrian", "a kite"))
    assert accepted(before) <= accepted(after)
    assert after.header.peaks["a person"] == pytest.approx(before.header.peaks["a person"], abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.data())
def test_a_flicker_of_one_moment_is_never_accepted(n_moments: int, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, n_moments - 1))
    moments: Moments = [[("crop", RED if index == at else BLUE)] for index in range(n_moments)]
    assert accepted(labelled(moments)) == set()


def test_the_scores_sent_are_those_that_decided() -> None:
    decision = DecisionSettings(window_s=1.5)
    found = labelled([[("crop", RED if index % 3 else BLUE)] for index in range(9)], decision=decision)
    scores = np.frombuffer(found.scores, "<f4").reshape(9, 2)
    backgrounds = np.frombuffer(found.backgrounds, "<f4").reshape(9, 2)
    for index, text in enumerate(("a person", "a dog")):
        assert scores[:, index].max() == pytest.approx(found.header.peaks[text], abs=1e-6)
    (person,) = found.header.accepted
    run = [person.started_at <= moment <= person.ended_at for moment in found.header.moments]
    assert scores[run, 0].max() == pytest.approx(person.probability, abs=1e-6)
    assert (scores[run, 0] >= backgrounds[run, 0] + decision.margin).all()


def infos(*kinds: tuple[int, Literal["frame", "crop"]]) -> tuple[PictureInfo, ...]:
    return tuple(
        PictureInfo(moment=moment, kind=kind, captured_at=NOON, width=8, height=8) for moment, kind in kinds
    )


def test_crops_have_the_say_unless_they_cannot_be_read() -> None:
    pictures = infos((0, "frame"), (0, "crop"), (0, "crop"), (1, "frame"), (2, "frame"), (2, "crop"))
    seen = np.array([True, True, True, True, True, False])
    assert deciding_pictures(pictures, seen) == [[1, 2], [3], [4]]


def test_a_snippet_without_pictures_is_no_failure() -> None:
    sent = message([])
    looked = EmbeddedSnippet(sent, np.zeros((0, 4), np.float32), np.zeros(0, np.bool_))
    found = label(
        looked,
        LabelBank(MODEL, 4).get(LabelSet(labels=("a person", "a dog"), background=("an empty street",))),
        MODEL.facts,
        now_utc(),
    )
    again = LabelsMessage.decode(found.encode())
    assert again.header.moments == ()
    assert "no picture" in again.header.reason
    assert isinstance(sent, SnippetMessage)
