"""What a verdict would change: the last days of its camera decided with its examples, beside what was recorded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.recorder.search.hindsight_rows import EVENTS_AT_ONCE, EventData, count_events, page_of_events
from services.recorder.search.hindsight_values import HindsightRequest
from services.recorder.search.recorded_snippets import recorded_snippet
from services.recorder.verdicts.rows import event_data, rightly_recorded, teaching_of
from services.recorder.verdicts.teacher import Teacher, asked_labels, in_force
from services.recorder.verdicts.values import Verdict
from shared.contract import DecisionSettings, LabelSet
from shared.decisions.examples import Example, LabelExamples
from shared.decisions.label_texts import EmbeddedLabelSet
from shared.decisions.labeller import decision_of, examples_for

DAYS = 7
SHOWN_MAX = 24


@dataclass(frozen=True, slots=True)
class ChangedEvent:
    """An event whose labels would be others."""

    id: str
    started_at: datetime
    thumbnail_name: str | None
    gained: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(slots=True)
class PreviewCounts:
    """Counts so far. `lost_right`: events that would lose a label that somebody called right.

    `is_followed`: with its examples the event itself is decided as was said; None: it has no pictures to learn from.
    """

    is_followed: bool | None = None
    n_examples: int = 0
    n_events: int = 0
    n_events_all: int = 0
    n_left_out: int = 0
    gained: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    lost_right: Counter[str] = field(default_factory=Counter)
    shown: list[ChangedEvent] = field(default_factory=list)
    not_asked_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Decider:
    """Decides snippets with the examples that a verdict would add; one embedded label set for each that was in use."""

    examples: tuple[Example, ...]
    unrelated: float
    prepared: dict[LabelSet, tuple[EmbeddedLabelSet, LabelExamples]] = field(default_factory=dict)

    def prepare(self, label_set: LabelSet, embedded: EmbeddedLabelSet) -> None:
        taught = examples_for(
            self.examples, label_set.labels, embedded.texts, embedded.temperature, self.unrelated
        )
        self.prepared[label_set] = embedded, taught

    def labels_of(self, data: EventData, named: Mapping[str, LabelSet]) -> set[str] | None:
        """Return the labels that an event would have; None when a snippet's embeddings are of another model."""
        found: set[str] = set()
        for row in data.snippets:
            label_set = named[row.label_set]
            embedded, examples = self.prepared[label_set]
            decision = DecisionSettings.model_validate_json(row.decision)
            snippet = recorded_snippet(row, data, label_set, decision, embedded)
            if snippet is None:
                return None
            decided = decision_of(snippet, embedded.texts, embedded.temperature, examples).decision
            found |= {label_set.labels[run.target] for run in decided.accepted}
        return found


async def preview(teacher: Teacher, verdict: Verdict, now: datetime) -> AsyncIterator[PreviewCounts]:
    """Yield the counts after every page of events; the last ones are complete. Writes nothing.

    Raises NoClassifier and TextsRefused. A label that the verdict names is looked for as if it were asked for.
    """
    counts = PreviewCounts()
    async with teacher.database.reading() as connection:
        data = await event_data(connection, verdict.event_id)
    lesson = None if data is None else await teacher.lesson(verdict, data)
    if data is None or lesson is None:
        yield counts
        return
    asked = LabelSet.model_validate_json(data.snippets[-1].label_set)
    counts.not_asked_for = tuple(sorted(verdict.said.shown - set(asked.labels)))
    counts.is_followed, counts.n_examples = lesson.lesson.is_followed, len(lesson.pictures)
    request = HindsightRequest((), None, None, now - timedelta(days=DAYS), now, verdict.camera, adds=True)
    async with teacher.database.reading() as connection:
        teaching = await teaching_of(connection, verdict.camera, lesson.model, without=verdict.id)
        right = await rightly_recorded(connection, verdict.camera)
        counts.n_events_all = await count_events(connection, request)
    examples = (*(one.example for one in in_force(teaching)), *(one.example for _, one in lesson.pictures))
    decider, named = _Decider(examples, lesson.unrelated), dict[str, LabelSet]()
    before: tuple[datetime, str] | None = None
    while True:
        async with teacher.database.reading() as connection:
            page = await page_of_events(connection, request, before)
        for text in {row.label_set for one in page for row in one.snippets} - named.keys():
            named[text] = asked_labels(LabelSet.model_validate_json(text), verdict)
            if named[text] not in decider.prepared:
                decider.prepare(named[text], await teacher.texts.ask(named[text], with_others=True))
        await asyncio.to_thread(_compare, page, decider, named, right, counts)
        yield counts
        if len(page) < EVENTS_AT_ONCE:
            return
        before = (page[-1].event.started_at, page[-1].event.id)


def _compare(
    page: list[EventData],
    decider: _Decider,
    named: Mapping[str, LabelSet],
    right: set[tuple[str, str]],
    counts: PreviewCounts,
) -> None:
    for data in page:
        counts.n_events += 1
        would_be = decider.labels_of(data, named)
        if would_be is None:
            counts.n_left_out += 1
            continue
        gained, lost = sorted(would_be - data.recorded), sorted(data.recorded - would_be)
        counts.gained.update(gained)
        counts.lost.update(lost)
        counts.lost_right.update(label for label in lost if (data.event.id, label) in right)
        if (gained or lost) and len(counts.shown) < SHOWN_MAX:
            event = data.event
            counts.shown.append(
                ChangedEvent(event.id, event.started_at, event.thumbnail_name, tuple(gained), tuple(lost))
            )
