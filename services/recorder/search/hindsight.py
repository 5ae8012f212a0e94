"""Labels in hindsight: what the record would say had other words been asked, and writing that into it.

The decision is the classifier's own (shared/decisions/labeller.py) on the embeddings that were kept; only the words
are embedded anew, by the classifier. Kept embeddings are float16, so a probability may differ in its third digit from
what was recorded at the time. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from pydantic import ValidationError
from sqlalchemy import ColumnElement, Row, Table, and_, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.database import Database, DatabaseBusy
from services.recorder.record.rows import (
    SnippetRows,
    SnippetState,
    accepted_column,
    detections_of,
    snippet_rows,
)
from services.recorder.record.schema import (
    events,
    frame_embeddings,
    frame_probabilities,
    past_answers,
    snippets,
)
from services.recorder.record.totals import add_difference, shares_of
from services.recorder.record.transactions import derive
from services.recorder.search.text_requests import TextEmbedder, TextsRefused
from shared.clock import now_utc
from shared.contract import (
    Box,
    DecisionSettings,
    LabelSet,
    LabelsMessage,
    PictureInfo,
    SnippetHeader,
    SnippetMessage,
)
from shared.decisions.label_texts import EmbeddedLabelSet
from shared.decisions.labeller import EmbeddedSnippet, label

EVENTS_AT_ONCE = 40
SHOWN_MAX = 200  # events listed in an answer, newest first; counts are of all
LABEL_SETS_MAX = 32  # different label sets when labels are added to what was asked before
BUSY_ATTEMPTS = 8
_ANSWER = ("model", "reason", "label_set", "decision", "accepted", "peaks", "labelled_at")


@dataclass(frozen=True, slots=True)
class HindsightRequest:
    """Which events, and what is asked of them. None: as it was asked then."""

    labels: tuple[str, ...]
    background: tuple[str, ...] | None
    threshold: float | None
    since: datetime
    until: datetime
    camera: str | None = None
    adds: bool = False  # ask for the labels beside those of then, not in their place


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


@dataclass(slots=True)
class Outcome:
    """Counts over all events of the wish. `recorded` and `hindsight`: events by label."""

    model: str = ""
    n_events: int = 0
    n_events_all: int = 0
    n_snippets: int = 0
    n_left_out: int = 0  # snippets whose embeddings are of another model, or missing: they keep their answer
    n_changed: int = 0  # events whose accepted labels differ
    n_written: int = 0  # snippets whose answer was replaced
    recorded: Counter[str] = field(default_factory=Counter)
    hindsight: Counter[str] = field(default_factory=Counter)
    shown: list[EventComparison] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Replacement:
    rows: SnippetRows
    read_labelled_at: datetime


@dataclass(frozen=True, slots=True)
class _EventData:
    event: Row[Any]  # Any: columns are read by name
    snippets: tuple[Row[Any], ...]
    pictures: Mapping[int, tuple[Row[Any], ...]]


@dataclass(frozen=True, slots=True)
class Hindsight:
    """Answers wishes over one record; one at a time, which `gate` is for."""

    texts: TextEmbedder
    database: Database
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, wish: HindsightRequest, is_applied: bool) -> AsyncIterator[Outcome]:
        """Yield the outcome so far after every page of events; the last one is complete.

        Raises NoClassifier or TextsRefused before anything is written, DatabaseAway or DatabaseBusy at any time: each
        event is written whole or not at all, and the same wish may be applied again.
        """
        embedded: dict[LabelSet, EmbeddedLabelSet] = {}
        if not wish.adds and wish.background is not None:
            label_set = _limited(wish.labels, wish.background)
            embedded[label_set] = await self.texts.ask(label_set, with_others=True)
        outcome = Outcome()
        async with self.database.reading() as connection:
            outcome.n_events_all = await count_events(connection, wish)
        before: tuple[datetime, str] | None = None
        while True:
            async with self.database.reading() as connection:
                page = await page_of_events(connection, wish, before)
            for label_set in {_label_set(row, wish) for data in page for row in data.snippets} - set(
                embedded
            ):
                if len(embedded) >= LABEL_SETS_MAX:
                    raise TextsRefused(
                        f"more than {LABEL_SETS_MAX} label sets were in use then; name a camera or a shorter time"
                    )
                embedded[label_set] = await self.texts.ask(label_set, with_others=True)
            replaced = await asyncio.to_thread(_decide_all, page, wish, embedded, outcome, is_applied)
            if replaced:
                outcome.n_written += await self._write(replaced)
            yield outcome
            if len(page) < EVENTS_AT_ONCE:
                return
            before = (page[-1].event.started_at, page[-1].event.id)

    async def _write(self, replaced: Mapping[str, Sequence[_Replacement]]) -> int:
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


def _events_of(wish: HindsightRequest) -> list[Any]:  # Any: SQLAlchemy's conditions
    wanted: list[Any] = [events.c.started_at >= wish.since, events.c.started_at < wish.until]
    if wish.camera is not None:
        wanted.append(events.c.camera == wish.camera)
    return wanted


async def count_events(connection: AsyncConnection, wish: HindsightRequest) -> int:
    """Return how many events a wish is about."""
    query = select(func.count()).select_from(events).where(*_events_of(wish))
    return int((await connection.execute(query)).scalar_one())


async def page_of_events(
    connection: AsyncConnection, wish: HindsightRequest, before: tuple[datetime, str] | None
) -> list[_EventData]:
    """Return the next events, newest first, with their snippets and pictures."""
    at, key = events.c.started_at, events.c.id
    query = select(events).where(*_events_of(wish))
    if before is not None:
        query = query.where(at <= before[0], or_(at < before[0], key < before[1]))
    found = (await connection.execute(query.order_by(at.desc(), key.desc()).limit(EVENTS_AT_ONCE))).all()
    ids = [row.id for row in found]
    by_event: dict[str, list[Row[Any]]] = {event_id: [] for event_id in ids}
    of_snippets = select(snippets).where(snippets.c.event_id.in_(ids))
    for row in await connection.execute(of_snippets.order_by(snippets.c.event_id, snippets.c.snippet)):
        by_event[row.event_id].append(row)
    pictures: dict[str, dict[int, list[Row[Any]]]] = {event_id: {} for event_id in ids}
    table = frame_embeddings
    of_pictures = select(table).where(table.c.event_id.in_(ids))
    for row in await connection.execute(
        of_pictures.order_by(table.c.event_id, table.c.snippet, table.c.picture)
    ):
        pictures[row.event_id].setdefault(row.snippet, []).append(row)
    return [
        _EventData(
            row,
            tuple(by_event[row.id]),
            {snippet: tuple(rows) for snippet, rows in pictures[row.id].items()},
        )
        for row in found
    ]


def _label_set(row: Row[Any], wish: HindsightRequest) -> LabelSet:
    """Return what a snippet would be asked: the new words, beside or in place of those of then."""
    then = LabelSet.model_validate_json(row.label_set)
    labels = (*then.labels, *wish.labels) if wish.adds else wish.labels
    if wish.background is None:
        background = then.background
    else:
        background = (*then.background, *wish.background) if wish.adds else wish.background
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
    page: Sequence[_EventData],
    wish: HindsightRequest,
    embedded: Mapping[LabelSet, EmbeddedLabelSet],
    outcome: Outcome,
    is_applied: bool,
) -> dict[str, list[_Replacement]]:
    """Decide every snippet of a page anew, and count; when applied, return what replaces the answers, by event."""
    replaced: dict[str, list[_Replacement]] = {}
    for data in page:
        states: list[SnippetState] = []
        for row in data.snippets:
            outcome.n_snippets += 1
            state = SnippetState(*(getattr(row, name) for name in SnippetState.__dataclass_fields__))
            label_set = _label_set(row, wish)
            message = decide_again(row, data, label_set, wish.threshold, embedded[label_set])
            outcome.model = embedded[label_set].name
            if message is None:
                outcome.n_left_out += 1
            else:
                state = replace(state, accepted=accepted_column(message.header))
                if is_applied:
                    one = _Replacement(snippet_rows(message), row.labelled_at)
                    replaced.setdefault(data.event.id, []).append(one)
            states.append(state)
        _compare(data, states, outcome)
    return replaced


def decide_again(
    row: Row[Any], data: _EventData, label_set: LabelSet, threshold: float | None, embedded: EmbeddedLabelSet
) -> LabelsMessage | None:
    """Return the answer to a snippet under another label set; None when its embeddings are not the model's."""
    pictures = data.pictures.get(row.snippet, ())
    if not pictures or any(
        (one.model, one.dim, len(one.embedding)) != (embedded.name, embedded.embedding_dim, 2 * one.dim)
        for one in pictures
    ):
        return None
    decision = DecisionSettings.model_validate_json(row.decision)
    if threshold is not None:
        decision = decision.model_copy(update={"threshold": threshold})
    header = SnippetHeader(
        event_id=row.event_id,
        snippet=row.snippet,
        is_last=row.is_last,
        camera=data.event.camera,
        event_started_at=row.event_started_at,
        event_ended_at=row.event_ended_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        motion_peak=row.motion_peak,
        latitude=row.latitude,
        longitude=row.longitude,
        label_set=label_set,
        decision=decision,
        pictures=tuple(_picture(one) for one in pictures),
    )
    halves = np.frombuffer(b"".join(one.embedding for one in pictures), dtype="<f2")
    vectors = halves.astype(np.float32).reshape(len(pictures), embedded.embedding_dim)
    looked = EmbeddedSnippet(SnippetMessage(header, ()), vectors, np.abs(vectors).max(axis=1) > 0)
    labelled_at = row.labelled_at + timedelta(milliseconds=1)  # the transaction writes the time it has
    return label(looked, embedded.texts, embedded, labelled_at)


