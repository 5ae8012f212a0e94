"""The record on real databases: the same suite on SQLite and MariaDB."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, text, update
from sqlalchemy import event as sa_event

from services.recorder import report
from services.recorder.media.values import StoredMedia
from services.recorder.record import database as database_module
from services.recorder.record import queries
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.database_errors import DatabaseBusy
from services.recorder.record.engines import make_engine
from services.recorder.record.queries import EventFilter
from services.recorder.record.rows import snippet_rows
from services.recorder.record.schema import day_totals, events, frame_embeddings, metadata, weather_reports
from services.recorder.record.transactions import QuietEventCloser, record_snippet, record_snippets
from shared.clock import now_utc
from shared.errors import Permanent
from tests.unit.recorder.messages import START, Said, labels_message

CLOCKS = {"created_at", "updated_at", "recorded_at"}


@pytest.fixture(params=["sqlite", "mariadb"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/clipwatch.db"
    return str(request.getfixturevalue("mariadb_url")).replace("mysql+aiomysql", "mysql")


@pytest.fixture
async def database(record_url: str) -> AsyncIterator[Database]:
    database = await opened(record_url)
    yield database
    await database.close()


async def opened(url: str) -> Database:
    return await open_database(url, asyncio.Event(), connect_s=10, transaction_s=20)


def kept(said: Said) -> StoredMedia:
    return StoredMedia(f"2026/05/04/{said.media_key}.mp4", f"2026/05/04/{said.media_key}.jpg", 10)


async def record(database: Database, *batch: Said, media: Sequence[StoredMedia] | None = None) -> None:
    """Record a batch in one transaction."""
    given = [kept(said) for said in batch] if media is None else media
    rows = [snippet_rows(labels_message(said)) for said in batch]
    while True:
        try:
            async with database.writing() as connection:
                await record_snippets(connection, list(zip(rows, given, strict=True)), now_utc())
            return
        except DatabaseBusy:
            await asyncio.sleep(random.uniform(0, 0.01))


def batches(deliveries: Sequence[Said], size: int) -> list[list[Said]]:
    """Cut deliveries into batches of at most `size`, in none of which a snippet comes twice."""
    made: list[list[Said]] = [[]]
    for one in deliveries:
        if len(made[-1]) >= size or one.media_key in {said.media_key for said in made[-1]}:
            made.append([])
        made[-1].append(one)
    return made


async def dump(database: Database) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables but what wall clocks wrote."""
    said = {}
    async with database.reading() as connection:
        for table in metadata.sorted_tables:
            columns = [column for column in table.c if column.name not in CLOCKS]
            found = await connection.execute(select(*columns).order_by(*table.primary_key.columns))
            said[table.name] = [dict(row) for row in found.mappings()]
    return said


# -- schema


async def is_whole(database: Database) -> bool:
    """Whether the tables are those of the schema."""

    def differences(connection: Any) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with database.engine.connect() as connection:
        return await connection.run_sync(differences) == []


async def test_migrations_end_in_the_schema(empty_url: str) -> None:
    database = await opened(empty_url)
    assert await is_whole(database)
    await database.close()


