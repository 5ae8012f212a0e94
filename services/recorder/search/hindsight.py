"""Labels in hindsight: what the record would say if it were decided anew, and writing that into it.

The decision is the classifier's own (snippet_decisions.py); only the labels are embedded anew, by the classifier. Each
application is an entry (record/relabels.py) that relabel_undo.py undoes. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.database import Database
from services.recorder.record.relabels import NewRelabel, RelabelKind
from services.recorder.record.rows import SnippetState, accepted_column, detections_of, snippet_rows
from services.recorder.search.hindsight_rows import (
    EVENTS_AT_ONCE,
    EventData,
    Replacement,
    count_events,
    page_of_events,
    replace_answers,
)
from services.recorder.search.hindsight_values import (
    EventComparison,
    HindsightRequest,
    LabelProbability,
    Outcome,
    asked_of,
)
from services.recorder.search.snippet_decisions import ExamplesSource, SnippetDecisions, WordDecisions
from services.recorder.search.text_requests import TextEmbedder
from shared.clock import now_utc, uuid7
from shared.contract import LabelsMessage

# Of these events: those with the labels that somebody called right.
CalledRight = Callable[[Collection[str]], Awaitable[Collection[tuple[str, str]]]]


@dataclass(frozen=True, slots=True)
class Application:
    """Says that an outcome is to be written, and what its entry says: who does it, and what besides the request.

    Of `verdicts` only snippets whose labels change are written: their numbers alone move with every example.
    """

    made_by: str
    kind: RelabelKind = "words"
    asked: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON values


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Answers requests over one record; one at a time, which `gate` is for. `examples`: those of the cameras, which
    count in every decision as they do in the classifier. `called_right`: what people said of the events."""

    texts: TextEmbedder
    database: Database
    examples: ExamplesSource | None = None
    called_right: CalledRight | None = None
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(
        self,
        request: HindsightRequest,
        application: Application | NewRelabel | None = None,
        decisions: SnippetDecisions | None = None,
    ) -> AsyncIterator[Outcome]:
        """Yield the outcome so far after every page of events; the last one is complete.

        Without an application (or an entry that is there already) nothing is written. `decisions`: decides each
        snippet, else the words of the request do, with the cameras' examples; for others than these pass
        `WordDecisions(texts, request, source)`, with `labels=()` and `adds` where the labels stay.

        Raises NoClassifier or TextsRefused before anything is written, DatabaseAway or DatabaseBusy at any time: each
        event is written whole or not at all, what was written is in the entry, and the same request may be applied
        again. RelabelUndone: somebody undid the entry meanwhile.
        """
        decides = decisions or WordDecisions(self.texts, request, self.examples)
        entry = entry_of(request, application) if isinstance(application, Application) else application
        outcome = Outcome()
        async with self.database.reading() as connection:
            outcome.n_events_all = await count_events(connection, request)
        before: tuple[datetime, str] | None = None
        while True:
            async with self.database.reading() as connection:
                page = await page_of_events(connection, request, before)
            await decides.prepare(page)
            if self.called_right is not None:
                outcome.called_right = await self.called_right([data.event.id for data in page])
            outcome.model = decides.model
            replaced = await asyncio.to_thread(_decide_all, page, decides, outcome, entry)
            if replaced and entry is not None:
                n_written = await self._write(replaced, entry)
                outcome.n_written += n_written
                outcome.relabel_id = entry.id if outcome.n_written else None
            yield outcome
            if len(page) < EVENTS_AT_ONCE:
                return
            before = (page[-1].event.started_at, page[-1].event.id)

    async def _write(self, replaced: Mapping[str, Sequence[Replacement]], entry: NewRelabel) -> int:
        async def write(connection: AsyncConnection) -> int:
            return await replace_answers(connection, replaced, entry, now_utc())

        return await self.database.write(write)


def entry_of(request: HindsightRequest, application: Application) -> NewRelabel:
    """Return the entry of an application, which is not written yet."""
    now = now_utc()
    asked = {**asked_of(request), **application.asked}
    return NewRelabel(uuid7(now), application.kind, asked, application.made_by, now)


def _decide_all(
    page: Sequence[EventData], decides: SnippetDecisions, outcome: Outcome, entry: NewRelabel | None
) -> dict[str, list[Replacement]]:
    """Decide every snippet of a page anew, and count; when applied, return what replaces the answers, by event."""
    replaced: dict[str, list[Replacement]] = {}
    for data in page:
        states: list[SnippetState] = []
        for row in data.snippets:
            outcome.n_snippets += 1
            state = _state(row)
            message = decides.decide(row, data)
            if message is None:
                outcome.n_left_out += 1
            else:
                state = replace(state, accepted=accepted_column(message.header))
                if entry is not None and (entry.kind == "words" or _differs(row, message)):
                    one = Replacement(snippet_rows(message), row.labelled_at)
                    replaced.setdefault(data.event.id, []).append(one)
            states.append(state)
        outcome.add(_compared(data, states))
    return replaced


def _differs(row: Row[Any], message: LabelsMessage) -> bool:  # Any: columns are read by name
    then = {one["label"] for one in detections_of("", "", [_state(row)])}
    return then != {one.label for one in message.header.accepted}


def _state(row: Row[Any]) -> SnippetState:
    return SnippetState(*(getattr(row, name) for name in SnippetState.__dataclass_fields__))


def _compared(data: EventData, states: Sequence[SnippetState]) -> EventComparison:
    event = data.event
    recorded = _labels(data, [_state(row) for row in data.snippets])
    return EventComparison(
        event.id, event.camera, event.started_at, event.thumbnail_name, recorded, _labels(data, states)
    )


def _labels(data: EventData, states: Sequence[SnippetState]) -> tuple[LabelProbability, ...]:
    if not states:
        return ()
    found = detections_of(data.event.id, data.event.camera, states)
    return tuple(LabelProbability(row["label"], row["probability"]) for row in found)
