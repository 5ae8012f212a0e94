"""Label settings on trial: what they say of the picture before a camera now, before anybody saves them."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from services.recorder.http.hindsight import DecisionIn
from services.recorder.http.search import model_loading, texts_fault
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import SeenCamera
from services.recorder.record.label_history import LabelSettings
from services.recorder.search.label_trial import MAX_TRIAL_PICTURES, TrialOutcome
from services.recorder.search.picture_requests import PicturesRefused
from services.recorder.search.text_requests import NoClassifier, TextsRefused
from shared.cameras import camera_with
from shared.errors import ConfigError
from shared.http_api import ApiFault, documented

PICTURE_CHARS = 400_000  # of one in base64: 300 kB, where a crop of 384 px has 40


class LabelTrialIn(BaseModel):
    """Label settings as in the camera file, and JPEGs of one moment in base64: of what moves, or the whole frame."""

    model_config = ConfigDict(extra="forbid")
    labels: list[str]
    background: list[str] = []
    decision: DecisionIn = DecisionIn()
    pictures: Annotated[
        list[Annotated[str, Field(max_length=PICTURE_CHARS)]],
        Field(min_length=1, max_length=MAX_TRIAL_PICTURES),
    ]


class LabelScoreOut(BaseModel):
    """`is_carried`: in this moment it reaches the threshold, and beats `background` by the margin."""

    label: str
    score: float
    background: float
    is_carried: bool


class TextShareOut(BaseModel):
    label: str
    probability: float


class LabelTrialOut(BaseModel):
    """Labels in the order in which they were sent. `other`: the share of everything that is not named."""

    model: str
    labels: list[LabelScoreOut]
    background: list[TextShareOut]
    other: float


def label_trial_routes(api: ApiState) -> APIRouter:
    """Return the route of label settings on trial."""
    router = APIRouter(prefix="/api", tags=["cameras"])

    @router.post("/cameras/{camera_id}/label-trial", responses=documented(422))
    async def label_trial(camera_id: SeenCamera, asked: LabelTrialIn, response: Response) -> LabelTrialOut:
        """What labels that are not saved yet say of the picture before a camera now."""
        settings, pictures = _settings(asked), _pictures(asked)
        if api.label_trial is None:
            raise starting()
        if api.pipeline.is_model_loading:
            raise model_loading()
        try:
            found = await api.label_trial.look(camera_id, settings, pictures)
        except (NoClassifier, TextsRefused) as exc:
            raise texts_fault(exc) from exc
        except PicturesRefused as exc:
            raise ApiFault(400, str(exc), "pictures that the classifier takes", "send JPEGs") from exc
        response.headers["cache-control"] = "no-store"
        return _out(found)

    return router


def _settings(asked: LabelTrialIn) -> LabelSettings:
    """Return the settings; raise ApiFault with every fault, as `clipwatch check` words them."""
    try:
        values = {"labels": asked.labels, "background": asked.background, **asked.decision.model_dump()}
        camera = camera_with(values)
    except ConfigError as exc:
        raise ApiFault.of_lines(422, exc.faults, "settings of a camera", "change the request") from exc
    return LabelSettings(camera.label_set, camera.decision)


def _pictures(asked: LabelTrialIn) -> list[bytes]:
    try:
        return [base64.b64decode(text, validate=True) for text in asked.pictures]
    except (binascii.Error, ValueError) as exc:
        raise ApiFault(400, "pictures that are not base64", "JPEGs in base64", "change the request") from exc


def _out(found: TrialOutcome) -> LabelTrialOut:
    return LabelTrialOut(
        model=found.model,
        labels=[
            LabelScoreOut(
                label=one.label, score=one.score, background=one.background, is_carried=one.is_carried
            )
            for one in found.labels
        ],
        background=[
            TextShareOut(label=one.column.text, probability=one.probability)
            for one in found.rest
            if one.column.kind == "background"
        ],
        other=sum(one.probability for one in found.rest if one.column.kind == "other"),
    )
