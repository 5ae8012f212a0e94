"""Signed links to events: making, listing and revoking them, and what one shows to somebody without a login.

POST, GET, DELETE /api/events/{event_id}/links     who may change the record
GET               /api/links                       all that open something
DELETE            /api/links/{link_id}
GET               /shared/{token}                  a page; below it `event` (JSON), `clip` and `thumbnail`
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.recorder.access.links import (
    EventLink,
    EventLinks,
    LinkEnded,
    NewLink,
    OpenLink,
    SharedEvent,
    TooManyLinks,
)
from services.recorder.http.events import no_event
from services.recorder.http.media import FILE_ANSWERS, file_response
from services.recorder.http.shared_page import shared_page
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from shared.http_access import identity_of
from shared.http_api import ApiFault, content, documented

HOURS_MAX = 8760
SHARED_HEADERS = {
    "cache-control": "private, no-store",  # what was revoked is shown no more
    "cross-origin-resource-policy": "cross-origin",  # Home Assistant shows them on pages of its own
    "x-robots-tag": "noindex, nofollow",
}


class LinkIn(BaseModel):
    """What is asked for: for how long, and what for."""

    model_config = ConfigDict(extra="forbid")

    hours: Annotated[float, Field(gt=0, le=HOURS_MAX)]
    note: Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")] = ""


class LinkOut(BaseModel):
    """A link that opens its event. `url` is all that somebody needs; `target`: of the notify file, that was sent it."""

    id: str
    url: str
    note: str
    made_by: str
    target: str | None
    made_at: AwareDatetime
    ends_at: AwareDatetime


class OpenLinkOut(BaseModel):
    """A link that somebody made and that opens an event now. Its address stands with the event's own links."""

    id: str
    note: str
    made_by: str
    made_at: AwareDatetime
    ends_at: AwareDatetime
    event_id: str
    camera: str
    label: str | None
    started_at: AwareDatetime


class OpenLinksOut(BaseModel):
    """The newest 500; `sent_to_targets` counts those that targets of the notify file were sent."""

    links: list[OpenLinkOut]
    sent_to_targets: int


class RevokedOut(BaseModel):
    revoked: int


class SharedOut(BaseModel):
    """What a link shows of its event; addresses are relative to this one."""

    camera: str
    label: str | None
    labels: list[str]
    started_at: AwareDatetime
    ended_at: AwareDatetime
    clip_url: str | None
    thumbnail_url: str | None
    ends_at: AwareDatetime


def link_routes(api: ApiState) -> APIRouter:
    """Return the routes by which links are made, listed and revoked."""
    router = APIRouter(prefix="/api", tags=["links"])

    @router.post("/events/{event_id}/links", status_code=201, responses=documented(409))
    async def make(
        event_id: str, asked: LinkIn, request: Request, response: Response, viewer: Viewer
    ) -> LinkOut:
        """Make a link that opens this event without a login until it ends or is revoked."""
        new = NewLink(timedelta(hours=asked.hours), identity_of(request).name, asked.note)
        try:
            made = await _links(api).make(event_id, new, viewer)
        except TooManyLinks as exc:
            do = "revoke those that nobody needs"
            raise ApiFault(409, "an event with as many links as one may have", "fewer links", do) from exc
        if made is None:
            raise no_event(event_id)
        response.headers["cache-control"] = "no-store"
        return _link_out(made)

    @router.get("/events/{event_id}/links")
    async def links(event_id: str, response: Response, viewer: Viewer) -> list[LinkOut]:
        """The links that open this event, the newest first."""
        found = await _links(api).of_event(event_id, viewer)
        if found is None:
            raise no_event(event_id)
        response.headers["cache-control"] = "no-store"
        return [_link_out(link) for link in found]

    @router.delete("/events/{event_id}/links")
    async def revoke_all(event_id: str, viewer: Viewer) -> RevokedOut:
        """Revoke all links of this event, those of notifications among them."""
        revoked = await _links(api).revoke_all(event_id, viewer)
        if revoked is None:
            raise no_event(event_id)
        return RevokedOut(revoked=revoked)

    _add_list(router, api)
    return router


