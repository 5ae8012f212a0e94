"""What a viewer of some cameras gets of a record: the same as if there were no others. On SQLite and MariaDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from services.recorder.gaps import rows as gap_rows
from services.recorder.gaps.rows import GapFilter
from services.recorder.gaps.tracker import GapChange
from services.recorder.gaps.values import GapKey
from services.recorder.media.values import StoredMedia
from services.recorder.metrics import RecorderMetrics
from services.recorder.record import queries
from services.recorder.record.bootstrap import open_database
from services.recorder.record.camera_filter import ASKED_ALONE_MAX, CameraIds
from services.recorder.record.database import Database
from services.recorder.record.feed import Feed
from services.recorder.record.queries import EventFilter
from services.recorder.record.retention import RetentionLimits, forecast, set_protected
from services.recorder.record.rows import snippet_rows
from services.recorder.record.transactions import record_snippet
from shared.clock import now_utc
from tests.unit.recorder.messages import START, Said, labels_message

MINE: CameraIds = frozenset({"gate"})
CAMERAS = ("gate", "hall", "yard")
OF_YARD = Said(event=2, camera="yard")


@pytest.fixture
async def database(record_url: str) -> AsyncIterator[Database]:
    """A record of three cameras in turn, each with a label of its own and one of all; the newest event is open."""
    database = await open_database(record_url, asyncio.Event(), 30, 30)
    for number in range(12):
        await record(database, number)
    yield database
    await database.close()


async def record(database: Database, number: int) -> None:
    camera = CAMERAS[number % 3]
    labels = (f"only {camera}", "a dog")
    said = Said(
        event=number,
        camera=camera,
        labels=labels,
        accepted=[(label, 0.9) for label in labels],
        is_last=number < 11,
    )
    media = StoredMedia(f"2026/05/04/{said.media_key}.mp4", f"2026/05/04/{said.media_key}.jpg", 10)
    async with database.writing() as connection:
        await record_snippet(connection, snippet_rows(labels_message(said)), media, now_utc())


async def every_page(database: Database, wanted: EventFilter) -> list[tuple[str, str]]:
    """Return camera and id of all events, read in pages of two."""
    found: list[tuple[str, str]] = []
    while True:
        async with database.reading() as connection:
            page = await queries.find_events(connection, wanted, 2)
        found += [(event.camera, event.id) for event in page]
        if len(page) < 2:
            return found
        wanted = replace(wanted, before=(page[-1].started_at, page[-1].id))


QUESTIONS = (
    EventFilter(),
    EventFilter(accepted_only=False),
    EventFilter(label="a dog"),
    EventFilter(label="only yard"),
    EventFilter(camera="yard"),
    EventFilter(camera="yard", label="a dog"),
    EventFilter(since=START + timedelta(minutes=4), until=START + timedelta(minutes=9)),
    EventFilter(is_open=True),
)
VIEWERS = (
    frozenset[str](),
    frozenset({"gate"}),
    frozenset({"gate", "hall"}),
    frozenset({"gate", "nowhere"}),
    frozenset({"gate", "hall", *(f"none-{n}" for n in range(ASKED_ALONE_MAX))}),
    frozenset(CAMERAS),
)


async def test_pages_hold_each_event_of_the_viewers_cameras_once_in_order(database: Database) -> None:
    for wanted in QUESTIONS:
        everything = await every_page(database, wanted)
        assert len(everything) == len(set(everything))
        for cameras in VIEWERS:
            seen = await every_page(database, replace(wanted, cameras=cameras))
            assert seen == [one for one in everything if one[0] in cameras], (wanted, cameras)


async def test_one_event_is_found_and_protected_only_by_who_sees_its_camera(database: Database) -> None:
    async with database.reading() as connection:
        assert await queries.find_event(connection, OF_YARD.event_id, MINE) is None
        assert await queries.find_event(connection, OF_YARD.event_id, frozenset({"yard"})) is not None
    async with database.writing() as connection:
        assert not await set_protected(connection, OF_YARD.event_id, True, now_utc(), MINE)
        event = await queries.find_event(connection, OF_YARD.event_id)
        assert event is not None
        assert not event.is_protected
        assert await set_protected(connection, OF_YARD.event_id, True, now_utc(), frozenset({"yard"}))


async def test_names_and_totals_are_of_the_viewers_cameras(database: Database) -> None:
    async with database.reading() as connection:
        assert [one.name for one in await queries.seen_cameras(connection, MINE)] == ["gate"]
        assert [one.name for one in await queries.seen_labels(connection, MINE)] == ["a dog", "only gate"]
        mine = await queries.find_totals(connection, MINE)
        nothing = await queries.find_totals(connection, frozenset())
        everything = await queries.find_totals(connection)
        assert await queries.find_totals(connection, frozenset(CAMERAS)) == everything
        assert len(await queries.seen_labels(connection)) == 4
    assert (mine.events, mine.accepted_events, mine.open_events, mine.snippets) == (4, 4, 0, 4)
    assert (mine.clip_bytes, mine.oldest_at, mine.newest_at) == (40, START, START + timedelta(minutes=9))
    assert (nothing.events, nothing.oldest_at, nothing.newest_at) == (0, None, None)
    assert (everything.events, everything.open_events, everything.clip_bytes) == (12, 1, 120)


async def test_retention_counts_the_viewers_cameras(database: Database) -> None:
    limits, now = RetentionLimits(days=1), now_utc() + timedelta(days=30)
    async with database.reading() as connection:
        assert (await forecast(connection, limits, now, 0)).aged_events == 11
        mine = await forecast(connection, limits, now, 0, MINE)
    assert (mine.aged_events, mine.aged_before) == (4, START + timedelta(minutes=9))


async def test_gaps_are_of_the_viewers_cameras_and_of_no_camera(database: Database) -> None:
    keys = (
        GapKey("camera.away", "gate"),
        GapKey("camera.away", "yard"),
        GapKey("classifier.gone", "classifier"),
    )
    async with database.writing() as connection:
        for key in keys:
            await gap_rows.write(connection, GapChange(key, "why", START, None), (), now_utc())

    async def found(**wanted: object) -> set[str]:
        async with database.reading() as connection:
            gaps = await gap_rows.find(connection, GapFilter(**wanted), 10)  # type: ignore[arg-type]  # any field
        return {gap.key.subject for gap in gaps}

    assert await found() == {"gate", "yard", "classifier"}
    assert await found(cameras=MINE) == {"gate", "classifier"}
    assert await found(cameras=MINE, camera="yard") == {"classifier"}
    assert await found(cameras=frozenset()) == {"classifier"}


async def test_a_stream_carries_the_changes_of_the_viewers_cameras(database: Database) -> None:
    feed = Feed(database, RecorderMetrics(CollectorRegistry()), 8)
    stop = asyncio.Event()
    with feed.follow(MINE) as mine, feed.follow() as everything:
        running = asyncio.create_task(feed.run(stop, lambda: None))
        for number in (12, 13, 14):  # gate, hall, yard
            await record(database, number)
        feed.kick()
        last = Said(event=14, camera="yard").event_id
        seen = set[str]()
        while (event := await asyncio.wait_for(everything.get(), 20)) is None or event.id != last:
            seen.add(event.camera if event else "")
        stop.set()
        await running
        said = list(iter(mine.get_nowait, None))
    assert seen >= {"gate", "hall"}
    assert {event.camera for event in said} == {"gate"}
    assert Said(event=12, camera="gate").event_id in {event.id for event in said}
