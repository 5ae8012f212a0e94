"""Search and labels in hindsight over a real record; the classifier answers text requests through a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy import delete, func, select, update

from services.classifier.words.prompts import LabelBank
from services.classifier.words.text_requests import TextRequestMetrics, TextRequestServer
from services.recorder.http.api import add_routes
from services.recorder.http.rules import RULES
from services.recorder.http.state import ApiState
from services.recorder.media.values import StoredMedia
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.queries import find_event, find_frames
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import (
    events,
    frame_embeddings,
    frame_probabilities,
    past_answers,
    snippets,
)
from services.recorder.record.transactions import record_snippet
from services.recorder.search import hindsight, hindsight_rows
from services.recorder.search.common_words import CommonWords
from services.recorder.search.hindsight import Application, Hindsight
from services.recorder.search.hindsight_values import HindsightRequest, Outcome
from services.recorder.search.index import EmbeddingIndex, Extent
from services.recorder.search.nearest_events import NearestEvents
from services.recorder.search.text_requests import NoClassifier, TextEmbedder, TextsRefused
from services.recorder.search.vectors import PictureFilter
from services.recorder.search.words import Search, SearchRequest
from shared.clock import uuid7
from shared.contract import TEXTS, DecisionSettings, LabelSet, SnippetMessage
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.http_api import make_app
from shared.permissions import Identity, Permission
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.unit.classifier.makers import BLUE, GREEN, NOON, RED, Colour, ColourModel, message

pytestmark = pytest.mark.redis
_T = TypeVar("_T")
STREET = ("an empty street",)
LATER = NOON + timedelta(days=1)


@contextlib.asynccontextmanager
async def answering(redis: Redis, model: ColourModel) -> AsyncIterator[CollectorRegistry]:
    """Run the classifier's server of text requests with a model that sees colours."""

    def now(work: Callable[[], _T]) -> Awaitable[_T]:
        done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        done.set_result(work())
        return done

    registry = CollectorRegistry()
    server = TextRequestServer(redis, "one", model, LabelBank(model, 8), now, TextRequestMetrics(registry))
    stop = asyncio.Event()
    task = asyncio.create_task(server.run(stop))
    try:
        yield registry
    finally:
        stop.set()
        await task


def seen(number: int, colours: list[Colour], camera: str = "gate", at: datetime = NOON) -> SnippetMessage:
    """Return a snippet of one moment a colour; event `number` starts that many minutes after `at`."""
    made = message([[("crop", b"")] for _ in colours], background=STREET, key=f"{camera}/{number}")
    start = at + timedelta(minutes=number)
    shift = start - NOON
    header = made.header.model_copy(
        update={
            "event_id": uuid7(start, seed=f"{camera}/{number}"),
            "camera": camera,
            "event_started_at": start,
            "started_at": start - timedelta(seconds=1),
            "ended_at": start + timedelta(seconds=9),
            "pictures": tuple(
                one.model_copy(update={"captured_at": one.captured_at + shift})
                for one in made.header.pictures
            ),
        }
    )
    return SnippetMessage(header, made.pictures)


@dataclass
class Record:
    """A database, and what asks it."""

    database: Database
    index: EmbeddingIndex
    model: ColourModel
    texts: TextEmbedder

    async def add(self, sent: SnippetMessage, colours: list[Colour], model: ColourModel | None = None) -> str:
        """Record a snippet as classifier and recorder do; return the event's id."""
        model = model or self.model
        pixels = np.stack([np.full((3, 4, 4), np.array(c)[:, None, None], np.uint8) for c in colours])
        vectors = model.embed_pictures(pixels)
        looked = EmbeddedSnippet(sent, vectors, np.ones(len(colours), dtype=np.bool_))
        texts = LabelBank(model, 1).get(sent.header.label_set)
        said = label(looked, texts, model.facts, sent.header.ended_at + timedelta(seconds=1))
        async with self.database.writing() as connection:
            await record_snippet(connection, snippet_rows(said), StoredMedia(), sent.header.ended_at)
        return sent.header.event_id

    def search(self) -> Search:
        return Search(self.texts, CommonWords(self.texts), self.nearest())

    def nearest(self) -> NearestEvents:
        return NearestEvents(self.index, self.database, 60)

    async def look_back(self, is_applied: bool = False, **options: Any) -> Outcome:  # Any: of the request
        wanted = {
            "labels": ("a dog",),
            "background": STREET,
            "threshold": None,
            "since": NOON,
            "until": LATER,
            "adds": False,
        }
        over = Hindsight(self.texts, self.database)
        application = Application("ada") if is_applied else None
        said = [one async for one in over.run(HindsightRequest(**{**wanted, **options}), application)]
        return said[-1]


