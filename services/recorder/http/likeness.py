"""Search by likeness: the events that look like a picture of the record, or like one that is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import AwareDatetime, BaseModel

from services.recorder.http.events import no_event
from services.recorder.http.models import media_url
from services.recorder.http.rules import LIKE_RULE
from services.recorder.http.search import RankingOut, model_loading, ranking_fields, texts_fault
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from services.recorder.record.camera_filter import CameraIds
from services.recorder.search.likeness import LikeRequest, LikeResult
from services.recorder.search.picture_requests import PicturesRefused
from services.recorder.search.recorded_pictures import NoPicture, RecordedPicture
from services.recorder.search.text_requests import NoClassifier
from services.recorder.search.vectors import PictureFilter
from shared.http_api import ApiFault, IsoTime, bounded_body, documented

_PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in LIKE_RULE.content_types
        },
    }
}


class PictureOut(BaseModel):
    """A picture of the record: of which event, where in its clip, and where in the frame (null: all of it)."""

    event_id: str
    camera: str
    label: str | None
    snippet: int
    picture: int
    captured_at: AwareDatetime
    offset_s: float
    kind: str
    box: tuple[float, float, float, float] | None
    thumbnail_url: str | None


class LikeOut(RankingOut):
    """What looks like a picture; `of` null: like the one that was sent. `picture_s`: time to its embedding."""

    of: PictureOut | None
    picture_s: float


@dataclass(frozen=True, slots=True)
class Where:
    """Where a search by likeness looks."""

    camera: Annotated[str | None, Query(max_length=64, description="only this camera")] = None
    since: Annotated[IsoTime | None, Query(description="seen at this time or later")] = None
    until: Annotated[IsoTime | None, Query(description="seen before this time")] = None
    limit: Annotated[int, Query(ge=1, le=200)] = 24

    def filter(self, viewer: CameraIds) -> PictureFilter:
        """Return the filter for the index."""
        return PictureFilter(self.camera, self.since, self.until, viewer)


@dataclass(frozen=True, slots=True)
class Which:
    """Which picture of the record is compared."""

    event: Annotated[str, Query(pattern="^[0-9a-f-]{36}$", description="the event that the picture is of")]
    snippet: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="of which clip, as results say it; with `picture`")
    ] = None
    picture: Annotated[
        int | None, Query(ge=0, le=2**31 - 1, description="which of its pictures; left out: the best one")
    ] = None

    def numbers(self) -> tuple[int, int] | None:
        """Return the picture's numbers; raise ApiFault when there is but one of them."""
        if self.snippet is None and self.picture is None:
            return None
        if self.snippet is None or self.picture is None:
            missing = "snippet" if self.snippet is None else "picture"
            raise ApiFault(400, f"no {missing}", "both numbers of a picture, or neither", f"add '{missing}'")
        return self.snippet, self.picture


def likeness_routes(api: ApiState) -> APIRouter:
    """Return the routes of the search by likeness."""
    router = APIRouter(prefix="/api/search", tags=["search"])

    @router.get("/like", responses=documented(404))
    async def like(
        which: Annotated[Which, Depends()],
        where: Annotated[Where, Depends()],
        response: Response,
        viewer: Viewer,
    ) -> LikeOut:
        """Other events that look like a picture of an event; without its numbers, like the one that shows it best."""
        if api.likeness is None:
            raise starting()
        request = LikeRequest(which.event, which.numbers(), where.filter(viewer), where.limit)
        try:
            found = await api.likeness.find(request)
        except NoPicture as exc:
            raise _no_picture(which, exc) from exc
        response.headers["cache-control"] = "no-store"
        return _like_out(found)

    @router.post("/like", openapi_extra=_PICTURE_BODY)
    async def like_sent(
        request: Request, where: Annotated[Where, Depends()], response: Response, viewer: Viewer
    ) -> LikeOut:
        """Events that look like the picture in the body: JPEG, PNG or WebP. It is not kept."""
        if api.likeness is None:
            raise starting()
        if api.pipeline.is_model_loading:
            raise model_loading()
        picture = await bounded_body(request, LIKE_RULE.body_max_bytes)
        if not picture:
            raise ApiFault(400, "an empty body", "a JPEG, PNG or WebP", "send a picture")
        try:
            found = await api.likeness.find_sent(picture, where.filter(viewer), where.limit)
        except NoClassifier as exc:
            raise texts_fault(exc) from exc
        except PicturesRefused as exc:
            do = "send another picture, or the same scaled down"
            raise ApiFault(400, str(exc), "a picture that the classifier takes", do) from exc
        response.headers["cache-control"] = "no-store"
        return _like_out(found)

    return router


def _no_picture(which: Which, exc: NoPicture) -> ApiFault:
    fault = no_event(which.event)
    if str(exc) == fault.texts[0].found:
        return fault
    return ApiFault(
        404, str(exc), "a picture of the record that is embedded", "name another picture or event"
    )


def _like_out(found: LikeResult) -> LikeOut:
    of = None if found.of is None else _picture_out(found.of)
    return LikeOut(of=of, picture_s=round(found.embed_s, 4), **ranking_fields(found.model, found.ranking))


def _picture_out(of: RecordedPicture) -> PictureOut:
    return PictureOut(
        event_id=of.event.id,
        camera=of.event.camera,
        label=of.event.label,
        snippet=of.snippet,
        picture=of.picture,
        captured_at=of.captured_at,
        offset_s=of.offset_s,
        kind=of.kind,
        box=of.box,
        thumbnail_url=media_url(of.thumbnail_name),
    )
