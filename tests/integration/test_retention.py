"""What is kept: real databases, real files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select, update

from services.recorder.http.api import add_routes
from services.recorder.http.rules import PATTERNS, RULES
from services.recorder.http.state import ApiState
from services.recorder.media.files import MediaFolder
from services.recorder.media.folder_store import FolderStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.retention import (
    Retention,
    RetentionLimits,
    RetentionRule,
    remove_events,
    set_protected,
)
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import events, frame_embeddings, removals, snippets
from services.recorder.record.transactions import record_snippet
from shared.http_access import TokenAuthenticator
from shared.http_api import make_app
from tests.http_apps import client_of, guarded
from tests.unit.recorder.messages import CLIP, START, Said, keep, labels_message

NOW = START + timedelta(days=100)


@pytest.fixture
async def database(record_url: str) -> AsyncIterator[Database]:
    database = await open_database(record_url, asyncio.Event(), connect_s=30, transaction_s=60)
    yield database
    await database.close()


@pytest.fixture
def media(tmp_path: Path) -> MediaFolder:
    media = MediaFolder(tmp_path / "media")
    media.prepare()
    return media


def retention_of(database: Database, media: MediaFolder, limits: RetentionLimits) -> Retention:
    metrics = RecorderMetrics(CollectorRegistry())
    return Retention(database, FolderStore(media), metrics, limits, lambda: NOW, lambda: 10**12, hold_s=0)


async def record(database: Database, media: MediaFolder, age_days: float, said: Said) -> str:
    """Record an event of one closed snippet with its files; return its id."""
    said = replace(said, start=NOW - timedelta(days=age_days), is_last=True)
    kept = keep(media, said)
    async with database.writing() as connection:
        await record_snippet(connection, snippet_rows(labels_message(said)), kept, said.start)
    return said.event_id


async def one_pass(retention: Retention) -> None:
    await retention.make_pass(asyncio.Event(), lambda: None)


async def kept_ids(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set((await connection.scalars(select(events.c.id))).all())


def files(media: MediaFolder) -> int:
    return len([path for path in media.root.rglob("*") if path.suffix in (".mp4", ".jpg")])


async def test_old_events_go_with_all_their_rows_and_files(database: Database, media: MediaFolder) -> None:
    old = await record(database, media, 31, Said(event=1))
    new = await record(database, media, 29, Said(event=2))
    retention = retention_of(database, media, RetentionLimits(days=30))
    await one_pass(retention)
    assert await kept_ids(database) == {new}
    assert files(media) == 2
    async with database.reading() as connection:
        for table in (snippets, frame_embeddings):
            assert (
                await connection.scalars(select(table.c.event_id).where(table.c.event_id == old))
            ).all() == []
        assert (await connection.execute(select(removals))).all() == []
    assert retention.metrics.removed.labels("age")._value.get() == 1


async def test_without_limits_everything_stays(database: Database, media: MediaFolder) -> None:
    old = await record(database, media, 3000, Said())
    await one_pass(retention_of(database, media, RetentionLimits()))
    assert await kept_ids(database) == {old}


async def test_of_the_rules_that_fit_the_longest_holds(database: Database, media: MediaFolder) -> None:
    dog = Said(accepted=[("a dog", 0.9)])
    rules = (RetentionRule(camera="gate", days=1), RetentionRule(label="a dog", days=50))
    gate = await record(database, media, 2, Said(event=1))
    gate_dog = await record(database, media, 49, replace(dog, event=2))
    old_dog = await record(database, media, 51, replace(dog, event=3))
    yard = await record(database, media, 9, Said(event=4, camera="yard"))
    old_yard = await record(database, media, 11, Said(event=5, camera="yard"))
    await one_pass(retention_of(database, media, RetentionLimits(days=10, rules=rules)))
    assert await kept_ids(database) == {gate_dog, yard}
    assert {gate, old_dog, old_yard}.isdisjoint(await kept_ids(database))


async def test_a_rule_of_no_days_keeps_for_ever(database: Database, media: MediaFolder) -> None:
    dog = await record(database, media, 900, Said(event=1, accepted=[("a dog", 0.9)]))
    await record(database, media, 900, Said(event=2))
    rules = (RetentionRule(label="a dog", days=0),)
    await one_pass(retention_of(database, media, RetentionLimits(days=10, rules=rules)))
    assert await kept_ids(database) == {dog}


async def test_protected_and_open_events_stay(database: Database, media: MediaFolder) -> None:
    protected = await record(database, media, 90, Said(event=1))
    is_open = await record(database, media, 90, Said(event=2))
    await record(database, media, 90, Said(event=3))
    async with database.writing() as connection:
        assert await set_protected(connection, protected, True, START)
        await connection.execute(update(events).where(events.c.id == is_open).values(is_open=True))
    await one_pass(retention_of(database, media, RetentionLimits(days=1, size_bytes=1)))
    assert await kept_ids(database) == {protected, is_open}


async def test_the_oldest_go_until_the_rest_fits(database: Database, media: MediaFolder) -> None:
    ids = [await record(database, media, 20 - number, Said(event=number)) for number in range(5)]
    await one_pass(retention_of(database, media, RetentionLimits(size_bytes=3 * len(CLIP))))
    assert await kept_ids(database) == set(ids[2:])
    assert files(media) == 6


async def test_free_space_is_kept_free(database: Database, media: MediaFolder) -> None:
    ids = [await record(database, media, 20 - number, Said(event=number)) for number in range(4)]
    retention = retention_of(database, media, RetentionLimits(free_bytes=1000))
    retention.free_bytes = lambda: 0 if files(media) > 4 else 1000  # a disk that two events make room on
    await one_pass(retention)
    assert await kept_ids(database) == set(ids[2:])


async def test_a_pass_that_was_killed_is_finished(database: Database, media: MediaFolder) -> None:
    await record(database, media, 90, Said(event=1))
    async with database.writing() as connection:
        assert await remove_events(connection, events.c.id.is_not(None), NOW) == (1, len(CLIP))
    assert files(media) == 2  # killed here: the rows are gone, the files are not
    await one_pass(retention_of(database, media, RetentionLimits()))
    assert files(media) == 0


async def test_an_event_is_protected_over_http_and_a_forecast_is_given(
    database: Database, media: MediaFolder
) -> None:
    event_id = await record(database, media, 9000, Said())
    await record(database, media, 9000, Said(event=1))
    app, api = make_app("recorder"), ApiState(lambda: True)
    api.database, api.media, api.limits = database, FolderStore(media), RetentionLimits(days=30)
    add_routes(app, api)
    tokens = TokenAuthenticator()
    async with client_of(guarded(app, RULES, PATTERNS, tokens)) as http:
        url = f"/api/events/{event_id}/protected"
        assert (await http.get("/api/retention")).json()["aged_events"] == 2
        assert (await http.put(url, json={"is_protected": True})).json() == {"is_protected": True}
        assert (await http.get(f"/api/events/{event_id}")).json()["is_protected"] is True
        assert (await http.get("/api/retention")).json()["aged_events"] == 1
        unknown = await http.put("/api/events/none/protected", json={"is_protected": True})
        assert unknown.status_code == 404
        foreign = await http.put(url, json={"is_protected": False}, headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403
        tokens.api_token = "a token of the test"
        assert (await http.put(url, json={"is_protected": False})).status_code == 401
        assert (await http.get("/api/retention")).status_code == 401
        bearer = {"authorization": "Bearer a token of the test"}
        assert (await http.put(url, json={"is_protected": False}, headers=bearer)).status_code == 200
