"""Examples as pictures: those that count on a camera, for an export, and pictures that are brought in. Knows no HTTP.

A picture that is brought in becomes an example of a verdict, as a click makes one, and the same limits hold. Pictures
of one event with the same meaning are one verdict. Its id follows from what it says, so that bringing in the same again
adds nothing; what was taken back stays so.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.engines import insert_or_keep
from services.recorder.record.label_history import find_changes
from services.recorder.record.schema import examples, frame_embeddings, snippets, verdicts
from services.recorder.record.transactions import rising
from services.recorder.search.picture_requests import EmbeddedPictures
from services.recorder.verdicts.rows import counting_ids
from services.recorder.verdicts.values import VerdictKind, VerdictRefused
from shared.clock import duration_s, to_millis, uuid7
from shared.decisions.teaching import PICTURES_MAX

_EVENT_ID = re.compile(r"[0-9a-f-]{36}")  # of an event that is recorded here
_NOWHEN = datetime(1970, 1, 1, tzinfo=UTC)  # date in the ids of what nobody recorded


@dataclass(frozen=True, slots=True)
class KeptPicture:
    """An example and where its picture is. `clip_name` None: the clip is gone. `box`: None is the whole frame."""

    number: int
    verdict_id: str
    event_id: str
    label: str | None  # None: none of the labels that are asked for
    is_right: bool
    captured_at: datetime
    model: str
    made_by: str
    made_at: datetime
    clip_name: str | None
    offset_s: float | None
    box: tuple[float, float, float, float] | None


@dataclass(frozen=True, slots=True)
class SentPicture:
    """A picture that is brought in: it shows the label, or does not; without one: none of all labels.

    `event`: a name that pictures of the same event share; None: it is alone.
    """

    camera: str
    label: str | None
    is_right: bool
    event: str | None
    picture: bytes
    made_by: str

    @property
    def _digest(self) -> bytes:
        return hashlib.sha256(self.picture).digest()

    @property
    def number(self) -> int:
        """The number of the picture within its event: the same bytes have the same one."""
        return int.from_bytes(self._digest[:4], "big") >> 1

    @property
    def event_id(self) -> str:
        """The id of an event that nobody recorded here."""
        name = self._digest.hex() if self.event is None else self.event
        return uuid7(_NOWHEN, seed=json.dumps([self.camera, name]))

    @property
    def verdict_id(self) -> str:
        return uuid7(_NOWHEN, seed=json.dumps([self.event_id, self.label, self.is_right]))

    @property
    def kind(self) -> VerdictKind:
        if self.label is None:
            return "nothing"
        return "is" if self.is_right else "wrong"


async def kept_pictures(
    connection: AsyncConnection, camera: str, after: int, limit: int, event_id: str | None = None
) -> tuple[list[KeptPicture], int | None]:
    """Return the next examples of a camera, or of an event on it, that count, and the number to go on after: None at
    the end."""
    picture = and_(
        *(frame_embeddings.c[name] == examples.c[name] for name in ("event_id", "snippet", "picture"))
    )
    clip = and_(*(snippets.c[name] == examples.c[name] for name in ("event_id", "snippet")))
    query = (
        select(
            *(examples.c[name] for name in ("number", "verdict_id", "event_id", "label", "is_right")),
            *(examples.c[name] for name in ("captured_at", "model")),
            verdicts.c.made_by,
            verdicts.c.made_at,
            frame_embeddings.c.picture.label("found"),
            *(frame_embeddings.c[name] for name in ("box_x", "box_y", "box_w", "box_h")),
            snippets.c.started_at,
            snippets.c.clip_name,
        )
        .join(verdicts, verdicts.c.id == examples.c.verdict_id)
        .outerjoin(frame_embeddings, picture)
        .outerjoin(snippets, clip)
        .where(
            examples.c.camera == camera,
            examples.c.number > after,
            *(() if event_id is None else (examples.c.event_id == event_id,)),
        )
        .order_by(examples.c.number)
        .limit(limit)
    )
    rows = (await connection.execute(query)).all()
    standing = await counting_ids(connection, camera, {row.event_id for row in rows})
    found = [
        KeptPicture(
            **{name: getattr(row, name) for name in KeptPicture.__dataclass_fields__ if name in row._fields},
            offset_s=None if row.started_at is None else duration_s(row.started_at, row.captured_at),
            box=None if row.box_x is None else (row.box_x, row.box_y, row.box_w, row.box_h),
        )
        for row in rows
        if row.verdict_id in standing
    ]
    return found, rows[-1].number if len(rows) == limit else None


async def require_asked(connection: AsyncConnection, camera: str, label: str | None) -> None:
    """Raise VerdictRefused where a camera is not known, or is not asked for a label."""
    changes = await find_changes(connection, camera, 1)
    if not changes:
        raise VerdictRefused(
            f"camera '{camera}', of which nothing is recorded",
            "a camera of the record",
            "look in cameras.yml",
        )
    asked = changes[0].settings.label_set.labels
    if label is not None and label not in asked:
        listed = ", ".join(f"'{one}'" for one in asked)
        what = f"a label that camera '{camera}' is asked for: {listed}"
        raise VerdictRefused(f"'{label}'", what, "add it to the camera's labels first, or name another")


async def is_there(connection: AsyncConnection, sent: SentPicture, model: str) -> bool:
    """Whether a picture is an example of a model already, brought in before or of the camera's own record; or was taken
    back, which it stays."""
    undone = select(verdicts.c.undone_at).where(verdicts.c.id == sent.verdict_id)
    if await connection.scalar(undone) is not None:
        return True
    of_verdict = and_(examples.c.verdict_id == sent.verdict_id, examples.c.model == model)
    stated = select(func.count()).select_from(examples).where(of_verdict, examples.c.picture == sent.number)
    if await connection.scalar(stated):
        return True
    if sent.event is None or _EVENT_ID.fullmatch(sent.event) is None:
        return False
    own = select(examples.c.verdict_id).where(
        examples.c.camera == sent.camera,
        examples.c.event_id == sent.event,
        examples.c.model == model,
        examples.c.is_right == sent.is_right,
        examples.c.label.is_(None) if sent.label is None else examples.c.label == sent.label,
    )
    found: Sequence[str] = (await connection.scalars(own)).all()
    return bool(set(found) & await counting_ids(connection, sent.camera, {sent.event}))


async def add_picture(
    connection: AsyncConnection,
    sent: SentPicture,
    embedded: EmbeddedPictures,
    unrelated: float,
    now: datetime,
) -> None:
    """Write a picture as an example; raise VerdictRefused when its event has as many as a click may teach.

    `unrelated`: the cosine of two pictures of different things at the camera.
    """
    now, vector = to_millis(now), embedded.embeddings[0]
    verdict = {
        "id": sent.verdict_id,
        "event_id": sent.event_id,
        "camera": sent.camera,
        "event_started_at": now,
        "kind": sent.kind,
        "label": sent.label,
        "recorded": json.dumps([sent.label] if sent.kind == "wrong" else [], ensure_ascii=False),
        "effect": "future",
        "made_by": sent.made_by,
        "made_at": now,
        "is_followed": True,
    }
    await connection.execute(insert_or_keep(connection.dialect.name, verdicts, "id").values(verdict))
    mine = verdicts.c.id == sent.verdict_id
    of_model = and_(examples.c.verdict_id == sent.verdict_id, examples.c.model == embedded.model)
    count = select(func.count()).select_from(examples).where(of_model)
    if (await connection.scalar(count) or 0) >= PICTURES_MAX:
        raise VerdictRefused(
            f"more than {PICTURES_MAX} pictures of one event", "the most different ones", "leave some out"
        )
    taught_at = await connection.scalar(select(verdicts.c.taught_at).where(mine))
    changed_at = now if taught_at is None else rising(taught_at, now)
    await connection.execute(update(verdicts).where(mine).values(taught_at=changed_at, unrelated=unrelated))
    await connection.execute(
        insert(examples).values(
            verdict_id=sent.verdict_id,
            camera=sent.camera,
            label=sent.label,
            is_right=sent.is_right,
            event_id=sent.event_id,
            snippet=0,
            picture=sent.number,
            captured_at=now,
            model=embedded.model,
            dim=len(vector),
            embedding=vector.astype(np.dtype("<f2")).tobytes(),
        )
    )
