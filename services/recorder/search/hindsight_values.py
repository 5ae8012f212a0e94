"""Labels in hindsight: the request, its outcome, and that in words. Pure values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.contract import DecisionSettings
from shared.plurals import plural

SHOWN_MAX = 200  # events listed in an answer, newest first; counts are of all
SHOWN_EACH = 6  # of those that gain, or lose, a label on a camera: listed even beyond SHOWN_MAX
SHOWN_LIMIT = 1000
SAID_MAX = 6  # labels in the words for an outcome


@dataclass(frozen=True, slots=True)
class HindsightRequest:
    """Which events, and which labels to look for. None: as it was then.

    Without labels, beside those of then: the same labels again, under another threshold or other examples.
    """

    labels: tuple[str, ...]
    background: tuple[str, ...] | None
    threshold: float | None
    since: datetime
    until: datetime
    camera: str | None = None
    adds: bool = True  # ask for the labels beside those of then; else in their place
    cameras: frozenset[str] | None = None  # that may be seen; None: all
    decision: DecisionSettings | None = None  # in place of all settings of then; `threshold` is not looked at


@dataclass(frozen=True, slots=True)
class LabelProbability:
    """An accepted label with its averaged peak probability."""

    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class EventComparison:
    """An event whose labels would differ; labels best first."""

    event_id: str
    camera: str
    started_at: datetime
    thumbnail_name: str | None
    recorded: tuple[LabelProbability, ...]
    hindsight: tuple[LabelProbability, ...]

    @property
    def gained(self) -> frozenset[str]:
        return _names(self.hindsight) - _names(self.recorded)

    @property
    def lost(self) -> frozenset[str]:
        return _names(self.recorded) - _names(self.hindsight)


def _names(found: Iterable[LabelProbability]) -> frozenset[str]:
    return frozenset(one.label for one in found)


@dataclass(slots=True)
class LabelCounts:
    """Events with a label: as recorded, in hindsight, those that gain or lose it, and of the latter those of which
    somebody called it right."""

    recorded: int = 0
    hindsight: int = 0
    gained: int = 0
    lost: int = 0
    lost_right: int = 0


@dataclass(slots=True)
class CameraCounts:
    """Events of one camera: all, those whose labels differ, and by label."""

    n_events: int = 0
    n_changed: int = 0
    labels: dict[str, LabelCounts] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """Counts over all events of the request. `relabel_id`: the entry, once something is written; `called_right`: of
    the events that are added next, those with the labels that somebody called right."""

    called_right: Collection[tuple[str, str]] = frozenset()
    model: str = ""
    n_events_all: int = 0
    n_snippets: int = 0
    n_left_out: int = 0  # snippets whose embeddings are of another model, or missing: they keep their answer
    n_written: int = 0  # snippets whose answer was replaced
    cameras: dict[str, CameraCounts] = field(default_factory=dict)
    shown: list[EventComparison] = field(default_factory=list)
    relabel_id: str | None = None
    _n_shown: Counter[tuple[str, str, bool]] = field(default_factory=Counter)

    @property
    def n_events(self) -> int:
        return sum(counts.n_events for counts in self.cameras.values())

    @property
    def n_changed(self) -> int:
        return sum(counts.n_changed for counts in self.cameras.values())

    @property
    def labels(self) -> dict[str, LabelCounts]:
        """Counts of all cameras."""
        found: dict[str, LabelCounts] = {}
        for counts in self.cameras.values():
            for label, one in counts.labels.items():
                total = found.setdefault(label, LabelCounts())
                for name in LabelCounts.__dataclass_fields__:
                    setattr(total, name, getattr(total, name) + getattr(one, name))
        return found

    def add(self, compared: EventComparison) -> None:
        """Count an event, and list it if it differs and there is room."""
        counts = self.cameras.setdefault(compared.camera, CameraCounts())
        counts.n_events += 1
        for name, labels in (
            ("recorded", _names(compared.recorded)),
            ("hindsight", _names(compared.hindsight)),
            ("gained", compared.gained),
            ("lost", compared.lost),
            ("lost_right", {one for one in compared.lost if (compared.event_id, one) in self.called_right}),
        ):
            for label in labels:
                of_label = counts.labels.setdefault(label, LabelCounts())
                setattr(of_label, name, getattr(of_label, name) + 1)
        if compared.gained or compared.lost:
            counts.n_changed += 1
            self._show(compared)

    def _show(self, compared: EventComparison) -> None:
        keys = [(compared.camera, label, True) for label in compared.gained]
        keys += [(compared.camera, label, False) for label in compared.lost]
        is_rare = any(self._n_shown[key] < SHOWN_EACH for key in keys)
        if len(self.shown) < SHOWN_MAX or (is_rare and len(self.shown) < SHOWN_LIMIT):
            self.shown.append(compared)
            self._n_shown.update(keys)


def summary_of(outcome: Outcome, *, is_done: bool = False) -> str:
    """Return what changes in words: "41 events on 2 cameras lose 'a cat', 41 gain 'a fox'"."""
    verbs = {("lost", True): "lost", ("gained", True): "gained"}
    changes = []
    for name, one, many in (("lost", "loses", "lose"), ("gained", "gains", "gain")):
        by_label = {label: getattr(counts, name) for label, counts in outcome.labels.items()}
        for label, n in sorted(by_label.items(), key=lambda item: (-item[1], item[0])):
            on = sum(
                1 for of in outcome.cameras.values() if label in of.labels and getattr(of.labels[label], name)
            )
            if n:
                n_right = outcome.labels[label].lost_right if name == "lost" else 0
                right = f" ({n_right:,} of them called right)" if n_right else ""
                verb = verbs.get((name, is_done)) or (one if n == 1 else many)
                changes.append((n, on, verb, f"'{label}'{right}"))
    if not changes:
        return "no event changed its labels" if is_done else "no event changes its labels"
    said: list[str] = []
    cameras_before = 0
    for n, on, verb, label in changes[:SAID_MAX]:
        where = "" if on == cameras_before else f" on {plural(on, 'camera')}"
        events = f"{n:,}" if said else plural(n, "event")
        said.append(f"{events}{where} {verb} {label}")
        cameras_before = on
    more = len(changes) - SAID_MAX
    return ", ".join(said) + (
        f", and {plural(more, 'more label changes', 'more labels change')}" if more > 0 else ""
    )


def asked_of(request: HindsightRequest) -> dict[str, Any]:  # Any: JSON values
    """Return a request as the entry of a change keeps it; `cameras`: those it was about, None for all."""
    cameras = request.cameras if request.camera is None else {request.camera}
    decision = request.decision
    return {
        "labels": list(request.labels),
        "background": None if request.background is None else list(request.background),
        "threshold": request.threshold if decision is None else decision.threshold,
        **({} if decision is None else {"decision": decision.model_dump()}),
        "mode": "add" if request.adds else "replace",
        "since": request.since.isoformat(),
        "until": request.until.isoformat(),
        "cameras": None if cameras is None else sorted(cameras),
    }


def request_faults(request: HindsightRequest) -> list[str]:
    """Return what is wrong with a request beyond its types."""
    faults = []
    if not request.labels:
        faults.append("no label; name at least one, such as 'a fox'")
    if request.decision is not None and request.threshold is not None:
        faults.append("threshold and decision; give the threshold within decision, or nothing else of it")
    if request.until <= request.since:
        faults.append("until is not after since; choose a longer time")
    return faults
