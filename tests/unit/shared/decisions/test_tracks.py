"""Scores are averaged along one object, where it is known which crop shows which; else as they always were."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.classifier.words.prompts import LabelBank
from shared.clock import now_utc
from shared.contract import DecisionSettings, LabelsMessage, PictureInfo, SnippetMessage
from shared.decisions.decision import (
    AcceptedRun,
    MomentScores,
    TrackScores,
    decide,
    leave_threshold,
    neighbours,
    required_threshold,
    runs,
)
from shared.decisions.labeller import EmbeddedSnippet, decision_of, label, moments_of, picture_shares
from shared.decisions.probabilities import Floats, Shares, combine
from tests.unit.classifier.makers import BLUE, GREEN, NOON, RED, Colour, ColourModel, message

MODEL = ColourModel()
LABELS = ("a person", "a dog", "a kite")
SURE = DecisionSettings(threshold=0.5, window_s=2.0, min_moments=2)
SEVERE = DecisionSettings(threshold=0.7)
Crop = tuple[int | None, Colour]  # number of the object, and what it looks like


def looked(
    moments: Sequence[Sequence[Crop]],
    decision: DecisionSettings | None = None,
    labels: tuple[str, ...] = LABELS,
) -> EmbeddedSnippet:
    """Return a snippet of moments half a second apart that show these crops."""
    sent = message([[("crop", b"") for _ in moment] for moment in moments], labels, decision=decision)
    crops = [crop for moment in moments for crop in moment]
    infos = tuple(
        info.model_copy(update={"track": track})
        for info, (track, _) in zip(sent.header.pictures, crops, strict=True)
    )
    header = sent.header.model_copy(update={"pictures": infos})
    pixels = np.stack([np.full((3, 2, 2), np.array(c)[:, None, None], np.uint8) for _, c in crops])
    seen = np.ones(len(crops), dtype=np.bool_)
    return EmbeddedSnippet(SnippetMessage(header, sent.pictures), MODEL.embed_pictures(pixels), seen)


def labelled(one: EmbeddedSnippet) -> LabelsMessage:
    return label(one, LabelBank(MODEL, 4).get(one.message.header.label_set), MODEL.facts, now_utc())


def accepted(moments: Sequence[Sequence[Crop]], decision: DecisionSettings | None = None) -> set[str]:
    return {item.label for item in labelled(looked(moments, decision)).header.accepted}


def untracked(moments: Sequence[Sequence[Crop]]) -> list[list[Crop]]:
    return [[(None, colour) for _, colour in moment] for moment in moments]


# -- two objects


def test_two_objects_of_which_either_looks_like_it_now_and_then_do_not_make_one_run() -> None:
    in_turns: list[list[Crop]] = [
        [(0, GREEN if at % 2 else BLUE), (1, BLUE if at % 2 else GREEN)] for at in range(8)
    ]
    assert accepted(untracked(in_turns), SEVERE) == {"a dog"}
    assert accepted(in_turns, SEVERE) == set()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=12), st.sampled_from([0.7, 0.8, 0.9]))
def test_what_no_object_would_be_accepted_for_alone_all_of_them_are_not(
    firsts: list[bool], threshold: float
) -> None:
    decision = DecisionSettings(threshold=threshold)
    both: list[list[Crop]] = [
        [(0, GREEN if first else BLUE), (1, BLUE if first else GREEN)] for first in firsts
    ]
    alone = [accepted([[moment[number]] for moment in both], decision) for number in range(2)]
    assert accepted(both, decision) == set.union(*alone)


def test_an_object_that_is_shown_in_every_second_moment_is_still_one() -> None:
    alternating: list[list[Crop]] = [[(at % 2, GREEN if at % 2 else RED)] for at in range(8)]
    assert accepted(alternating, SEVERE) == {"a dog", "a person"}
    assert accepted(untracked(alternating), SEVERE) == set()


def test_each_object_may_have_a_label_of_its_own() -> None:
    both: list[list[Crop]] = [[(0, RED), (1, GREEN)] for _ in range(5)]
    assert accepted(both) == {"a person", "a dog"}


def test_objects_that_are_soon_forgotten_count_together_as_crops_without_a_number_do() -> None:
    lost_in_each_moment: list[list[Crop]] = [[(at, GREEN)] for at in range(6)]
    assert accepted(lost_in_each_moment) == {"a dog"}
    one = labelled(looked(lost_in_each_moment))
    other = labelled(looked(untracked(lost_in_each_moment)))
    assert one.scores == other.scores
    assert one.header.peaks == other.header.peaks


def test_two_flickers_of_two_objects_far_apart_are_no_run() -> None:
    flickers: list[list[Crop]] = [[(0, BLUE)] for _ in range(12)]
    flickers[1], flickers[10] = [(1, GREEN)], [(2, GREEN)]
    assert accepted(flickers) == set()


# -- what is recorded


def test_the_highest_point_of_the_chart_is_the_number_on_the_chip_and_belongs_to_one_object() -> None:
    both: list[list[Crop]] = [[(0, RED), (1, GREEN if at > 2 else BLUE)] for at in range(7)]
    found = labelled(looked(both))
    scores = np.frombuffer(found.scores, "<f4").reshape(7, len(LABELS))
    backgrounds = np.frombuffer(found.backgrounds, "<f4").reshape(7, len(LABELS))
    chips = {item.label: item for item in found.header.accepted}
    assert set(chips) == {"a person", "a dog"}
    for text, chip in chips.items():
        column = LABELS.index(text)
        assert scores[:, column].max() == pytest.approx(chip.probability, abs=1e-6)
        run = [chip.started_at <= moment <= chip.ended_at for moment in found.header.moments]
        assert (scores[run, column] >= backgrounds[run, column] + 0.05).all()
    assert chips["a dog"].started_at > NOON


def test_a_chart_keeps_the_last_average_while_an_object_is_not_shown_and_ends_with_it() -> None:
    shown = np.array([False, True, False, True, False])
    own = np.array([[0], [0.9], [0], [0.7], [0]], np.float32)
    nothing = np.zeros_like(own)
    times = tuple(NOON + timedelta(seconds=3 * at) for at in range(5))
    found = decide(MomentScores(times, own, nothing, (TrackScores(4, shown, own, nothing),)), ["a dog"], SURE)
    assert found.scores[:, 0] == pytest.approx([0, 0.9, 0.9, 0.7, 0])
    assert found.own[:, 0] == pytest.approx([np.nan, 0.9, np.nan, 0.7, np.nan], nan_ok=True)
    assert [(item.first, item.last) for item in found.accepted] == [(1, 3)]


def test_moments_of_others_are_no_scores_of_crops_that_count_together() -> None:
    flickers: list[list[Crop]] = [[(0, BLUE)] for _ in range(6)]
    flickers[1], flickers[4] = [(1, GREEN)], [(2, GREEN)]
    one = looked(flickers)
    decision = decision_of(one, LabelBank(MODEL, 4).get(one.message.header.label_set), 20.0).decision
    own = decision.own[:, LABELS.index("a dog")]
    assert list(np.flatnonzero(~np.isnan(own))) == [1, 4]


# -- as it always was


def as_it_was(series: MomentScores, wanted: DecisionSettings) -> tuple[list[AcceptedRun], Floats, Floats]:
    """The rule without tracks, in full: what was accepted, and both averages."""
    window = neighbours(series.times, wanted.window_s)
    average, behind = window @ series.scores, window @ series.background
    leave, n_moments = leave_threshold(wanted), len(series.times)
    threshold, least = required_threshold(wanted, n_moments), min(wanted.min_moments, n_moments)
    found = []
    for target in range(average.shape[1]):
        column = average[:, target]
        holds = (column >= leave) & (column >= behind[:, target] + wanted.margin)
        best: AcceptedRun | None = None
        for first, last in runs(holds):
            peak = float(column[first : last + 1].max())
            n_own = int((series.scores[first : last + 1, target] >= leave).sum())
            if peak >= threshold and n_own >= least and (best is None or peak > best.probability):
                best = AcceptedRun(target, min(peak, 1.0), first, last)
        if best is not None:
            found.append(best)
    return found, average, behind


@st.composite
def many(draw: st.DrawFn) -> MomentScores:
    m, t = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    scores = draw(arrays(np.float32, (m, t), elements=st.floats(0, 1, width=32)))
    behind = draw(arrays(np.float32, (m, t), elements=st.floats(0, 0.5, width=32)))
    steps = draw(st.lists(st.floats(0, 3), min_size=m, max_size=m))
    times: tuple[datetime, ...] = tuple(NOON + timedelta(seconds=float(at)) for at in np.cumsum(steps))
    return MomentScores(times, scores, behind)


wanted_settings = st.builds(
    DecisionSettings,
    threshold=st.floats(0.05, 0.95),
    leave_threshold=st.none() | st.floats(0, 1),
    margin=st.floats(0, 0.3),
    window_s=st.floats(0, 8),
    min_moments=st.integers(1, 5),
)


@given(many(), wanted_settings)
def test_without_tracks_every_number_is_what_it_was(series: MomentScores, wanted: DecisionSettings) -> None:
    labels = [f"label {index}" for index in range(series.scores.shape[1])]
    runs_then, average, behind = as_it_was(series, wanted)
    found = decide(series, labels, wanted)
    assert sorted(found.accepted, key=lambda item: item.target) == runs_then
    assert np.array_equal(found.scores, average)
    assert np.array_equal(found.backgrounds, behind)
    assert np.array_equal(found.own, series.scores)
    assert found.peaks == tuple(average.max(axis=0).tolist())


@given(many(), wanted_settings)
def test_one_object_that_every_moment_shows_is_decided_as_without_tracks(
    series: MomentScores, wanted: DecisionSettings
) -> None:
    labels = [f"label {index}" for index in range(series.scores.shape[1])]
    everywhere = np.ones(len(series.times), np.bool_)
    track = TrackScores(2, everywhere, series.scores, series.background)
    one, other = decide(series, labels, wanted), decide(replace(series, tracks=(track,)), labels, wanted)
    assert one == other
    assert np.array_equal(one.scores, other.scores)
    assert np.array_equal(one.backgrounds, other.backgrounds)


colours = st.sampled_from([RED, GREEN, BLUE, (160, 150, 20), (90, 20, 90), (120, 118, 119)])
crops = st.tuples(st.sampled_from([None, 0, 1, 2, 5]), colours)
snippets = st.lists(st.lists(crops, min_size=1, max_size=3), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(snippets)
def test_the_moments_scores_without_tracks_are_the_best_crops(moments: list[list[Crop]]) -> None:
    one = looked(untracked(moments))
    texts = LabelBank(MODEL, 4).get(one.message.header.label_set)
    series, shares = moments_of(one, texts, 20.0)
    assert series.tracks == ()
    assert np.array_equal(series.scores, shares.scores)
    tracked, same = moments_of(looked(moments), texts, 20.0)
    assert np.array_equal(same.probabilities, shares.probabilities)  # what is shown beside it never changes
    assert np.array_equal(tracked.scores, series.scores)
    pictures = picture_shares(one.embeddings, texts, 20.0)
    at = np.cumsum([0, *(len(moment) for moment in moments)])
    for number, (first, end) in enumerate(itertools.pairwise(at)):
        parts = (pictures.probabilities, pictures.scores, pictures.background)
        best = combine(Shares(*(part[first:end] for part in parts)))
        assert np.array_equal(best.scores[0], series.scores[number])
        assert np.array_equal(best.background[0], series.background[number])


# -- properties of the whole rule


@settings(max_examples=80, deadline=None)
@given(snippets, st.randoms(use_true_random=False))
def test_the_order_of_crops_does_not_matter(moments: list[list[Crop]], random: object) -> None:
    mixed = [list(moment) for moment in moments]
    for moment in mixed:
        random.shuffle(moment)  # type: ignore[attr-defined]  # hypothesis hands out a random.Random
    one, other = looked(moments), looked(mixed)
    texts = LabelBank(MODEL, 4).get(one.message.header.label_set)
    first, second = decision_of(one, texts, 20.0).decision, decision_of(other, texts, 20.0).decision
    assert first.accepted == second.accepted
    assert first.peaks == second.peaks
    assert np.array_equal(first.scores, second.scores)


@settings(max_examples=80, deadline=None)
@given(snippets)
def test_one_more_weak_label_changes_nothing(moments: list[list[Crop]]) -> None:
    before = labelled(looked(moments, labels=("a person",)))
    after = labelled(looked(moments, labels=("a person", "a pedestrian", "a kite")))
    assert {item.label for item in before.header.accepted} <= {item.label for item in after.header.accepted}
    assert after.header.peaks["a person"] == pytest.approx(before.header.peaks["a person"], abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(snippets, st.permutations(range(3)))
def test_how_objects_are_numbered_does_not_matter(moments: list[list[Crop]], order: list[int]) -> None:
    again = {None: None, 0: 10 + order[0], 1: 10 + order[1], 2: 10 + order[2], 5: 3}
    renumbered: list[list[Crop]] = [[(again[track], colour) for track, colour in one] for one in moments]
    first, second = labelled(looked(moments)).header, labelled(looked(renumbered)).header
    assert {item.label: item.probability for item in first.accepted} == {
        item.label: item.probability for item in second.accepted
    }
    assert first.peaks == second.peaks


def test_a_whole_frame_is_nobodys_and_counts_where_no_crop_can_be_read() -> None:
    kinds: tuple[Literal["frame", "crop"], ...] = ("frame", "crop")
    sent = message([[(kind, b"") for kind in kinds] for _ in range(4)], LABELS)
    infos: tuple[PictureInfo, ...] = tuple(
        one if one.kind == "frame" else one.model_copy(update={"track": 1}) for one in sent.header.pictures
    )
    header = sent.header.model_copy(update={"pictures": infos})
    pixels = np.stack([np.full((3, 2, 2), np.array(c)[:, None, None], np.uint8) for c in (GREEN, RED) * 4])
    seen = np.array([True, False] * 4)
    one = EmbeddedSnippet(SnippetMessage(header, sent.pictures), MODEL.embed_pictures(pixels), seen)
    assert {item.label for item in labelled(one).header.accepted} == {"a dog"}