def _picture(row: Row[Any]) -> PictureInfo:
    box = None if row.box_x is None else Box(x=row.box_x, y=row.box_y, w=row.box_w, h=row.box_h)
    # its size in pixels is not kept, and says nothing to a decision
    return PictureInfo(
        moment=row.moment, kind=row.kind, captured_at=row.captured_at, width=1, height=1, box=box
    )


def _compare(data: _EventData, states: Sequence[SnippetState], outcome: Outcome) -> None:
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


def _labels(data: _EventData, states: Sequence[SnippetState]) -> tuple[LabelProbability, ...]:
    found = detections_of(data.event.id, data.event.camera, states)
    return tuple(LabelProbability(row["label"], row["probability"]) for row in found)


async def replace_answers(
    connection: AsyncConnection, replaced: Mapping[str, Sequence[_Replacement]], now: datetime
) -> int:
    """Write new answers of events' snippets, keep the old ones, derive the events; return how many were written.

    An answer that is there already, or that changed since it was read, is left alone.
    """
    locked = select(events).where(events.c.id.in_(replaced)).order_by(events.c.id).with_for_update()
    there = (await connection.execute(locked)).mappings().all()  # without those deleted meanwhile
    ids = [event["id"] for event in there]
    before = await shares_of(connection, ids)
    columns = [snippets.c[name] for name in ("event_id", "snippet", *_ANSWER)]
    of_events = select(*columns).where(snippets.c.event_id.in_(ids))
    known = {(row.event_id, row.snippet): row for row in await connection.execute(of_events)}
    new = [
        (known[event_id, one.rows.snippet], one.rows)
        for event_id, replacements in replaced.items()
        for one in replacements
        if _is_new(known.get((event_id, one.rows.snippet)), one)
    ]
    if not new:
        return 0
    await _write_answers(connection, new, now)
    changed = {row.event_id for row, _ in new}
    for event in there:
        if event["id"] not in changed:
            continue
        await derive(connection, event["id"], dict(event), now)
        if not event["is_open"]:  # closed because it went quiet: that follows from no snippet
            await connection.execute(update(events).where(events.c.id == event["id"]).values(is_open=False))
    await add_difference(connection, before, await shares_of(connection, ids))
    return len(new)


