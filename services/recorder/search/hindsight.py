"""Labels in hindsight: what the record would say with other labels, and writing that into it.

The decision is the classifier's own (shared/decisions/labeller.py) on the embeddings in the record; only the labels
are embedded anew, by the classifier. Recorded embeddings are float16, so a probability may differ in its third digit
from what was recorded at the time. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Row

from services.recorder.record.database import Database
from services.recorder.record.database_errors import DatabaseBusy
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
)
from services.recorder.search.recorded_snippets import recorded_snippet
from services.recorder.search.text_requests import TextEmbedder, TextsRefused
from shared.clock import now_utc
from shared.contract import DecisionSettings, LabelSet, LabelsMessage
from shared.decisions.label_texts import EmbeddedLabelSet
from shared.decisions.labeller import label

SHOWN_MAX = 200  # events listed in an answer, newest first; counts are of all
LABEL_SETS_MAX = 32  # different label sets when labels are added to those of then
BUSY_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Answers requests over one record; one at a time, which `gate` is for."""

    texts: TextEmbedder
    database: Database
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, request: HindsightRequest, is_applied: bool) -> AsyncIterator[Outcome]:
        """Yield the outcome so far after every page of events; the last one is complete.

        Raises NoClassifier or TextsRefused before anything is written, DatabaseAway or DatabaseBusy at any time: each
        event is written whole or not at all, and the same request may be applied again.
        """
        embedded: dict[LabelSet, EmbeddedLabelSet] = {}
        if not request.adds and request.background is not None:
            label_set = _limited(request.labels, request.background)
            embedded[label_set] = await self.texts.ask(label_set, with_others=True)
        outcome = Outcome()
        async with self.database.reading() as connection:
            outcome.n_events_all = await count_events(connection, request)
        before: tuple[datetime, str] | None = None
        while True:
            async with self.database.reading() as connection:
                page = await page_of_events(connection, request, before)
            await self._embed({_label_set(row, request) for data in page for row in data.snippets}, embedded)
            replaced = await asyncio.to_thread(_decide_all, page, request, embedded, outcome, is_applied)
            if replaced:
                outcome.n_written += await self._write(replaced)
            yield outcome
            if len(page) < EVENTS_AT_ONCE:
                return
            before = (page[-1].event.started_at, page[-1].event.id)

    async def _embed(self, label_sets: Set[LabelSet], embedded: dict[LabelSet, EmbeddedLabelSet]) -> None:
        """Add the label sets that are not embedded yet."""
        for label_set in label_sets - embedded.keys():
            if len(embedded) >= LABEL_SETS_MAX:
                raise TextsRefused(
                    f"more than {LABEL_SETS_MAX} label sets were in use then; name a camera or a shorter time"
                )
            embedded[label_set] = await self.texts.ask(label_set, with_others=True)

    async def _write(self, replaced: Mapping[str, Sequence[Replacement]]) -> int:
        attempt = 0
        while True:
            try:
                async with self.database.writing() as connection:
                    return await replace_answers(connection, replaced, now_utc())
            except DatabaseBusy:
                attempt += 1
                if attempt >= BUSY_ATTEMPTS:
                    raise
                await asyncio.sleep(0.02 * attempt)


def _label_set(row: Row[Any], request: HindsightRequest) -> LabelSet:
    """Return the label set for a snippet: the new labels, beside or in place of those of then."""
    then = LabelSet.model_validate_json(row.label_set)
    labels = (*then.labels, *request.labels) if request.adds else request.labels
    if request.background is None:
        background = then.background
    else:
        background = (*then.background, *request.background) if request.adds else request.background
    return _limited(tuple(dict.fromkeys(labels)), tuple(dict.fromkeys(background)))


def _limited(labels: tuple[str, ...], background: tuple[str, ...]) -> LabelSet:
    """Return the label set; raise TextsRefused for one that no snippet may have."""
    try:
        return LabelSet(labels=labels, background=background)
    except ValidationError as exc:
        raise TextsRefused(
            f"{len(labels)} labels and {len(background)} background labels, those of then included; "
            "a snippet is asked for 200 and 50 at most"
        ) from exc


def _decide_all(
    page: Sequence[EventData],
    request: HindsightRequest,
    embedded: Mapping[LabelSet, EmbeddedLabelSet],
    outcome: Outcome,
    is_applied: bool,
) -> dict[str, list[Replacement]]:
    """Decide every snippet of a page anew, and count; when applied, return what replaces the answers, by event."""
    replaced: dict[str, list[Replacement]] = {}
    for data in page:
        states: list[SnippetState] = []
        for row in data.snippets:
            outcome.n_snippets += 1
            state = SnippetState(*(getattr(row, name) for name in SnippetState.__dataclass_fields__))
            label_set = _label_set(row, request)
            message = _decide_again(row, data, label_set, request.threshold, embedded[label_set])
            outcome.model = embedded[label_set].name
            if message is None:
                outcome.n_left_out += 1
            else:
                state = replace(state, accepted=accepted_column(message.header))
                if is_applied:
                    one = Replacement(snippet_rows(message), row.labelled_at)
                    replaced.setdefault(data.event.id, []).append(one)
            states.append(state)
        _compare(data, states, outcome)
    return replaced


def _decide_again(
    row: Row[Any], data: EventData, label_set: LabelSet, threshold: float | None, embedded: EmbeddedLabelSet
) -> LabelsMessage | None:
    """Return the answer to a snippet under another label set; None when its embeddings are not the model's."""
    decision = DecisionSettings.model_validate_json(row.decision)
    if threshold is not None:
        decision = decision.model_copy(update={"threshold": threshold})
    looked = recorded_snippet(row, data, label_set, decision, embedded)
    if looked is None:
        return None
    labelled_at = row.labelled_at + timedelta(milliseconds=1)  # the transaction writes the time it has
    return label(looked, embedded.texts, embedded, labelled_at)


def _compare(data: EventData, states: Sequence[SnippetState], outcome: Outcome) -> None:
    outcome.n_events += 1
    if not states:
        return
    then = [
        SnippetState(*(getattr(row, name) for name in SnippetState.__dataclass_fields__))
        for row in data.snippets
    ]
    recorded, hindsight = _labels(data, then), _labels(data, states)
    outcome.recorded.update(one.label for one in recorded)
    outcome.hindsight.update(one.label for one in hindsight)
    if {one.label for one in recorded} == {one.label for one in hindsight}:
        return
    outcome.n_changed += 1
    if len(outcome.shown) < SHOWN_MAX:
        event = data.event
        outcome.shown.append(
            EventComparison(
                event.id, event.camera, event.started_at, event.thumbnail_name, recorded, hindsight
            )
        )


def _labels(data: EventData, states: Sequence[SnippetState]) -> tuple[LabelProbability, ...]:
    found = detections_of(data.event.id, data.event.camera, states)
    return tuple(LabelProbability(row["label"], row["probability"]) for row in found)
