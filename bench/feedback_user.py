"""The simulated user: looks at events in time order, clicks on what is wrong, and sees what comes of it. No file.

What is counted are labels of events: a false alarm is an event with an accepted label that is not true of it; a real
event's label is found or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.feedback_methods import Method, Words
from bench.feedback_record import REAL, VISITOR, SeenEvent
from shared.decisions.teaching import Said

IS_NOTHING = (
    "flag",
    "shadow",
)  # kinds of which a user says that it is nothing at all; of the others: not this label


@dataclass(frozen=True, slots=True)
class Policy:
    """How many clicks a user gives, and until when; `errs`: the share that says the opposite of the truth."""

    of_a_kind: int = 0  # on each kind of nuisance (and on the visitor); 0: no such limit
    in_all: int = 0
    until_day: int = 10**6
    errs: float = 0.0
    names_visitor: bool = False  # clicks on the visitor say what it is; else nobody clicks on it


@dataclass(frozen=True, slots=True)
class Decided:
    """An event and what it was given when it came; `n_before`: clicks on its kind, and in all, until then."""

    event: SeenEvent
    accepted: frozenset[str]
    n_before: int
    n_before_in_all: int
    is_clicked: bool = False

    @property
    def is_false(self) -> bool:
        return bool(self.accepted - self.event.shown)

    @property
    def is_found(self) -> bool:
        return self.event.shown <= self.accepted


def run(
    events: Sequence[SeenEvent], method: Method, words: Words, policy: Policy, rng: np.random.Generator
) -> list[Decided]:
    """Let a user watch a camera; give what every event was decided as."""
    clicks: Counter[str] = Counter()
    slip: Said | None = None  # a click that is to err, until an event comes that it can hit
    decided: list[Decided] = []
    for event in events:
        accepted = method.accepted(event, words)
        said = verdict(event, accepted, policy)
        before, in_all = clicks[event.kind], clicks.total()
        is_clicked = False
        if event.day < policy.until_day and _has_clicks(before, in_all, policy):
            if slip is not None and said is None and event.kind == REAL and accepted:
                method.learn(event, Said(not_shown=accepted), words)
                clicks["slip"] += 1
                slip, is_clicked = None, True
            elif said is not None and policy.errs and rng.random() < policy.errs:
                is_clicked = _errs(event, accepted, method, words, rng)
                slip = None if is_clicked else said
                clicks[event.kind] += is_clicked
            elif said is not None:
                method.learn(event, said, words)
                clicks[event.kind] += 1
                is_clicked = True
        decided.append(Decided(event, accepted, before, in_all, is_clicked))
    return decided


def _errs(
    event: SeenEvent, accepted: frozenset[str], method: Method, words: Words, rng: np.random.Generator
) -> bool:
    """Half of the slips call right what is wrong, at once; the others hit the next right event instead."""
    wrong = accepted - event.shown
    if wrong and rng.random() < 0.5:
        method.learn(event, Said(shown=wrong), words)
        return True
    return False


def _has_clicks(before: int, in_all: int, policy: Policy) -> bool:
    return (not policy.of_a_kind or before < policy.of_a_kind) and (
        not policy.in_all or in_all < policy.in_all
    )


def verdict(event: SeenEvent, accepted: frozenset[str], policy: Policy) -> Said | None:
    """Return what the user says of an event; None: nothing to click on."""
    wrong = accepted - event.shown
    if event.kind == VISITOR:
        if not policy.names_visitor or (not wrong - {event.name} and event.name in accepted):
            return None
        return Said(frozenset({event.name}), wrong - {event.name})
    if not wrong or (event.kind == REAL and policy.of_a_kind):
        return None
    if event.kind == REAL:
        return Said(event.shown, wrong)
    return Said(is_nothing=True) if event.kind in IS_NOTHING else Said(not_shown=wrong)


@dataclass(frozen=True, slots=True)
class Count:
    """False alarms (events) and real labels found, of so many; may be added up over cameras."""

    n_false: int = 0
    n_found: int = 0
    n_real: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.n_false + other.n_false, self.n_found + other.n_found, self.n_real + other.n_real)

    @property
    def recall(self) -> float:
        return self.n_found / max(self.n_real, 1)

    @property
    def n_errors(self) -> int:
        return self.n_false + self.n_real - self.n_found


def count(decided: Sequence[Decided], is_counted: Callable[[Decided], bool]) -> Count:
    """Count what is wanted of a camera; visitors are counted by `named_right` alone."""
    counted = [one for one in decided if one.event.kind != VISITOR and is_counted(one)]
    real = [one for one in counted if one.event.kind == REAL]
    return Count(sum(one.is_false for one in counted), sum(one.is_found for one in real), len(real))


def named_right(decided: Sequence[Decided], n_clicks: int) -> tuple[int, int]:
    """Return how many visitors after so many clicks got their name and no other, and of how many."""
    later = [one for one in decided if one.event.kind == VISITOR and one.n_before >= n_clicks]
    return sum(one.accepted == {one.event.name} for one in later), len(later)


def after_clicks(decided: Sequence[Decided], n_clicks: int) -> dict[str, list[int]]:
    """Return for each nuisance the numbers of its events after so many clicks on it, or after its last one."""
    later: dict[str, list[int]] = {}
    for kind in sorted({one.event.kind for one in decided} - {REAL, VISITOR}):
        own = [index for index, one in enumerate(decided) if one.event.kind == kind]
        clicked = [index for index in own if decided[index].is_clicked][:n_clicks]
        later[kind] = [index for index in own if clicked and index > clicked[-1]]
    return later