def _is_new(known: Row[Any] | None, one: _Replacement) -> bool:
    if known is None or known.labelled_at != one.read_labelled_at:
        return False
    return any(getattr(known, name) != one.rows.columns[name] for name in _ANSWER if name != "labelled_at")


async def _write_answers(
    connection: AsyncConnection, new: Sequence[tuple[Row[Any], SnippetRows]], now: datetime
) -> None:
    """Put answers in the place of the rows as they are known."""
    old = [{name: getattr(row, name) for name in ("event_id", "snippet", *_ANSWER)} for row, _ in new]
    await connection.execute(insert(past_answers), [{**row, "replaced_at": now} for row in old])
    keys = [{"the_event": row.event_id, "the_snippet": row.snippet} for row, _ in new]
    answers = [
        {name: rows.columns[name] for name in _ANSWER}
        | {"labelled_at": max(now, row.labelled_at + timedelta(milliseconds=1))}
        for row, rows in new
    ]
    await connection.execute(
        update(snippets).where(_of_snippet(snippets)),
        [key | answer for key, answer in zip(keys, answers, strict=True)],
    )
    await connection.execute(delete(frame_probabilities).where(_of_snippet(frame_probabilities)), keys)
    probabilities = [probability for _, rows in new for probability in rows.probabilities]
    if probabilities:
        await connection.execute(insert(frame_probabilities), probabilities)


def _of_snippet(table: Table) -> ColumnElement[bool]:
    return and_(table.c.event_id == bindparam("the_event"), table.c.snippet == bindparam("the_snippet"))


def request_faults(wish: HindsightRequest) -> list[str]:
    """Return what is wrong with a wish beyond its types."""
    faults = []
    if not wish.labels:
        faults.append("no label; name at least one, such as 'a fox'")
    if wish.until <= wish.since:
        faults.append("until is not after since; choose a longer time")
    return faults
