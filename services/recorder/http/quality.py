"""How good the answers are, by what people said of some of them, and which events to ask about next.

GET  /api/quality             each camera and label: precision, what is missed, since when
GET  /api/quality/threshold   precision and recall by threshold, and what they suggest
GET  /api/check               ten events whose verdict tells most
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Annotated, TypeVar

import numpy as np
from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime, BaseModel

from services.recorder.http.models import ApiModel, EventOut, event_out
from services.recorder.http.state import ApiState
from services.recorder.http.viewer import Viewer
from services.recorder.quality.rows import recorded_units, threshold_now
from services.recorder.quality.values import (
    PROPOSAL_MIN,
    WANTED_PRECISION,
    PairQuality,
    Question,
    RecordedUnits,
    ThresholdProposal,
    proposal_of,
    quality_of,
    questions_of,
)
from services.recorder.quality.watch import DAYS
from services.recorder.record import queries
from services.recorder.record.camera_filter import CameraIds, narrowed
from services.recorder.record.values import Event
from shared.clock import now_utc
from shared.quality.estimate import Estimate

QUESTIONS = 10
_Computed = TypeVar("_Computed")
Days = Annotated[float, Query(ge=1, le=366, description="events of the last so many days")]
CameraName = Annotated[str | None, Query(max_length=64, description="only this camera")]


class ShareOut(ApiModel):
    """A share with its 95 % interval, 0..1."""

    share: float
    low: float
    high: float


class MissedOut(BaseModel):
    """How many of the `of` events without a label show it all the same, estimated, with its 95 % interval."""

    events: float
    low: float
    high: float
    of: int
    drawn: int


class PairQualityOut(BaseModel):
    """A camera and label. `events`: with the label; `judged`: of these; `drawn`: judged because they were asked for.

    `precision` null: nothing was asked; `known_wrong` of the judged ones are wrong. `missed` null: nothing was asked of
    events without a label.
    """

    camera: str
    label: str
    events: int
    judged: int
    drawn: int
    known_wrong: int
    precision: ShareOut | None
    missed: MissedOut | None


class QualityOut(BaseModel):
    """`together`: precision over all pairs of which something was asked. `missed_since`: of what was missed."""

    since: AwareDatetime
    missed_since: AwareDatetime
    pairs: list[PairQualityOut]
    together: ShareOut | None


class CurvePointOut(ApiModel):
    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None


class ThresholdOut(BaseModel):
    """What thresholds would give, by what was said; `wanted_answers` before any is proposed.

    `answers`: to the question of a check whether the label is right; what was missed, or said unasked, is not in it.

    `best`: with the highest F1. `precise`: the lowest with the wanted precision from there on. `now`: in force.
    Recall is among the events with the label and the recorded motion without any.
    """

    curve: list[CurvePointOut]
    now: float | None
    best: float | None
    precise: float | None
    wanted_precision: float
    answers: int
    wanted_answers: int


class QuestionOut(BaseModel):
    """An event to look at. `label` null: say which of `labels` was missed, or that it is nothing.

    Send `drawn_with` and `drawn_at` back with the verdict: right or wrong of `label`, or nothing, or missed with the
    label. `drawn_at` is the same in all questions of a check, and names it.
    """

    event: EventOut
    question: str
    label: str | None
    labels: list[str]
    drawn_with: float
    drawn_at: AwareDatetime


class CheckOut(BaseModel):
    """The questions, in the order in which to ask; fewer where there is nothing more to ask."""

    questions: list[QuestionOut]


@dataclass(slots=True)
class _UnitReader:
    """Reads the record for one estimate at a time: each reads a month."""

    api: ApiState
    gate: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def computed(
        self, days: float, cameras: CameraIds, compute: Callable[[RecordedUnits], _Computed]
    ) -> tuple[RecordedUnits, _Computed]:
        """Return the units of the last days on these cameras, and what a thread computes from them."""
        async with self.gate:
            async with self.api.open_database().reading() as connection:
                units = await recorded_units(connection, self.api.limits, now_utc(), days, cameras)
            return units, await asyncio.to_thread(compute, units)


def quality_routes(api: ApiState) -> APIRouter:
    """Return the routes that are listed above."""
    router = APIRouter(prefix="/api", tags=["quality"])
    reader = _UnitReader(api)

    @router.get("/quality")
    async def quality(
        response: Response, viewer: Viewer, camera: CameraName = None, days: Days = DAYS
    ) -> QualityOut:
        """Each camera and label: precision, and what is missed among recorded motion."""
        units, found = await reader.computed(days, narrowed(camera, viewer), quality_of)
        response.headers["cache-control"] = "no-store"
        return QualityOut(
            since=units.since,
            missed_since=units.motions_since,
            pairs=[_pair_out(pair) for pair in found.pairs],
            together=_share_out(found.together),
        )

    @router.get("/quality/threshold")
    async def threshold(
        response: Response,
        viewer: Viewer,
        camera: Annotated[str, Query(max_length=64)],
        label: Annotated[str, Query(max_length=200)],
        days: Days = DAYS,
    ) -> ThresholdOut:
        """Precision and recall of a camera and label by threshold, and what they suggest."""
        mine = narrowed(camera, viewer)
        _, found = await reader.computed(days, mine, partial(proposal_of, camera=camera, label=label))
        now = None
        if mine:
            async with api.open_database().reading() as connection:
                now = await threshold_now(connection, camera)
        response.headers["cache-control"] = "no-store"
        return _threshold_out(found, now)

    _add_check(router, api, reader)
    return router


def _add_check(router: APIRouter, api: ApiState, reader: _UnitReader) -> None:
    @router.get("/check")
    async def check(
        response: Response,
        viewer: Viewer,
        camera: CameraName = None,
        n: Annotated[int, Query(ge=1, le=50, description="questions")] = QUESTIONS,
    ) -> CheckOut:
        """Events whose verdict tells most, drawn at random; each asks one question."""
        draw = partial(questions_of, n=n, chance=np.random.default_rng())
        units, drawn = await reader.computed(DAYS, narrowed(camera, viewer), draw)
        async with api.open_database().reading() as connection:
            found = await queries.find_events_by_id(connection, [one.event_id for one in drawn])
        response.headers["cache-control"] = "no-store"
        return CheckOut(questions=_questions_out(drawn, units.at, found))


def _share_out(found: Estimate | None) -> ShareOut | None:
    return None if found is None else ShareOut.model_validate(found)


def _pair_out(pair: PairQuality) -> PairQualityOut:
    missed = pair.missed
    return PairQualityOut(
        camera=pair.camera,
        label=pair.label,
        events=pair.n,
        judged=pair.n_judged,
        drawn=pair.precision.n_drawn if pair.precision else 0,
        known_wrong=pair.n_known_wrong,
        precision=_share_out(pair.precision),
        missed=None
        if missed is None
        else MissedOut(
            events=missed.share * missed.n,
            low=missed.low * missed.n,
            high=missed.high * missed.n,
            of=missed.n,
            drawn=missed.n_drawn,
        ),
    )


def _threshold_out(found: ThresholdProposal, now: float | None) -> ThresholdOut:
    best = precise = None
    if found.suggested is not None:
        best = found.curve[found.suggested.best].threshold
        if found.suggested.precise is not None:
            precise = found.curve[found.suggested.precise].threshold
    return ThresholdOut(
        curve=[CurvePointOut.model_validate(point) for point in found.curve],
        now=now,
        best=best,
        precise=precise,
        wanted_precision=WANTED_PRECISION,
        answers=found.n_answers,
        wanted_answers=PROPOSAL_MIN,
    )


def _questions_out(drawn: Sequence[Question], at: datetime, found: dict[str, Event]) -> list[QuestionOut]:
    return [
        QuestionOut(
            event=event_out(found[one.event_id]),
            question=f"Is this '{one.label}'?" if one.label else "Was something missed here?",
            label=one.label,
            labels=list(one.labels),
            drawn_with=one.drawn_with,
            drawn_at=at,
        )
        for one in drawn
        if one.event_id in found  # else it was deleted meanwhile
    ]
