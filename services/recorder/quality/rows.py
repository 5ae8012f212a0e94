"""Reads what was recorded and what was said of it, for the estimates. Writes nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, false, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.quality.values import EventLabel, RecordedMotion, RecordedUnits
from services.recorder.record.camera_filter import CameraIds, of_cameras
from services.recorder.record.retention import RetentionLimits, too_old
from services.recorder.record.schema import detections, events, snippets, verdicts
from shared.clock import to_millis
from shared.contract import DecisionSettings, LabelSet
from shared.quality.answers import StandingVerdict

LABELS_MAX = 100_000  # newest detections that are looked at
MOTIONS_MAX = 20_000  # newest events without a label
_IDS_AT_ONCE = 500
_ROWS_AT_ONCE = 1000
_IS_SHOWN = or_(events.c.clip_name.is_not(None), events.c.thumbnail_name.is_not(None)).label("is_shown")


async def recorded_units(
    connection: AsyncConnection, limits: RetentionLimits, now: datetime, days: float, cameras: CameraIds
) -> RecordedUnits:
    """Return what was recorded in the last days on these cameras, and the verdicts on it that stand.

    Without the events that are older than retention allows: those that are still there were judged or protected, and
    are no sample of what there was.
    """
    now = to_millis(now)
    since = now - timedelta(days=days)
    is_within = ~too_old(limits, now)
    labels, labels_since = await _labels(connection, since, is_within, cameras)
    motions, motions_since = await _motions(connection, since, is_within, cameras)
    said = await _said(connection, since, cameras)
    return RecordedUnits(now, labels_since, labels, motions, motions_since, said)


async def _labels(
    connection: AsyncConnection, since: datetime, is_within: ColumnElement[bool], cameras: CameraIds
) -> tuple[list[EventLabel], datetime]:
    """Return the labels, oldest first, and since when they are all there."""
    query = (
        select(
            detections.c.event_id,
            detections.c.camera,
            detections.c.event_started_at,
            detections.c.label,
            detections.c.probability,
            events.c.ended_at,
            _IS_SHOWN,
        )
        .join(events, events.c.id == detections.c.event_id)
        .where(detections.c.event_started_at >= since, events.c.is_open == false())
        .where(is_within, *of_cameras(detections.c.camera, cameras))
        .order_by(detections.c.event_started_at.desc())
        .limit(LABELS_MAX)
    )
    found: list[EventLabel] = []
    started_at = since
    async for row in _rows_of(connection, query):
        started_at = row.event_started_at
        found.append(
            EventLabel(
                row.event_id, row.camera, row.ended_at.timestamp(), row.is_shown, row.label, row.probability
            )
        )
    return found[::-1], started_at if len(found) == LABELS_MAX else since


async def _motions(
    connection: AsyncConnection, since: datetime, is_within: ColumnElement[bool], cameras: CameraIds
) -> tuple[list[RecordedMotion], datetime]:
    """Return the events without a label, oldest first, and since when they are all there."""
    query = (
        select(events.c.id, events.c.camera, events.c.started_at, events.c.ended_at, _IS_SHOWN)
        .where(events.c.is_accepted == false(), events.c.is_open == false(), events.c.started_at >= since)
        .where(is_within, *of_cameras(events.c.camera, cameras))
        .order_by(events.c.started_at.desc())
        .limit(MOTIONS_MAX)
    )
    rows = [row async for row in _rows_of(connection, query)]
    peaks = await _peaks(connection, [row.id for row in rows])
    found = [
        RecordedMotion(
            row.id, row.camera, row.ended_at.timestamp(), row.is_shown, *peaks.get(row.id, (0.0, {}))
        )
        for row in reversed(rows)
    ]
    return found, rows[-1].started_at if len(rows) == MOTIONS_MAX else since


async def _rows_of(
    connection: AsyncConnection, query: Select[Any]
) -> AsyncIterator[Row[Any]]:  # Any: columns are read by name
    """Return the rows of a query one by one; others have their turn in between."""
    found = await connection.stream(query)
    async for rows in found.partitions(_ROWS_AT_ONCE):
        for row in rows:
            yield row


async def _said(
    connection: AsyncConnection, since: datetime, cameras: CameraIds
) -> dict[str, list[StandingVerdict]]:
    query = (
        select(
            verdicts.c.event_id,
            verdicts.c.kind,
            verdicts.c.label,
            verdicts.c.recorded,
            verdicts.c.made_at,
            verdicts.c.drawn_with,
            verdicts.c.drawn_at,
        )
        .where(and_(verdicts.c.made_at >= since, verdicts.c.event_started_at >= since))
        .where(verdicts.c.undone_at.is_(None), *of_cameras(verdicts.c.camera, cameras))
        .order_by(verdicts.c.made_at, verdicts.c.id)
    )
    said: dict[str, list[StandingVerdict]] = defaultdict(list)
    async for row in _rows_of(connection, query):
        said[row.event_id].append(
            StandingVerdict(
                row.kind,
                row.label,
                frozenset(json.loads(row.recorded)),
                row.made_at.timestamp(),
                row.drawn_with,
                None if row.drawn_at is None else row.drawn_at.timestamp(),
            )
        )
    return said


async def _peaks(
    connection: AsyncConnection, ids: Sequence[str]
) -> dict[str, tuple[float, dict[str, float]]]:
    """Return for each event the best peak of all, and that of each label that was asked for."""
    found: dict[str, tuple[float, dict[str, float]]] = {}
    parsed = _ParsedSettings()
    for start in range(0, len(ids), _IDS_AT_ONCE):
        query = select(
            snippets.c.event_id, snippets.c.peaks, snippets.c.label_set, snippets.c.decision
        ).where(snippets.c.event_id.in_(ids[start : start + _IDS_AT_ONCE]))
        async for row in _rows_of(connection, query):
            labels, threshold = parsed.of(row.label_set, row.decision)
            said: dict[str, float] = json.loads(row.peaks)
            highest, best = found.get(row.event_id, (0.0, {}))
            for label in labels:
                peak = said.get(label, 0.0)
                highest = max(highest, peak)
                best[label] = max(best.get(label, -1.0), peak if peak < threshold else -1.0)
            found[row.event_id] = highest, best
    return found


@dataclass(slots=True)
class _ParsedSettings:
    """Label sets and decisions are the same for many snippets: each text is read once."""

    labels: dict[str, Sequence[str]] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)

    def of(self, label_set: str, decision: str) -> tuple[Sequence[str], float]:
        """Return the labels and the threshold of a snippet."""
        if label_set not in self.labels:
            self.labels[label_set] = LabelSet.model_validate_json(label_set).labels
        if decision not in self.thresholds:
            self.thresholds[decision] = DecisionSettings.model_validate_json(decision).threshold
        return self.labels[label_set], self.thresholds[decision]


async def threshold_now(connection: AsyncConnection, camera: str) -> float | None:
    """Return the threshold that the camera's newest event was decided with; None: it has none."""
    query = (
        select(snippets.c.decision)
        .join(events, events.c.id == snippets.c.event_id)
        .where(events.c.camera == camera)
        .order_by(events.c.started_at.desc(), snippets.c.snippet.desc())
        .limit(1)
    )
    decision = await connection.scalar(query)
    return None if decision is None else DecisionSettings.model_validate_json(decision).threshold
