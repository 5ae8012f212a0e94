"""Changes of the labels of the past are entries that can be undone, to the last bit of what was; the event says so."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select, update

from services.classifier.words.prompts import LabelBank
from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.media.values import StoredMedia
from services.recorder.record.bootstrap import open_database
from services.recorder.record.camera_filter import CameraIds
from services.recorder.record.database import Database
from services.recorder.record.relabels import (
    EventRelabel,
    RelabelUndone,
    count_relabel,
    find_label_changes,
    find_relabel,
    find_relabels,
)
from services.recorder.record.rows import Row, snippet_rows
from services.recorder.record.schema import (
    day_totals,
    detections,
    events,
    frame_embeddings,
    frame_probabilities,
    past_answers,
    relabels,
    snippets,
)
from services.recorder.record.totals import shares
from services.recorder.record.transactions import record_snippet
from services.recorder.search import hindsight, hindsight_rows, relabel_undo
from services.recorder.search.hindsight import Application, Hindsight
from services.recorder.search.hindsight_rows import EventData, derive_events
from services.recorder.search.hindsight_values import HindsightRequest, Outcome
from services.recorder.search.relabel_undo import UndoOutcome, undo_relabel
from services.recorder.search.snippet_decisions import KnownExamples, WordDecisions
from services.recorder.search.text_requests import TextEmbedder
from shared.clock import uuid7
from shared.contract import LabelSet, LabelsMessage, SnippetMessage
from shared.decisions.examples import Example, for_labels
from shared.decisions.label_texts import EmbeddedLabelSet
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.http_api import make_app
from shared.permissions import Identity, Permission
from tests.http_apps import KnownIdentity, client_of, guarded
from tests.integration.test_search_and_hindsight import LATER, counted, seen
from tests.unit.classifier.makers import BLUE, GREEN, NOON, RED, Colour, ColourModel

pytestmark = [pytest.mark.mariadb]
WALL: dict[str, Any] = {"labels": ("a blue wall",), "background": ("nothing at all",), "adds": False}
TEAL = (20, 220, 200)  # between dog and street: about 0.8 for the dog
TABLES = (events, snippets, detections, frame_probabilities, frame_embeddings, day_totals, past_answers)


@dataclass(frozen=True, slots=True)
class KnownTexts(TextEmbedder):
    """Embeds words as the classifier does, without asking it."""

    model: ColourModel | None = None

    async def ask(self, label_set: LabelSet, with_others: bool) -> EmbeddedLabelSet:  # noqa: ARG002 - the port's
        assert self.model is not None
        facts = self.model.facts
        texts = LabelBank(self.model, 1).get(label_set)
        return EmbeddedLabelSet(facts.name, facts.temperature, facts.embedding_dim, texts)


@dataclass
class PastRecord:
    """A database with events of colours, and what asks it."""

    database: Database
    model: ColourModel

    @property
    def texts(self) -> TextEmbedder:
        redis: Any = None  # Any: nobody asks it
        return KnownTexts(redis, model=self.model)

    async def add(self, number: int, colours: list[Colour], camera: str = "gate", snippet: int = 0) -> str:
        sent = seen(number, colours, camera)
        sent = SnippetMessage(sent.header.model_copy(update={"snippet": snippet}), sent.pictures)
        rows = snippet_rows(self.said(sent, colours))
        async with self.database.writing() as connection:
            await record_snippet(connection, rows, StoredMedia(), sent.header.ended_at)
        return sent.header.event_id

    def said(self, sent: SnippetMessage, colours: list[Colour]) -> LabelsMessage:
        pixels = np.stack([np.full((3, 4, 4), np.array(c)[:, None, None], np.uint8) for c in colours])
        looked = EmbeddedSnippet(sent, self.model.embed_pictures(pixels), np.ones(len(colours), np.bool_))
        texts = LabelBank(self.model, 1).get(sent.header.label_set)
        return label(looked, texts, self.model.facts, sent.header.ended_at + timedelta(seconds=1))

    def request(self, **options: Any) -> HindsightRequest:  # Any: of the request
        wanted = {"labels": ("a dog",), "background": None, "threshold": None, "since": NOON, "until": LATER}
        return HindsightRequest(**{**wanted, **options})

    async def apply(self, who: str = "ada", **options: Any) -> Outcome:  # Any: of the request
        over = Hindsight(self.texts, self.database)
        return [one async for one in over.run(self.request(**options), Application(who))][-1]

    async def undo(self, relabel_id: str | None, who: str = "bob") -> UndoOutcome:
        assert relabel_id is not None
        return [one async for one in undo_relabel(self.database, relabel_id, who)][-1]

    async def rows(self) -> dict[str, list[Row]]:
        """Return everything that is recorded, but when events last changed, which rises at each change."""
        found = {}
        async with self.database.reading() as connection:
            for table in TABLES:
                names = [column for column in table.c if column is not events.c.updated_at]
                query = select(*names).order_by(*table.primary_key.columns)
                found[table.name] = [dict(row) for row in (await connection.execute(query)).mappings()]
        return found

    async def changes(self, event_id: str) -> list[EventRelabel]:
        async with self.database.reading() as connection:
            return await find_label_changes(connection, event_id)

    async def labels(self) -> dict[str, str | None]:
        async with self.database.reading() as connection:
            return {row.id: row.label for row in await connection.execute(select(events))}

    async def assert_totals_hold(self) -> None:
        async with self.database.reading() as connection:
            kept = (await connection.execute(select(day_totals))).all()
            counted_now = await shares(connection, events.c.id.is_not(None))
        assert {(row.day, row.camera): row.n_accepted for row in kept} == {
            key: share.n_accepted for key, share in counted_now.items()
        }


@pytest.fixture
async def past(record_url: str) -> AsyncIterator[PastRecord]:
    database = await open_database(record_url, asyncio.Event(), 30, 60)
    yield PastRecord(database, ColourModel())
    await database.close()


async def some_events(past: PastRecord) -> list[str]:
    """Record events of two cameras, one of them of two snippets; return their ids."""
    ids = [
        await past.add(0, [GREEN] * 3),
        await past.add(1, [BLUE] * 3),
        await past.add(2, [TEAL, GREEN, RED], "yard"),
        await past.add(3, [RED] * 3, "yard"),
    ]
    await past.add(3, [BLUE] * 3, "yard", snippet=1)
    async with past.database.writing() as connection:
        await connection.execute(update(events).where(events.c.id == ids[1]).values(is_open=False))
    return ids


# -- an entry, and its undo


async def test_an_application_is_an_entry_and_its_undo_gives_back_exactly_what_was(past: PastRecord) -> None:
    await some_events(past)
    before = await past.rows()
    outcome = await past.apply(**WALL)
    changed = await past.rows()
    assert changed["detections"] != before["detections"]
    assert changed["frame_probabilities"] != before["frame_probabilities"]
    async with past.database.reading() as connection:
        (entry,) = await find_relabels(connection)
    assert (entry.id, entry.kind, entry.made_by, entry.undone_at) == (
        outcome.relabel_id, "words", "ada", None,
    )  # fmt: skip
    assert (entry.n_events, entry.n_snippets) == (outcome.n_changed, outcome.n_written) == (4, 5)
    assert entry.asked == {
        "labels": ["a blue wall"],
        "background": ["nothing at all"],
        "threshold": None,
        "mode": "replace",
        "since": NOON.isoformat(),
        "until": LATER.isoformat(),
        "cameras": None,
    }
    await past.assert_totals_hold()

    undone = await past.undo(entry.id)
    assert (undone.n_events, undone.n_restored, undone.n_left) == (4, 5, 0)
    assert await past.rows() == before
    await past.assert_totals_hold()
    async with past.database.reading() as connection:
        (entry,) = await find_relabels(connection)
    assert (entry.undone_by, entry.undone_at is not None, entry.n_unfinished) == ("bob", True, 0)

    again = await past.undo(entry.id, "eve")
    assert (again.n_events, again.n_restored, again.n_left) == (0, 0, 0)
    assert await past.rows() == before
    async with past.database.reading() as connection:
        assert [one.undone_by for one in await find_relabels(connection)] == ["bob"]

    anew = await past.apply(**WALL)  # what was asked can be asked again
    assert (anew.n_written, anew.relabel_id == entry.id) == (5, False)
    assert await past.labels() == {row["id"]: row["label"] for row in changed["events"]}
    await past.undo(anew.relabel_id)
    assert await past.rows() == before


async def test_a_change_that_writes_nothing_is_no_entry(past: PastRecord) -> None:
    await past.add(0, [BLUE] * 3)
    assert (await past.apply(**WALL)).relabel_id is not None
    assert (await past.apply(**WALL)).relabel_id is None
    async with past.database.reading() as connection:
        assert len(await find_relabels(connection)) == 1


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_changes_on_top_of_each_other_are_undone_in_any_order(
    past: PastRecord, order: tuple[int, ...]
) -> None:
    """What stands after each undo is what the changes that are not undone had written last; at the end what was."""
    await some_events(past)
    before = await past.rows()
    asked: tuple[dict[str, Any], ...] = (
        WALL,
        {"labels": ("a person",), "adds": False, "camera": "gate"},
        {"labels": ("a pedestrian",), "threshold": 0.9},
    )
    entries, after = [], []
    for options in asked:
        entries.append((await past.apply(**options)).relabel_id)
        after.append(await past.rows())
    standing = {0, 1, 2}
    for number in order:
        is_last = number == max(standing)
        undone = await past.undo(entries[number])
        standing.discard(number)
        assert (undone.n_restored > 0) >= is_last
        assert undone.n_left == 0 or not is_last
        await past.assert_totals_hold()
        if standing:  # the newest that stands wrote what stands: an undo below it changes nothing of that
            newest = max(standing)
            on = {"gate"} if newest == 1 else {"gate", "yard"}
            shown = {row["event_id"]: row for row in (await past.rows())["detections"] if row["camera"] in on}
            wanted = {row["event_id"]: row for row in after[newest]["detections"] if row["camera"] in on}
            assert shown == wanted
    assert await past.rows() == before


async def test_what_the_classifier_said_anew_since_is_left_alone_and_counted(past: PastRecord) -> None:
    anew, plain = await past.add(0, [BLUE] * 3), await past.add(1, [BLUE] * 3)
    outcome = await past.apply(**WALL)
    sent = seen(0, [GREEN] * 3)
    said = past.said(sent, [GREEN] * 3)
    said = replace(said, header=said.header.model_copy(update={"labelled_at": LATER.replace(year=2199)}))
    async with past.database.writing() as connection:
        await record_snippet(connection, snippet_rows(said), StoredMedia(), LATER)
    undone = await past.undo(outcome.relabel_id)
    assert (undone.n_events, undone.n_restored, undone.n_left) == (1, 1, 1)
    assert await past.labels() == {anew: "a dog", plain: None}
    assert (await past.undo(outcome.relabel_id)).n_left == 1
    assert await past.labels() == {anew: "a dog", plain: None}


async def test_a_message_that_is_delivered_again_takes_back_neither_change_nor_undo(past: PastRecord) -> None:
    await past.add(0, [BLUE] * 3)
    before = await past.rows()
    outcome = await past.apply(**WALL)
    changed = await past.rows()
    await past.add(0, [BLUE] * 3)
    assert await past.rows() == changed
    await past.undo(outcome.relabel_id)
    await past.add(0, [BLUE] * 3)
    assert await past.rows() == before


async def test_events_that_are_deleted_meanwhile_are_no_obstacle(past: PastRecord) -> None:
    gone, stays = await past.add(0, [BLUE] * 3), await past.add(1, [BLUE] * 3)
    outcome = await past.apply(**WALL)
    async with past.database.writing() as connection:
        await connection.execute(events.delete().where(events.c.id == gone))
    undone = await past.undo(outcome.relabel_id)
    assert (undone.n_restored, await past.labels()) == (1, {stays: None})


# -- kills


class Killed(Exception):
    """Stands for a kill before the commit."""


def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (hindsight, hindsight_rows, relabel_undo):
        monkeypatch.setattr(module, "EVENTS_AT_ONCE", 2)


@pytest.mark.parametrize("n_pages", [0, 1, 2])
async def test_a_kill_while_it_is_applied_leaves_an_entry_that_undoes_what_was_written(
    past: PastRecord, monkeypatch: pytest.MonkeyPatch, n_pages: int
) -> None:
    small_pages(monkeypatch)
    ids = [await past.add(number, [BLUE] * 3) for number in range(5)]
    before = await past.rows()
    n_counted = 0

    async def killed(*arguments: Any) -> None:  # Any: as the function it stands for
        nonlocal n_counted
        await count_relabel(*arguments)
        n_counted += 1
        if n_counted > n_pages:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(hindsight_rows, "count_relabel", killed)
        with pytest.raises(Killed):
            await past.apply(**WALL)
    async with past.database.reading() as connection:
        found = await find_relabels(connection)
    labels = await past.labels()
    assert [labels[event_id] for event_id in ids] == [None] * (5 - 2 * n_pages) + [
        "a blue wall"
    ] * 2 * n_pages
    assert [(one.n_events, one.n_snippets) for one in found] == [(2 * n_pages, 2 * n_pages)] * bool(n_pages)
    await past.assert_totals_hold()
    if found:
        await past.undo(found[0].id)
    assert await past.rows() == before


@pytest.mark.parametrize("n_pages", [0, 1, 2])
async def test_a_kill_while_it_is_undone_is_told_and_undoing_again_does_the_rest(
    past: PastRecord, monkeypatch: pytest.MonkeyPatch, n_pages: int
) -> None:
    small_pages(monkeypatch)
    for number in range(5):
        await past.add(number, [BLUE] * 3)
    before = await past.rows()
    entry = (await past.apply(**WALL)).relabel_id
    n_derived = 0

    async def killed(*arguments: Any) -> None:  # Any: as the function it stands for
        nonlocal n_derived
        await derive_events(*arguments)
        n_derived += 1
        if n_derived > n_pages:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(relabel_undo, "derive_events", killed)
        with pytest.raises(Killed):
            await past.undo(entry)
    assert entry is not None
    async with past.database.reading() as connection:
        found = await find_relabel(connection, entry)
    assert found is not None
    assert (found.undone_by, found.n_unfinished) == ("bob", 5 - 2 * n_pages)
    await past.assert_totals_hold()
    undone = await past.undo(entry)
    assert undone.n_restored == 5 - 2 * n_pages
    assert await past.rows() == before


async def test_what_is_undone_while_it_is_applied_writes_no_more(
    past: PastRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_pages(monkeypatch)
    for number in range(5):
        await past.add(number, [BLUE] * 3)
    before = await past.rows()
    run = Hindsight(past.texts, past.database).run(past.request(**WALL), Application("ada"))
    first = await anext(aiter(run))
    await past.undo(first.relabel_id)
    with pytest.raises(RelabelUndone):
        await anext(aiter(run))
    assert await past.rows() == before


# -- what it says of an event


async def test_an_event_shows_that_its_labels_were_changed_when_by_whom_and_from_what(
    past: PastRecord,
) -> None:
    dog, wall, *_ = await some_events(past)
    assert await past.changes(dog) == []
    first = await past.apply(**WALL)
    second = await past.apply("bob", labels=("a dog",))
    async with past.database.reading() as connection:
        by_id = {entry.id: entry for entry in await find_relabels(connection)}
    (latest, earlier), of_wall = await past.changes(dog), await past.changes(wall)
    assert (earlier.made_by, earlier.kind, earlier.before, earlier.after) == ("ada", "words", ("a dog",), ())
    assert (latest.made_by, latest.before, latest.after) == ("bob", (), ("a dog",))
    assert [(one.made_by, one.before, one.after) for one in of_wall] == [("ada", (), ("a blue wall",))]
    assert by_id[first.relabel_id or ""].made_at <= earlier.changed_at <= latest.changed_at
    await past.undo(second.relabel_id)
    assert await past.changes(dog) == [earlier]
    await past.undo(first.relabel_id)
    assert await past.changes(dog) == []


async def test_a_change_from_before_entries_were_kept_is_shown_without_a_name(past: PastRecord) -> None:
    dog = await past.add(0, [GREEN] * 3)
    await past.apply(**WALL)
    async with past.database.writing() as connection:
        await connection.execute(update(past_answers).values(relabel_id=None, replaced_by=None, frames=None))
        await connection.execute(relabels.delete())
    (change,) = await past.changes(dog)
    assert (change.made_by, change.kind, change.before, change.after) == (None, None, ("a dog",), ())


# -- others' decisions, and examples


@dataclass
class Renaming:
    """Decides that every dog is a person, and nothing of what a camera has not."""

    camera: str
    model: str = "by hand"

    async def prepare(self, page: Any) -> None:
        """Need nothing."""

    def decide(self, row: Any, data: EventData) -> LabelsMessage | None:
        if data.event.camera != self.camera:
            return None
        number = round((data.event.started_at - NOON) / timedelta(minutes=1))
        sent = seen(number, [RED] * 3, self.camera)
        model = ColourModel()
        texts = LabelBank(model, 1).get(sent.header.label_set)
        vectors = model.embed_pictures(np.full((3, 3, 4, 4), np.array(RED)[:, None, None], np.uint8))
        looked = EmbeddedSnippet(sent, vectors, np.ones(3, np.bool_))
        return label(looked, texts, model.facts, row.labelled_at + timedelta(milliseconds=1))


async def test_verdicts_bring_their_own_decisions_and_write_only_what_changes_labels(
    past: PastRecord,
) -> None:
    dog, person = await past.add(0, [GREEN] * 3), await past.add(1, [RED] * 3)
    other = await past.add(2, [GREEN] * 3, "yard")
    before = await past.rows()
    over = Hindsight(past.texts, past.database)
    by_verdict = Application("ada", "verdicts", {"verdicts": ["one"]})
    request = past.request(labels=())
    seen_only = [one async for one in over.run(request, None, Renaming("gate"))][-1]
    assert await past.rows() == before
    outcome = [one async for one in over.run(request, by_verdict, Renaming("gate"))][-1]
    for one in (seen_only, outcome):
        assert (one.n_changed, one.n_left_out, one.model) == (1, 1, "by hand")
        assert counted(one)["gate", "a person"] == (1, 2, 1, 0)
        assert counted(one)["yard", "a dog"] == (1, 1, 0, 0)
    assert outcome.n_written == 1
    assert await past.labels() == {dog: "a person", person: "a person", other: "a dog"}
    async with past.database.reading() as connection:
        (entry,) = await find_relabels(connection)
    assert (entry.kind, entry.n_events, entry.asked["verdicts"]) == ("verdicts", 1, ["one"])
    await past.undo(entry.id)
    assert await past.rows() == before


async def test_a_cameras_examples_count_as_they_do_in_the_classifier(past: PastRecord) -> None:
    """What the classifier says with the same examples, snippet by snippet; other cameras' events stay as they are."""
    ids = [await past.add(number, [TEAL] * 3) for number in range(2)]
    yard = await past.add(2, [TEAL] * 3, "yard")
    pixels = np.full((1, 3, 4, 4), np.array(TEAL)[:, None, None], np.uint8)
    (vector,) = past.model.embed_pictures(pixels)
    wrong = Example(ids[0], "a dog", is_right=False, embedding=vector.astype(np.float16).astype(np.float32))
    known = KnownExamples((wrong,), 0.6)

    async def source(model: str, _cameras: CameraIds) -> Mapping[str, KnownExamples]:
        assert model == "colours"
        return {"gate": known}

    over = Hindsight(past.texts, past.database, source)
    outcome = [one async for one in over.run(past.request(labels=()))][-1]
    assert counted(outcome) == {
        ("gate", "a dog"): (2, 0, 0, 2),
        ("yard", "a dog"): (1, 1, 0, 0),
    }
    plain = Hindsight(past.texts, past.database)
    given = WordDecisions(past.texts, past.request(labels=()), source)
    same = [one async for one in plain.run(past.request(labels=()), None, given)][-1]
    assert counted(same) == counted(outcome)
    assert [one async for one in plain.run(past.request(labels=()))][-1].n_changed == 0

    sent = seen(1, [TEAL] * 3)
    label_set = sent.header.label_set
    texts = LabelBank(past.model, 1).get(label_set)
    facts = past.model.facts
    prepared = for_labels(known.examples, label_set.labels, known.unrelated)
    halves = np.repeat(vector[None], 3, axis=0).astype(np.float16).astype(np.float32)
    looked = EmbeddedSnippet(sent, halves, np.ones(3, np.bool_))
    wanted = label(looked, texts, facts, LATER, prepared)
    async with past.database.reading() as connection:
        page = await hindsight_rows.page_of_events(connection, past.request(labels=()), None)
    await given.prepare(page)
    (data,) = [one for one in page if one.event.id == ids[1]]
    said = given.decide(data.snippets[0], data)
    assert said is not None
    assert (said.scores, said.backgrounds, said.probabilities) == (
        wanted.scores, wanted.backgrounds, wanted.probabilities,
    )  # fmt: skip
    assert yard not in {one.event_id for one in outcome.shown}


