"""Makes verdicts count: chooses their examples, and writes each camera's examples to Redis for the classifiers.

A verdict is kept before anything else is done; its examples are chosen at once where a classifier answers, else as soon
as one does. What stands in Redis follows from the database alone, so any recorder writes the same, and what was lost
there comes back within EVERY_S.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.database import Database
from services.recorder.search.hindsight_rows import EventData
from services.recorder.search.recorded_snippets import recorded_snippet
from services.recorder.search.snippet_decisions import KnownExamples
from services.recorder.search.text_requests import NoClassifier, TextEmbedder, TextsRefused
from services.recorder.verdicts.rows import (
    CameraTeaching,
    KeptExample,
    NewExamples,
    cameras_taught,
    event_data,
    example_rows,
    rightly_recorded,
    teaching_of,
    unrelated_of,
    untaught,
    write_examples,
)
from services.recorder.verdicts.values import Verdict
from shared.clock import now_utc
from shared.contract import (
    MAX_EXAMPLES,
    DecisionSettings,
    ExampleSaid,
    ExamplesHeader,
    ExamplesMessage,
    LabelSet,
    examples_key,
    revision_of,
)
from shared.decisions.examples import USUAL_UNRELATED
from shared.decisions.label_texts import EmbeddedLabelSet
from shared.decisions.teaching import Classroom, Lesson, TaughtPicture, lesson_of, newest_and_most_different
from shared.errors import Permanent, Transient
from shared.logs import get_logger
from shared.waits import pause

log = get_logger(__name__)
EVERY_S = 2.0
LABEL_EXAMPLES_MAX = (
    200  # of a camera and label that are in force: the newest, and of the others the most different
)
UNTAUGHT_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class EventLesson:
    """The examples of a verdict, with the numbers of their snippets, and what they were chosen by."""

    lesson: Lesson
    pictures: tuple[tuple[int, TaughtPicture], ...]
    model: str
    unrelated: float


@dataclass(slots=True)
class Teacher:
    """Chooses examples and publishes them; see the module."""

    redis: Redis
    database: Database
    texts: TextEmbedder
    previews: asyncio.Lock = field(default_factory=asyncio.Lock)  # one at a time
    _published: dict[tuple[str, str], tuple[object, int]] = field(default_factory=dict)
    _kick: asyncio.Event = field(default_factory=asyncio.Event)

    def kick(self) -> None:
        """Say that a verdict was made or taken back."""
        self._kick.set()

    async def run(self, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Teach what is not taught yet and keep Redis as the database says, until `stop`."""
        while not stop.is_set():
            self._kick.clear()
            try:
                await self.catch_up()
            except (Transient, RedisError, OSError) as exc:
                log.debug("examples wait", error=exc)
            except Permanent as exc:
                log.error("examples cannot be written", error=str(exc))
            beat()
            await pause(EVERY_S, self._kick, stop)

    async def catch_up(self) -> None:
        """Teach, then publish, once."""
        async with self.database.reading() as connection:
            waiting = await untaught(connection, UNTAUGHT_AT_ONCE)
        for verdict in waiting:
            try:
                await self.teach(verdict)
            except NoClassifier as exc:
                log.debug("a verdict waits for a classifier", verdict=verdict.id, error=exc)
                break
        await self.publish()

    async def teach(self, verdict: Verdict) -> bool:
        """Choose and keep the examples of a verdict; return whether its event is decided as was said.

        Raises NoClassifier. Without pictures, or with words that no classifier takes, it is kept as not followed.
        """
        async with self.database.reading() as connection:
            data = await event_data(connection, verdict.event_id)
        new = NewExamples()
        try:
            found = await self.lesson(verdict, data) if data is not None else None
        except (TextsRefused, Permanent) as exc:
            log.warning("a verdict teaches nothing", verdict=verdict.id, error=str(exc))
            found = None
        if found is not None and data is not None:
            rows = example_rows(verdict, data, found.model, found.pictures)
            new = NewExamples(rows, found.lesson.is_followed, found.unrelated)
        async with self.database.writing() as connection:
            await write_examples(connection, verdict, new, now_utc())
        log.info("a verdict was learned", verdict=verdict.id, camera=verdict.camera, examples=len(new.rows))
        return new.is_followed

    async def lesson(self, verdict: Verdict, data: EventData) -> EventLesson | None:
        """Return what a verdict would teach; None where the event has no pictures of the classifier's model.

        Raises NoClassifier and TextsRefused.
        """
        if not data.snippets:
            return None
        label_set = asked_labels(LabelSet.model_validate_json(data.snippets[-1].label_set), verdict)
        embedded = await self.texts.ask(label_set, with_others=True)
        async with self.database.reading() as connection:
            teaching = await teaching_of(connection, verdict.camera, embedded.name, besides=verdict)
            unrelated = await unrelated_of(connection, verdict.camera, embedded.name, embedded.embedding_dim)
        return await asyncio.to_thread(_lesson, verdict, data, embedded, label_set, (teaching, unrelated))

    async def known(self, model: str, seen: CameraIds = None) -> dict[str, KnownExamples]:
        """Return the examples that are in force on some cameras, as classifiers with this model are told them."""
        async with self.database.reading() as connection:
            taught = [camera for camera, of in await cameras_taught(connection) if of == model]
            cameras = [camera for camera in taught if seen is None or camera in seen]
            found = {camera: await teaching_of(connection, camera, model) for camera in cameras}
        return await asyncio.to_thread(_known, found)

    async def called_right(self, event_ids: Collection[str]) -> Collection[tuple[str, str]]:
        """Return those of some events with the labels that somebody called right."""
        async with self.database.reading() as connection:
            return await rightly_recorded(connection, event_ids)

    async def publish(self) -> None:
        """Write the examples of each camera to Redis where it has others."""
        async with self.database.reading() as connection:
            cameras = await cameras_taught(connection)
        async with self.redis.pipeline(transaction=False) as asked:
            for camera, model in cameras:
                asked.hget(examples_key(camera, model), "revision")
            there = await asked.execute()
        for ((camera, model), change), value in zip(cameras.items(), there, strict=True):
            if self._published.get((camera, model)) != (change, revision_of(value)):
                try:
                    revision = await self._publish(camera, model, revision_of(value))
                except (Permanent, ValidationError) as exc:  # one camera's are no reason to tell nobody's
                    log.error("examples of a camera cannot be published", camera=camera, error=str(exc))
                    revision = revision_of(value)
                self._published[camera, model] = change, revision

    async def _publish(self, camera: str, model: str, there: int) -> int:
        async with self.database.reading() as connection:
            teaching = await teaching_of(connection, camera, model)
        message = await asyncio.to_thread(examples_message, camera, model, teaching)
        if not message.header.said and there < 0:
            return there
        if message.revision != there:
            # Any: redis-py's unions of both clients
            fields = cast("Any", message.encode())
            await cast("Any", self.redis.hset(examples_key(camera, model), mapping=fields))
            log.info("examples were published", camera=camera, examples=len(message.header.said))
        return message.revision


