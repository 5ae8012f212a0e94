"""Verdicts: what people say of events, taking it back, and the list of it.

POST  /api/events/{event_id}/verdicts/preview   what it would change: JSON lines, progress first, the result last
POST  /api/events/{event_id}/verdicts     say it
GET   /api/events/{event_id}/verdicts     what was said of one event, oldest first
GET   /api/verdicts                       pages of all, newest first
POST  /api/verdicts/{verdict_id}/undo     take it back: decisions are as without it, what it changed of the past stays
POST  /api/verdicts/{verdict_id}/apply    change the past of the camera as well: JSON lines, the same
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.recorder.http.events import no_event
from services.recorder.http.hindsight import HindsightOut, hindsight_out
from services.recorder.http.line_answers import LINE_ANSWERS, Line, streamed
from services.recorder.http.models import ApiModel, media_url
from services.recorder.http.paging import PAGE_MAX, cursor, parse_cursor
from services.recorder.http.relabels import who_of
from services.recorder.http.search import texts_fault
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from services.recorder.record.camera_filter import narrowed
from services.recorder.record.queries import is_there
from services.recorder.search.hindsight import Hindsight
from services.recorder.search.hindsight_values import Outcome
from services.recorder.search.text_requests import NoClassifier, TextsRefused
from services.recorder.verdicts import rows
from services.recorder.verdicts.preview import Preview, apply_to_past, preview
from services.recorder.verdicts.teacher import Teacher
from services.recorder.verdicts.values import NewVerdict, Verdict, VerdictRefused
from shared.cameras.model import NewLabelText
from shared.clock import now_utc
from shared.http_api import ApiFault
from shared.logs import get_logger

log = get_logger(__name__)
DAYS = 7  # of the past that are looked at, where nothing else is said
Days = Annotated[int, Field(ge=1, le=3650)]


class VerdictIn(BaseModel):
    """What is said. `effect` left out: from now on, but none for an event that was drawn for a check.

    `label`: of `right` and `wrong` the label that it is about (left out: all recorded ones), of `is` and `missed` what
    the event shows. `drawn_with`, `drawn_at`: both as the check told them, or neither.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["right", "wrong", "is", "nothing", "missed"]
    label: NewLabelText | None = None
    effect: Literal["none", "future"] | None = None
    drawn_with: Annotated[float, Field(gt=0, le=1)] | None = None
    drawn_at: AwareDatetime | None = None

    def require_check(self) -> None:
        """Refuse what no check can have told."""
        both, do = "drawn_with and drawn_at, or neither", "send both back as the check told them"
        if (self.drawn_with is None) != (self.drawn_at is None):
            missing = "drawn_at without drawn_with" if self.drawn_at else "drawn_with without drawn_at"
            raise ApiFault(400, missing, both, do)
        if self.drawn_at is not None and self.drawn_at > now_utc():
            raise ApiFault(400, "drawn_at is in the future", "when the check was drawn", do)


class VerdictOut(ApiModel):
    """A verdict. `is_followed`: with its examples the event is decided as was said; null: not looked at yet.

    `recorded`: the event's labels when it was said; `relabel_id`: the change of the past that it led to.
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
    relabel_id: str | None
    n_examples: int
    thumbnail_url: str | None


class ModelExamplesOut(BaseModel):
    """Pictures that teach something now, and the model that they were looked at with: decisions of others leave them
    out."""

    model: str
    examples: int


class EventVerdictsOut(BaseModel):
    """The verdicts on one event."""

    verdicts: list[VerdictOut]


class VerdictsOut(BaseModel):
    """A page of verdicts; `next` is the `before` of the page that follows, null at the end."""

    verdicts: list[VerdictOut]
    next: str | None
    models: list[ModelExamplesOut]


class SaidIn(BaseModel):
    """A verdict whose effect is asked for; see VerdictIn."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["right", "wrong", "is", "nothing", "missed"]
    label: NewLabelText | None = None
    days: Days = DAYS


class PreviewOut(BaseModel):
    """The last line. `is_followed`: the event itself would be decided as was said; null: it teaches nothing.

    `not_asked_for`: labels of the verdict that the camera is not asked for. `past`: what would change of the past.
    """

    is_followed: bool | None
    n_examples: int
    not_asked_for: list[str]
    past: HindsightOut


class PastIn(BaseModel):
    """How much of the past is changed."""

    model_config = ConfigDict(extra="forbid")

    days: Days = DAYS


def verdict_routes(api: ApiState) -> APIRouter:
    """Return the routes that are listed above."""
    router = APIRouter(prefix="/api", tags=["verdicts"])

    @router.post("/events/{event_id}/verdicts", status_code=201)
    async def say(event_id: str, said: VerdictIn, request: Request, viewer: Viewer) -> VerdictOut:
        """Say what an event shows. From now on the camera decides what looks alike as was said."""
        said.require_check()
        teacher = _teacher(api)
        effect = said.effect or ("none" if said.drawn_with is not None else "future")
        who = who_of(request)
        new = NewVerdict(said.kind, said.label, effect, who, said.drawn_with, said.drawn_at)
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

    _add_past(router, api)
    _add_lists(router, api)
    return router


