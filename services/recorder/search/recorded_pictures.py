"""Pictures of the record with their embeddings: a named one, or the one that shows an event best. Knows no HTTP.

An event is shown best at the moment at which its label's share was highest (without a label: any label's), by the crop
of that moment that fits the label's words best. Without a classifier of the same model to embed the words, and without
a label, it is the crop that the rest of its snippet resembles most.

NoPicture  (Permanent)  there is no such event or picture, or none that could be embedded
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.database import Database
from services.recorder.record.queries import find_event
from services.recorder.record.schema import frame_embeddings, frame_probabilities
from services.recorder.record.values import Event
from services.recorder.search.text_requests import NoClassifier, TextEmbedder, TextsRefused
from shared.clock import duration_s
from shared.contract import LabelSet
from shared.errors import Permanent


class NoPicture(Permanent):
    """There is no such picture in the record."""


@dataclass(frozen=True, slots=True)
class RecordedPicture:
    """A picture of the record, and where it lies in its clip; `vector`: float32[D], unit length, of `model`."""

    event: Event
    snippet: int
    picture: int
    model: str
    vector: NDArray[np.float32]
    captured_at: datetime
    offset_s: float
    kind: str  # frame or crop
    box: tuple[float, float, float, float] | None  # x, y, w, h in shares of the frame
    thumbnail_name: str | None


@dataclass(frozen=True, slots=True)
class _Seen:
    """A picture that could be embedded."""

    row: Row[Any]  # Any: columns are read by name
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RecordedPictures:
    """Finds pictures of one record."""

    database: Database
    texts: TextEmbedder

    async def named(
        self, event_id: str, snippet: int, picture: int, cameras: CameraIds = None
    ) -> RecordedPicture:
        """Return one picture by its numbers; raise NoPicture, DatabaseAway or DatabaseBusy."""
        async with self.database.reading() as connection:
            event = await _event(connection, event_id, cameras)
            seen = await _pictures(connection, event.id, snippet)
        for one in seen:
            if one.row.picture == picture:
                return _recorded(event, one)
        what = f"no picture {picture} in clip {snippet} of event {event.id}"
        raise NoPicture(f"{what}, or it could not be read")

    async def best(self, event_id: str, cameras: CameraIds = None) -> RecordedPicture:
        """Return the picture that shows an event best; raise as `named` does."""
        async with self.database.reading() as connection:
            event = await _event(connection, event_id, cameras)
            snippet, moment = await _best_moment(connection, event)
            seen = await _pictures(connection, event.id, snippet)
        if not seen:
            raise NoPicture(f"event {event.id} has no picture that could be embedded")
        crops = [one for one in seen if one.row.kind == "crop"] or seen
        then = [one for one in crops if one.row.moment == moment] or crops
        fits = await self._fits_label(event, then)
        if fits is None:
            fits = _resemblance(then, crops)
        return _recorded(event, then[int(np.argmax(fits))])

    async def _fits_label(self, event: Event, seen: Sequence[_Seen]) -> NDArray[np.float32] | None:
        """Return the cosines of pictures with the event's label; None where they cannot be had."""
        if event.label is None or len(seen) < 2:
            return None
        try:
            embedded = await self.texts.ask(LabelSet(labels=(event.label,)), with_others=False)
        except (NoClassifier, TextsRefused):
            return None
        row = seen[0].row
        if (embedded.name, embedded.embedding_dim) != (row.model, row.dim):
            return None
        fits: NDArray[np.float32] = np.stack([one.vector for one in seen]) @ embedded.texts.embeddings[0]
        return fits


async def _event(connection: AsyncConnection, event_id: str, cameras: CameraIds) -> Event:
    event = await find_event(connection, event_id, cameras)
    if event is None:
        raise NoPicture(f"no event '{event_id[:64]}'")
    return event


async def _best_moment(connection: AsyncConnection, event: Event) -> tuple[int, int]:
    """Return the snippet and moment at which the event's label, or any, had its highest share; of none the first."""
    table = frame_probabilities
    query = select(table.c.snippet, table.c.moment).where(
        table.c.event_id == event.id, table.c.kind == "target"
    )
    if event.label is not None:
        query = query.where(table.c.label == event.label)
    ranked = query.order_by(table.c.probability.desc(), table.c.snippet, table.c.moment)
    found = (await connection.execute(ranked.limit(1))).first()
    return (found.snippet, found.moment) if found else (0, 0)


async def _pictures(connection: AsyncConnection, event_id: str, snippet: int) -> list[_Seen]:
    """Return the pictures of a snippet that could be embedded: zeros stand for the others."""
    table = frame_embeddings
    query = select(table).where(table.c.event_id == event_id, table.c.snippet == snippet)
    seen = []
    for row in await connection.execute(query.order_by(table.c.picture)):
        vector = np.frombuffer(row.embedding, dtype="<f2").astype(np.float32)
        length = float(np.linalg.norm(vector))
        if length > 0.5:
            seen.append(_Seen(row, vector / np.float32(length)))
    return seen


def _resemblance(then: Sequence[_Seen], crops: Sequence[_Seen]) -> NDArray[np.float32]:
    """Return for each picture how much the other moments resemble it: their most alike picture's cosine, summed."""
    vectors, moments = np.stack([one.vector for one in crops]), np.array([one.row.moment for one in crops])
    cosines = np.stack([one.vector for one in then]) @ vectors.T
    others = [moment for moment in np.unique(moments) if moment != then[0].row.moment]
    best = [cosines[:, moments == moment].max(axis=1) for moment in others]
    summed: NDArray[np.float32] = np.sum(best, axis=0) if best else np.zeros(len(then), np.float32)
    return summed


def _recorded(event: Event, seen: _Seen) -> RecordedPicture:
    row = seen.row
    snippet = next(one for one in event.snippets if one.snippet == row.snippet)
    return RecordedPicture(
        event,
        row.snippet,
        row.picture,
        row.model,
        seen.vector,
        row.captured_at,
        duration_s(snippet.started_at, row.captured_at),
        row.kind,
        None if row.box_x is None else (row.box_x, row.box_y, row.box_w, row.box_h),
        snippet.thumbnail_name,
    )