def asked_labels(then: LabelSet, verdict: Verdict) -> LabelSet:
    """Return the labels that were asked for then, and those that the verdict names; raises TextsRefused."""
    said = verdict.said
    named = sorted((said.shown | said.not_shown) - set(then.labels))
    try:
        return LabelSet(labels=(*then.labels, *named), background=then.background)
    except ValidationError as exc:
        n = len(then.labels) + len(named)
        raise TextsRefused(
            f"{n} labels with those of the verdict; a snippet is asked for 200 at most"
        ) from exc


def _lesson(
    verdict: Verdict,
    data: EventData,
    embedded: EmbeddedLabelSet,
    label_set: LabelSet,
    known: tuple[CameraTeaching, float],
) -> EventLesson | None:
    teaching, unrelated = known
    snippets, numbers = [], []
    for row in data.snippets:
        decision = DecisionSettings.model_validate_json(row.decision)
        snippet = recorded_snippet(row, data, label_set, decision, embedded)
        if snippet is not None:
            snippets.append(snippet)
            numbers.append(row.snippet)
    if not snippets:
        return None
    others = tuple(one.example for one in in_force(teaching))
    lesson = lesson_of(snippets, Classroom(embedded.texts, embedded, others, unrelated), verdict.said)
    pictures = tuple((numbers[one.snippet], one) for one in lesson.pictures)
    return EventLesson(lesson, pictures, embedded.name, unrelated)


def in_force(teaching: CameraTeaching) -> list[KeptExample]:
    """Return the examples that decisions take, by number: at most LABEL_EXAMPLES_MAX for, and against, each label, and
    MAX_EXAMPLES in all, the newest."""
    by_label: dict[tuple[str | None, bool], list[KeptExample]] = {}
    for one in sorted(teaching.examples, key=lambda one: -one.number):
        by_label.setdefault((one.example.label, one.example.is_right), []).append(one)
    kept: list[KeptExample] = []
    for found in by_label.values():
        vectors = np.stack([one.example.embedding for one in found])
        kept += [found[index] for index in newest_and_most_different(vectors, LABEL_EXAMPLES_MAX)]
    return sorted(kept, key=lambda one: one.number)[-MAX_EXAMPLES:]


def _known(found: Mapping[str, CameraTeaching]) -> dict[str, KnownExamples]:
    return {
        camera: KnownExamples(tuple(one.example for one in in_force(teaching)), unrelated_in_force(teaching))
        for camera, teaching in found.items()
        if teaching.examples
    }


def unrelated_in_force(teaching: CameraTeaching) -> float:
    """Return the cosine of two pictures of different things, as the newest verdict found it."""
    return USUAL_UNRELATED if teaching.unrelated is None else teaching.unrelated


def examples_message(camera: str, model: str, teaching: CameraTeaching) -> ExamplesMessage:
    """Return what classifiers are told; the revision follows from the content, so that all recorders tell the same."""
    found = in_force(teaching)
    dim = len(found[0].example.embedding) if found else 1
    header = ExamplesHeader(
        camera=camera,
        model=model,
        embedding_dim=dim,
        unrelated=unrelated_in_force(teaching),
        said=tuple(
            ExampleSaid(event=one.example.event, label=one.example.label, is_right=one.example.is_right)
            for one in found
        ),
    )
    embeddings = b"".join(one.example.embedding.astype("<f2").tobytes() for one in found)
    digest = hashlib.sha256(header.model_dump_json().encode() + embeddings).digest()
    return ExamplesMessage(header, int.from_bytes(digest[:7], "big"), embeddings)