def _add_list(router: APIRouter, api: ApiState) -> None:
    @router.get("/links")
    async def all_links(response: Response, viewer: Viewer) -> OpenLinksOut:
        """The links that people made and that open something, the newest first."""
        found = await _links(api).all_open(viewer)
        response.headers["cache-control"] = "no-store"
        listed = [_open_link_out(one) for one in found.links]
        return OpenLinksOut(links=listed, sent_to_targets=found.n_of_targets)

    @router.delete("/links/{link_id}")
    async def revoke(link_id: str, viewer: Viewer) -> RevokedOut:
        """Revoke one link."""
        if not await _links(api).revoke(link_id, viewer):
            do = "look in /api/events/{event_id}/links"
            raise ApiFault(404, "no such link", "the id of a link that is not revoked", do)
        return RevokedOut(revoked=1)


def shared_routes(api: ApiState) -> APIRouter:
    """Return the routes that a link opens: its page, and what the page shows."""
    router = APIRouter(prefix="/shared", tags=["links"], responses=documented(410))

    @router.get("/{token}", response_class=Response, responses=content("text/html"))
    async def page(token: str) -> HTMLResponse:
        """The page of one event: its clip, its label, its time."""
        return HTMLResponse(shared_page(await _opened(api, token), token), headers=SHARED_HEADERS)

    @router.get("/{token}/event")
    async def event(token: str, response: Response) -> SharedOut:
        """What the page shows, as JSON."""
        shared = await _opened(api, token)
        response.headers.update(SHARED_HEADERS)
        return _shared_out(shared)

    @router.head("/{token}/clip", include_in_schema=False)
    @router.get(
        "/{token}/clip", response_class=FileResponse, responses={**content("video/mp4"), **FILE_ANSWERS}
    )
    async def clip(token: str, request: Request) -> Response:
        """The clip that shows the event best, with ranges."""
        shared = await _opened(api, token)
        return await file_response(api, shared.event.clip_name, request, SHARED_HEADERS)

    @router.head("/{token}/thumbnail", include_in_schema=False)
    @router.get(
        "/{token}/thumbnail", response_class=FileResponse, responses={**content("image/jpeg"), **FILE_ANSWERS}
    )
    async def thumbnail(token: str, request: Request) -> Response:
        """The picture of that clip."""
        shared = await _opened(api, token)
        return await file_response(api, shared.event.thumbnail_name, request, SHARED_HEADERS)

    return router


def _links(api: ApiState) -> EventLinks:
    if api.links is None:
        raise starting()
    return api.links


async def _opened(api: ApiState, token: str) -> SharedEvent:
    ask = "ask whoever sent it for a new one"
    try:
        found = await _links(api).open(token)
    except LinkEnded as exc:
        raise ApiFault(410, "this link has ended", "a link that still lasts", ask) from exc
    if found is None:
        raise ApiFault(404, "this link opens nothing", "the link as it was sent, to its last character", ask)
    return found


def _link_out(link: EventLink) -> LinkOut:
    return LinkOut(
        id=link.id,
        url=f"/shared/{link.token}",
        note=link.note,
        made_by=link.made_by,
        target=link.target,
        made_at=link.made_at,
        ends_at=link.ends_at,
    )


def _open_link_out(one: OpenLink) -> OpenLinkOut:
    link = one.link
    return OpenLinkOut(
        id=link.id,
        note=link.note,
        made_by=link.made_by,
        made_at=link.made_at,
        ends_at=link.ends_at,
        event_id=link.event_id,
        camera=one.camera,
        label=one.label,
        started_at=one.started_at,
    )


def _shared_out(shared: SharedEvent) -> SharedOut:
    event = shared.event
    return SharedOut(
        camera=shared.camera_name,
        label=event.label,
        labels=[detection.label for detection in event.detections],
        started_at=event.started_at,
        ended_at=event.ended_at,
        clip_url="clip" if event.clip_name else None,
        thumbnail_url="thumbnail" if event.thumbnail_name else None,
        ends_at=shared.ends_at,
    )
