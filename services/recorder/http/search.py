"""Search by words: the events whose pictures fit best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel

from services.recorder.http.models import EventOut, event_out, media_url
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from services.recorder.record.camera_filter import CameraIds
from services.recorder.search.nearest_events import Hit, Ranking
from services.recorder.search.text_requests import NoClassifier, TextsRefused
from services.recorder.search.vectors import PictureFilter
from services.recorder.search.words import SearchRequest
from shared.http_api import ApiFault, IsoTime

QUERY_CHARS = 200


class HitOut(BaseModel):
    """An event and its picture that fits best; `similarity` is a cosine, to be compared within one answer.

    `is_good`: it matches, and is not merely the nearest there is; null: too little is known to tell. `snippet` and
    `picture` are the picture's numbers, as /api/search/like takes them.
    """

    event: EventOut
    similarity: float
    is_good: bool | None
    captured_at: AwareDatetime
    offset_s: float
    snippet: int
    picture: int
    kind: str
    box: tuple[float, float, float, float] | None
    clip_url: str | None
    thumbnail_url: str | None


class RankingOut(BaseModel):
    """Events, best first. `left_out`: pictures that another model embedded; false `is_complete`: still indexing.

    `is_good`: at least one of them matches; false: no good match; null: too little is known to tell.
    """

    model: str
    is_good: bool | None
    results: list[HitOut]
    searched: int
    left_out: int
    is_complete: bool
    took_s: float


class SearchOut(RankingOut):
    """What fits words best; `text_s`: how long the classifier took for them."""

    query: str
    text_s: float


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """The parameters of /api/search."""

    q: Annotated[str, Query(min_length=1, max_length=QUERY_CHARS, description="what is looked for, in words")]
    camera: Annotated[str | None, Query(max_length=64, description="only this camera")] = None
    since: Annotated[IsoTime | None, Query(description="seen at this time or later")] = None
    until: Annotated[IsoTime | None, Query(description="seen before this time")] = None
    limit: Annotated[int, Query(ge=1, le=200)] = 24

    def request(self, viewer: CameraIds) -> SearchRequest:
        """Return the search that is asked for; raises ApiFault when there are no words."""
        if not self.q.strip():
            what = "say what to look for, such as 'a person with a red umbrella'"
            raise ApiFault(400, f"q={self.q!r}", "words", what)
        pictures = PictureFilter(self.camera, self.since, self.until, viewer)
        return SearchRequest(self.q.strip(), pictures, self.limit)


def search_routes(api: ApiState) -> APIRouter:
    """Return the route of the search."""
    router = APIRouter(prefix="/api", tags=["search"])

    @router.get("/search")
    async def find(query: Annotated[SearchQuery, Depends()], response: Response, viewer: Viewer) -> SearchOut:
        """Events whose pictures fit the words best."""
        request = query.request(viewer)
        if api.search is None:
            raise starting()
        if api.pipeline.is_model_loading:
            raise model_loading()
        try:
            found = await api.search.find(request)
        except (NoClassifier, TextsRefused) as exc:
            raise texts_fault(exc) from exc
        response.headers["cache-control"] = "no-store"
        fields = ranking_fields(found.model, found.ranking)
        return SearchOut(query=request.query, text_s=round(found.embed_s, 4), **fields)

    return router


def model_loading() -> ApiFault:
    """Return the answer while no classifier has its model yet."""
    do = "wait until the model is loaded, then try again"
    return ApiFault(503, "the classifier is still loading its model", "a classifier that is ready", do)


def texts_fault(exc: NoClassifier | TextsRefused) -> ApiFault:
    """Return the answer for a classifier that gave no embeddings."""
    if isinstance(exc, NoClassifier):
        return ApiFault(
            503,
            str(exc),
            "a running classifier: it turns words and pictures into numbers",
            "start the classifier (or wait until its model is loaded), then try again",
        )
    return ApiFault(400, str(exc), "words that the model takes", "change the words")


def ranking_fields(model: str, ranking: Ranking) -> dict[str, Any]:  # Any: fields of RankingOut
    """Return the fields of a RankingOut."""
    said = {hit.is_good for hit in ranking.hits}
    return {
        "model": model,
        "is_good": None if None in said else any(said),
        "results": [_hit_out(hit) for hit in ranking.hits],
        "searched": ranking.extent.searched,
        "left_out": ranking.extent.left_out,
        "is_complete": ranking.extent.is_complete,
        "took_s": round(ranking.took_s, 4),
    }


def _hit_out(hit: Hit) -> HitOut:
    return HitOut(
        event=event_out(hit.event),
        similarity=round(hit.similarity, 5),
        is_good=hit.is_good,
        captured_at=hit.captured_at,
        offset_s=hit.offset_s,
        snippet=hit.snippet,
        picture=hit.picture,
        kind=hit.kind,
        box=hit.box,
        clip_url=media_url(hit.clip_name),
        thumbnail_url=media_url(hit.thumbnail_name),
    )
