"""What a verdict changes in the past of its camera: looked at before it is kept, and applied once it is.

Both are labels in hindsight (search/hindsight.py) with the camera's examples, so what is shown is what is applied.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.relabels import (
    NewRelabel,
    count_relabel,
    find_relabel,
    forget_empty_relabel,
)
from services.recorder.search.hindsight import Application, Hindsight, entry_of
from services.recorder.search.hindsight_values import HindsightRequest, Outcome
from services.recorder.search.snippet_decisions import KnownExamples, WordDecisions
from services.recorder.search.text_requests import NoClassifier, TextsRefused
from services.recorder.verdicts.rows import event_data, note_relabel, teaching_of
from services.recorder.verdicts.teacher import Teacher, in_force
from services.recorder.verdicts.values import Verdict
from shared.contract import LabelSet


@dataclass(frozen=True, slots=True)
class Preview:
    """What would change so far; the last one is complete.

    `is_followed`: with its examples the event itself is decided as was said; None: it has no pictures to learn from.
    `not_asked_for`: labels of the verdict that the event's camera was not asked for.
    """

    outcome: Outcome
    is_followed: bool | None
    n_examples: int
    not_asked_for: tuple[str, ...] = ()


async def preview(
    hindsight: Hindsight, teacher: Teacher, verdict: Verdict, since: datetime, until: datetime
) -> AsyncIterator[Preview]:
    """Yield what a verdict that is not kept would change, after every page of events. Writes nothing.

    Raises NoClassifier and TextsRefused.
    """
    async with teacher.database.reading() as connection:
        data = await event_data(connection, verdict.event_id)
    lesson = None if data is None else await teacher.lesson(verdict, data)
    if data is None or lesson is None:
        yield Preview(Outcome(), None, 0)
        return
    asked = LabelSet.model_validate_json(data.snippets[-1].label_set)
    not_asked_for = tuple(sorted(verdict.said.shown - set(asked.labels)))

    async def examples(model: str, _cameras: CameraIds) -> Mapping[str, KnownExamples]:
        async with teacher.database.reading() as connection:
            teaching = await teaching_of(connection, verdict.camera, model, besides=verdict)
        kept = [one.example for one in await asyncio.to_thread(in_force, teaching)]
        new = (one.example for _, one in lesson.pictures)
        return {verdict.camera: KnownExamples((*kept, *new), lesson.unrelated)}

    request = past_request(verdict, since, until)
    decisions = WordDecisions(hindsight.texts, request, examples)
    async for outcome in hindsight.run(request, decisions=decisions):
        yield Preview(outcome, lesson.lesson.is_followed, len(lesson.pictures), not_asked_for)


async def apply_to_past(
    hindsight: Hindsight, verdict: Verdict, who: str, since: datetime, until: datetime
) -> AsyncIterator[Outcome]:
    """Decide the past of a verdict's camera with all that was learned, and yield the outcome after every page.

    Raises as Hindsight.run. The entry is made and noted on the verdict first, so that undoing it ends what is still
    being written; applying again, after a break, goes on under the same entry while it stands.
    """
    request = past_request(verdict, since, until)
    entry = entry_of(request, Application(who, "verdicts", {"verdict": verdict.id}))

    async def begin(connection: AsyncConnection) -> NewRelabel:
        noted = await find_relabel(connection, verdict.relabel_id) if verdict.relabel_id else None
        made = entry if noted is None or noted.undone_at else replace(entry, id=noted.id)
        await count_relabel(connection, made, 0, 0)
        await note_relabel(connection, verdict.id, made.id)
        return made

    made = await hindsight.database.write(begin)

    async def end(connection: AsyncConnection) -> None:
        if await forget_empty_relabel(connection, made.id):
            await note_relabel(connection, verdict.id, None)

    outcome = Outcome()
    try:
        async for outcome in hindsight.run(request, made):
            yield outcome
    except (NoClassifier, TextsRefused):
        await hindsight.database.write(end)
        raise
    if not outcome.n_written:
        await hindsight.database.write(end)


def past_request(verdict: Verdict, since: datetime, until: datetime) -> HindsightRequest:
    """Return what is asked of the past: the labels of then, and what the verdict says that an event shows instead."""
    named = () if verdict.kind not in ("is", "missed") or verdict.label is None else (verdict.label,)
    return HindsightRequest(named, None, None, since, until, verdict.camera, adds=True)
