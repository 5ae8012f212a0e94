"""The feedback bench's user, its counts and its baselines, on embeddings made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.feedback_methods import GaussianDiscriminant, Method, NoClicks, OwnExamples, TipAdapter, Words
from bench.feedback_record import REAL, VISITOR, CameraRecord, SeenEvent, load, save
from bench.feedback_user import Count, Decided, Policy, after_clicks, count, named_right, run, verdict
from shared.contract import Column, LabelSet
from shared.decisions.label_texts import LabelTexts
from shared.decisions.teaching import Said

DIM = 16
LABELS = ("a dog", "a cat")
OFFSETS = (0.0, 0.5, 1.0, 1.5)


class Facts:
    """A model."""

    name = "made up"
    temperature = 20.0
    embedding_dim = DIM


def words(*labels: str) -> Words:
    """Return labels and a background, each a direction of its own."""
    n = len(labels)
    columns = [Column(text=text, kind="target") for text in labels]
    columns += [Column(text="a lawn", kind="background"), Column(text="other", kind="other")]
    texts = LabelTexts(
        tuple(columns),
        np.eye(n + 1, DIM, dtype=np.float32),
        n_targets=n,
        n_background=1,
        rivals=~np.eye(n, dtype=np.bool_),
        against=np.ones((n, 0), np.bool_),
        shown=np.ones(0, np.bool_),
    )
    return Words(LabelSet(labels=labels, background=("a lawn",)), texts, Facts())


WORDS = words(*LABELS)


def looks(kind: str, day: int, seed: int, *centre: float, shown: str = "", name: str = "") -> SeenEvent:
    rows = np.random.default_rng(seed).normal(size=(len(OFFSETS), DIM)) * 0.02
    rows[:, : len(centre)] += centre
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    at_s = day * 86400.0 + seed
    return SeenEvent(
        kind,
        at_s,
        frozenset({shown} if shown else ()),
        name,
        OFFSETS,
        rows.astype(np.float16).astype(np.float32),
    )


def dog(day: int, seed: int) -> SeenEvent:
    return looks(REAL, day, seed, 1, 0, 0, 0, 0.9, shown="a dog")


def flag(day: int, seed: int) -> SeenEvent:
    return looks("flag", day, seed, 1, 0, 0, 0.9)


DAYS = [event for day in range(6) for event in (flag(day, 1), dog(day, 2), flag(day, 3), dog(day, 4))]


def watch(events: list[SeenEvent], method: Method, policy: Policy, seed: int = 0) -> list[Decided]:
    return run(events, method, WORDS, policy, np.random.default_rng(seed))


def test_a_user_clicks_on_what_is_wrong_and_on_nothing_else() -> None:
    policy = Policy()
    assert verdict(flag(0, 1), frozenset({"a dog"}), policy) == Said(is_nothing=True)
    assert verdict(flag(0, 1), frozenset(), policy) is None
    assert verdict(dog(0, 1), frozenset({"a dog"}), policy) is None
    assert verdict(dog(0, 1), frozenset(), policy) is None, "nobody sees what was not accepted"
    wrong_name = verdict(dog(0, 1), frozenset({"a cat"}), policy)
    assert wrong_name == Said(frozenset({"a dog"}), frozenset({"a cat"}))
    cat = looks("neighbour", 0, 1, 1)
    assert verdict(cat, frozenset({"a dog"}), policy) == Said(not_shown=frozenset({"a dog"}))


def test_clicks_on_kinds_leave_misnamed_real_events_alone() -> None:
    assert verdict(dog(0, 1), frozenset({"a cat"}), Policy(of_a_kind=3)) is None


def test_a_visitor_gets_its_name_from_who_names_visitors_only() -> None:
    fox = looks(VISITOR, 0, 1, 1, name="a fox")
    assert verdict(fox, frozenset({"a dog"}), Policy()) is None
    naming = Policy(names_visitor=True)
    assert verdict(fox, frozenset({"a dog"}), naming) == Said(frozenset({"a fox"}), frozenset({"a dog"}))
    assert verdict(fox, frozenset(), naming) == Said(frozenset({"a fox"}))
    assert verdict(fox, frozenset({"a fox"}), naming) is None


@pytest.mark.parametrize(
    ("policy", "n_clicks"),
    [(Policy(of_a_kind=3), 3), (Policy(in_all=5), 5), (Policy(until_day=2), 4), (Policy(), 12)],
)
def test_clicks_end_where_the_policy_says(policy: Policy, n_clicks: int) -> None:
    decided = watch(DAYS, NoClicks(), policy)
    assert sum(one.is_clicked for one in decided) == n_clicks
    assert [one.n_before_in_all for one in decided] == sorted(one.n_before_in_all for one in decided)
    if policy.until_day == 2:
        assert all(one.event.day < 2 for one in decided if one.is_clicked)


def test_what_errs_hits_right_events_or_calls_a_false_alarm_right() -> None:
    class Listener(NoClicks):
        """Keeps what it is told."""

        def __init__(self) -> None:
            self.threshold = 0.5
            self.heard: list[tuple[SeenEvent, Said]] = []

        def learn(self, event: SeenEvent, said: Said, words: Words) -> None:
            self.heard.append((event, said))

    always, never = Listener(), Listener()
    watch(DAYS, always, Policy(errs=1.0))
    watch(DAYS, never, Policy(errs=0.0))
    assert {said.is_nothing for _, said in never.heard} == {True}
    on_dogs = [said for event, said in always.heard if event.kind == REAL]
    on_flags = [said for event, said in always.heard if event.kind == "flag"]
    assert set(on_dogs) == {Said(not_shown=frozenset({"a dog"}))}
    assert set(on_flags) == {Said(shown=frozenset({"a dog"}))}


def test_counts_are_of_false_alarms_and_of_real_labels() -> None:
    def decided(event: SeenEvent, *accepted: str) -> Decided:
        return Decided(event, frozenset(accepted), 0, 0)

    found = count(
        [
            decided(flag(0, 1), "a dog"),
            decided(flag(0, 2)),
            decided(dog(0, 3), "a dog", "a cat"),
            decided(dog(0, 4)),
            decided(looks(VISITOR, 0, 5, 1, name="a fox"), "a dog"),
        ],
        lambda _: True,
    )
    assert found == Count(n_false=2, n_found=1, n_real=2)
    assert (found.recall, found.n_errors) == (0.5, 3)


def test_what_comes_after_the_clicks_is_measured() -> None:
    decided = watch(DAYS, NoClicks(), Policy(of_a_kind=3))
    numbers = [index for index, one in enumerate(decided) if one.event.kind == "flag"]
    assert after_clicks(decided, 3) == {"flag": numbers[3:]}
    assert after_clicks(decided, 1) == {"flag": numbers[1:]}
    assert after_clicks(watch(DAYS, NoClicks(), Policy(of_a_kind=2)), 3) == {"flag": numbers[2:]}


def test_a_name_is_right_when_no_other_stands_beside_it() -> None:
    fox = looks(VISITOR, 0, 1, 1, name="a fox")
    decided = [Decided(fox, frozenset(names), 3, 3) for names in ((), ("a fox",), ("a fox", "a dog"))]
    assert named_right(decided, 3) == (1, 3)
    assert named_right(decided, 4) == (0, 0)


@pytest.mark.parametrize(
    "method",
    [OwnExamples(0.2), TipAdapter(alpha=10), GaussianDiscriminant(alpha=0.1)],
    ids=["clipwatch", "tip-adapter", "gda"],
)
def test_every_method_learns_that_a_flag_is_no_dog(method: Method) -> None:
    plain = count(watch(DAYS, NoClicks(), Policy()), lambda one: one.event.day > 2)
    taught = count(watch(DAYS, method, Policy(until_day=2)), lambda one: one.event.day > 2)
    assert (plain.n_false, plain.recall) == (6, 1)
    assert (taught.n_false, taught.recall) == (0, 1)


@pytest.mark.parametrize(
    "method",
    [OwnExamples(0.2), TipAdapter(), GaussianDiscriminant()],
    ids=["clipwatch", "tip-adapter", "gda"],
)
def test_without_a_click_every_method_decides_alike(method: Method) -> None:
    for event in DAYS[:4]:
        assert method.accepted(event, WORDS) == NoClicks().accepted(event, WORDS)


def test_tip_adapter_is_as_published() -> None:
    method = TipAdapter()
    method.learn(flag(0, 1), Said(is_nothing=True), WORDS)
    cosines = dog(0, 2).embeddings @ flag(0, 1).embeddings.T
    likeness = np.exp(-5.5 * (1 - cosines)).sum(axis=1)
    logits = 20 * (dog(0, 2).embeddings @ WORDS.texts.embeddings.T)
    logits[:, 2] += likeness
    score = np.exp(logits[:, 0]) / (np.exp(logits[:, 0]) + np.exp(logits[:, 2]))
    assert ("a dog" in method.accepted(dog(0, 2), WORDS)) == bool(score.mean() > 0.5)


def test_a_raised_threshold_lets_less_through() -> None:
    assert NoClicks(0.5).accepted(dog(0, 1), WORDS) == {"a dog"}
    assert NoClicks(0.99999999).accepted(looks(REAL, 0, 1, 1, 0, 0.95), WORDS) == frozenset()


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = CameraRecord("yard", LABELS, ("a lawn",), {"flag": "a flag"}, tuple(DAYS))
    save(record, tmp_path / "yard.npz")
    found = load(tmp_path / "yard.npz")
    assert found == record
    assert found.n_days == 6
    for one, other in zip(found.events, DAYS, strict=True):
        assert np.array_equal(one.embeddings, other.embeddings)
