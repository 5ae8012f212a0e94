"""A recorder whose clock is set: what follows the record sees every change, and nothing is deleted by a leap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select, update
from structlog.testing import capture_logs

from services.recorder.media.files import MediaFolder
from services.recorder.media.folder_store import FolderStore
from services.recorder.media.values import StoredMedia
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.feed import BATCH, Feed
from services.recorder.record.retention import HOLD_S, Retention, RetentionLimits
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import events
from services.recorder.record.transactions import record_snippet
from services.recorder.record.values import Event
from services.recorder.search.index import EVENTS_AT_ONCE, EmbeddingIndex
from tests.unit.recorder.messages import Said, labels_message

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
YEAR_S = 365 * 86_400.0
STEPS_S = [-3600.0, -30.0, 3600.0, 10 * YEAR_S, -56 * YEAR_S]


@pytest.fixture
async def database(sqlite_record: str) -> AsyncIterator[Database]:
    database = await open_database(sqlite_record, asyncio.Event(), 30, 60)
    yield database
    await database.close()


class Clocks:
    """A clock that goes on and is set, and one that cannot be."""

    def __init__(self) -> None:
        self.now, self.passed_s = NOW, 0.0

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.passed_s += seconds

    def set(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


async def record(database: Database, at: datetime, event: int, is_last: bool = False) -> str:
    one = Said(event=event, start=at, is_last=is_last)
    async with database.writing() as connection:
        await record_snippet(connection, snippet_rows(labels_message(one)), StoredMedia(), at)
    return one.event_id


async def record_many(database: Database, at: datetime, n: int) -> str:
    """Record events, a millisecond apart, in one transaction; return the last one's id."""
    async with database.writing() as connection:
        for number in range(n):
            one, now = Said(event=number, start=at), at + timedelta(milliseconds=number)
            await record_snippet(connection, snippet_rows(labels_message(one)), StoredMedia(), now)
    return one.event_id


async def handed_out(feed: Feed, queue: asyncio.Queue[Event | None]) -> list[str]:
    """Let the feed look once; return the events that a follower was told of."""
    stop = asyncio.Event()
    looked = asyncio.Event()
    feed.kick()
    running = asyncio.create_task(feed.run(stop, looked.set))
    await looked.wait()
    running.cancel()
    await asyncio.wait({running})
    events = [queue.get_nowait() for _ in range(queue.qsize())]
    assert events.pop() is None  # a feed that ends says so
    return [event.id for event in events if event is not None]


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_the_page_is_told_of_every_change_however_the_clock_is_set(
    database: Database, step_s: float
) -> None:
    clocks = Clocks()
    feed = Feed(database, RecorderMetrics(CollectorRegistry()), 5, lambda: clocks.now)
    with feed.follow() as queue:
        before = await record(database, clocks.now, 0)
        assert await handed_out(feed, queue) == [before]
        clocks.forward(30)
        clocks.set(step_s)
        for number in (1, 2):
            clocks.forward(30)
            new = await record(database, clocks.now, number)
            assert await handed_out(feed, queue) == [new]
        async with database.writing() as connection:  # the event that was open grows
            first = await connection.scalar(select(events.c.updated_at).where(events.c.id == before))
            assert first is not None
            later = max(clocks.now, first + timedelta(milliseconds=1))
            await connection.execute(update(events).where(events.c.id == before).values(updated_at=later))
        assert await handed_out(feed, queue) == [before]
        assert await handed_out(feed, queue) == []


async def test_what_is_dated_ahead_is_no_news_to_a_new_follower(database: Database) -> None:
    clocks = Clocks()
    for number in range(3):
        await record(database, clocks.now, number)
    clocks.set(-56 * YEAR_S)  # a board without a battery starts
    feed = Feed(database, RecorderMetrics(CollectorRegistry()), 5, lambda: clocks.now)
    with feed.follow() as queue:
        assert await handed_out(feed, queue) == []
        new = await record(database, clocks.now, 9)
        assert await handed_out(feed, queue) == [new]


async def test_a_feed_does_not_read_all_that_is_dated_ahead_again_and_again(database: Database) -> None:
    clocks = Clocks()
    last = await record_many(database, clocks.now, 2 * BATCH + 10)
    clocks.set(-YEAR_S)
    feed = Feed(database, RecorderMetrics(CollectorRegistry()), 5, lambda: clocks.now)
    with feed.follow() as queue:
        assert await handed_out(feed, queue) == []
        async with database.writing() as connection:
            at = await connection.scalar(select(events.c.updated_at).where(events.c.id == last))
            assert at is not None
            moved = at + timedelta(milliseconds=1)
            await connection.execute(update(events).where(events.c.id == last).values(updated_at=moved))
        assert await handed_out(feed, queue) == [last]


