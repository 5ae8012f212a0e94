"""Changes of the labels of the past: the list of them, and undoing one.

GET  /api/relabels                      newest first; of a user with cameras those that were about these only
POST /api/relabels/{relabel_id}/undo    an answer of JSON lines, progress first, the outcome last
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime, BaseModel

from services.recorder.http.line_answers import LINE_ANSWERS, Line, streamed
from services.recorder.http.models import ApiModel
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import Viewer
from services.recorder.record.relabels import Relabel, find_relabel, find_relabels
from services.recorder.record.verdict_tables import VERDICT_WHO_CHARS
from services.recorder.search.relabel_undo import UndoOutcome, undo_relabel
from shared.http_access import identity_of
from shared.http_api import ApiFault
from shared.logs import get_logger

log = get_logger(__name__)


class AskedOut(BaseModel):
    """What a change was asked for. `background` and `threshold` null: as they were for each snippet; `cameras` null:
    all."""

    labels: list[str] = []
    background: list[str] | None = None
    threshold: float | None = None
    mode: str = "add"
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    cameras: list[str] | None = None


class RelabelOut(BaseModel):
    """A change of labels of the past. `events`: whose labels changed; `snippets`: whose answers were replaced;
    `unfinished`: answers that an undo which broke off has not put back: undo again."""

    id: str
    kind: str
    asked: AskedOut
    made_by: str
    made_at: AwareDatetime
    events: int
    snippets: int
    undone_by: str | None
    undone_at: AwareDatetime | None
    unfinished: int


class RelabelsOut(ApiModel):
    """The newest 100."""

    relabels: list[RelabelOut]


class UndoOut(BaseModel):
    """The last line. `events`: whose labels are as before; `restored`: answers put back; `left`: those that something
    else replaced since, which stay."""

    relabel_id: str
    events: int
    restored: int
    left: int


def relabel_routes(api: ApiState) -> APIRouter:
    """Return the routes of changes of the past."""
    router = APIRouter(prefix="/api", tags=["hindsight"])

    @router.get("/relabels")
    async def relabels(response: Response, viewer: Viewer) -> RelabelsOut:
        """Changes of the labels of the past, the newest first."""
        async with api.open_database().reading() as connection:
            found = await find_relabels(connection, viewer)
        response.headers["cache-control"] = "no-store"
        return RelabelsOut(relabels=[_relabel_out(entry) for entry in found])

    @router.post("/relabels/{relabel_id}/undo", response_class=StreamingResponse, responses=LINE_ANSWERS)
    async def undo(relabel_id: str, request: Request, viewer: Viewer) -> StreamingResponse:
        """Put back every answer that a change replaced, where its own still stands; again: nothing more happens."""
        if api.hindsight is None:
            raise starting()
        async with api.open_database().reading() as connection:
            entry = await find_relabel(connection, relabel_id, viewer)
        if entry is None:
            found = f"no change '{relabel_id[:64]}'"
            raise ApiFault(404, found, "the id of a change of the past", "look in /api/relabels")
        return await streamed(api.hindsight.gate, _undone(api, entry, who_of(request)))

    return router


def who_of(request: Request) -> str:
    """Return who calls, as entries name them."""
    return identity_of(request).name[:VERDICT_WHO_CHARS]


async def _undone(api: ApiState, entry: Relabel, who: str) -> AsyncGenerator[Line, None]:
    outcome = UndoOutcome()
    async for outcome in undo_relabel(api.open_database(), entry.id, who):
        yield {"done": outcome.n_done, "of": outcome.n_all}
    log.info("a change of the past was undone", events=outcome.n_events, snippets=outcome.n_restored)
    result = UndoOut(
        relabel_id=entry.id, events=outcome.n_events, restored=outcome.n_restored, left=outcome.n_left
    )
    yield {"result": result.model_dump(mode="json")}


def _relabel_out(entry: Relabel) -> RelabelOut:
    return RelabelOut(
        id=entry.id,
        kind=entry.kind,
        asked=AskedOut.model_validate(entry.asked),
        made_by=entry.made_by,
        made_at=entry.made_at,
        events=entry.n_events,
        snippets=entry.n_snippets,
        undone_by=entry.undone_by,
        undone_at=entry.undone_at,
        unfinished=entry.n_unfinished,
    )