# -- over HTTP


def site(past: PastRecord, *cameras: str, may: frozenset[Permission] = frozenset(Permission)) -> Any:
    app = make_app("recorder")
    over = Hindsight(past.texts, past.database)
    add_routes(app, ApiState(lambda: True, past.database, hindsight=over))
    who = Identity("carl", may, frozenset(cameras) if cameras else None)
    return guarded(app, RULES, PATTERNS, KnownIdentity(who))


def result(answer: httpx.Response) -> Any:  # Any: JSON
    return httpx.Response(200, content=answer.text.splitlines()[-1]).json()["result"]


BODY: dict[str, Any] = {
    "labels": ["a blue wall"],
    "background": ["nothing at all"],
    "since": NOON.isoformat(),
    "until": LATER.isoformat(),
    "mode": "replace",
}


async def test_entries_are_listed_and_undone_over_http(past: PastRecord) -> None:
    dog, *_ = await some_events(past)
    before = await past.rows()
    look_only = frozenset({Permission.LOOK})
    async with client_of(site(past)) as client, client_of(site(past, may=look_only)) as viewer:
        applied = result(await client.post("/api/hindsight", json={**BODY, "apply": True}))
        assert (
            applied["summary"]
            == (
                "1 event on 1 camera lost 'a person', 2 events lost 'a dog', 2 on 2 cameras gained 'a blue wall'"
            )
            or applied["changed"] == 4
        )
        path = f"/api/relabels/{applied['relabel_id']}/undo"
        listed = (await viewer.get("/api/relabels")).json()["relabels"]
        assert [(one["id"], one["made_by"], one["events"], one["snippets"]) for one in listed] == [
            (applied["relabel_id"], "carl", 4, 5)
        ]
        assert listed[0]["asked"]["labels"] == ["a blue wall"]
        (change,) = (await viewer.get(f"/api/events/{dog}")).json()["label_changes"]
        assert (change["made_by"], change["before"], change["after"]) == ("carl", ["a dog"], [])
        assert (await viewer.post(path, json={})).status_code == 403
        assert (
            await client.post(path, json={}, headers={"Origin": "http://evil.example"})
        ).status_code == 403
        assert result(await client.post(path, json={})) == {
            "relabel_id": applied["relabel_id"], "events": 4, "restored": 5, "left": 0,
        }  # fmt: skip
        assert await past.rows() == before
        assert result(await client.post(path, json={}))["restored"] == 0
        (listed_after,) = (await viewer.get("/api/relabels")).json()["relabels"]
        assert (listed_after["undone_by"], listed_after["unfinished"]) == ("carl", 0)
        assert (await viewer.get(f"/api/events/{dog}")).json()["label_changes"] == []
        nowhere = await client.post(f"/api/relabels/{uuid7(NOON)}/undo", json={})
        assert nowhere.status_code == 404
        assert set(nowhere.json()["error"]) == {"found", "wanted", "do"}


