"""Labels in hindsight: an answer of JSON lines, progress first, the outcome last."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.recorder.http.models import ApiModel, media_url
from services.recorder.http.search import model_loading, texts_fault
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from services.recorder.record.camera_filter import CameraIds
from services.recorder.search.hindsight import Hindsight
from services.recorder.search.hindsight_values import (
    EventComparison,
    HindsightRequest,
    LabelProbability,
    Outcome,
    request_faults,
)
from services.recorder.search.text_requests import NoClassifier, TextsRefused
from shared.cameras.model import NewLabelText
from shared.clock import now_utc
from shared.errors import Permanent, Transient
from shared.http_access import require
from shared.http_api import ApiFault, FaultText, IsoTime, documented
from shared.logs import get_logger
from shared.permissions import Permission

log = get_logger(__name__)


class HindsightIn(BaseModel):
    """What the record is asked. `background` and `threshold` left out: as they were for each snippet."""

    model_config = ConfigDict(extra="forbid")
    labels: Annotated[list[NewLabelText], Field(min_length=1, max_length=50)]
    background: Annotated[list[NewLabelText], Field(max_length=20)] | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    camera: Annotated[str, Field(max_length=64)] | None = None
    since: IsoTime
    until: IsoTime | None = None
    mode: Literal["replace", "add"] = "replace"
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


class LabelCountOut(BaseModel):
    """Events with a label: as recorded, and in hindsight."""

    label: str
    recorded: int
    hindsight: int


class HindsightOut(BaseModel):
    """The last line. `left_out`: snippets whose embeddings are not of this model; they keep their answer."""

    model: str
    events: int
    snippets: int
    left_out: int
    changed: int
    applied: bool
    written: int
    labels: list[LabelCountOut]
    shown: list[EventComparisonOut]


def hindsight_routes(api: ApiState) -> APIRouter:
    """Return the route of labels in hindsight."""
    router = APIRouter(prefix="/api", tags=["hindsight"])

    @router.post(
        "/hindsight",
        response_class=StreamingResponse,
        responses={
            200: {
                "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
                "description": "lines of JSON: {done, of} while it runs, last {result} or {error}",
            },
            **documented(409),
        },
    )
    async def ask(request: Request, asked: HindsightIn, viewer: Viewer) -> StreamingResponse:
        """What other labels would have recorded; with `apply` it becomes the record, and the old answers are kept."""
        if asked.apply:
            require(request, Permission.OPERATE)
        if api.hindsight is None:
            raise starting()
        if api.pipeline.is_model_loading:
            raise model_loading()
        wanted = _request_of(asked, viewer)
        if faults := request_faults(wanted):
            raise ApiFault.of_lines(400, faults, "labels and a time", "change the request")
        if api.hindsight.gate.locked():
            raise ApiFault(409, "another look back is running", "one at a time", "wait until it has ended")
        lines = _lines(api.hindsight, wanted, asked.apply)
        try:
            first = await anext(lines)
        except (NoClassifier, TextsRefused) as exc:
            raise texts_fault(exc) from exc
        return StreamingResponse(
            _from(first, lines),
            media_type="application/x-ndjson",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )

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
    )


async def _from(first: str, lines: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    """Yield all lines; whoever goes away in the middle ends them, and lets the next one in."""
    async with contextlib.aclosing(lines):
        yield first
        async for line in lines:
            yield line


async def _lines(found: Hindsight, wanted: HindsightRequest, is_applied: bool) -> AsyncGenerator[str, None]:
    """Yield the answer's lines. Holds the gate from the first line until it is closed: an answer that nobody
    reads, too, is closed when it is let go of, which a gate taken outside would not see.
    """
    outcome = Outcome()
    has_begun = False
    async with found.gate:
        try:
            async for outcome in found.run(wanted, is_applied):
                has_begun = True
                yield _line({"done": outcome.n_events, "of": outcome.n_events_all})
        except (Transient, Permanent) as exc:
            if not has_begun:
                raise
            log.warning("a look back ended early", error=str(exc), events=outcome.n_events)
            text = FaultText(found=str(exc), wanted="all events", do="ask the same again")
            yield _line({"error": text.model_dump()})
            return
        if is_applied:
            log.info("labels in hindsight were applied", events=outcome.n_events, snippets=outcome.n_written)
        yield _line({"result": _out(outcome, is_applied).model_dump(mode="json")})


def _line(value: dict[str, Any]) -> str:  # Any: JSON values
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_moment) + "\n"


def _moment(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _out(outcome: Outcome, is_applied: bool) -> HindsightOut:
    labels = sorted(
        set(outcome.recorded) | set(outcome.hindsight),
        key=lambda name: (-outcome.hindsight[name], -outcome.recorded[name], name),
    )
    return HindsightOut(
        model=outcome.model,
        events=outcome.n_events,
        snippets=outcome.n_snippets,
        left_out=outcome.n_left_out,
        changed=outcome.n_changed,
        applied=is_applied,
        written=outcome.n_written,
        labels=[
            LabelCountOut(label=name, recorded=outcome.recorded[name], hindsight=outcome.hindsight[name])
            for name in labels
        ],
        shown=[_compared(one) for one in outcome.shown],
    )


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
