"""Searches all pictures of the record by words: the best events first, each with its best moment. Knows no HTTP."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from services.recorder.search.common_words import CommonWords
from services.recorder.search.floor import WordFloor
from services.recorder.search.nearest_events import NearestEvents, Ranking, Sought
from services.recorder.search.text_requests import TextEmbedder
from services.recorder.search.vectors import PictureFilter
from shared.contract import LabelSet


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What is looked for."""

    query: str
    within: PictureFilter = field(default_factory=PictureFilter)
    limit: int = 24


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to a search; `embed_s`: the classifier's part of the time."""

    model: str
    ranking: Ranking
    embed_s: float


@dataclass(frozen=True, slots=True)
class Search:
    """Answers searches by words over one record."""

    texts: TextEmbedder
    common: CommonWords
    nearest: NearestEvents

    async def find(self, request: SearchRequest) -> SearchResult:
        """Return the events that fit best; raise NoClassifier, TextsRefused, DatabaseAway or DatabaseBusy."""
        began = time.perf_counter()
        embedded = await self.texts.ask(LabelSet(labels=(request.query,)), with_others=False)
        query = embedded.texts.embeddings[0]
        floor = WordFloor(await self.common.of(embedded.name, len(query)))
        embed_s = time.perf_counter() - began
        sought = Sought(embedded.name, query, floor, request.within, request.limit)
        ranking = await self.nearest.find(sought)
        return SearchResult(embedded.name, ranking, embed_s)
