"""An event's snippets as they were decided: what is recorded of each, and its pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.queries import find_event, find_frames
from services.recorder.record.schema import events
from services.recorder.record.values import Event, Frames, LabelSeries, Snippet
from services.recorder.search.hindsight_rows import EventData, data_of
from services.recorder.search.recorded_snippets import picture_of
from shared.contract import AcceptedLabel, LabelSet
from shared.decisions.evidence import Competitor
from shared.decisions.explaining import RecordedDecision, RecordedLabel


@dataclass(frozen=True, slots=True)
class ExplainedSnippet:
    """A snippet of an event, its decision as recorded, and its row."""

    snippet: Snippet
    row: Row[Any]  # Any: columns are read by name
    label_set: LabelSet
    recorded: RecordedDecision


@dataclass(frozen=True, slots=True)
class ExplainedEvent:
    """An event, its rows, and its snippets."""

    event: Event
    data: EventData
    snippets: tuple[ExplainedSnippet, ...]


async def read_explained(
    connection: AsyncConnection, event_id: str, cameras: CameraIds
) -> ExplainedEvent | None:
    """Return an event of these cameras; None when there is none."""
    event = await find_event(connection, event_id, cameras)
    rows = (await connection.execute(select(events).where(events.c.id == event_id))).all()
    if event is None or not rows:
        return None
    frames = {one.snippet: one for one in await find_frames(connection, event_id)}
    (data,) = await data_of(connection, rows)
    by_number = {row.snippet: row for row in data.snippets}
    found = [
        _explained(one, by_number[one.snippet], frames.get(one.snippet), data.pictures.get(one.snippet, ()))
        for one in event.snippets
        if one.snippet in by_number
    ]
    return ExplainedEvent(event, data, tuple(found))


def _explained(
    snippet: Snippet, row: Row[Any], frames: Frames | None, pictures: Sequence[Row[Any]]
) -> ExplainedSnippet:
    label_set = LabelSet.model_validate_json(row.label_set)
    spans = {one["label"]: AcceptedLabel.model_validate(one) for one in json.loads(row.accepted)}
    series = {} if frames is None else {one.label: one for one in frames.series if one.kind == "target"}
    recorded = RecordedDecision(
        snippet.decision,
        () if frames is None else frames.moments,
        tuple(
            _label(label, snippet.peaks, series.get(label), spans.get(label))
            for label in dict.fromkeys(label_set.labels)
        ),
        () if frames is None else tuple(_beside(one) for one in frames.series if one.kind != "target"),
        tuple(picture_of(one) for one in pictures),
        np.array([any(one.embedding) for one in pictures], np.bool_),
    )
    return ExplainedSnippet(snippet, row, label_set, recorded)


def _beside(series: LabelSeries) -> tuple[str, Competitor, tuple[float, ...]]:
    if series.kind == "background":
        return series.label, "background", series.probabilities
    return "", "other", series.probabilities


def _label(
    label: str, peaks: Mapping[str, float], series: LabelSeries | None, accepted: AcceptedLabel | None
) -> RecordedLabel:
    if series is None:
        return RecordedLabel(label, peaks.get(label, 0.0), accepted=accepted)
    return RecordedLabel(
        label,
        peaks.get(label, 0.0),
        series.probabilities,
        None if series.scores is None else np.array(series.scores, np.float32),
        None if series.backgrounds is None else np.array(series.backgrounds, np.float32),
        accepted,
    )
