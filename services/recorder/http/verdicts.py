"""Verdicts: what people say of events, taking it back, and the list of it.

POST  /api/events/{event_id}/verdicts/preview   what it would change: JSON lines, progress first, the result last
POST  /api/events/{event_id}/verdicts     say it
GET   /api/events/{event_id}/verdicts     what was said of one event, oldest first
GET   /api/verdicts                       pages of all, newest first
POST  /api/verdicts/{verdict_id}/undo     take it back
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.recorder.http.events import no_event
from services.recorder.http.json_lines import json_line, json_lines
from services.recorder.http.models import ApiModel, media_url
from services.recorder.http.paging import PAGE_MAX, cursor, parse_cursor
from services.recorder.http.search import texts_fault
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from services.recorder.record.queries import is_there
from services.recorder.record.verdict_tables import VERDICT_WHO_CHARS
from services.recorder.search.text_requests import NoClassifier, TextsRefused
from services.recorder.verdicts import rows
from services.recorder.verdicts.preview import PreviewCounts, preview
from services.recorder.verdicts.teacher import Teacher
from services.recorder.verdicts.values import NewVerdict, Verdict, VerdictRefused
from shared.cameras.model import NewLabelText
from shared.clock import now_utc
from shared.errors import Permanent, Transient
from shared.http_access import identity_of
from shared.http_api import ApiFault, FaultText
from shared.logs import get_logger

log = get_logger(__name__)


class VerdictIn(BaseModel):
    """What is said. `effect` left out: from now on, but none for an event that was drawn for a check.

    `label`: of `right` and `wrong` the label that it is about (left out: all recorded ones), of `is` and `missed` what
    the event shows. `drawn_with`: as the check told it.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["right", "wrong", "is", "nothing", "missed"]
    label: NewLabelText | None = None
    effect: Literal["none", "future"] | None = None
    drawn_with: Annotated[float, Field(gt=0, le=1)] | None = None


class VerdictOut(ApiModel):
    """A verdict. `is_followed`: with its examples the event is decided as was said; null: not looked at yet.

    `is_undone`, by whom and when. `recorded`: the event's labels when it was said.
    """

    id: str
    event_id: str
    camera: str
    event_started_at: AwareDatetime
    kind: str
    label: str | None
    recorded: list[str]
    effect: str
    made_by: str
    made_at: AwareDatetime
    undone_by: str | None
    undone_at: AwareDatetime | None
    is_followed: bool | None
    n_examples: int
    thumbnail_url: str | None


class VerdictsOut(BaseModel):
    """A page of verdicts; `next` is the `before` of the page that follows, null at the end."""

    verdicts: list[VerdictOut]
    next: str | None


