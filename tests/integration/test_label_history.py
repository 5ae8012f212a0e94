"""The history of label settings: from snippets as they are recorded, and with a name from changes through the site."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi.responses import JSONResponse
from pydantic import SecretStr
from sqlalchemy import delete, insert, select

from services.recorder.http.motion_client import MotionClient
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.media.values import StoredMedia
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.label_history import (
    KEPT,
    LabelSettings,
    NamedChange,
    find_changes,
    note_named,
    note_recorded,
)
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import label_changes
from services.recorder.record.transactions import record_snippet
from shared.contract import DecisionSettings, LabelSet
from shared.permissions import PERMISSIONS_OF, Identity, Role
from tests.http_apps import KnownIdentity, guarded
from tests.unit.recorder.http.motion_stand_in import TOKEN, Motion, recorder_app, served
from tests.unit.recorder.messages import START, Said, labels_message

LATE = START + timedelta(days=1)
DOG, FOX = Said(labels=("a dog",)), Said(labels=("a fox", "a cat"))


@pytest.fixture
async def database(record_url: str) -> AsyncIterator[Database]:
    database = await open_database(record_url, asyncio.Event(), 30, 30)
    yield database
    await database.close()


def settings(
    *labels: str, threshold: float = 0.5, background: tuple[str, ...] = ("an empty path",)
) -> LabelSettings:
    return LabelSettings(
        LabelSet(labels=labels, background=background), DecisionSettings(threshold=threshold)
    )


async def recorded(database: Database, *snippets: Said, now: datetime = LATE) -> None:
    """Record snippets as the intake does."""
    for said in snippets:
        rows = snippet_rows(labels_message(said))
        async with database.writing() as connection:
            await record_snippet(connection, rows, StoredMedia(), now)
            await note_recorded(connection, [rows], now)


async def named(database: Database, change: NamedChange, now: datetime) -> None:
    async with database.writing() as connection:
        await note_named(connection, change, now)


async def history(database: Database, camera: str = "gate") -> list[tuple[str | None, tuple[str, ...]]]:
    """Return who set which labels, the oldest first."""
    async with database.reading() as connection:
        found = await find_changes(connection, camera, 100)
    assert [change.number for change in reversed(found)] == list(range(1, len(found) + 1))
    times = [change.changed_at for change in reversed(found)]
    assert times == sorted(set(times))
    return [(change.changed_by, change.settings.label_set.labels) for change in reversed(found)]


async def test_snippets_tell_what_was_changed_in_the_file_and_only_that(database: Database) -> None:
    await recorded(database, DOG, replace(DOG, event=1), replace(FOX, event=2), replace(FOX, event=3))
    await recorded(database, replace(FOX, labels=("a cat", "a fox"), event=4))  # another order says nothing
    await recorded(database, replace(FOX, camera="yard", event=2))
    assert await history(database) == [(None, ("a dog",)), (None, ("a fox", "a cat"))]
    assert await history(database, "yard") == [(None, ("a fox", "a cat"))]
    async with database.reading() as connection:
        newest, first = await find_changes(connection, "gate", 10)
    assert first.changed_at == START + timedelta(seconds=9)  # the end of its first snippet
    assert newest.changed_at == START + timedelta(minutes=2, seconds=9)
    assert newest.settings == settings("a fox", "a cat")


async def test_background_and_every_setting_of_the_decision_are_in_it(database: Database) -> None:
    await recorded(database, DOG, replace(DOG, event=1, background=("a hedge",)))
    message = labels_message(replace(DOG, event=2, background=("a hedge",)))
    snippet = message.header.snippet.model_copy(update={"decision": DecisionSettings(min_moments=3)})
    rows = snippet_rows(replace(message, header=message.header.model_copy(update={"snippet": snippet})))
    async with database.writing() as connection:
        await note_recorded(connection, [rows], LATE)
        found = await find_changes(connection, "gate", 10)
    assert [change.settings.label_set.background for change in found] == [
        ("a hedge",),
        ("a hedge",),
        ("an empty path",),
    ]
    assert found[0].settings.decision == DecisionSettings(min_moments=3)


async def test_a_snippet_that_was_kept_back_while_redis_was_away_takes_nothing_back(
    database: Database,
) -> None:
    await recorded(database, DOG, replace(FOX, event=5), replace(DOG, event=3))
    assert await history(database) == [(None, ("a dog",)), (None, ("a fox", "a cat"))]


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 1, 0)])
async def test_a_batch_ends_in_the_history_of_one_by_one(
    database: Database, record_url: str, order: tuple[int, ...]
) -> None:
    """Also when a camera's labels change and change back within it, or come late."""
    said = [replace((DOG, FOX, DOG)[i], event=3 * i) for i in order]
    rows = [snippet_rows(labels_message(one)) for one in said]
    found = []
    for size in (1, 3):
        async with database.writing() as connection:
            await connection.execute(delete(label_changes))
        for first in range(0, 3, size):
            async with database.writing() as connection:
                await note_recorded(connection, rows[first : first + size], LATE)
        found.append(await history(database))
    assert found[0] == found[1]