def counted(outcome: Outcome) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """Return by camera and label the events as recorded, in hindsight, that gain it, and that lose it."""
    return {
        (camera, name): (of.recorded, of.hindsight, of.gained, of.lost)
        for camera, counts in outcome.cameras.items()
        for name, of in counts.labels.items()
    }


@pytest.fixture
async def record(redis_client: Redis, record_url: str, tmp_path: Path) -> AsyncIterator[Record]:
    database = await open_database(record_url, asyncio.Event(), 30, 30)
    index = EmbeddingIndex(tmp_path / "index", database, record_url)
    stop = asyncio.Event()
    with index.opened():
        task = asyncio.create_task(index.run(stop, lambda: None))
        yield Record(database, index, ColourModel(), TextEmbedder(redis_client, 20))
        stop.set()
        index.kick()
        await task
    await database.close()


# -- search


async def test_search_finds_the_event_that_shows_the_words_and_its_moment(
    record: Record, redis_client: Redis
) -> None:
    await record.add(seen(0, [RED, RED]), [RED, RED])
    dog = await record.add(seen(1, [RED, BLUE, GREEN]), [RED, BLUE, GREEN])
    async with answering(redis_client, record.model):
        found = await record.search().find(SearchRequest("a dog"))
    assert found.ranking.hits[0].event.id == dog
    assert len(found.ranking.hits) == 2
    best = found.ranking.hits[0]
    assert best.similarity == pytest.approx(1, abs=0.01)
    assert best.captured_at == NOON + timedelta(minutes=1, seconds=1)
    assert best.offset_s == 2.0
    assert found.ranking.extent == Extent(searched=5, left_out=0, is_complete=True)
    assert await redis_client.keys("*") == [TEXTS.encode()]
    assert await redis_client.xlen(TEXTS) == 0


async def test_search_keeps_to_camera_and_time(record: Record, redis_client: Redis) -> None:
    ids = {
        (camera, number): await record.add(seen(number, [GREEN], camera), [GREEN])
        for camera in ("gate", "yard")
        for number in (0, 10)
    }
    async with answering(redis_client, record.model):
        search = record.search()

        async def found(**within: Any) -> set[str]:  # Any: of PictureFilter
            hits = (await search.find(SearchRequest("a dog", PictureFilter(**within)))).ranking.hits
            return {hit.event.id for hit in hits}

        assert await found() == set(ids.values())
        assert await found(camera="yard") == {ids["yard", 0], ids["yard", 10]}
        assert await found(camera="nowhere") == set()
        assert await found(since=NOON + timedelta(minutes=5)) == {ids["gate", 10], ids["yard", 10]}
        assert await found(camera="gate", until=NOON + timedelta(minutes=5)) == {ids["gate", 0]}


async def test_a_viewer_finds_as_many_as_are_asked_for_among_the_own_cameras(
    record: Record, redis_client: Redis
) -> None:
    """A better match on another camera takes no place in the answer; nor is it counted."""
    for number in range(12):
        await record.add(seen(number, [GREEN], "yard"), [GREEN])
    mine = [await record.add(seen(number, [RED], "gate"), [RED]) for number in range(3)]
    async with answering(redis_client, record.model):

        async def found(**within: Any) -> tuple[list[str], int, int]:  # Any: of PictureFilter
            request = SearchRequest("a dog", PictureFilter(**within), limit=3)
            ranking = (await record.search().find(request)).ranking
            ids = [hit.event.id for hit in ranking.hits]
            return ids, ranking.extent.searched, ranking.extent.left_out

        assert not set((await found())[0]) & set(mine)
        assert await found(cameras=frozenset({"gate"})) == (sorted(mine), 3, 0)
        assert await found(cameras=frozenset({"gate"}), camera="yard") == ([], 3, 0)
        assert (await found(cameras=frozenset({"gate", "yard"})))[1] == 15
        assert await found(cameras=frozenset()) == ([], 0, 0)


