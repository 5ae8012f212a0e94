"""Finds the events whose pictures are nearest to an embedding, each with its best one. Knows no HTTP, no classifier."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Row, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import narrowed, of_cameras
from services.recorder.record.database import Database
from services.recorder.record.queries import find_events_by_id
from services.recorder.record.schema import events, frame_embeddings, snippets
from services.recorder.record.values import Event
from services.recorder.search.floor import Floor
from services.recorder.search.index import EmbeddingIndex, Extent
from services.recorder.search.vectors import Picture, PictureFilter
from shared.clock import duration_s

CATCH_UP_S = 2.0  # what was recorded just now is waited for this long
PICTURES_AN_EVENT = 8  # candidates for each event that is wanted: an event has several good pictures
ROUNDS = 4  # each with 8 times the candidates
CANDIDATES_MAX = 20_000
AT_ONCE = 2  # searches that scan at the same time; others wait
KEYS_AT_ONCE = 100
OBJECT_PICTURES = 32  # of one object that tell whether it matches


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for: float32[D], unit length, as `model` embeds it; `floor` tells which pictures match it."""

    model: str
    vector: NDArray[np.float32]
    floor: Floor
    within: PictureFilter = field(default_factory=PictureFilter)
    limit: int = 24


@dataclass(frozen=True, slots=True)
class Hit:
    """An event, and its picture that fits best. `similarity` is the cosine of the picture and what is sought, -1..1."""

    event: Event
    similarity: float
    is_good: bool | None  # a match, as the nearest one is; None: too little is known to tell
    captured_at: datetime
    offset_s: float  # of the moment in the clip
    snippet: int
    picture: int
    kind: str  # frame or crop
    box: tuple[float, float, float, float] | None  # x, y, w, h in shares of the frame
    clip_name: str | None
    thumbnail_name: str | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Events, best first, and what they were chosen from."""

    hits: tuple[Hit, ...]
    extent: Extent
    took_s: float


@dataclass(frozen=True, slots=True)
class NearestEvents:
    """Ranks the events of one record."""

    index: EmbeddingIndex
    database: Database
    catch_up_s: float = CATCH_UP_S
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def find(self, sought: Sought) -> Ranking:
        """Return the events that fit best; raise DatabaseAway or DatabaseBusy."""
        began = time.perf_counter()
        await self.index.catch_up(self.catch_up_s)  # while an index is built, search what it has
        async with self._gate:
            hits = await self._hits(sought)
        extent = await asyncio.to_thread(
            self.index.extent, sought.model, len(sought.vector), sought.within.cameras
        )
        return Ranking(tuple(hits), extent, time.perf_counter() - began)

    async def _hits(self, sought: Sought) -> list[Hit]:
        n = max(64, PICTURES_AN_EVENT * sought.limit)
        for _ in range(ROUNDS):
            candidates = await self.index.nearest(sought.model, sought.vector, sought.within, n)
            async with self.database.reading() as connection:
                best = await _best(connection, sought, candidates)
                if len(best) >= sought.limit or len(candidates) < n or n >= CANDIDATES_MAX:
                    return await _completed(connection, best[: sought.limit], sought)
            n = min(8 * n, CANDIDATES_MAX)
        async with self.database.reading() as connection:
            return await _completed(connection, best[: sought.limit], sought)


_Row = Row[*tuple[Any, ...]]  # Any: columns are read by name


@dataclass(frozen=True, slots=True)
class _Scored:
    similarity: float
    row: _Row

    @property
    def vector(self) -> NDArray[np.float32]:
        return _vector(self.row.embedding)

    @property
    def object(self) -> tuple[str, int, int]:
        """The object that the picture shows: event, snippet, track."""
        return self.row.event_id, self.row.snippet, self.row.track


def _vector(embedding: bytes) -> NDArray[np.float32]:
    return np.frombuffer(embedding, dtype="<f2").astype(np.float32)


async def _best(connection: AsyncConnection, sought: Sought, candidates: Sequence[Picture]) -> list[_Scored]:
    """Return each event's best picture with its exact cosine, best first; what is gone from the record is left out.

    The index has looked at the cameras already; the record decides what may be seen.
    """
    table, clip, query = frame_embeddings, snippets, sought.vector
    cameras = narrowed(sought.within.camera, sought.within.cameras)
    mine = [] if cameras is None else [table.c.event_id == events.c.id, *of_cameras(events.c.camera, cameras)]
    best: dict[str, _Scored] = {}
    for start in range(0, len(candidates), KEYS_AT_ONCE):
        keys = [
            and_(
                table.c.event_id == one.event_id,
                table.c.snippet == one.snippet,
                table.c.picture == one.picture,
            )
            for one in candidates[start : start + KEYS_AT_ONCE]
        ]
        rows = await connection.execute(
            select(
                *(table.c[name] for name in ("event_id", "snippet", "picture", "captured_at", "kind")),
                *(table.c[name] for name in ("box_x", "box_y", "box_w", "box_h", "embedding", "track")),
                clip.c.started_at,
                clip.c.clip_name,
                clip.c.thumbnail_name,
            )
            .join(clip, and_(clip.c.event_id == table.c.event_id, clip.c.snippet == table.c.snippet))
            .where(or_(*keys), table.c.model == sought.model, table.c.dim == len(query), *mine)
        )
        for row in rows:
            scored = _Scored(float(_vector(row.embedding) @ query), row)
            if row.event_id not in best or scored.similarity > best[row.event_id].similarity:
                best[row.event_id] = scored
    return sorted(best.values(), key=lambda scored: (-scored.similarity, scored.row.event_id))


async def _completed(connection: AsyncConnection, best: Sequence[_Scored], sought: Sought) -> list[Hit]:
    found = await find_events_by_id(connection, [scored.row.event_id for scored in best])
    there = [scored for scored in best if scored.row.event_id in found]
    if not there:
        return []
    passed = sought.floor.passes(await _objects(connection, there, sought), sought.vector)
    are_good = [None] * len(there) if passed is None else [bool(one and passed[0]) for one in passed]
    return [
        _hit(found[scored.row.event_id], scored, is_good)
        for scored, is_good in zip(there, are_good, strict=True)
    ]


async def _objects(
    connection: AsyncConnection, best: Sequence[_Scored], sought: Sought
) -> list[NDArray[np.float32]]:
    """Return each hit's pictures of the object that its best one shows; that one alone where nobody knows more."""
    table, known = frame_embeddings, [scored.object for scored in best if scored.row.track is not None]
    found: dict[tuple[str, int, int], list[NDArray[np.float32]]] = {}
    for start in range(0, len(known), KEYS_AT_ONCE):
        keys = [
            and_(table.c.event_id == event_id, table.c.snippet == snippet, table.c.track == track)
            for event_id, snippet, track in known[start : start + KEYS_AT_ONCE]
        ]
        columns = (table.c[name] for name in ("event_id", "snippet", "track", "embedding"))
        mine = (table.c.model == sought.model, table.c.dim == len(sought.vector))
        for row in await connection.execute(select(*columns).where(or_(*keys), *mine)):
            vector = _vector(row.embedding)
            if vector.any():  # zeros stand for a picture that could not be read
                found.setdefault((row.event_id, row.snippet, row.track), []).append(vector)
    return [np.stack(found.get(scored.object, [scored.vector])[:OBJECT_PICTURES]) for scored in best]


def _hit(event: Event, scored: _Scored, is_good: bool | None) -> Hit:
    row = scored.row
    box = None if row.box_x is None else (row.box_x, row.box_y, row.box_w, row.box_h)
    return Hit(
        event,
        scored.similarity,
        is_good,
        row.captured_at,
        duration_s(row.started_at, row.captured_at),
        row.snippet,
        row.picture,
        row.kind,
        box,
        row.clip_name,
        row.thumbnail_name,
    )