async def test_a_camera_whose_clock_is_ahead_does_not_end_the_history(database: Database) -> None:
    ahead = START + timedelta(days=400)
    await recorded(database, replace(DOG, start=ahead), now=START)
    await recorded(database, replace(FOX, event=1), now=START + timedelta(minutes=2))
    assert await history(database) == [(None, ("a dog",)), (None, ("a fox", "a cat"))]


async def test_a_change_through_the_site_is_noted_at_once_with_what_was_before(database: Database) -> None:
    change = NamedChange("gate", settings("a dog"), settings("a fox", "a cat"), "anna")
    await named(database, change, START)
    assert await history(database) == [(None, ("a dog",)), ("anna", ("a fox", "a cat"))]
    await named(database, replace(change, before=change.after), START + timedelta(hours=1))  # changes nothing
    await recorded(database, replace(DOG, start=START + timedelta(seconds=30)))  # was on its way
    await recorded(database, replace(FOX, event=2))
    assert await history(database) == [(None, ("a dog",)), ("anna", ("a fox", "a cat"))]
    await recorded(database, replace(DOG, event=3))  # and now somebody has taken it back in the file
    assert await history(database) == [(None, ("a dog",)), ("anna", ("a fox", "a cat")), (None, ("a dog",))]


async def test_a_snippet_that_is_recorded_before_the_answer_gets_the_name_too(database: Database) -> None:
    await recorded(database, DOG, replace(FOX, event=1))
    at = START + timedelta(minutes=1, seconds=10)
    change = NamedChange("gate", settings("a dog"), settings("a fox", "a cat"), "anna")
    await named(database, change, at)
    assert await history(database) == [(None, ("a dog",)), ("anna", ("a fox", "a cat"))]


async def test_somebody_who_goes_back_and_forth_is_noted_each_time(database: Database) -> None:
    one, other = settings("a dog"), settings("a dog", threshold=0.7)
    for n, (before, after) in enumerate([(one, other), (other, one), (one, other)]):
        await named(database, NamedChange("gate", before, after, "anna"), START + timedelta(seconds=n))
    async with database.reading() as connection:
        found = await find_changes(connection, "gate", 10)
    assert [change.settings.decision.threshold for change in found] == [0.7, 0.5, 0.7, 0.5]


async def test_of_two_recorders_one_writes_a_change(database: Database) -> None:
    await recorded(database, DOG)
    seen = [snippet_rows(labels_message(replace(FOX, event=event))) for event in range(1, 7)]

    async def note(rows: Any) -> None:  # Any: as snippet_rows gives it
        async with database.writing() as connection:
            await note_recorded(connection, [rows], LATE)

    await asyncio.gather(*(note(rows) for rows in seen))
    assert await history(database) == [(None, ("a dog",)), (None, ("a fox", "a cat"))]


