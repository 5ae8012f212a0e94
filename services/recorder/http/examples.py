"""Examples as pictures: those that count on a camera, and one more that is brought in.

GET   /api/cameras/{camera_id}/examples   pages of them, oldest first: what each says, and where its picture is
POST  /api/cameras/{camera_id}/examples   the picture in the body becomes one
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel

from services.recorder.http.models import media_url
from services.recorder.http.paging import PAGE_MAX
from services.recorder.http.rules import EXAMPLE_RULE
from services.recorder.http.search import model_loading, texts_fault
from services.recorder.http.state import ApiState, starting
from services.recorder.http.viewer import SeenCamera
from services.recorder.record.verdict_tables import VERDICT_WHO_CHARS
from services.recorder.search.picture_requests import EmbeddedPictures, PicturesRefused
from services.recorder.search.text_requests import NoClassifier
from services.recorder.verdicts.pictures import (
    KeptPicture,
    SentPicture,
    add_picture,
    is_there,
    kept_pictures,
    require_asked,
)
from services.recorder.verdicts.rows import unrelated_of
from services.recorder.verdicts.values import VerdictRefused
from shared.cameras.model import NewLabelText
from shared.clock import now_utc
from shared.http_access import identity_of
from shared.http_api import ApiFault, bounded_body
from shared.logs import get_logger

log = get_logger(__name__)
_PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in EXAMPLE_RULE.content_types
        },
    }
}


class ExampleOut(BaseModel):
    """An example: a picture that shows a label (`is_right`), or does not; `label` null: none of those asked for.

    `clip_url`, `offset_s` and `box` (null: all of the frame) say where the picture is; without a clip it is gone.
    """

    number: int
    verdict_id: str
    event_id: str
    label: str | None
    is_right: bool
    captured_at: AwareDatetime
    model: str
    made_by: str
    made_at: AwareDatetime
    clip_url: str | None
    offset_s: float | None
    box: tuple[float, float, float, float] | None


class ExamplesOut(BaseModel):
    """A page of examples; `next` is the `after` of the page that follows, null at the end."""

    examples: list[ExampleOut]
    next: int | None


class NewExampleOut(BaseModel):
    """What became of a picture; false `is_new`: it was there already, or was taken back. `verdict_id` takes it back."""

    is_new: bool
    verdict_id: str


def example_routes(api: ApiState) -> APIRouter:
    """Return the routes that are listed above."""
    router = APIRouter(prefix="/api/cameras", tags=["verdicts"])

    @router.get("/{camera_id}/examples")
    async def camera_examples(
        camera_id: SeenCamera,
        response: Response,
        after: Annotated[int, Query(ge=0, le=2**53)] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
        event: Annotated[
            str | None, Query(pattern=r"^[0-9a-f-]{36}$", description="only those of this event")
        ] = None,
    ) -> ExamplesOut:
        """The examples of a camera that count, by the verdicts on its events and by pictures brought in."""
        async with api.open_database().reading() as connection:
            found, following = await kept_pictures(connection, camera_id, after, limit, event)
        response.headers["cache-control"] = "no-store"
        return ExamplesOut(examples=[_out(one) for one in found], next=following)

    @router.post("/{camera_id}/examples", openapi_extra=_PICTURE_BODY)
    async def add_example(
        camera_id: SeenCamera,
        request: Request,
        label: Annotated[NewLabelText | None, Query(description="left out: it shows no label")] = None,
        is_right: Annotated[bool, Query(description="false: it does not show the label")] = True,
        event: Annotated[
            str | None, Query(min_length=1, max_length=64, description="shared by pictures of one event")
        ] = None,
    ) -> NewExampleOut:
        """A JPEG, PNG or WebP becomes an example of a camera, at once and until its verdict is taken back."""
        if label is None and is_right:
            raise ApiFault(
                400, "is_right without a label", "the label that it shows", "name it, or say false"
            )
        picture = await bounded_body(request, EXAMPLE_RULE.body_max_bytes)
        if not picture:
            raise ApiFault(400, "an empty body", "a JPEG, PNG or WebP", "send a picture")
        who = identity_of(request).name[:VERDICT_WHO_CHARS]
        sent = SentPicture(camera_id, label, is_right, event, picture, who)
        try:
            is_new = await _add(api, sent)
        except VerdictRefused as exc:
            raise ApiFault(400, exc.found, exc.wanted, exc.action) from exc
        return NewExampleOut(is_new=is_new, verdict_id=sent.verdict_id)

    return router


async def _add(api: ApiState, sent: SentPicture) -> bool:
    database = api.open_database()
    async with database.reading() as connection:
        await require_asked(connection, sent.camera, sent.label)
    embedded = await _embedded(api, sent.picture)
    async with database.reading() as connection:
        dim = len(embedded.embeddings[0])
        unrelated = await unrelated_of(connection, sent.camera, embedded.model, dim)
    async with database.writing() as connection:
        if await is_there(connection, sent, embedded.model):
            return False
        await add_picture(connection, sent, embedded, unrelated, now_utc())
    if api.teacher is not None:
        api.teacher.kick()
    log.info("a picture was brought in", camera=sent.camera, label=sent.label, by=sent.made_by)
    return True


async def _embedded(api: ApiState, picture: bytes) -> EmbeddedPictures:
    if api.likeness is None:
        raise starting()
    if api.pipeline.is_model_loading:
        raise model_loading()
    try:
        return await api.likeness.pictures.ask([picture])
    except NoClassifier as exc:
        raise texts_fault(exc) from exc
    except PicturesRefused as exc:
        do = "send another picture, or the same scaled down"
        raise ApiFault(400, str(exc), "a picture that the classifier takes", do) from exc


def _out(kept: KeptPicture) -> ExampleOut:
    fields = {name: getattr(kept, name) for name in ExampleOut.model_fields if name != "clip_url"}
    return ExampleOut(clip_url=media_url(kept.clip_name), **fields)