async def test_a_look_back_is_at_the_viewers_cameras(record: Record, redis_client: Redis) -> None:
    yard = await record.add(seen(0, [GREEN], "yard"), [GREEN])
    await record.add(seen(1, [GREEN], "gate"), [GREEN])
    async with answering(redis_client, record.model):
        outcome = await record.look_back(True, labels=("a person",), cameras=frozenset({"gate"}))
        other = await record.look_back(labels=("a person",), cameras=frozenset({"gate"}), camera="yard")
    assert (outcome.n_events_all, outcome.n_written) == (1, 1)
    assert counted(outcome) == {("gate", "a dog"): (1, 0, 0, 1)}
    assert [one.camera for one in outcome.shown] == ["gate"]
    assert (other.n_events_all, other.n_events) == (0, 0)
    async with record.database.reading() as connection:
        event = await find_event(connection, yard)
    assert event is not None
    assert event.label == "a dog"


async def test_pictures_of_another_model_are_left_out_and_counted(
    record: Record, redis_client: Redis
) -> None:
    other = ColourModel()
    other.facts = type(other.facts)("others", 16, 4, 20.0, distractors=())
    await record.add(seen(0, [GREEN]), [GREEN], other)
    mine = await record.add(seen(1, [GREEN]), [GREEN])
    async with answering(redis_client, record.model):
        found = await record.search().find(SearchRequest("a dog"))
        outcome = await record.look_back()
    assert [hit.event.id for hit in found.ranking.hits] == [mine]
    assert (found.ranking.extent.searched, found.ranking.extent.left_out) == (1, 1)
    assert (outcome.n_snippets, outcome.n_left_out) == (2, 1)


async def test_an_index_that_was_deleted_is_built_again_and_deleted_events_leave_it(
    record: Record, redis_client: Redis, tmp_path: Path
) -> None:
    gone = await record.add(seen(0, [GREEN]), [GREEN])
    stays = await record.add(seen(1, [GREEN]), [GREEN])
    fresh = EmbeddingIndex(tmp_path / "fresh", record.database, "a")
    with fresh.opened():
        await fresh.sync(asyncio.Event())
        assert fresh.extent("colours", 4).searched == 2
    again = EmbeddingIndex(tmp_path / "fresh", record.database, "a")
    with again.opened():
        assert again.extent("colours", 4).searched == 2
        async with record.database.writing() as connection:
            await connection.execute(delete(events).where(events.c.id == gone))
        assert await again.forget_deleted() == 1
        found = await again.nearest("colours", np.array([0, 1, 0, 0], np.float32), PictureFilter(), 9)
        assert [one.event_id for one in found] == [stays]
    of_other_database = EmbeddingIndex(tmp_path / "fresh", record.database, "b")
    with of_other_database.opened():
        assert of_other_database.extent("colours", 4).searched == 0


async def test_without_a_classifier_the_answer_says_so_and_nothing_stays_in_redis(
    record: Record, redis_client: Redis
) -> None:
    texts = TextEmbedder(redis_client, 0.05)
    with pytest.raises(NoClassifier, match=r"no classifier answered within 0\.05 s"):
        await texts.ask(LabelSet(labels=("a dog",)), with_others=False)
    assert await redis_client.xlen(TEXTS) == 0


async def test_a_question_that_nobody_waits_for_is_not_answered(record: Record, redis_client: Redis) -> None:
    fields: dict[Any, Any] = {  # Any: redis-py's wide unions
        b"h": b'{"version":1,"request_id":"%s","label_set":{"labels":["a dog"]},"deadline_s":0.001}'
        % (b"0" * 32)
    }
    await redis_client.xadd(TEXTS, fields, id="1000-0")
    async with answering(redis_client, record.model) as registry:
        await record.texts.ask(LabelSet(labels=("a dog",)), with_others=False)
    name = "clipwatch_classifier_questions_total"
    assert registry.get_sample_value(name, {"outcome": "late"}) == 1
    assert registry.get_sample_value(name, {"outcome": "answered"}) == 1
    assert not await redis_client.exists(f"{TEXTS}:{'0' * 32}")


