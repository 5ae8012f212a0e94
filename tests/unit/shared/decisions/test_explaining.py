"""What is explained is what was decided, whatever a snippet looks like, and its numbers are those that decided."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contract import Column, DecisionSettings, LabelsMessage, PictureInfo, SnippetMessage
from shared.decisions.decision import leave_threshold
from shared.decisions.evidence import Evidence, evidence_of
from shared.decisions.examples import NO_EXAMPLES, Example, LabelExamples, for_labels
from shared.decisions.explaining import (
    DECIDING_MAX,
    LabelExplanation,
    RecordedDecision,
    RecordedLabel,
    SnippetExplanation,
    explain,
    is_same_decision,
)
from shared.decisions.explanation_words import sentence
from shared.decisions.label_texts import EmbeddedLabelSet, LabelTexts
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.decisions.probabilities import Floats
from tests.unit.classifier.makers import NOON, message

LABELS = ("a dog", "a fox", "a person")
BACKGROUND = ("a lawn",)
DIM = 12


def words() -> EmbeddedLabelSet:
    """Return three labels, a background and one other thing, each a direction of its own."""
    n, b = len(LABELS), len(BACKGROUND)
    columns = (
        *(Column(text=text, kind="target") for text in LABELS),
        *(Column(text=text, kind="background") for text in BACKGROUND),
        Column(text="other", kind="other"),
    )
    texts = LabelTexts(
        columns,
        np.eye(n + b + 1, DIM, dtype=np.float32),
        n_targets=n,
        n_background=b,
        rivals=~np.eye(n, dtype=np.bool_),
        against=np.ones((n, 1), np.bool_),
        shown=np.ones(1, np.bool_),
    )
    return EmbeddedLabelSet("made up", 12.0, DIM, texts)


WORDS = words()
DOG, FOX, PERSON, LAWN, OTHER = range(5)


def towards(*parts: tuple[int, float]) -> Floats:
    """Return a picture, float32[D] of unit length, that shows these texts by these weights."""
    vector = np.zeros(DIM, np.float32)
    for text, weight in parts:
        vector[text] = weight
    vector[DIM - 1] = 0.3  # what no text names
    unit: Floats = vector / np.linalg.norm(vector)
    return unit


def snippet(
    moments: list[list[Floats]], decision: DecisionSettings | None = None, every_s: float = 0.5
) -> EmbeddedSnippet:
    """Return a snippet with these crops in each moment, as it is recorded: in half precision."""
    sent = message([[("crop", b"")] * len(one) for one in moments], LABELS, BACKGROUND, decision, every_s)
    vectors = np.stack([picture for one in moments for picture in one]).astype(np.float16)
    return EmbeddedSnippet(sent, vectors.astype(np.float32), np.ones(len(vectors), np.bool_))


def recorded(said: LabelsMessage, looked: EmbeddedSnippet) -> RecordedDecision:
    """Return what the recorder keeps of a labels message."""
    header = said.header
    n, columns = len(header.moments), header.columns
    shares = np.frombuffer(said.probabilities, "<f2").reshape(n, len(columns)).astype(np.float32)
    scores = np.frombuffer(said.scores, "<f4").reshape(n, len(LABELS))
    behind = np.frombuffer(said.backgrounds, "<f4").reshape(n, len(LABELS))
    spans = {one.label: one for one in header.accepted}
    return RecordedDecision(
        header.snippet.decision,
        header.moments,
        tuple(
            RecordedLabel(
                text,
                header.peaks[text],
                tuple(shares[:, t].tolist()),
                scores[:, t],
                behind[:, t],
                spans.get(text),
            )
            for t, text in enumerate(LABELS)
        ),
        (
            (BACKGROUND[0], "background", tuple(shares[:, LAWN].tolist())),
            ("", "other", tuple(shares[:, OTHER].tolist())),
        ),
        header.snippet.pictures,
        looked.seen,
    )


def explained(
    looked: EmbeddedSnippet, examples: LabelExamples = NO_EXAMPLES
) -> tuple[LabelsMessage, RecordedDecision, Evidence, SnippetExplanation]:
    said = label(looked, WORDS.texts, WORDS, NOON, examples)
    kept, evidence = recorded(said, looked), evidence_of(looked, WORDS, examples)
    return said, kept, evidence, explain(kept, evidence)


def of(found: SnippetExplanation, text: str) -> LabelExplanation:
    return next(one for one in found.labels if one.label == text)


decisions = st.builds(
    DecisionSettings,
    threshold=st.sampled_from([0.3, 0.5, 0.7, 0.9]),
    leave_threshold=st.sampled_from([None, 0.2, 0.6]),
    margin=st.sampled_from([0.0, 0.05, 0.3]),
    window_s=st.sampled_from([0.0, 1.0, 2.0]),
    min_moments=st.integers(1, 5),
)


@st.composite
def snippets(draw: st.DrawFn) -> EmbeddedSnippet:
    weights = st.lists(st.floats(-1, 1, width=32), min_size=5, max_size=5)
    picture = weights.map(lambda found: towards(*enumerate(found)))
    moments = draw(st.lists(st.lists(picture, min_size=1, max_size=3), min_size=1, max_size=8))
    return snippet(moments, draw(decisions), draw(st.sampled_from([0.3, 0.5, 1.5])))


@settings(max_examples=200)
@given(snippets())
def test_what_is_explained_is_what_was_decided_and_recorded(looked: EmbeddedSnippet) -> None:
    said, kept, evidence, found = explained(looked)
    recorded_labels = {one.label for one in said.header.accepted}
    assert {one.label for one in found.labels if one.is_accepted} == recorded_labels
    assert evidence.accepted == recorded_labels
    assert [one.label for one in found.labels if not one.lacks] == [
        one.label for one in found.labels if one.is_accepted
    ]
    assert found.is_evident
    for one in found.labels:
        text = sentence(one, found)
        assert text.startswith(f"'{one.label}' was {'' if one.is_accepted else 'not '}accepted: ")
        assert text.endswith(".")
        assert f"{one.peak:.2f}" in text or "just under" in text or one.lacks == "background"
    best = max(kept.labels, key=lambda one: (one.peak, one.label))
    if not recorded_labels:  # the rule's own words for the best label
        reasons = {
            "contiguous moment": "moments",
            "the background had": "background",
            "wanted": "threshold",
        }
        words = said.header.reason.partition(", ")[2]
        wanted = next(lack for start, lack in reasons.items() if start in words)
        assert of(found, best.label).lacks == wanted, said.header.reason


@settings(max_examples=100)
@given(snippets())
def test_without_the_words_the_same_is_said_of_what_was_decided(looked: EmbeddedSnippet) -> None:
    _, kept, _, found = explained(looked)
    alone = explain(kept)
    assert not alone.is_evident
    for one in alone.labels:
        other = of(found, one.label)
        assert (one.is_accepted, one.lacks, one.peak, one.background) == (
            other.is_accepted,
            other.lacks,
            other.peak,
            other.background,
        )
        assert (one.started_at, one.ended_at, one.n_moments) == (
            other.started_at,
            other.ended_at,
            other.n_moments,
        )
        assert (one.n_own, one.is_accepted_without) == (None, None)
        assert all(moment.own_score is None for moment in one.deciding)


@settings(max_examples=100)
@given(snippets())
def test_the_numbers_of_a_run_are_those_of_its_moments(looked: EmbeddedSnippet) -> None:
    said, kept, evidence, found = explained(looked)
    leave = leave_threshold(looked.message.header.decision)
    for one in found.labels:
        if one.started_at is None or one.ended_at is None:
            continue
        column = LABELS.index(one.label)
        inside = [one.started_at <= at <= one.ended_at for at in kept.times]
        scores = np.frombuffer(said.scores, "<f4").reshape(-1, len(LABELS))[inside, column]
        assert one.n_moments == len(scores)
        assert bool((scores >= np.float32(leave)).all()), "a run does not fall below the leave threshold"
        assert one.peak == pytest.approx(scores.max(), abs=1e-6)
        if one.n_own is not None:
            own = evidence.decided.moments.scores[inside, column]
            assert one.n_own == int((own >= leave).sum())
        assert 1 <= len(one.deciding) <= DECIDING_MAX
        for moment in one.deciding:
            assert moment.picture is not None
            assert moment.own_score is not None
            picture = kept.pictures[moment.picture]
            assert picture.captured_at == moment.at
            rest = [
                float(evidence.shares.scores[index, column])
                for index, info in enumerate(kept.pictures)
                if info.moment == picture.moment
            ]
            assert moment.own_score == max(rest), "the label's best picture of the moment"


def test_the_rival_that_fits_better_is_named_with_what_it_took() -> None:
    both = towards((DOG, 0.6), (FOX, 0.8))
    _, _, evidence, found = explained(snippet([[both]] * 4))
    dog, fox = of(found, "a dog"), of(found, "a fox")
    assert (fox.is_accepted, dog.is_accepted) == (True, False)
    assert dog.rival is not None
    assert (dog.rival.name, dog.rival.is_better, dog.rival.is_better_in_all) == ("a fox", True, True)
    beside = evidence.competition
    assert dog.rival.took == pytest.approx(float(beside.alone[0, DOG] - beside.scores[0, DOG]))
    assert sentence(dog, found).endswith("; 'a fox' fitted the same crops better.")
    assert fox.rival is not None
    assert (fox.rival.name, fox.rival.took, fox.rival.is_better) == ("a dog", 0.0, False)


@pytest.mark.parametrize(
    ("other", "words"),
    [(LAWN, "the background 'a lawn'"), (OTHER, "something that no label names"), (PERSON, "'a person'")],
)
def test_what_fitted_better_is_named_whatever_it_is(other: int, words: str) -> None:
    _, _, _, found = explained(snippet([[towards((DOG, 0.2), (other, 0.9))]] * 4))
    assert sentence(of(found, "a dog"), found).endswith(f"; {words} fitted the same crops better.")


def test_one_flicker_is_not_carried_by_its_neighbours() -> None:
    decision = DecisionSettings(threshold=0.3, window_s=1.0)
    moments = [[towards((OTHER, 1.0))] for _ in range(5)]
    moments[2] = [towards((DOG, 1.0))]
    said, _, _, found = explained(snippet(moments, decision))
    dog = of(found, "a dog")
    assert said.header.reason.endswith("in 1 contiguous moment, wanted 2")
    assert (dog.lacks, dog.n_own) == ("moments", 1)
    assert "only 1 moment reached 0.24 by itself, wanted 2" in sentence(dog, found)


def test_a_short_snippet_has_a_higher_threshold_and_says_so() -> None:
    _, _, _, found = explained(snippet([[towards((DOG, 0.8), (LAWN, 0.72))]]))
    assert found.is_short
    assert found.threshold == 0.75
    assert "wanted 0.75 (more than 0.50, since the clip has only 1 moment)" in sentence(
        of(found, "a dog"), found
    )


def test_records_of_older_classifiers_are_explained_as_far_as_they_go() -> None:
    looked = snippet([[towards((DOG, 1.0))]] * 4)
    _, kept, evidence, _ = explained(looked)
    labels = tuple(replace(one, scores=None, backgrounds=None) for one in kept.labels)
    old = replace(kept, labels=labels)
    alone, again = explain(old), explain(old, evidence)
    assert (of(alone, "a dog").is_accepted, of(alone, "a dog").background) == (True, None)
    assert sentence(of(alone, "a dog"), alone).startswith(
        "'a dog' was accepted: for 1.5 s its score stayed above 0.40 and reached "
    )
    assert of(again, "a dog").background is not None
    refused = replace(labels[0], peak=0.8, accepted=None)
    unknown = explain(replace(old, labels=(refused,)))
    assert "but what else it lacked was not kept" in sentence(of(unknown, "a dog"), unknown)


def test_evidence_of_another_decision_is_left_out() -> None:
    looked = snippet([[towards((DOG, 1.0))]] * 4)
    _, kept, _, _ = explained(looked)
    other = evidence_of(replace(looked, embeddings=np.roll(looked.embeddings, 1, axis=1)), WORDS)
    assert not is_same_decision(kept, other)
    assert not explain(kept, other).is_evident
    shorter = evidence_of(snippet([[towards((DOG, 1.0))]] * 3), WORDS)
    assert not explain(kept, shorter).is_evident
    unasked = replace(kept, labels=(*kept.labels, RecordedLabel("a cat", 0.1)))
    assert not explain(unasked, evidence_of(looked, WORDS)).is_evident


def test_a_snippet_without_pictures_has_no_moments() -> None:
    empty = RecordedDecision(DecisionSettings(), (), tuple(RecordedLabel(text, 0.0) for text in LABELS))
    found = explain(empty)
    assert [one.deciding for one in found.labels] == [()] * 3
    assert sentence(found.labels[0], found) == "'a dog' was not accepted: no picture could be looked at."


def test_the_whole_frame_is_a_picture_and_no_crop() -> None:
    looked = snippet([[towards((DOG, 0.3), (LAWN, 0.6))]] * 3)
    frames = tuple(one.model_copy(update={"kind": "frame"}) for one in looked.message.header.pictures)
    header = looked.message.header.model_copy(update={"pictures": frames})
    _, _, _, found = explained(replace(looked, message=SnippetMessage(header, ())))
    assert "fitted the same pictures better" in sentence(of(found, "a dog"), found)


def test_examples_that_turned_the_decision_are_named() -> None:
    picture = towards((DOG, 1.0))
    looked = snippet([[picture]] * 4)
    kept_picture = looked.embeddings[0]
    said = [Example("an event", "a dog", is_right=False, embedding=kept_picture)]
    examples = for_labels(said, LABELS, 0.5)
    message_said, kept, evidence, found = explained(looked, examples)
    assert not message_said.header.accepted
    dog = of(found, "a dog")
    assert (dog.is_accepted, dog.is_accepted_without) == (False, True)
    assert [(one.event, one.is_right) for one in dog.examples] == [("an event", False)]
    assert dog.examples[0].part == pytest.approx(1.0)
    assert sentence(dog, found).endswith("; without the verdicts on similar pictures it would have been.")
    assert of(found, "a fox").examples == (), "an example of one label says nothing of another"
    assert explain(kept, evidence_of(looked, WORDS)).is_evident is False, "they changed the decision"
    assert evidence.without == {"a dog"}


def test_crops_of_one_moment_are_each_looked_at() -> None:
    moments = [[towards((OTHER, 1.0)), towards((DOG, 1.0))]] * 3
    _, kept, _, found = explained(snippet(moments))
    dog = of(found, "a dog")
    assert [moment.picture for moment in dog.deciding] == [1, 3, 5]
    unknown = of(explain(kept), "a dog")
    assert [moment.picture for moment in unknown.deciding] == [None] * 3, "which one it was is not known"
    assert kept.deciding == [[0, 1], [2, 3], [4, 5]]


def test_pictures_that_do_not_fit_the_moments_are_left_out() -> None:
    _, kept, _, _ = explained(snippet([[towards((DOG, 1.0))]] * 3))
    lost: tuple[PictureInfo, ...] = kept.pictures[:2]
    fewer = replace(kept, pictures=lost, seen=kept.seen[:2])
    assert fewer.deciding == [[], [], []]
    assert of(explain(fewer), "a dog").deciding[0].picture is None


def test_at_most_so_many_moments_are_shown_the_peak_among_them() -> None:
    n = DECIDING_MAX + 8
    moments = [[towards((DOG, 1.0), (LAWN, 0.0 if index == 3 else 0.2))] for index in range(n)]
    _, kept, _, found = explained(snippet(moments, DecisionSettings(window_s=0)))
    dog = of(found, "a dog")
    assert (dog.n_moments, len(dog.deciding)) == (n, DECIDING_MAX)
    assert dog.peaked_at == kept.times[3]
    assert kept.times[3] in {moment.at for moment in dog.deciding}
    assert list(dog.deciding) == sorted(dog.deciding, key=lambda moment: moment.at)
    assert dog.ended_at == NOON + timedelta(seconds=0.5 * (n - 1))