async def test_who_sees_some_cameras_sees_and_undoes_what_was_about_these_only(past: PastRecord) -> None:
    await some_events(past)
    async with client_of(site(past)) as boss, client_of(site(past, "gate")) as operator:
        of_all = result(await boss.post("/api/hindsight", json={**BODY, "apply": True}))
        await boss.post(f"/api/relabels/{of_all['relabel_id']}/undo", json={})
        own = result(await operator.post("/api/hindsight", json={**BODY, "apply": True}))
        assert {one["camera"] for one in own["cameras"]} == {"gate"}
        yard = result(await boss.post("/api/hindsight", json={**BODY, "apply": True, "camera": "yard"}))
        listed = (await operator.get("/api/relabels")).json()["relabels"]
        assert [one["id"] for one in listed] == [own["relabel_id"]]
        for others in (of_all, yard):
            refused = await operator.post(f"/api/relabels/{others['relabel_id']}/undo", json={})
            assert refused.status_code == 404
        undone = result(await operator.post(f"/api/relabels/{own['relabel_id']}/undo", json={}))
        assert undone["restored"] == 2
        assert len((await boss.get("/api/relabels")).json()["relabels"]) == 3


async def test_one_look_back_or_undo_runs_at_a_time(past: PastRecord) -> None:
    await past.add(0, [BLUE] * 3)
    app = make_app("recorder")
    over = Hindsight(past.texts, past.database)
    add_routes(app, ApiState(lambda: True, past.database, hindsight=over))
    async with client_of(guarded(app, RULES, PATTERNS)) as client:
        applied = result(await client.post("/api/hindsight", json={**BODY, "apply": True}))
        async with over.gate:
            busy = await client.post(f"/api/relabels/{applied['relabel_id']}/undo", json={})
        assert busy.status_code == 409
        assert (
            result(await client.post(f"/api/relabels/{applied['relabel_id']}/undo", json={}))["restored"] == 1
        )