async def test_more_words_than_are_embedded_at_once_are_refused_with_a_reason(
    record: Record, redis_client: Redis
) -> None:
    async with answering(redis_client, record.model):
        with pytest.raises(TextsRefused, match="wanted 200 at most"):
            await record.texts.ask(LabelSet(labels=tuple(f"thing {i}" for i in range(200))), with_others=True)


async def test_words_arrive_as_the_classifier_embeds_them_for_its_decisions(
    record: Record, redis_client: Redis
) -> None:
    label_set = LabelSet(labels=("a dog", "a person", "a pedestrian"), background=STREET)
    wanted = LabelBank(record.model, 1).get(label_set)
    async with answering(redis_client, record.model):
        spoken = await record.texts.ask(label_set, with_others=True)
    assert (spoken.name, spoken.temperature, spoken.embedding_dim) == ("colours", 20.0, 4)
    assert spoken.texts.columns == wanted.columns
    for name in ("embeddings", "rivals", "against", "shown"):
        assert np.array_equal(getattr(spoken.texts, name), getattr(wanted, name)), name


# -- labels in hindsight


async def test_the_same_words_give_the_answer_that_is_recorded(record: Record, redis_client: Redis) -> None:
    event_id = await record.add(seen(0, [GREEN, GREEN, RED]), [GREEN, GREEN, RED])
    async with record.database.reading() as connection:
        before = await find_event(connection, event_id)
    async with answering(redis_client, record.model):
        outcome = await record.look_back(is_applied=True, labels=("a person", "a dog"))
    async with record.database.reading() as connection:
        after = await find_event(connection, event_id)
    assert before is not None
    assert after is not None
    assert before.label == "a dog"
    assert outcome.n_changed == 0
    assert [d.label for d in before.detections] == [d.label for d in after.detections]
    shares = [d.probability for d in before.detections]
    assert shares == pytest.approx([d.probability for d in after.detections], abs=0.01)


async def test_what_was_told_apart_by_objects_is_told_apart_in_hindsight(
    record: Record, redis_client: Redis
) -> None:
    """In every moment one of two objects looks like a dog, and it is never the same for long."""
    colours = [GREEN, RED, RED, GREEN] * 3
    made = seen(0, colours[::2])
    pictures = [one.model_copy(update={"track": track}) for one in made.header.pictures for track in range(2)]
    for is_told_apart in (True, False):
        kept = [one if is_told_apart else one.model_copy(update={"track": None}) for one in pictures]
        header = made.header.model_copy(
            update={
                "event_id": uuid7(NOON, seed=f"is_told_apart={is_told_apart}"),
                "decision": DecisionSettings(threshold=0.7),
                "pictures": tuple(kept),
            }
        )
        event_id = await record.add(SnippetMessage(header, (b"",) * len(kept)), colours)
        async with answering(redis_client, record.model):
            outcome = await record.look_back(is_applied=True, labels=("a person", "a dog"))
        async with record.database.reading() as connection:
            event = await find_event(connection, event_id)
        assert event is not None
        accepted = {one.label for one in event.detections}
        assert (accepted == set()) if is_told_apart else (accepted == {"a person", "a dog"})
        assert outcome.n_changed == 0


async def test_other_labels_are_shown_beside_the_record_which_stays_as_it_is(
    record: Record, redis_client: Redis
) -> None:
    dog = await record.add(seen(0, [GREEN] * 3), [GREEN] * 3)
    wall = await record.add(seen(1, [BLUE] * 3), [BLUE] * 3)
    async with answering(redis_client, record.model):
        outcome = await record.look_back(labels=("a blue wall",), background=())
    assert (outcome.n_events, outcome.n_events_all, outcome.n_snippets) == (2, 2, 2)
    assert (outcome.n_changed, outcome.n_written) == (2, 0)
    shown = {one.event_id: one for one in outcome.shown}
    assert [a.label for a in shown[dog].recorded] == ["a dog"]
    assert shown[dog].hindsight == ()
    assert shown[wall].recorded == ()
    assert [a.label for a in shown[wall].hindsight] == ["a blue wall"]
    assert counted(outcome) == {("gate", "a dog"): (1, 0, 0, 1), ("gate", "a blue wall"): (0, 1, 1, 0)}
    async with record.database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(past_answers))).scalar() == 0
        event = await find_event(connection, wall)
    assert event is not None
    assert event.label is None


