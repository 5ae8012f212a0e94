"""Why an event's labels were accepted or not: its sentence, its numbers, and where what was looked at lies."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import AwareDatetime, BaseModel

from services.recorder.http.events import no_event
from services.recorder.http.models import ApiModel, media_url
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from services.recorder.record.values import Snippet
from services.recorder.search.explainer import EventExplanation, LabelReason, SeenPicture
from shared.clock import duration_s
from shared.contract import Box
from shared.decisions.explaining import DecidingMoment
from shared.decisions.explanation_words import threshold_reason

Rectangle = tuple[float, float, float, float]  # left, top, width, height in shares of the frame


class RivalOut(ApiModel):
    """What fitted a label's pictures better, or stood most against it. `name`: empty where it has none.

    `took`: the part of the whole that it took, 0..1; null: not known, it had larger shares.
    """

    name: str
    kind: Literal["target", "background", "other"]
    took: float | None
    is_better: bool
    is_better_in_all: bool


class RunOut(BaseModel):
    """The moments that carried a label, or would have. `n_own`: those that did by themselves; null: not known."""

    started_at: AwareDatetime
    ended_at: AwareDatetime
    duration_s: float
    n_moments: int
    n_own: int | None


class DecidingMomentOut(BaseModel):
    """A moment that the decision hangs on. `score`, `background`: averaged; `own_…`: of its best picture alone."""

    at: AwareDatetime
    offset_s: float
    score: float | None
    background: float | None
    picture: int | None
    kind: str | None
    box: Rectangle | None
    own_score: float | None
    own_background: float | None
    rival: RivalOut | None


class ExampleInfluenceOut(ApiModel):
    """An event whose verdict changed the label's scores, and the largest part that it had in one, 0..1."""

    event: str
    is_right: bool
    part: float


class LabelReasonOut(BaseModel):
    """One label, in the snippet in which it came nearest. `lacks`: what it did not reach, empty when accepted."""

    label: str
    is_accepted: bool
    sentence: str
    lacks: Literal["", "threshold", "background", "moments", "unknown"]
    snippet: int
    peak: float
    peaked_at: AwareDatetime | None
    background: float | None
    threshold: float
    threshold_reason: str
    leave_threshold: float
    margin: float
    min_moments: int
    run: RunOut | None
    rival: RivalOut | None
    is_accepted_without_examples: bool | None
    examples: list[ExampleInfluenceOut]
    moments: list[DecidingMomentOut]


class SeenPictureOut(BaseModel):
    """A picture that was looked at; `decides`: it had a say. `track`: pictures of one
    object have the same; null: not known. `label`: what it shows best; null: not known."""

    picture: int
    moment: int
    at: AwareDatetime
    offset_s: float
    kind: str
    box: Rectangle | None
    track: int | None
    decides: bool
    label: str | None
    score: float | None


class SeenSnippetOut(BaseModel):
    """The pictures of one snippet, in the order of time."""

    snippet: int
    started_at: AwareDatetime
    clip_url: str | None
    pictures: list[SeenPictureOut]


class WhyOut(BaseModel):
    """Labels, the accepted ones first. `missing`: in sentences, what could not be said."""

    event_id: str
    camera: str
    started_at: AwareDatetime
    sentence: str
    labels: list[LabelReasonOut]
    snippets: list[SeenSnippetOut]
    missing: list[str]


def why_routes(api: ApiState) -> APIRouter:
    """Return the route of explanations."""
    router = APIRouter(prefix="/api", tags=["record"])

    @router.get("/events/{event_id}/why")
    async def why(event_id: str, response: Response, viewer: Viewer) -> WhyOut:
        """Why the event's labels were accepted or not, and which pictures that hangs on."""
        if api.explainer is None:
            raise starting()
        found = await api.explainer.explain(event_id, viewer)
        if found is None:
            raise no_event(event_id)
        response.headers["cache-control"] = "no-store"
        return _why_out(found)

    return router


def _why_out(found: EventExplanation) -> WhyOut:
    event = found.event
    return WhyOut(
        event_id=event.id,
        camera=event.camera,
        started_at=event.started_at,
        sentence=found.sentence,
        labels=[_reason_out(reason, found.pictures[reason.snippet.snippet]) for reason in found.reasons],
        snippets=[
            SeenSnippetOut(
                snippet=one.snippet,
                started_at=one.started_at,
                clip_url=media_url(one.clip_name),
                pictures=[_picture_out(picture, one) for picture in found.pictures[one.snippet]],
            )
            for one in event.snippets
        ],
        missing=list(found.missing),
    )


def _reason_out(reason: LabelReason, pictures: tuple[SeenPicture, ...]) -> LabelReasonOut:
    one, limits = reason.label, reason.limits
    run = None
    if one.started_at is not None and one.ended_at is not None:
        lasted_s = duration_s(one.started_at, one.ended_at)
        run = RunOut(
            started_at=one.started_at,
            ended_at=one.ended_at,
            duration_s=lasted_s,
            n_moments=one.n_moments,
            n_own=one.n_own,
        )
    return LabelReasonOut(
        label=one.label,
        is_accepted=one.is_accepted,
        sentence=reason.sentence,
        lacks=one.lacks,
        snippet=reason.snippet.snippet,
        peak=one.peak,
        peaked_at=one.peaked_at,
        background=one.background,
        threshold=limits.threshold,
        threshold_reason=threshold_reason(limits),
        leave_threshold=limits.leave,
        margin=limits.settings.margin,
        min_moments=limits.needed,
        run=run,
        rival=None if one.rival is None else RivalOut.model_validate(one.rival),
        is_accepted_without_examples=one.is_accepted_without,
        examples=[ExampleInfluenceOut.model_validate(example) for example in one.examples],
        moments=[_moment_out(moment, reason.snippet, pictures) for moment in one.deciding],
    )


def _moment_out(
    moment: DecidingMoment, snippet: Snippet, pictures: tuple[SeenPicture, ...]
) -> DecidingMomentOut:
    picture = None if moment.picture is None else pictures[moment.picture].info
    return DecidingMomentOut(
        at=moment.at,
        offset_s=duration_s(snippet.started_at, moment.at),
        score=moment.score,
        background=moment.background,
        picture=moment.picture,
        kind=None if picture is None else picture.kind,
        box=None if picture is None else _rectangle(picture.box),
        own_score=moment.own_score,
        own_background=moment.own_background,
        rival=None if moment.rival is None else RivalOut.model_validate(moment.rival),
    )


def _picture_out(picture: SeenPicture, snippet: Snippet) -> SeenPictureOut:
    info = picture.info
    return SeenPictureOut(
        picture=picture.number,
        moment=info.moment,
        at=info.captured_at,
        offset_s=duration_s(snippet.started_at, info.captured_at),
        kind=info.kind,
        box=_rectangle(info.box),
        track=info.track,
        decides=picture.decides,
        label=picture.label,
        score=picture.score,
    )


def _rectangle(box: Box | None) -> Rectangle | None:
    return None if box is None else (box.x, box.y, box.w, box.h)
