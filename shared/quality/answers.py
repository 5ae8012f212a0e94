"""What verdicts answer to the questions of a check. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StandingVerdict:
    """A verdict that stands. `recorded`: the event's labels when it was made. `at`: seconds since 1970.

    `drawn_with`, `drawn_at`: how likely the check drew the event that asked for it, and when; None: nobody asked.
    """

    kind: str
    label: str | None
    recorded: frozenset[str]
    at: float
    drawn_with: float | None
    drawn_at: float | None


@dataclass(frozen=True, slots=True)
class UnitAnswer:
    """The answer to one question: when it was first given, how likely the unit was drawn for it, what counts now, and
    when it was drawn.

    `drawn_with` and `drawn_at` None: nobody asked; somebody said so.
    """

    at: float
    drawn_with: float | None
    value: bool
    drawn_at: float | None = None


def is_right(said: Sequence[StandingVerdict], label: str) -> UnitAnswer | None:
    """Return whether the label is right, from an event's verdicts, oldest first; None: nobody said.

    Somebody was asked about the label only if the event had it then: one that it got since was drawn for nothing.
    """
    spoken = [(one, value) for one in said if (value := _says(one, label)) is not None]
    if not spoken:
        return None
    first = spoken[0][0]
    return _answer(first, label in first.recorded, spoken[-1][1])


def is_missed(said: Sequence[StandingVerdict], label: str | None) -> UnitAnswer | None:
    """Return whether the label (None: any) is missing on an event without labels; None: nobody said.

    Who was asked what was missed, and named something, said of the other labels that they were not. What was said while
    the event had labels speaks of those only, and nobody was asked then.
    """
    told = [one for one in said if not one.recorded or _speaks(one, label)]
    if not told:
        return None
    named: set[str] = set()
    for one in told:
        about = _about(one)
        if one.kind == "nothing" or not about:
            named.clear()
        elif one.kind == "wrong":
            named -= about
        elif one.kind == "is":
            named = named - one.recorded | about
        else:
            named |= about
    first = told[0]
    value = bool(named) if label is None else label in named
    return _answer(first, not first.recorded, value)


def _answer(first: StandingVerdict, may_be_asked: bool, value: bool) -> UnitAnswer:
    if not may_be_asked:
        return UnitAnswer(first.at, None, value)
    return UnitAnswer(first.at, first.drawn_with, value, first.drawn_at)


def _about(one: StandingVerdict) -> frozenset[str]:
    return one.recorded if one.label is None else frozenset({one.label})


def _speaks(one: StandingVerdict, label: str | None) -> bool:
    return one.kind != "wrong" if label is None else _says(one, label) is not None


def _says(one: StandingVerdict, label: str) -> bool | None:
    if one.kind in ("right", "wrong"):
        return one.kind == "right" if label in _about(one) else None
    if one.kind in ("is", "missed"):
        if label == one.label:
            return True
        return False if one.kind == "is" and label in one.recorded else None
    return False