async def test_the_newest_changes_are_kept(database: Database) -> None:
    await recorded(database, DOG)
    async with database.writing() as connection:
        row = (await connection.execute(select(label_changes))).mappings().one()
        last = {**row, "number": KEPT, "changed_at": START + timedelta(minutes=1)}
        await connection.execute(insert(label_changes).values(last))
    await recorded(database, replace(FOX, event=2))
    async with database.reading() as connection:
        found = await find_changes(connection, "gate", 10)
    assert [change.number for change in found] == [KEPT + 1, KEPT]


# -- through the site


class Site:
    """A recorder's routes with a record, before a motion service that says what it is told to."""

    def __init__(self, motion: Motion, http: httpx.AsyncClient) -> None:
        self.motion, self.http = motion, http

    def say(self, path: str, labels: list[str], status: int = 200, threshold: float = 0.5) -> None:
        values = {"labels": labels, "background": [], **DecisionSettings(threshold=threshold).model_dump()}
        self.motion.answers[path] = JSONResponse({"id": "gate", "settings": {**values, "motion": {}}}, status)

    async def changes(self, camera: str = "gate") -> list[tuple[str | None, list[str]]]:
        answer = await self.http.get(f"/api/cameras/{camera}/label-history")
        assert answer.status_code == 200, answer.text
        return [(change["changed_by"], change["labels"]) for change in answer.json()["changes"]]


ANNA = Identity("anna", PERMISSIONS_OF[Role.OPERATOR], frozenset({"gate"}))


@pytest.fixture
async def site(sqlite_record: str) -> AsyncIterator[Site]:
    motion = Motion()
    database = await open_database(sqlite_record, asyncio.Event(), 30, 30)
    async with served(motion.app) as address:
        api = ApiState(lambda: True, database=database, motion=MotionClient(address, SecretStr(TOKEN)))
        app = guarded(recorder_app(api), RULES, PATTERNS, KnownIdentity(ANNA))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield Site(motion, http)
        await api.motion.close()
    await database.close()


async def test_who_changes_labels_on_the_page_is_in_the_history(site: Site) -> None:
    site.say("/api/cameras/gate", ["a dog"])
    site.say("/api/cameras/gate/labels", ["a fox"])
    answer = await site.http.put("/api/cameras/gate/labels", json={"labels": ["a fox"]})
    assert answer.status_code == 200
    assert await site.changes() == [("anna", ["a fox"]), (None, ["a dog"])]
    assert [request.method for request in site.motion.requests] == ["GET", "PUT"]
    assert json.loads(site.motion.bodies[1]) == {"labels": ["a fox"]}


@pytest.mark.parametrize("body", [b'{"motion": {"threshold": 20}}', b'{"name": "Gate"}', b"[", b"7"])
async def test_other_settings_are_no_change_of_labels(site: Site, body: bytes) -> None:
    site.say("/api/cameras/gate", ["a dog"])
    kind = {"content-type": "application/json"}
    await site.http.patch("/api/cameras/gate", content=body, headers=kind)
    assert await site.changes() == []
    assert [request.method for request in site.motion.requests] in (["PATCH"], [])


async def test_what_motion_refuses_is_no_change(site: Site) -> None:
    site.say("/api/cameras/gate", ["a dog"])
    for status in (409, 412, 422):
        site.say("/api/cameras/gate/labels", ["a fox"], status)
        answer = await site.http.put("/api/cameras/gate/labels", json={"labels": ["a fox"]})
        assert answer.status_code == status
    assert await site.changes() == []


async def test_the_history_of_a_camera_that_somebody_may_not_see_is_not_there(site: Site) -> None:
    answer = await site.http.get("/api/cameras/yard/label-history")
    assert answer.status_code == 404
    assert (await site.http.get("/api/cameras/gate/label-history?limit=0")).status_code == 400