@pytest.mark.parametrize(
    ("n_before", "step_s"),
    [
        *((1, step_s) for step_s in STEPS_S),
        pytest.param(2 * EVENTS_AT_ONCE + 10, -YEAR_S, marks=pytest.mark.slow),
    ],
)
async def test_the_index_takes_every_picture_however_the_clock_is_set(
    database: Database, tmp_path: Path, n_before: int, step_s: float
) -> None:
    clocks = Clocks()

    def opened() -> EmbeddingIndex:
        return EmbeddingIndex(tmp_path / "index", database, "a", lambda: clocks.now)

    said = Said()
    await record_many(database, clocks.now, n_before)
    index = opened()
    with index.opened():
        await index.sync(asyncio.Event())
        n_pictures = index.extent(said.model, said.dim).searched
        n_each = n_pictures // n_before
        clocks.forward(60)
        clocks.set(step_s)
        await record(database, clocks.now, n_before)
        await index.sync(asyncio.Event())
        assert index.extent(said.model, said.dim).searched == n_pictures + n_each
    clocks.forward(60)
    await record(database, clocks.now, n_before + 1)
    again = opened()  # a recorder that starts after the step goes on from what the one before wrote down
    with again.opened():
        await again.sync(asyncio.Event())
        assert again.extent(said.model, said.dim).searched == n_pictures + 2 * n_each


class Keeper:
    """Retention of 30 days, and how many events there are."""

    def __init__(self, database: Database, folder: Path, clocks: Clocks) -> None:
        media = MediaFolder(folder)
        media.prepare()
        metrics = RecorderMetrics(CollectorRegistry())
        self._database, self._clocks = database, clocks
        self._retention = Retention(
            database,
            FolderStore(media),
            metrics,
            RetentionLimits(days=30),
            lambda: clocks.now,
            lambda: 10**12,
        )
        self._retention.seconds = lambda: clocks.passed_s

    async def kept_after(self, days: float) -> int:
        """Let days pass, an hour at a time; return how many events are left."""
        for _ in range(round(days * 24)):
            self._clocks.forward(3600)
            await self._retention.make_pass(asyncio.Event(), lambda: None)
        await self._retention.make_pass(asyncio.Event(), lambda: None)
        async with self._database.reading() as connection:
            return len((await connection.scalars(select(events.c.id))).all())


@pytest.mark.parametrize("step_s", [40 * 86_400.0, 10 * YEAR_S])
async def test_a_clock_that_leaps_ahead_deletes_nothing_for_a_day(
    database: Database, tmp_path: Path, step_s: float
) -> None:
    clocks = Clocks()
    await record(database, clocks.now - timedelta(days=29, hours=21), 0, is_last=True)
    await record(database, clocks.now, 1, is_last=True)
    keeper = Keeper(database, tmp_path / "media", clocks)
    assert await keeper.kept_after(0) == 2
    clocks.set(step_s)
    with capture_logs() as lines:
        assert await keeper.kept_after(0.1) == 2
        assert await keeper.kept_after(0.1) == 1  # what is 30 days old in truth goes as before
        clocks.set(-step_s)
        assert await keeper.kept_after(2) == 1  # put right in time
    told = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert len(told) == 1
    assert told[0].startswith("the clock is far ahead of the record")
    clocks.set(step_s)
    assert await keeper.kept_after(HOLD_S / 86_400 - 0.1) == 1
    assert await keeper.kept_after(0.2) == 0  # it lasted: it is so


@pytest.mark.parametrize("step_s", [40 * 86_400.0, 10 * YEAR_S])
async def test_a_recorder_that_starts_with_a_clock_far_ahead_deletes_nothing_for_a_day(
    database: Database, tmp_path: Path, step_s: float
) -> None:
    clocks = Clocks()
    await record(database, clocks.now, 0, is_last=True)
    clocks.forward(3600)
    clocks.set(step_s)
    keeper = Keeper(database, tmp_path / "media", clocks)
    assert await keeper.kept_after(0.9) == 1
    assert await keeper.kept_after(0.2) == 0


async def test_events_of_a_clock_that_was_not_set_yet_are_not_old(database: Database, tmp_path: Path) -> None:
    clocks = Clocks()
    clocks.set(-56 * YEAR_S)
    await record(database, clocks.now, 0, is_last=True)
    keeper = Keeper(database, tmp_path / "media", clocks)
    clocks.forward(3600)
    clocks.set(56 * YEAR_S)
    assert await keeper.kept_after(3) == 1


async def test_events_of_a_camera_with_a_wrong_clock_are_as_old_as_their_rows(
    database: Database, tmp_path: Path
) -> None:
    clocks = Clocks()
    one = replace(Said(start=clocks.now - timedelta(days=400)), is_last=True)
    async with database.writing() as connection:
        await record_snippet(connection, snippet_rows(labels_message(one)), StoredMedia(), clocks.now)
    keeper = Keeper(database, tmp_path / "media", clocks)
    assert await keeper.kept_after(29) == 1
    assert await keeper.kept_after(2) == 0
