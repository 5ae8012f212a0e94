"""Labels in hindsight: an answer of JSON lines, progress first, the outcome last."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.recorder.http.line_answers import LINE_ANSWERS, Line, streamed
from services.recorder.http.models import ApiModel, media_url
from services.recorder.http.relabels import who_of
from services.recorder.http.search import model_loading, texts_fault
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from services.recorder.record.camera_filter import CameraIds
from services.recorder.search.hindsight import Application, Hindsight
from services.recorder.search.hindsight_values import (
    EventComparison,
    HindsightRequest,
    LabelCounts,
    LabelProbability,
    Outcome,
    request_faults,
    summary_of,
)
from services.recorder.search.text_requests import NoClassifier, TextsRefused
from shared.cameras.model import NewLabelText
from shared.clock import now_utc
from shared.contract import DecisionSettings
from shared.http_access import require
from shared.http_api import ApiFault, IsoTime
from shared.logs import get_logger
from shared.permissions import Permission

log = get_logger(__name__)


class DecisionIn(DecisionSettings):
    """What decides, as the camera file has it; what is left out is as usual there."""

    model_config = ConfigDict(extra="forbid")


class HindsightIn(BaseModel):
    """What the record is asked. Left out, `background`, `threshold` and `decision` are as they were for each snippet;
    `decision` takes the place of all settings of then, `threshold` of that one.
    """

    model_config = ConfigDict(extra="forbid")
    labels: Annotated[list[NewLabelText], Field(min_length=1, max_length=50)]
    background: Annotated[list[NewLabelText], Field(max_length=20)] | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    decision: DecisionIn | None = None
    camera: Annotated[str, Field(max_length=64)] | None = None
    since: IsoTime
    until: IsoTime | None = None
    mode: Literal["add", "replace"] = "add"
    apply: bool = False


class LabelProbabilityOut(ApiModel):
    label: str
    probability: float


class EventComparisonOut(BaseModel):
    """An event whose labels differ: as recorded, and in hindsight."""

    event_id: str
    camera: str
    started_at: AwareDatetime
    thumbnail_url: str | None
    recorded: list[LabelProbabilityOut]
    hindsight: list[LabelProbabilityOut]


class LabelCountOut(ApiModel):
    """Events with a label: as recorded, in hindsight, those that gain or lose it, and of the latter those of which
    somebody called it right."""

    label: str
    recorded: int
    hindsight: int
    gained: int
    lost: int
    lost_right: int


class CameraCountsOut(BaseModel):
    """The same of one camera."""

    camera: str
    events: int
    changed: int
    labels: list[LabelCountOut]


class HindsightOut(BaseModel):
    """The last line. `left_out`: snippets whose embeddings are not of this model; they keep their answer.

    `summary`: what changes, in words; `relabel_id`: the entry that undoes it, null where nothing was written; `shown`:
    events whose labels differ, newest first, with some of each camera and label.
    """

    model: str
    events: int
    snippets: int
    left_out: int
    changed: int
    applied: bool
    written: int
    summary: str
    relabel_id: str | None
    labels: list[LabelCountOut]
    cameras: list[CameraCountsOut]
    shown: list[EventComparisonOut]


def hindsight_routes(api: ApiState) -> APIRouter:
    """Return the route of labels in hindsight."""
    router = APIRouter(prefix="/api", tags=["hindsight"])

    @router.post(
        "/hindsight",
        response_class=StreamingResponse,
        responses=LINE_ANSWERS,
    )
    async def ask(request: Request, asked: HindsightIn, viewer: Viewer) -> StreamingResponse:
        """What other labels would have recorded; with `apply` it becomes the record, as an entry that can be undone."""
        if asked.apply:
            require(request, Permission.OPERATE)
        if api.hindsight is None:
            raise starting()
        if api.pipeline.is_model_loading:
            raise model_loading()
        wanted = _request_of(asked, viewer)
        if faults := request_faults(wanted):
            raise ApiFault.of_lines(400, faults, "labels and a time", "change the request")
        application = Application(who_of(request)) if asked.apply else None
        lines = _lines(api.hindsight, wanted, application)
        try:
            return await streamed(api.hindsight.gate, lines)
        except (NoClassifier, TextsRefused) as exc:
            raise texts_fault(exc) from exc

    return router


def _request_of(asked: HindsightIn, viewer: CameraIds) -> HindsightRequest:
    return HindsightRequest(
        labels=tuple(dict.fromkeys(asked.labels)),
        background=None if asked.background is None else tuple(dict.fromkeys(asked.background)),
        threshold=asked.threshold,
        since=asked.since,
        until=asked.until or now_utc(),
        camera=asked.camera,
        adds=asked.mode == "add",
        cameras=viewer,
        decision=asked.decision,
    )


async def _lines(
    found: Hindsight, wanted: HindsightRequest, application: Application | None
) -> AsyncGenerator[Line, None]:
    outcome = Outcome()
    async for outcome in found.run(wanted, application):
        yield {"done": outcome.n_events, "of": outcome.n_events_all}
    if application is not None:
        log.info("labels in hindsight were applied", events=outcome.n_events, snippets=outcome.n_written)
    yield {"result": hindsight_out(outcome, application is not None).model_dump(mode="json")}


def hindsight_out(outcome: Outcome, is_applied: bool) -> HindsightOut:
    """Return the last line."""
    return HindsightOut(
        model=outcome.model,
        events=outcome.n_events,
        snippets=outcome.n_snippets,
        left_out=outcome.n_left_out,
        changed=outcome.n_changed,
        applied=is_applied,
        written=outcome.n_written,
        summary=summary_of(outcome, is_done=is_applied),
        relabel_id=outcome.relabel_id,
        labels=_counts(outcome.labels),
        cameras=[
            CameraCountsOut(
                camera=camera, events=of.n_events, changed=of.n_changed, labels=_counts(of.labels)
            )
            for camera, of in sorted(outcome.cameras.items())
        ],
        shown=[_compared(one) for one in outcome.shown],
    )


def _counts(labels: Mapping[str, LabelCounts]) -> list[LabelCountOut]:
    ordered = sorted(labels.items(), key=lambda item: (-item[1].hindsight, -item[1].recorded, item[0]))
    return [
        LabelCountOut(label=label, **{name: getattr(of, name) for name in LabelCounts.__dataclass_fields__})
        for label, of in ordered
    ]


def _compared(one: EventComparison) -> EventComparisonOut:
    def said(answers: tuple[LabelProbability, ...]) -> list[LabelProbabilityOut]:
        return [LabelProbabilityOut.model_validate(answer) for answer in answers]

    return EventComparisonOut(
        event_id=one.event_id,
        camera=one.camera,
        started_at=one.started_at,
        thumbnail_url=media_url(one.thumbnail_name),
        recorded=said(one.recorded),
        hindsight=said(one.hindsight),
    )
