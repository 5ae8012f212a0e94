"""A snippet as the classifier saw it, from the rows that are kept of it: what a decision needs, to be made again."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import Row

from services.recorder.search.hindsight_rows import EventData
from shared.contract import Box, DecisionSettings, LabelSet, PictureInfo, SnippetHeader, SnippetMessage
from shared.decisions.labeller import EmbeddedSnippet, ModelProperties


def recorded_snippet(
    row: Row[Any],  # Any: columns are read by name
    data: EventData,
    label_set: LabelSet,
    decision: DecisionSettings,
    facts: ModelProperties,
) -> EmbeddedSnippet | None:
    """Return a row of `snippets` of an event, to be decided by other labels or settings.

    None when there are no pictures, or their embeddings are not of the model that `facts` tell of.
    """
    pictures = data.pictures.get(row.snippet, ())
    known = (facts.name, facts.embedding_dim)
    if not pictures or any(
        (one.model, one.dim) != known or len(one.embedding) != 2 * one.dim for one in pictures
    ):
        return None
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
        pictures=tuple(picture_of(one) for one in pictures),
    )
    halves = np.frombuffer(b"".join(one.embedding for one in pictures), dtype="<f2")
    vectors = halves.astype(np.float32).reshape(len(pictures), facts.embedding_dim)
    return EmbeddedSnippet(SnippetMessage(header, ()), vectors, np.abs(vectors).max(axis=1) > 0)


def picture_of(row: Row[Any]) -> PictureInfo:
    """Return what a row of `frame_embeddings` says of its picture."""
    box = None if row.box_x is None else Box(x=row.box_x, y=row.box_y, w=row.box_w, h=row.box_h)
    # its size in pixels is not kept, and says nothing to a decision
    return PictureInfo(
        moment=row.moment,
        kind=row.kind,
        captured_at=row.captured_at,
        width=1,
        height=1,
        box=box,
        track=row.track,
    )
