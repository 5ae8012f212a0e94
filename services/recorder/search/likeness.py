"""Searches for events that look like a picture: one of the record, or one that is sent. Knows no HTTP.

A picture of the record is embedded already: no classifier is needed to search by it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.recorder.search.floor import PictureFloor
from services.recorder.search.nearest_events import NearestEvents, Ranking, Sought
from services.recorder.search.picture_requests import PictureEmbedder
from services.recorder.search.recorded_pictures import RecordedPicture, RecordedPictures
from services.recorder.search.vectors import PictureFilter

COHORT = 512  # pictures of the record that a match is compared with


@dataclass(frozen=True, slots=True)
class LikeRequest:
    """A picture of the record, by its numbers, or (None) the one that shows its event best; and where to look."""

    event_id: str
    picture: tuple[int, int] | None = None  # snippet, number within it
    within: PictureFilter = field(default_factory=PictureFilter)
    limit: int = 24


@dataclass(frozen=True, slots=True)
class LikeResult:
    """The events that look like `of` (None: like the picture that was sent); `embed_s`: time to its embedding."""

    model: str
    ranking: Ranking
    embed_s: float
    of: RecordedPicture | None = None


@dataclass(frozen=True, slots=True)
class Likeness:
    """Answers searches by pictures over one record."""

    pictures: PictureEmbedder
    recorded: RecordedPictures
    nearest: NearestEvents

    async def find(self, request: LikeRequest) -> LikeResult:
        """Return the events that look like a picture of the record, without its own.

        Raises NoPicture, DatabaseAway or DatabaseBusy.
        """
        began = time.perf_counter()
        cameras = request.within.cameras
        if request.picture is None:
            of = await self.recorded.best(request.event_id, cameras)
        else:
            of = await self.recorded.named(request.event_id, *request.picture, cameras)
        embed_s = time.perf_counter() - began
        within = replace(request.within, but_event=of.event.id)
        ranking = await self._nearest(of.model, of.vector, within, request.limit)
        return LikeResult(of.model, ranking, embed_s, of)

    async def find_sent(self, picture: bytes, within: PictureFilter, limit: int) -> LikeResult:
        """Return the events that look like a JPEG, PNG or WebP.

        Raises NoClassifier, PicturesRefused, DatabaseAway or DatabaseBusy.
        """
        began = time.perf_counter()
        embedded = await self.pictures.ask([picture])
        embed_s = time.perf_counter() - began
        ranking = await self._nearest(embedded.model, embedded.embeddings[0], within, limit)
        return LikeResult(embedded.model, ranking, embed_s)

    async def _nearest(
        self, model: str, vector: NDArray[np.float32], within: PictureFilter, limit: int
    ) -> Ranking:
        cohort = await self.nearest.index.sample(model, len(vector), COHORT, within.cameras)
        return await self.nearest.find(Sought(model, vector, PictureFloor(cohort), within, limit))