async def test_what_is_applied_becomes_the_record_once_and_the_old_answer_is_kept(
    record: Record, redis_client: Redis
) -> None:
    wall = await record.add(seen(1, [BLUE] * 3), [BLUE] * 3)
    async with record.database.writing() as connection:
        await connection.execute(update(events).values(is_open=False))
        old = (await connection.execute(select(snippets))).one()
    async with answering(redis_client, record.model):
        first = await record.look_back(is_applied=True, labels=("a blue wall",), background=())
        second = await record.look_back(is_applied=True, labels=("a blue wall",), background=())
    assert (first.n_written, second.n_written, second.n_changed) == (1, 0, 0)
    async with record.database.reading() as connection:
        event = await find_event(connection, wall)
        frames = await find_frames(connection, wall)
        kept = (await connection.execute(select(past_answers))).all()
        n_embeddings = (await connection.execute(select(func.count()).select_from(frame_embeddings))).scalar()
    assert event is not None
    assert (event.label, event.is_open) == ("a blue wall", False)
    assert {series.label for series in frames[0].series} == {"a blue wall", "other"}
    assert n_embeddings == 3
    assert [(row.labelled_at, row.accepted, row.label_set) for row in kept] == [
        (old.labelled_at, old.accepted, old.label_set)
    ]


