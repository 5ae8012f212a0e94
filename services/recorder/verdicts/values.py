"""What people say of events: the kinds of verdicts, and what each says of which label. Pure values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.decisions.teaching import Said

VerdictKind = Literal["right", "wrong", "is", "nothing", "missed"]
Effect = Literal["none", "future", "past"]


class VerdictRefused(Exception):
    """A verdict that does not fit its event: what was found, what was wanted, and what to do."""

    def __init__(self, found: str, wanted: str, action: str) -> None:
        super().__init__(found)
        self.found, self.wanted, self.action = found, wanted, action


@dataclass(frozen=True, slots=True)
class NewVerdict:
    """What somebody says. `drawn_with`: probability with which the event was drawn for a check; None: not drawn.

    `drawn_at`: when that check was drawn, which names it.
    """

    kind: VerdictKind
    label: str | None
    effect: Effect
    made_by: str
    drawn_with: float | None = None
    drawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict as it is kept. `recorded`: the event's accepted labels then."""

    id: str
    event_id: str
    camera: str
    event_started_at: datetime
    kind: VerdictKind
    label: str | None
    recorded: tuple[str, ...]
    drawn_with: float | None
    effect: Effect
    made_by: str
    made_at: datetime
    undone_by: str | None = None
    undone_at: datetime | None = None
    taught_at: datetime | None = None
    is_followed: bool | None = None
    unrelated: float | None = None
    relabel_id: str | None = None
    drawn_at: datetime | None = None

    @property
    def said(self) -> Said:
        return said_of(self.kind, self.label, self.recorded)


def said_of(kind: VerdictKind, label: str | None, recorded: Collection[str]) -> Said:
    """Return what a verdict says of labels; `recorded`: the accepted labels of its event."""
    named = frozenset(recorded if label is None else {label})
    if kind == "right":
        return Said(shown=named) if named else Said(is_nothing=True)
    if kind == "wrong":
        return Said(not_shown=named)
    if kind == "is":
        return Said(shown=named, not_shown=frozenset(recorded) - named)
    if kind == "missed":
        return Said(shown=named)
    return Said(is_nothing=True)


def require_fitting(kind: VerdictKind, label: str | None, recorded: Collection[str]) -> None:
    """Raise VerdictRefused when a verdict does not fit an event with these labels."""
    listed = ", ".join(f"'{one}'" for one in sorted(recorded)) or "no label"
    if kind in ("is", "missed") and label is None:
        raise VerdictRefused(
            f"a verdict '{kind}' without a label", "the label that it shows", "name it, such as 'a fox'"
        )
    if kind == "nothing" and label is not None:
        raise VerdictRefused(
            f"a verdict 'nothing' with '{label}'", "no label", "say 'wrong' of a label, 'nothing' of all"
        )
    if kind == "wrong" and not recorded:
        raise VerdictRefused("an event without a label", "a label that is wrong", "say 'missed' with a label")
    if kind in ("right", "wrong") and label is not None and label not in recorded:
        raise VerdictRefused(
            f"'{label}', but the event has {listed}", "a label that it has", "say 'missed', or name another"
        )
    if kind in ("is", "missed") and label in recorded:
        raise VerdictRefused(f"'{label}', which the event has already", "another label", "say 'right'")


def counting(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts of an event that count, oldest first: a later one that stands replaces what it speaks of."""
    kept: list[Verdict] = []
    for verdict in sorted(verdicts, key=lambda one: (one.made_at, one.id)):
        if verdict.undone_at is None:
            kept = [one for one in kept if not _speak_of_the_same(one.said, verdict.said)]
            kept.append(verdict)
    return kept


def _speak_of_the_same(one: Said, other: Said) -> bool:
    if one.is_nothing or other.is_nothing:
        return True
    return bool((one.shown | one.not_shown) & (other.shown | other.not_shown))