def newest_revision() -> str | None:
    config = Config()
    config.set_main_option("script_location", str(Path(database_module.__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


async def test_recorders_that_start_together_migrate_once(empty_url: str) -> None:
    databases = await asyncio.gather(*(opened(empty_url) for _ in range(5)))
    async with databases[0].reading() as connection:
        found = (await connection.execute(text("SELECT version_num FROM alembic_version"))).all()
    assert found == [(newest_revision(),)]
    await asyncio.gather(*(database.close() for database in databases))


async def test_migration_that_was_killed_half_way_is_finished(database: Database, record_url: str) -> None:
    async with database.writing() as connection:
        await connection.execute(text("DROP TABLE frame_embeddings"))
        if connection.dialect.name == "sqlite":
            await connection.execute(text("DROP INDEX ix_events_updated"))
        else:
            await connection.execute(text("DROP INDEX ix_events_updated ON events"))
        await connection.execute(text("DELETE FROM alembic_version"))
    again = await opened(record_url)
    await again.close()
    assert await is_whole(database)


# -- any order, any number of times

SNIPPETS = st.builds(
    Said,
    event=st.integers(0, 1),
    snippet=st.integers(0, 2),
    is_last=st.booleans(),
    motion_peak=st.sampled_from([0.25, 0.5]),
    labelled_after_s=st.sampled_from([12.0, 13.0]),
    n_moments=st.integers(1, 2),
    place=st.sampled_from([None, (52.5, 13.4), (48.1, 11.6)]),
    accepted=st.lists(
        st.tuples(st.sampled_from(["a dog", "a pedestrian", "Ä dög"]), st.sampled_from([0.5, 0.75])),
        max_size=2,
        unique_by=lambda pair: pair[0],
    ),
)


@given(
    said=st.lists(
        SNIPPETS, min_size=1, max_size=5, unique_by=lambda s: (s.event, s.snippet, s.labelled_after_s)
    ),
    data=st.data(),
)
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_order_and_any_repetition_give_the_same_rows(
    record_url: str, said: list[Said], data: st.DataObject
) -> None:
    repeated = data.draw(st.permutations(said)) + data.draw(st.lists(st.sampled_from(said), max_size=4))

    size = data.draw(st.integers(1, 5))

    async def rows_after(
        database: Database, deliveries: Sequence[Said], size: int
    ) -> dict[str, list[dict[str, Any]]]:
        async with database.writing() as connection:
            await connection.execute(delete(events))
            await connection.execute(delete(day_totals))
        seen: set[str] = set()
        for batch in batches(deliveries, size):
            # the clip is in the stream until the snippet was recorded for the first time
            media = [StoredMedia() if one.media_key in seen else kept(one) for one in batch]
            await record(database, *batch, media=media)
            seen |= {one.media_key for one in batch}
        return await dump(database)

    async def both() -> None:
        database = Database(make_engine(record_url))
        try:
            assert await rows_after(database, repeated, size) == await rows_after(database, said, 1)
        finally:
            await database.close()

    asyncio.run(both())


@pytest.mark.parametrize("size", [1, 5])
async def test_many_recorders_on_the_same_events_agree(database: Database, size: int) -> None:
    said = [
        Said(event=e, snippet=s, is_last=s == 3, accepted=[("a dog", 0.5 + s / 10)])
        for e in range(4)
        for s in range(4)
    ]
    deliveries = said * 3
    random.Random(7).shuffle(deliveries)
    await asyncio.gather(*(record(database, *batch) for batch in batches(deliveries, size)))
    found = await dump(database)
    assert [(row["n_snippets"], row["is_open"], row["probability"]) for row in found["events"]] == [
        (4, False, 0.8)
    ] * 4
    assert [(row["snippet"], row["probability"]) for row in found["detections"]] == [(3, 0.8)] * 4
    assert len(found["snippets"]) == 16
    assert len(found["frame_probabilities"]) == 16 * 16
    assert len(found["frame_embeddings"]) == 16 * 8


async def test_answer_that_was_decided_later_replaces_the_first(database: Database) -> None:
    first = Said(accepted=[("a dog", 0.6)], n_moments=4)
    later = replace(first, accepted=[("a pedestrian", 0.7)], n_moments=2, labelled_after_s=20)
    for one in (later, first, later):
        await record(database, one)
    found = await dump(database)
    assert [row["label"] for row in found["detections"]] == ["a pedestrian"]
    assert len(found["frame_probabilities"]) == 2 * 4


async def test_change_times_rise_even_when_the_clock_does_not(database: Database) -> None:
    said = [Said(snippet=s, accepted=[("a dog", 0.5 + s / 10)]) for s in range(3)]
    now, seen = now_utc(), []
    for one in said:
        async with database.writing() as connection:
            await record_snippet(connection, snippet_rows(labels_message(one)), kept(one), now)
            seen.append(await connection.scalar(select(events.c.updated_at)))
    assert seen == [now, now + timedelta(milliseconds=1), now + timedelta(milliseconds=2)]


# -- values


async def test_labels_differ_by_case_and_accent(database: Database) -> None:
    labels = ["Dog", "dog", "dög", "狗", "🐕", "ß", "ss"]
    await record(
        database, Said(labels=labels, accepted=[(label, 0.5 + i / 100) for i, label in enumerate(labels)])
    )
    async with database.reading() as connection:
        assert {named.name for named in await queries.seen_labels(connection)} == set(labels)
        assert len(await queries.find_events(connection, EventFilter(label="dög"), 5)) == 1
        assert await queries.find_events(connection, EventFilter(label="DOG"), 5) == []


async def test_longest_labels_fit(database: Database) -> None:
    longest = "狗" * 200
    await record(database, Said(labels=[longest], accepted=[(longest, 0.9)]))
    async with database.reading() as connection:
        assert (await queries.find_events(connection, EventFilter(label=longest), 5))[0].label == longest


async def test_values_that_do_not_fit_fail_for_good_and_leave_nothing(database: Database) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite takes texts of any length; rows.py checks them for all databases")
    rows = snippet_rows(labels_message(Said()))
    with pytest.raises(Permanent):
        async with database.writing() as connection:
            await record_snippet(
                connection,
                replace(rows, columns={**rows.columns, "model": "m" * 500}),
                StoredMedia(),
                now_utc(),
            )
    assert (await dump(database))["events"] == []


async def test_embeddings_and_times_come_back_as_they_were(database: Database) -> None:
    said = Said(place=(52.5, 13.4), dim=512)
    await record(database, said)
    message = labels_message(said)
    async with database.reading() as connection:
        stored = (await connection.execute(select(frame_embeddings).order_by("picture"))).all()
        event = (await queries.find_events(connection, EventFilter(accepted_only=False), 5))[0]
    assert b"".join(row.embedding for row in stored) == message.embeddings
    assert stored[0].captured_at == message.header.moments[0]
    assert event.started_at == START
    assert (event.latitude, event.longitude) == (52.5, 13.4)


async def test_deleting_an_event_deletes_all_of_it(database: Database) -> None:
    await record(database, Said(accepted=[("a dog", 0.9)]))
    async with database.writing() as connection:
        await connection.execute(delete(events))
    # the totals follow from what goes through the recorder, and from its check
    assert all(not rows for name, rows in (await dump(database)).items() if name != "day_totals")


# -- closing


async def test_event_that_went_quiet_is_closed_and_opened_again_by_a_late_snippet(database: Database) -> None:
    await record(database, Said(snippet=0))
    await record(database, Said(event=1, is_last=True))
    passed_s = [0.0]
    quiet = QuietEventCloser(60, lambda: passed_s[0])
    found = []
    for passed_s[0] in (0.0, 59.0, 61.0):
        async with database.writing() as connection:
            found.append(await quiet.close(connection, now_utc()))
    assert found == [[], [], [Said().event_id]]
    await record(database, Said(snippet=1))
    async with database.reading() as connection:
        open_ones = await queries.find_events(connection, EventFilter(accepted_only=False, is_open=True), 5)
    assert [event.id for event in open_ones] == [Said().event_id]


@pytest.mark.parametrize("step_s", [0.0, -3600.0, 3600.0, -1e9, 1e9])
async def test_event_that_still_grows_is_not_closed_however_the_clock_is_set(
    database: Database, step_s: float
) -> None:
    passed_s, now = [0.0], now_utc()
    quiet = QuietEventCloser(60, lambda: passed_s[0])
    for snippet in range(4):
        passed_s[0], now = 50.0 * snippet, now + timedelta(seconds=50.0 + (step_s if snippet == 2 else 0.0))
        async with database.writing() as connection:
            one = Said(snippet=snippet)
            await record_snippet(connection, snippet_rows(labels_message(one)), kept(one), now)
            assert await quiet.close(connection, now) == []
    passed_s[0] += 61.0
    async with database.writing() as connection:
        assert await quiet.close(connection, now) == [Said().event_id]


# -- questions


async def filled(database: Database) -> list[Said]:
    said = [
        Said(
            event=e,
            camera=["gate", "yard"][e % 2],
            is_last=True,
            accepted=[("a dog", 0.9), ("a pedestrian", 0.6)][: e % 3],
            peaks={"a dog": e / 20, "an empty path": 0.3},
        )
        for e in range(12)
    ]
    for one in said:
        await record(database, one)
    return said


async def test_pages_hold_every_event_once(database: Database) -> None:
    said = await filled(database)
    await record(database, Said(event=3, camera="third", accepted=[("a dog", 0.7)]))  # starts as event 3 does
    for wanted, total in (
        (EventFilter(accepted_only=False), 13),
        (EventFilter(), 9),
        (EventFilter(camera="gate", accepted_only=False), 6),
        (EventFilter(label="a dog"), 9),
        (EventFilter(label="a dog", camera="yard"), 4),
        (EventFilter(label="a pedestrian"), 4),
        (EventFilter(since=said[10].start + timedelta(minutes=10), accepted_only=False), 2),
        (EventFilter(until=START + timedelta(minutes=2), accepted_only=False), 2),
        (EventFilter(is_open=True), 1),
    ):
        found: list[str] = []
        before = None
        while True:
            async with database.reading() as connection:
                page = await queries.find_events(connection, replace(wanted, before=before), 2)
            found += [event.id for event in page]
            if len(page) < 2:
                break
            before = (page[-1].started_at, page[-1].id)
        assert len(found) == len(set(found)) == total, wanted


async def test_events_come_newest_first_with_detections_and_weather(database: Database) -> None:
    await filled(database)
    async with database.writing() as connection:
        await connection.execute(
            weather_reports.insert().values(
                provider="open_meteo",
                latitude=1.0,
                longitude=2.0,
                observed_at=START,
                fetched_at=START,
                temperature_c=17.3,
                is_day=True,
                wmo_code=61,
                words="slight rain",
            )
        )
        await connection.execute(
            update(events).values(weather_id=select(weather_reports.c.id).scalar_subquery())
        )
    async with database.reading() as connection:
        found = await queries.find_events(connection, EventFilter(), 3)
    assert [event.started_at for event in found] == sorted((e.started_at for e in found), reverse=True)
    assert [d.label for d in found[0].detections] == ["a dog", "a pedestrian"]
    assert found[0].weather is not None
    assert (found[0].weather.words, found[0].weather.temperature_c, found[0].weather.is_day) == (
        "slight rain",
        17.3,
        True,
    )


async def test_one_event_comes_with_snippets_and_moments(database: Database) -> None:
    await record(database, Said(snippet=1, is_last=True))
    await record(database, Said(snippet=0, accepted=[("a dog", 0.9)], n_moments=3))
    async with database.reading() as connection:
        event = await queries.find_event(connection, Said().event_id)
        frames = await queries.find_frames(connection, Said().event_id)
        assert await queries.find_event(connection, "nothing") is None
    assert event is not None
    assert [(s.snippet, s.accepted, s.decision.threshold) for s in event.snippets] == [
        (0, ("a dog",), 0.5),
        (1, (), 0.5),
    ]
    assert [(part.snippet, len(part.moments)) for part in frames] == [(0, 3), (1, 4)]
    assert [(s.label, s.kind) for s in frames[0].series] == [
        ("a dog", "target"),
        ("a pedestrian", "target"),
        ("an empty path", "background"),
        ("other", "other"),
    ]
    assert frames[0].series[0].probabilities == (0.25, 0.25, 0.25)


async def test_totals_cameras_and_labels(database: Database) -> None:
    await filled(database)
    await record(database, Said(event=20), media=[StoredMedia()])
    async with database.reading() as connection:
        totals = await queries.find_totals(connection)
        cameras = await queries.seen_cameras(connection)
        labels = await queries.seen_labels(connection)
    assert (totals.events, totals.accepted_events, totals.open_events) == (13, 8, 1)
    assert (totals.snippets, totals.lost_clips, totals.clip_bytes) == (13, 1, 120)
    assert totals.oldest_at == START
    assert [(c.name, c.newest_at) for c in cameras] == [
        ("gate", START + timedelta(minutes=20)),
        ("yard", START + timedelta(minutes=11)),
    ]
    assert [label.name for label in labels] == ["a dog", "a pedestrian"]


# -- the record for other programs


async def test_report_reads_without_the_service(empty_url: str) -> None:
    engine = report.open_record(empty_url)
    assert await report.recent_events(engine, 5) == []  # no recorder was here yet
    assert await report.event_records(engine) == []
    assert (await report.totals(engine)).events == 0
    database = await opened(empty_url)
    await filled(database)
    await database.close()
    newest = await report.recent_events(engine, 2)
    everything = await report.event_records(engine)
    assert [event.label for event in newest] == ["a dog", "a dog"]
    assert len(everything) == 12
    assert [e.started_at for e in everything] == sorted(e.started_at for e in everything)
    assert everything[11].peaks == {"a dog": 11 / 20, "an empty path": 0.3}
    assert everything[11].model == "mini"
    assert everything[0].snippets[0].reason == "nothing beat the background"
    assert len(await report.event_records(engine, report.EventFilter(camera="yard"))) == 4
    assert await report.event_record(engine, everything[3].id) == everything[3]
    await engine.dispose()


async def test_everything_is_reached_over_page_borders(
    database: Database, record_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(database)
    monkeypatch.setattr(report, "_PAGE", 5)
    engine = report.open_record(record_url)
    assert len({event.id for event in await report.event_records(engine)}) == 12
    await engine.dispose()


# -- plans


async def test_lists_are_read_from_indexes(database: Database) -> None:
    """No list of the page reads a whole table or sorts it."""
    if database.engine.dialect.name != "sqlite":
        pytest.skip(
            "MariaDB's plans depend on the number of rows; measured with many in docs/design/record.md"
        )
    before = (START, Said().event_id)
    plan: list[str] = []

    def explain(_c: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "FROM events" in statement:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plan.extend(row[3] for row in cursor.fetchall())

    for wanted in (
        EventFilter(),
        EventFilter(accepted_only=False, before=before),
        EventFilter(camera="gate"),
        EventFilter(camera="gate", accepted_only=False, before=before),
        EventFilter(label="a dog"),
        EventFilter(label="a dog", camera="gate", before=before),
        EventFilter(cameras=frozenset({"gate", "yard"}), before=before),
        EventFilter(label="a dog", cameras=frozenset({"gate", "yard"}), before=before),
    ):
        async with database.reading() as connection:
            sync = connection.sync_connection
            assert sync is not None
            sa_event.listen(sync, "before_cursor_execute", explain)
            await queries.find_events(connection, wanted, 10)
        assert plan
        assert not [step for step in plan if step.startswith("SCAN") and "USING INDEX" not in step], plan
        assert not [step for step in plan if "TEMP B-TREE" in step], (wanted, plan)
        plan.clear()
