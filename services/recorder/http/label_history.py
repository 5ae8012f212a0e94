"""The history of a camera's label settings, and noting who changes them through the site.

Motion makes a change, in the camera file; the recorder passes it on and notes what it was, what it is and who asked.
Where that cannot be noted, the next snippet of the camera says what changed, without a name.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ValidationError

from services.recorder.http.motion_client import MotionClient, read_whole
from services.recorder.http.motion_routes import MotionRoute
from services.recorder.http.rules import RULES
from services.recorder.http.state import ApiState
from services.recorder.http.viewer import SeenCamera
from services.recorder.record.database import Database
from services.recorder.record.label_history import (
    KEPT,
    LabelChange,
    LabelSettings,
    NamedChange,
    find_changes,
    note_named,
)
from shared.clock import now_utc
from shared.contract import DecisionSettings, LabelSet
from shared.errors import Transient
from shared.http_access import identity_of
from shared.http_api import ApiFault
from shared.logs import get_logger

log = get_logger(__name__)
NOTED_WITHIN_S = 3.0  # the change is made: its answer does not wait longer for the record
_CAMERA = "/api/cameras/{camera_id}"
_READING = MotionRoute("GET", _CAMERA, RULES["GET", _CAMERA])
_CHANGING = frozenset({("PATCH", _CAMERA), ("PUT", f"{_CAMERA}/labels")})
_JSON = Mapping[str, Any]  # Any: JSON


class LabelChangeOut(BaseModel):
    """A camera's label settings from `changed_at` on; `changed_by` null: changed in the file."""

    changed_at: AwareDatetime
    changed_by: str | None
    labels: list[str]
    background: list[str]
    threshold: float
    leave_threshold: float | None
    margin: float
    window_s: float
    min_moments: int


class LabelHistoryOut(BaseModel):
    """The newest change first."""

    changes: list[LabelChangeOut]


def label_history_routes(api: ApiState) -> APIRouter:
    """Return the route of the history."""
    router = APIRouter(prefix="/api", tags=["cameras"])

    @router.get("/cameras/{camera_id}/label-history")
    async def label_history(
        camera_id: SeenCamera, response: Response, limit: Annotated[int, Query(ge=1, le=KEPT)] = 50
    ) -> LabelHistoryOut:
        """The label settings that a camera had, since when, and who changed them."""
        async with api.open_database().reading() as connection:
            found = await find_changes(connection, camera_id, limit)
        response.headers["cache-control"] = "no-store"
        return LabelHistoryOut(changes=[_change_out(change) for change in found])

    return router


def _change_out(change: LabelChange) -> LabelChangeOut:
    label_set, decision = change.settings.label_set, change.settings.decision
    return LabelChangeOut(
        changed_at=change.changed_at,
        changed_by=change.changed_by,
        labels=list(label_set.labels),
        background=list(label_set.background),
        **decision.model_dump(),
    )


@dataclass(slots=True)
class LabelNote:
    """What is noted of one change on its way to motion."""

    client: MotionClient
    database: Database
    request: Request
    _before: LabelSettings | None = field(default=None, init=False)

    async def begin(self) -> None:
        """Ask motion what the settings are; a motion that is away says so to the change itself."""
        try:
            reading = self.client.request(_READING, self.request, b"")
            async with self.client.answered(reading) as answer:
                if answer.is_success:
                    self._before = settings_of(await read_whole(answer))
        except ApiFault as exc:
            log.debug("label settings before a change are not known", error=exc.texts[0].found)

    async def end(self, answer: bytes) -> None:
        """Note the change that motion has made, as its answer shows it."""
        after = settings_of(answer)
        if after is None:
            return
        camera, who = str(self.request.path_params["camera_id"]), identity_of(self.request).name
        change = NamedChange(camera, self._before, after, who)
        try:
            async with asyncio.timeout(NOTED_WITHIN_S), self.database.writing() as connection:
                await note_named(connection, change, now_utc())
        except (Transient, TimeoutError) as exc:
            log.warning("who changed label settings is not noted", camera=camera, changed_by=who, error=exc)


def label_note(api: ApiState, route: MotionRoute, request: Request, body: bytes) -> LabelNote | None:
    """Return the note of a request that may change label settings; None for any other, and while there is no record."""
    if (route.method, route.path) not in _CHANGING or api.database is None:
        return None
    try:
        names = set(json.loads(body))
    except ValueError:
        return None  # motion says what is wrong with it
    known = {*LabelSet.model_fields, *DecisionSettings.model_fields}
    return LabelNote(api.motion, api.database, request) if names & known else None


def settings_of(answer: bytes) -> LabelSettings | None:
    """Return the label settings in motion's answer about a camera; None for another answer."""
    try:
        settings: _JSON = json.loads(answer)["settings"]
        return LabelSettings(LabelSet.model_validate(settings), DecisionSettings.model_validate(settings))
    except (ValueError, KeyError, TypeError, ValidationError):
        return None