async def test_what_changed_since_it_was_read_is_left_alone(
    record: Record, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, anew, plain = [await record.add(seen(number, [BLUE] * 3), [BLUE] * 3) for number in range(3)]
    read = hindsight_rows.page_of_events

    async def then_changed(*asked: Any) -> Any:  # Any: as the function it stands for
        page = await read(*asked)
        async with record.database.writing() as connection:
            for table in (frame_probabilities, frame_embeddings, snippets):
                await connection.execute(delete(table).where(table.c.event_id == gone))
            await connection.execute(delete(events).where(events.c.id == gone))
            is_anew = snippets.c.event_id == anew
            await connection.execute(update(snippets).where(is_anew).values(labelled_at=LATER))
        return page

    monkeypatch.setattr(hindsight, "page_of_events", then_changed)
    async with answering(redis_client, record.model):
        outcome = await record.look_back(is_applied=True, labels=("a blue wall",), background=())
    assert (outcome.n_snippets, outcome.n_changed, outcome.n_written) == (3, 3, 1)
    async with record.database.reading() as connection:
        kept = (await connection.execute(select(past_answers.c.event_id))).scalars().all()
        labels = {row.id: row.label for row in await connection.execute(select(events))}
    assert kept == [plain]
    assert labels == {anew: None, plain: "a blue wall"}


async def test_added_labels_stand_beside_those_of_then(record: Record, redis_client: Redis) -> None:
    await record.add(seen(0, [GREEN] * 3), [GREEN] * 3)
    await record.add(seen(1, [BLUE] * 3), [BLUE] * 3)
    async with answering(redis_client, record.model):
        outcome = await record.look_back(labels=("a blue wall",), background=(), adds=True)
    # the wall is the background of then as well
    assert counted(outcome) == {("gate", "a dog"): (1, 1, 0, 0)}
    assert outcome.n_changed == 0


async def test_a_stricter_threshold_takes_what_was_doubtful(record: Record, redis_client: Redis) -> None:
    await record.add(seen(0, [GREEN] * 3), [GREEN] * 3)
    teal = (20, 220, 200)  # between dog and street: about 0.8 for the dog
    doubtful = await record.add(seen(1, [teal] * 3), [teal] * 3)
    async with answering(redis_client, record.model):
        same = await record.look_back(labels=("a dog",))
        strict = await record.look_back(labels=("a dog",), threshold=0.95)
    assert same.n_changed == 0
    assert [one.event_id for one in strict.shown] == [doubtful]


@pytest.mark.parametrize(
    ("then", "body"),
    [
        (
            LabelSet(labels=("a dog",), background=tuple(f"wall {i}" for i in range(50))),
            {"background": ["x"]},
        ),
        (
            LabelSet(labels=tuple(f"thing {i}" for i in range(180))),
            {"labels": [f"new {i}" for i in range(21)]},
        ),
    ],
    ids=["background", "labels"],
)
async def test_more_added_labels_than_a_snippet_may_have_are_refused(
    record: Record, redis_client: Redis, then: LabelSet, body: dict[str, list[str]]
) -> None:
    sent = seen(0, [GREEN])
    sent = SnippetMessage(sent.header.model_copy(update={"label_set": then}), sent.pictures)
    await record.add(sent, [GREEN])
    app = make_app("recorder")
    hindsight = Hindsight(record.texts, record.database)
    add_routes(app, ApiState(lambda: True, record.database, hindsight=hindsight))
    asked = {"labels": ["a person"], "since": NOON.isoformat(), "until": LATER.isoformat(), "mode": "add"}
    async with client_of(guarded(app, RULES)) as client:
        answer = await client.post("/api/hindsight", json=asked | body)
    assert answer.status_code == 400
    fault = answer.json()["error"]
    assert "200 and 50 at most" in fault["found"]
    assert all(fault[part] for part in ("found", "wanted", "do"))


async def test_over_http_a_dry_run_streams_and_a_change_needs_leave(
    record: Record, redis_client: Redis
) -> None:
    await record.add(seen(0, [GREEN] * 3), [GREEN] * 3)
    app = make_app("recorder")
    hindsight = Hindsight(record.texts, record.database)
    add_routes(app, ApiState(lambda: True, record.database, search=record.search(), hindsight=hindsight))
    body = {
        "labels": ["a person"],
        "background": list(STREET),
        "since": NOON.isoformat(),
        "until": LATER.isoformat(),
        "mode": "replace",
    }
    looker = KnownIdentity(Identity("a viewer", frozenset({Permission.LOOK})))
    async with (
        answering(redis_client, record.model),
        client_of(guarded(app, RULES)) as client,
        client_of(guarded(app, RULES), "203.0.113.9") as stranger,
        client_of(guarded(app, RULES, authenticator=looker)) as viewer,
    ):
        found = (await client.get("/api/search", params={"q": "a dog", "limit": 3})).json()
        assert [hit["event"]["label"] for hit in found["results"]] == ["a dog"]
        assert (await client.get("/api/search", params={"q": " "})).status_code == 400
        answer = await client.post("/api/hindsight", json=body)
        lines = [httpx.Response(200, content=line).json() for line in answer.text.splitlines()]
        assert lines[0] == {"done": 1, "of": 1}
        row = {"label": "a dog", "recorded": 1, "hindsight": 0, "gained": 0, "lost": 1, "lost_right": 0}
        result = lines[-1]["result"]
        assert result["labels"] == [row]
        assert result["cameras"] == [{"camera": "gate", "events": 1, "changed": 1, "labels": [row]}]
        assert result["summary"] == "1 event on 1 camera loses 'a dog'"
        beside = await client.post("/api/hindsight", json={**body, "mode": "add"})
        by_default = await client.post(
            "/api/hindsight", json={name: body[name] for name in body if name != "mode"}
        )
        assert beside.text == by_default.text
        assert '"changed":0' in by_default.text
        assert (await viewer.post("/api/hindsight", json=body)).status_code == 200
        for apply in (False, True):
            refused = await stranger.post("/api/hindsight", json={**body, "apply": apply})
            assert refused.status_code == 403
            page = {"Origin": "http://evil.example"}
            foreign = await client.post("/api/hindsight", json={**body, "apply": apply}, headers=page)
            assert foreign.status_code == 403
        assert (await viewer.post("/api/hindsight", json={**body, "apply": True})).status_code == 403
        applied = await client.post("/api/hindsight", json={**body, "apply": True})
        assert '"written":1' in applied.text
        empty = await client.post("/api/hindsight", json={**body, "labels": []})
        assert empty.status_code == 400
    no_texts = TextEmbedder(redis_client, 0.05)
    silent = Search(no_texts, CommonWords(no_texts), record.nearest())
    alone = make_app("recorder")
    add_routes(alone, ApiState(lambda: True, record.database, search=silent))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(alone), base_url="http://x") as client:
        nobody = await client.get("/api/search", params={"q": "a dog"})
    assert nobody.status_code == 503
    assert set(nobody.json()["error"]) == {"found", "wanted", "do"}
    assert "no classifier answered" in nobody.json()["error"]["found"]