class SaidIn(BaseModel):
    """A verdict whose effect is asked for; see VerdictIn."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["right", "wrong", "is", "nothing", "missed"]
    label: NewLabelText | None = None


class LabelDifferenceOut(BaseModel):
    """Events that would gain, or lose, a label; `right`: of those that lose it, how many somebody called right."""

    label: str
    events: int
    right: int = 0


class ChangedEventOut(BaseModel):
    """An event whose labels would be others."""

    id: str
    started_at: AwareDatetime
    thumbnail_url: str | None
    gained: list[str]
    lost: list[str]


class PreviewOut(BaseModel):
    """The last line. `is_followed`: the event itself would be decided as was said; null: it teaches nothing.

    `not_asked_for`: labels of the verdict that the camera is not asked for. `left_out`: events of another model.
    """

    is_followed: bool | None
    n_examples: int
    events: int
    left_out: int
    gained: list[LabelDifferenceOut]
    lost: list[LabelDifferenceOut]
    shown: list[ChangedEventOut]
    not_asked_for: list[str]


def verdict_routes(api: ApiState) -> APIRouter:
    """Return the routes that are listed above."""
    router = APIRouter(prefix="/api", tags=["verdicts"])

    @router.post("/events/{event_id}/verdicts", status_code=201)
    async def say(event_id: str, said: VerdictIn, request: Request, viewer: Viewer) -> VerdictOut:
        """Say what an event shows. From now on the camera decides what looks alike as was said."""
        teacher = _teacher(api)
        effect = said.effect or ("none" if said.drawn_with is not None else "future")
        who = identity_of(request).name[:VERDICT_WHO_CHARS]
        new = NewVerdict(said.kind, said.label, effect, who, said.drawn_with)
        try:
            async with api.open_database().writing() as connection:
                made = await rows.add_verdict(connection, event_id, new, now_utc(), viewer)
        except VerdictRefused as exc:
            raise ApiFault(400, exc.found, exc.wanted, exc.action) from exc
        if made is None:
            raise no_event(event_id)
        log.info("a verdict was given", event_id=event_id, kind=said.kind, label=said.label, by=who)
        if effect != "none":
            await _teach(teacher, made)
        return await _out(api, made.id)

    @router.post(
        "/events/{event_id}/verdicts/preview",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
                "description": "lines of JSON: {done, of} while it runs, last {result} or {error}",
            },
        },
    )
    async def preview(event_id: str, said: SaidIn, request: Request, viewer: Viewer) -> StreamingResponse:
        """What a verdict would change in the last 7 days of its camera. Nothing is kept."""
        teacher = _teacher(api)
        who = identity_of(request).name[:VERDICT_WHO_CHARS]
        new = NewVerdict(said.kind, said.label, "future", who)
        try:
            async with api.open_database().reading() as connection:
                imagined = await rows.imagine_verdict(connection, event_id, new, now_utc(), viewer)
        except VerdictRefused as exc:
            raise ApiFault(400, exc.found, exc.wanted, exc.action) from exc
        if imagined is None:
            raise no_event(event_id)
        lines = _preview_lines(teacher, imagined)
        try:
            first = await anext(lines)
        except (NoClassifier, TextsRefused) as exc:
            raise texts_fault(exc) from exc
        return json_lines(first, lines)

    _add_lists(router, api)
    return router


def _add_lists(router: APIRouter, api: ApiState) -> None:
    @router.get("/events/{event_id}/verdicts")
    async def of_event(event_id: str, response: Response, viewer: Viewer) -> VerdictsOut:
        """What was said of an event, oldest first, with what was taken back; also of one that is deleted since."""
        async with api.open_database().reading() as connection:
            found = await rows.verdicts_of_event(connection, event_id, viewer)
            if not found and not await is_there(connection, event_id, viewer):
                raise no_event(event_id)
            shown = await rows.shown_of(connection, found)
        response.headers["cache-control"] = "no-store"
        return VerdictsOut(verdicts=[_verdict_out(one, shown) for one in found], next=None)

    @router.get("/verdicts")
    async def verdicts(
        response: Response,
        viewer: Viewer,
        camera: Annotated[str | None, Query(max_length=64)] = None,
        before: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    ) -> VerdictsOut:
        """All verdicts, of all cameras or of one, newest first."""
        after = parse_cursor(before)
        async with api.open_database().reading() as connection:
            found = await rows.list_verdicts(connection, camera, after, limit, viewer)
            shown = await rows.shown_of(connection, found)
        response.headers["cache-control"] = "no-store"
        following = cursor(found[-1].made_at, found[-1].id) if len(found) == limit else None
        return VerdictsOut(verdicts=[_verdict_out(one, shown) for one in found], next=following)

    @router.post("/verdicts/{verdict_id}/undo")
    async def undo(verdict_id: str, request: Request, viewer: Viewer) -> VerdictOut:
        """Take a verdict back: the camera decides as it did without it. Taken back before, it stays so."""
        who = identity_of(request).name[:VERDICT_WHO_CHARS]
        async with api.open_database().writing() as connection:
            found = await rows.undo_verdict(connection, verdict_id, who, now_utc(), viewer)
        if found is None:
            raise ApiFault(404, "no such verdict", "the id of a verdict", "look in /api/verdicts")
        _teacher(api).kick()
        return await _out(api, verdict_id)


def _teacher(api: ApiState) -> Teacher:
    if api.teacher is None:
        raise starting()
    return api.teacher


async def _teach(teacher: Teacher, verdict: Verdict) -> None:
    try:
        await teacher.teach(verdict)
    except NoClassifier as exc:
        log.info("a verdict waits for a classifier", verdict=verdict.id, why=str(exc))
    teacher.kick()


async def _preview_lines(teacher: Teacher, verdict: Verdict) -> AsyncGenerator[str, None]:
    counts = PreviewCounts()
    has_begun = False
    try:
        async for counts in preview(teacher, verdict, now_utc()):
            has_begun = True
            yield json_line({"done": counts.n_events, "of": counts.n_events_all})
    except (Transient, Permanent) as exc:
        if not has_begun:
            raise
        text = FaultText(found=str(exc), wanted="all events", do="ask the same again")
        yield json_line({"error": text.model_dump()})
        return
    yield json_line({"result": _preview_out(counts).model_dump(mode="json")})


def _preview_out(counts: PreviewCounts) -> PreviewOut:
    return PreviewOut(
        is_followed=counts.is_followed,
        n_examples=counts.n_examples,
        events=counts.n_events,
        left_out=counts.n_left_out,
        gained=[LabelDifferenceOut(label=label, events=n) for label, n in counts.gained.most_common()],
        lost=[
            LabelDifferenceOut(label=label, events=n, right=counts.lost_right[label])
            for label, n in counts.lost.most_common()
        ],
        shown=[
            ChangedEventOut(
                id=one.id,
                started_at=one.started_at,
                thumbnail_url=media_url(one.thumbnail_name),
                gained=list(one.gained),
                lost=list(one.lost),
            )
            for one in counts.shown
        ],
        not_asked_for=list(counts.not_asked_for),
    )


async def _out(api: ApiState, verdict_id: str) -> VerdictOut:
    async with api.open_database().reading() as connection:
        found = await rows.find_verdict(connection, verdict_id, None)
        assert found is not None  # verdicts are not deleted
        return _verdict_out(found, await rows.shown_of(connection, [found]))


def _verdict_out(verdict: Verdict, shown: rows.ShownVerdicts) -> VerdictOut:
    return VerdictOut(
        **{name: getattr(verdict, name) for name in VerdictOut.model_fields if hasattr(verdict, name)},
        n_examples=shown.n_examples.get(verdict.id, 0),
        thumbnail_url=media_url(shown.thumbnails.get(verdict.event_id)),
    )