def _add_past(router: APIRouter, api: ApiState) -> None:
    @router.post(
        "/events/{event_id}/verdicts/preview", response_class=StreamingResponse, responses=LINE_ANSWERS
    )
    async def preview(event_id: str, said: SaidIn, request: Request, viewer: Viewer) -> StreamingResponse:
        """What a verdict would change in the last days of its camera. Nothing is kept."""
        teacher, hindsight = _teacher(api), _hindsight(api)
        new = NewVerdict(said.kind, said.label, "future", who_of(request))
        try:
            async with api.open_database().reading() as connection:
                imagined = await rows.imagine_verdict(connection, event_id, new, now_utc(), viewer)
        except VerdictRefused as exc:
            raise ApiFault(400, exc.found, exc.wanted, exc.action) from exc
        if imagined is None:
            raise no_event(event_id)
        lines = _preview_lines(hindsight, teacher, imagined, said.days)
        try:
            return await streamed(teacher.previews, lines, waits=True)
        except (NoClassifier, TextsRefused) as exc:
            raise texts_fault(exc) from exc

    @router.post("/verdicts/{verdict_id}/apply", response_class=StreamingResponse, responses=LINE_ANSWERS)
    async def apply(verdict_id: str, past: PastIn, request: Request, viewer: Viewer) -> StreamingResponse:
        """Change the last days of its camera by what was learned, as an entry of /api/relabels, which undoes it."""
        hindsight = _hindsight(api)
        async with api.open_database().reading() as connection:
            found = await rows.find_verdict(connection, verdict_id, viewer)
        if found is None:
            raise _no_verdict()
        if found.undone_at is not None or found.effect == "none":
            is_undone = found.undone_at is not None
            state = "a verdict that was taken back" if is_undone else "a verdict that is only counted"
            raise ApiFault(409, state, "one that changes decisions", "say it again, from now on")
        try:
            return await streamed(hindsight.gate, _past_lines(hindsight, found, who_of(request), past.days))
        except (NoClassifier, TextsRefused) as exc:
            raise texts_fault(exc) from exc


def _add_lists(router: APIRouter, api: ApiState) -> None:
    @router.get("/events/{event_id}/verdicts")
    async def of_event(event_id: str, response: Response, viewer: Viewer) -> EventVerdictsOut:
        """What was said of an event, oldest first, with what was taken back; also of one that is deleted since."""
        async with api.open_database().reading() as connection:
            found = await rows.verdicts_of_event(connection, event_id, viewer)
            if not found and not await is_there(connection, event_id, viewer):
                raise no_event(event_id)
            shown = await rows.shown_of(connection, found)
        response.headers["cache-control"] = "no-store"
        return EventVerdictsOut(verdicts=[_verdict_out(one, shown) for one in found])

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
            by_model = await rows.examples_by_model(connection, narrowed(camera, viewer))
        response.headers["cache-control"] = "no-store"
        models = [ModelExamplesOut(model=model, examples=n) for model, n in by_model.items()]
        following = cursor(found[-1].made_at, found[-1].id) if len(found) == limit else None
        return VerdictsOut(
            verdicts=[_verdict_out(one, shown) for one in found], next=following, models=models
        )

    @router.post("/verdicts/{verdict_id}/undo")
    async def undo(verdict_id: str, request: Request, viewer: Viewer) -> VerdictOut:
        """Take a verdict back: the camera decides as it did without it. Taken back before, it stays so."""
        who = who_of(request)
        async with api.open_database().writing() as connection:
            found = await rows.undo_verdict(connection, verdict_id, who, now_utc(), viewer)
        if found is None:
            raise _no_verdict()
        _teacher(api).kick()
        return await _out(api, verdict_id)


def _teacher(api: ApiState) -> Teacher:
    if api.teacher is None:
        raise starting()
    return api.teacher


def _hindsight(api: ApiState) -> Hindsight:
    if api.hindsight is None:
        raise starting()
    return api.hindsight


def _no_verdict() -> ApiFault:
    return ApiFault(404, "no such verdict", "the id of a verdict", "look in /api/verdicts")


async def _teach(teacher: Teacher, verdict: Verdict) -> None:
    try:
        await teacher.teach(verdict)
    except NoClassifier as exc:
        log.info("a verdict waits for a classifier", verdict=verdict.id, why=str(exc))
    teacher.kick()


async def _preview_lines(
    hindsight: Hindsight, teacher: Teacher, verdict: Verdict, days: int
) -> AsyncGenerator[Line, None]:
    until = now_utc()
    found = Preview(Outcome(), None, 0)
    async for found in preview(hindsight, teacher, verdict, until - timedelta(days=days), until):
        yield {"done": found.outcome.n_events, "of": found.outcome.n_events_all}
    result = PreviewOut(
        is_followed=found.is_followed,
        n_examples=found.n_examples,
        not_asked_for=list(found.not_asked_for),
        past=hindsight_out(found.outcome, is_applied=False),
    )
    yield {"result": result.model_dump(mode="json")}


async def _past_lines(
    hindsight: Hindsight, verdict: Verdict, who: str, days: int
) -> AsyncGenerator[Line, None]:
    until = now_utc()
    outcome = Outcome()
    async for outcome in apply_to_past(hindsight, verdict, who, until - timedelta(days=days), until):
        yield {"done": outcome.n_events, "of": outcome.n_events_all}
    log.info("a verdict changed the past", verdict=verdict.id, events=outcome.n_changed, by=who)
    yield {"result": hindsight_out(outcome, is_applied=True).model_dump(mode="json")}


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
