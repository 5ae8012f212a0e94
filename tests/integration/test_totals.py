"""Sums that are kept up to date say what counting the rows would say, whatever was done to the record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import delete, select, text, true, update
from sqlalchemy import event as sa_event

from services.recorder.media.values import StoredMedia
from services.recorder.metrics import RecorderMetrics
from services.recorder.record import queries
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.database_errors import DatabaseBusy
from services.recorder.record.engines import make_engine
from services.recorder.record.relabels import NewRelabel
from services.recorder.record.retention import remove_events, set_protected
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import day_totals, events, snippets, weather_reports
from services.recorder.record.totals import Key, TotalsCheck, TotalsShare, clip_bytes, differing, shares
from services.recorder.record.transactions import QuietEventCloser, record_snippet, record_snippets
from services.recorder.search.hindsight_rows import Replacement, replace_answers
from shared.clock import now_utc, uuid7
from tests.unit.recorder.messages import START, Said, labels_message

LATER = START + timedelta(days=900)  # when retention looks: everything has settled
pytestmark = [pytest.mark.mariadb]


@pytest.fixture
async def database(record_url: str) -> AsyncIterator[Database]:
    database = await open_database(record_url, asyncio.Event(), connect_s=30, transaction_s=60)
    yield database
    await database.close()


def without_waiting_for_the_disk(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        sa_event.listen(
            database.engine.sync_engine, "connect", lambda c, _: c.execute("PRAGMA synchronous = OFF").close()
        )


class Killed(Exception):
    """Stands for a kill before the commit."""


async def record(database: Database, *batch: Said, n_bytes: int = 10, is_killed: bool = False) -> None:
    given = [(snippet_rows(labels_message(said)), clip_of(said, n_bytes)) for said in batch]
    while True:
        try:
            async with database.writing() as connection:
                await record_snippets(connection, given, START)
                if is_killed:
                    raise Killed
            return
        except DatabaseBusy:
            await asyncio.sleep(random.uniform(0, 0.01))
        except Killed:
            return


def clip_of(said: Said, n_bytes: int) -> StoredMedia:
    return StoredMedia(f"2026/05/04/{said.media_key}.mp4", None, n_bytes) if n_bytes else StoredMedia()


async def look_back(database: Database, said: Said) -> None:
    """Replace the answer of a snippet as labels in hindsight do, if it is recorded."""
    key = (snippets.c.event_id == said.event_id, snippets.c.snippet == said.snippet)
    entry = NewRelabel(uuid7(LATER), "words", {}, "ada", LATER)
    async with database.writing() as connection:
        labelled_at = await connection.scalar(select(snippets.c.labelled_at).where(*key))
        if labelled_at is not None:
            one = Replacement(snippet_rows(labels_message(said)), labelled_at)
            await replace_answers(connection, {said.event_id: [one]}, entry, LATER)


async def remove(database: Database, at_least_bytes: int | None) -> None:
    async with database.writing() as connection:
        await connection.execute(update(events).values(is_open=False, updated_at=START))
        await remove_events(connection, events.c.id.is_not(None), LATER, at_least_bytes)


async def protect(database: Database, said: Said, is_protected: bool) -> None:
    async with database.writing() as connection:
        await set_protected(connection, said.event_id, is_protected, LATER)


async def kept(database: Database) -> dict[Key, TotalsShare]:
    async with database.reading() as connection:
        rows = (await connection.execute(select(day_totals))).all()
    return {(row.day, row.camera): TotalsShare(*row[2:]) for row in rows}


async def counted(database: Database) -> dict[Key, TotalsShare]:
    async with database.reading() as connection:
        return await shares(connection, true())


SAID = st.builds(
    Said,
    # minutes since START, at 03:02 UTC: 1260 and more lie on the next day
    event=st.sampled_from([0, 1, 1260, 1261]),
    snippet=st.integers(0, 2),
    is_last=st.booleans(),
    camera=st.sampled_from(["gate", "yard"]),
    labelled_after_s=st.sampled_from([12.0, 13.0]),
    accepted=st.sampled_from([(), (("a dog", 0.75),)]),
    n_moments=st.just(1),
)
ONE = st.tuples(SAID)
SEVERAL = st.lists(SAID, min_size=1, max_size=4, unique_by=lambda said: (said.event_id, said.snippet))
STEPS = st.one_of(
    st.tuples(st.just("record"), SEVERAL, st.sampled_from([0, 7, 10_000_000_000])),
    st.tuples(st.just("record"), SEVERAL, st.sampled_from([0, 7, 10_000_000_000])),
    st.tuples(st.just("killed"), SEVERAL, st.just(7)),
    st.tuples(st.just("look back"), ONE, st.just(0)),
    st.tuples(st.just("remove"), ONE, st.sampled_from([None, 1, 8])),
    st.tuples(st.just("protect"), ONE, st.sampled_from([0, 1])),
)


@given(steps=st.lists(STEPS, min_size=1, max_size=12))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_sums_are_what_counting_says_after_anything(
    record_url: str, steps: Sequence[tuple[str, Sequence[Said], int | None]]
) -> None:
    async def run() -> None:
        database = Database(make_engine(record_url))
        without_waiting_for_the_disk(database)
        try:
            async with database.writing() as connection:
                await connection.execute(delete(events))
                await connection.execute(delete(day_totals))
            for what, said, number in steps:
                if what in ("record", "killed"):
                    await record(database, *said, n_bytes=number or 0, is_killed=what == "killed")
                elif what == "look back":
                    await look_back(database, said[0])
                elif what == "remove":
                    await remove(database, number)
                else:
                    await protect(database, said[0], bool(number))
            assert await kept(database) == await counted(database)
        finally:
            await database.close()

    asyncio.run(run())


@pytest.mark.parametrize("size", [1, 4])
async def test_many_writers_at_once_lose_no_count(database: Database, size: int) -> None:
    said = [
        Said(event=e, snippet=s, is_last=s == 2, accepted=[("a dog", 0.8)], n_moments=1)
        for e in range(8)
        for s in range(3)
    ]
    deliveries = said * 2
    random.Random(3).shuffle(deliveries)
    writers = asyncio.Semaphore(5)  # connections of an engine: nobody waits for one in vain

    async def deliver(batch: Sequence[Said]) -> None:
        async with writers:
            await record(database, *{one.media_key: one for one in batch}.values())

    await asyncio.gather(*(deliver(deliveries[i : i + size]) for i in range(0, len(deliveries), size)))
    assert await kept(database) == await counted(database)
    async with database.reading() as connection:
        totals = await queries.find_totals(connection)
        assert await clip_bytes(connection) == 240
    assert (totals.events, totals.accepted_events, totals.snippets, totals.clip_bytes) == (8, 8, 24, 240)


async def test_labels_in_hindsight_are_counted(database: Database) -> None:
    """By a test of its own: the steps above seldom look back at what is recorded with another answer."""
    said = Said(event=0, accepted=[("a dog", 0.8)], n_moments=1)
    await record(database, said)
    for accepted, n_accepted in (([], 0), ([("a dog", 0.9)], 1)):
        await look_back(database, replace(said, accepted=accepted))
        assert sum(share.n_accepted for share in (await kept(database)).values()) == n_accepted
        assert await kept(database) == await counted(database)


async def test_an_event_that_turns_out_to_begin_the_day_before_moves(database: Database) -> None:
    midnight = Said(event=0, start=START.replace(hour=23, minute=59, second=50), n_moments=1)
    await record(database, midnight)
    rows = snippet_rows(labels_message(replace(midnight, snippet=1)))
    later = {**rows.columns, "event_started_at": midnight.start + timedelta(days=1)}
    async with database.writing() as connection:
        await connection.execute(delete(events))
        await connection.execute(delete(day_totals))
        await record_snippet(connection, replace(rows, columns=later), StoredMedia(), START)
    assert [day.day for day, _ in await kept(database)] == [5]
    await record(database, midnight)
    assert [day.day for day, _ in await kept(database)] == [4]
    assert await kept(database) == await counted(database)


async def test_the_record_of_an_older_version_is_counted_when_tables_are_brought_up_to_date(
    database: Database, record_url: str
) -> None:
    for one in (Said(event=0, accepted=[("a dog", 0.8)]), Said(event=0, snippet=1), Said(event=1260)):
        await record(database, one, n_bytes=0 if one.event else 5)
    said = await counted(database)
    async with database.writing() as connection:
        await connection.execute(text("DROP TABLE day_totals"))
        await connection.execute(text("UPDATE alembic_version SET version_num = '0003_past_answers'"))
    await (await open_database(record_url, asyncio.Event(), 30, 60)).close()
    assert await kept(database) == said
    assert sum(share.n_lost for share in said.values()) == 1


async def test_wrong_sums_are_found_and_corrected(database: Database) -> None:
    for event in (0, 1, 1260):
        await record(database, Said(event=event, n_moments=1))
        await record(database, Said(event=event, camera="yard", n_moments=1))
    right = await kept(database)
    async with database.writing() as connection:
        await connection.execute(update(day_totals).where(day_totals.c.camera == "yard").values(n_events=77))
        day = next(iter(right))[0]
        await connection.execute(delete(day_totals).where(day_totals.c.day == day))
        await connection.execute(
            day_totals.insert().values(
                day=day, camera="gone", n_events=1, n_accepted=0, n_snippets=1, n_lost=0, clip_bytes=9
            )
        )
        assert await differing(connection, day) == [(day, "gate"), (day, "gone"), (day, "yard")]
    check = TotalsCheck(database, RecorderMetrics(CollectorRegistry()))
    seen = [await check.check_next() for _ in range(3)]
    assert seen == [max(day for day, _ in right), min(day for day, _ in right), None]
    assert await kept(database) == right
    assert check.metrics.totals_corrected._value.get() == 4
    await check.check_next()
    assert check.metrics.totals_corrected._value.get() == 4


async def test_correcting_beside_writers_takes_nothing_away(database: Database) -> None:
    check = TotalsCheck(database, RecorderMetrics(CollectorRegistry()))
    is_over = asyncio.Event()

    async def write(first: int) -> None:
        for event in range(first, first + 12):
            await record(database, Said(event=event, n_moments=1))
            async with database.writing() as connection:  # somebody's hand in the tables
                await connection.execute(update(day_totals).values(n_lost=day_totals.c.n_lost + 1))

    async def correct() -> None:
        while not is_over.is_set():
            try:
                await check.check_next()
            except DatabaseBusy:
                continue

    checking = asyncio.create_task(correct())
    try:
        await asyncio.gather(write(0), write(20))
    finally:
        is_over.set()
        await checking
    for _ in range(2):
        await check.check_next()
    assert await kept(database) == await counted(database)


async def test_what_changes_no_sum_leaves_them_alone(database: Database) -> None:
    await record(database, Said(n_moments=1))
    before = await kept(database)
    async with database.writing() as connection:
        await connection.execute(
            weather_reports.insert().values(
                provider="open_meteo",
                latitude=1,
                longitude=2,
                observed_at=START,
                fetched_at=START,
                words="fog",
            )
        )
        await QuietEventCloser(-1).close(connection, now_utc())
    assert await kept(database) == before == await counted(database)
