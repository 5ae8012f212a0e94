"""What an answer is charged for, and what a clip waits for: locks, disks, stops, Redis, other snippets' clips."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from sqlalchemy import event as sa_event
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.recorder.intake import intake as intake_module
from services.recorder.intake.intake import Intake
from services.recorder.intake.readiness import try_recording
from services.recorder.media.files import INCOMING, MediaFolder, StagedFiles
from services.recorder.media.folder_store import THREADS, FolderStore
from services.recorder.media.store import MediaRefused
from services.recorder.media.values import StoredMedia
from services.recorder.metrics import RecorderMetrics
from services.recorder.record import transactions as transactions_module
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from services.recorder.record.database_errors import DatabaseBusy, RowConflict
from services.recorder.record.engines import make_engine
from services.recorder.record.rows import Row, SnippetRows, snippet_rows
from services.recorder.record.schema import events, snippets
from services.recorder.record.transactions import record_snippets
from shared.clock import now_utc
from shared.contract import LABELS, MEDIA, RECORDERS, LabelsMessage
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Delivery, Done, Outcome, Retry
from shared.streams.settings import ConsumerSettings
from tests.servers import HOST, RedisServer, free_port, wait_until
from tests.unit.recorder.messages import CLIP, Said, append, labels_message, media_message, send

pytestmark = [pytest.mark.redis]
LOCK_S = 1.0
Lock = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Disk(MediaFolder):
    """A media folder whose disk can be full."""

    refuses: list[int] = field(default_factory=list)  # errno; empty: takes everything

    def _written(self, name: str, content: bytes) -> tuple[int, Path]:
        if self.refuses:
            raise OSError(self.refuses[0], os.strerror(self.refuses[0]))
        return MediaFolder._written(self, name, content)

    def check(self) -> None:
        if self.refuses:
            raise OSError(self.refuses[0], os.strerror(self.refuses[0]))


@pytest.fixture
async def database(record_url: str) -> AsyncIterator[Database]:
    database = await open_database(record_url, asyncio.Event(), 30, 30, LOCK_S)
    yield database
    await database.close()


@pytest.fixture
async def sqlite(sqlite_record: str) -> AsyncIterator[Database]:
    database = await open_database(sqlite_record, asyncio.Event(), 30, 30, LOCK_S)
    yield database
    await database.close()


@pytest.fixture
def locked(record_url: str, tmp_path: Path) -> Lock:
    """Another program that holds what a recording needs."""

    @contextlib.asynccontextmanager
    async def in_sqlite() -> AsyncIterator[None]:
        other = sqlite3.connect(tmp_path / "clipwatch.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        yield
        other.close()

    @contextlib.asynccontextmanager
    async def in_mariadb() -> AsyncIterator[None]:
        engine = make_engine(record_url)
        async with engine.connect() as other:
            await other.execute(text("LOCK TABLES events READ"))
            yield
            await other.execute(text("UNLOCK TABLES"))
        await engine.dispose()

    return in_sqlite if record_url.startswith("sqlite") else in_mariadb


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    disk = Disk(tmp_path / "media")
    disk.prepare()
    return disk


def intake_of(redis: Redis, database: Database, media: MediaFolder) -> Intake:
    metrics = RecorderMetrics(CollectorRegistry())
    return Intake(redis, database, FolderStore(media), metrics, asyncio.Event(), lambda: None, lambda _: None)


async def delivery(redis: Redis, said: Said, attempts: int = 1) -> Delivery:
    """Put a clip into the queue, and return the delivery of its answer."""
    media_id = await append(redis, MEDIA, media_message(said).encode())
    return Delivery(LABELS, "1-1", labels_message(said, media_id).encode(), attempts)


async def clips(database: Database) -> list[str | None]:
    async with database.reading() as connection:
        query = select(snippets.c.clip_name).order_by(snippets.c.event_id, snippets.c.snippet)
        return list((await connection.execute(query)).scalars())


def files(folder: MediaFolder) -> list[Path]:
    return [path for path in folder.root.rglob("*") if path.is_file()]


async def holds(condition: Callable[[], Awaitable[bool]], limit_s: float = 60) -> None:
    async with asyncio.timeout(limit_s):
        while not await condition():
            await asyncio.sleep(0.02)


# -- what is not the answer's fault


async def test_a_lock_of_another_program_and_restarts_meanwhile_cost_nothing(
    redis_client: Redis, database: Database, locked: Lock, disk: Disk
) -> None:
    settings = ConsumerSettings(
        LABELS, RECORDERS, "one", block_ms=40, min_idle_s=0.3, claim_every_s=0.05, max_attempts=2
    )

    @contextlib.asynccontextmanager
    async def recording() -> AsyncIterator[None]:
        await asyncio.to_thread(wait_until, lambda: not any((disk.root / INCOMING).iterdir()), 30)
        intake = intake_of(redis_client, database, disk)
        consumer = Consumer(redis_client, settings, intake.handle)
        intake.uncharge = consumer.uncharge
        task = asyncio.create_task(consumer.run(intake.stop))
        try:
            yield
        finally:
            task.cancel()  # as a kill
            await asyncio.wait({task})

    await send(redis_client, Said())
    async with locked():
        for _ in range(5):
            async with recording():
                await asyncio.to_thread(wait_until, lambda: any((disk.root / INCOMING).iterdir()), 30)
            assert {path.parent.name for path in files(disk)} <= {INCOMING}  # no file without a row
            rows = await redis_client.xpending_range(LABELS, RECORDERS, "-", "+", 9)
            assert [row["times_delivered"] for row in rows] == [1]
    async with recording():
        await holds(lambda: _is_empty(redis_client, LABELS))
    assert await redis_client.xlen(f"{LABELS}:dead") == 0
    assert len(await clips(database)) == 1
    assert len(files(disk)) == 2


async def _is_empty(redis: Redis, stream: str) -> bool:
    return await redis.xlen(stream) == 0


async def test_a_lock_that_lasts_gives_the_answer_back_and_charges_nothing(
    redis_client: Redis, database: Database, locked: Lock, disk: Disk
) -> None:
    intake = intake_of(redis_client, database, disk)
    one = await delivery(redis_client, Said())
    async with locked():
        (outcome,) = await intake.handle([one])
        with pytest.raises(DatabaseBusy):
            await try_recording(database)  # readiness sees it, too
    assert isinstance(outcome, Retry)
    assert (outcome.is_charged, outcome.is_alone) == (False, False)
    assert outcome.reason
    assert files(disk) == []
    await try_recording(database)
    assert isinstance((await intake.handle([one]))[0], Done)


async def test_a_try_to_record_leaves_nothing(database: Database) -> None:
    await try_recording(database)
    async with database.reading() as connection:
        for table in ("removals", "events", "day_totals"):
            assert await connection.scalar(text(f"SELECT COUNT(*) FROM {table}")) == 0  # noqa: S608 - ours


async def test_a_stop_gives_the_whole_batch_back_in_time(
    redis_client: Redis, database: Database, locked: Lock, disk: Disk
) -> None:
    intake = intake_of(redis_client, replace(database, lock_wait_s=60), disk)
    batch = [await delivery(redis_client, Said(event=event)) for event in range(3)]
    async with locked():
        handling = asyncio.create_task(intake.handle(batch))
        await asyncio.to_thread(wait_until, lambda: any((disk.root / INCOMING).iterdir()), 30)
        intake.stop.set()
        async with asyncio.timeout(60):
            outcomes = await handling
    assert [(type(one), getattr(one, "is_charged", None)) for one in outcomes] == [(Retry, False)] * 3
    assert files(disk) == []


async def test_redis_that_is_away_while_the_clip_is_fetched_is_not_charged(
    sqlite: Database, disk: Disk
) -> None:
    nobody: Redis = Redis.from_url(f"redis://{HOST}:{free_port()}/0")
    intake = intake_of(nobody, sqlite, disk)
    fields = labels_message(Said(), "1-1").encode()
    (outcome,) = await intake.handle([Delivery(LABELS, "1-1", fields, 1)])
    await nobody.aclose()
    assert isinstance(outcome, Retry)
    assert not outcome.is_charged
    assert outcome.reason.startswith("Redis: ")


# -- several together


@pytest.fixture
def transactions(database: Database) -> list[str]:
    """Grows by one with each commit."""
    committed: list[str] = []
    sa_event.listen(database.engine.sync_engine, "commit", lambda _: committed.append("commit"))
    return committed


async def test_what_is_read_together_is_one_transaction(
    redis_client: Redis, database: Database, disk: Disk, transactions: list[str]
) -> None:
    intake = intake_of(redis_client, database, disk)
    said = [Said(event=event, snippet=snippet) for event in range(3) for snippet in range(2)]
    batch = [await delivery(redis_client, one) for one in said]
    outcomes = await intake.handle(batch)
    assert len(transactions) == 1
    assert [one.deletions for one in outcomes if isinstance(one, Done)] == [
        ((MEDIA, LabelsMessage.decode(one.fields).header.media_id),) for one in batch
    ]
    names = await clips(database)
    assert [(disk.root / str(name)).read_bytes() for name in names] == [CLIP] * 6
    assert intake.metrics.events._value.get() == 3
    assert intake.metrics.snippets.labels("new")._value.get() == 6


async def test_a_snippet_twice_in_a_batch_is_recorded_once(
    redis_client: Redis, database: Database, disk: Disk
) -> None:
    intake = intake_of(redis_client, database, disk)
    twice = await delivery(redis_client, Said())
    other = await delivery(redis_client, Said(event=1))
    outcomes = await intake.handle([twice, other, twice])
    assert [type(one) for one in outcomes] == [Done, Done, Done]
    assert [name is not None for name in await clips(database)] == [True, True]
    assert intake.metrics.snippets.labels("new")._value.get() == 2
    assert intake.metrics.snippets.labels("again")._value.get() == 1


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("of_event", [True, False])
async def test_a_broken_message_harms_none_of_its_batch(
    redis_client: Redis,
    database: Database,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    of_event: bool,
    place: int,
) -> None:
    """Broken for the database, which says so only when the rows are written."""
    intake = intake_of(redis_client, database, disk)
    batch = [await delivery(redis_client, Said(event=event)) for event in range(3)]
    broken = Said(event=place).event_id

    def rows_of(message: LabelsMessage) -> SnippetRows:
        rows = snippet_rows(message)
        if rows.event_id != broken:
            return rows
        none = cast("str", None)
        return (
            replace(rows, camera=none) if of_event else replace(rows, columns=rows.columns | {"model": none})
        )

    monkeypatch.setattr(intake_module, "snippet_rows", rows_of)
    outcomes = await intake.handle(batch)
    kinds = [type(one) for one in outcomes]
    assert kinds == [Retry if event == place else Done for event in range(3)]
    assert getattr(outcomes[place], "is_charged", None) is True
    assert [name is not None for name in await clips(database)] == [True, True]
    assert len(files(disk)) == 4  # of two snippets: nothing is left of the broken one
    async with database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(events))).scalar() == 2


async def test_a_file_that_is_refused_is_lost_alone(
    redis_client: Redis, sqlite: Database, disk: Disk
) -> None:
    intake = intake_of(redis_client, sqlite, disk)
    batch = [await delivery(redis_client, Said(event=event)) for event in range(3)]
    (disk.root / "2026/05/04" / f"{Said(event=1).media_key}.mp4").mkdir(parents=True)
    outcomes = await intake.handle(batch)
    assert [type(one) for one in outcomes] == [Done] * 3
    assert [name is not None for name in await clips(sqlite)] == [True, False, True]
    assert intake.metrics.media_lost.labels("refused")._value.get() == 1
    assert not list((disk.root / INCOMING).iterdir())


async def test_two_snippets_that_name_one_file_get_what_is_theirs(
    redis_client: Redis, sqlite: Database, disk: Disk
) -> None:
    intake = intake_of(redis_client, sqlite, disk)
    owner = await delivery(redis_client, Said(event=1))
    stolen = media_message(Said(event=0), CLIP * 2)
    stolen = replace(stolen, header=stolen.header.model_copy(update={"media_key": Said(event=1).media_key}))
    media_id = await append(redis_client, MEDIA, stolen.encode())
    thief = Delivery(LABELS, "2-1", labels_message(Said(event=0), media_id).encode(), 1)
    await intake.handle([owner, thief])
    lost, name = await clips(sqlite)
    assert lost is None
    assert (disk.root / str(name)).read_bytes() == CLIP


async def test_a_full_disk_loses_nothing_of_a_batch(
    redis_client: Redis, database: Database, disk: Disk
) -> None:
    intake = intake_of(redis_client, database, disk)
    batch = [await delivery(redis_client, Said(event=event)) for event in range(3)]
    disk.refuses.append(errno.ENOSPC)
    for _ in range(2):
        assert [
            (one.is_charged, one.is_alone) for one in await intake.handle(batch) if isinstance(one, Retry)
        ] == [(False, True)] * 3
        assert intake.metrics.snippets.labels("new")._value.get() == 3
    disk.refuses.clear()
    assert [type(one) for one in await intake.handle(batch)] == [Done] * 3
    assert None not in await clips(database)
    assert (intake.metrics.events._value.get(), len(files(disk))) == (3, 6)


async def test_a_batch_that_ends_before_its_commit_is_recorded_at_the_next_delivery(
    redis_client: Redis, database: Database, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a kill when all files have their names and no row is there."""
    batch = [await delivery(redis_client, Said(event=e, snippet=s)) for e in range(2) for s in range(2)]
    real, held = StagedFiles.publish, threading.Event()

    def publish(staged: StagedFiles) -> None:
        real(staged)
        held.wait(60)

    monkeypatch.setattr(StagedFiles, "publish", publish)
    handling = asyncio.create_task(intake_of(redis_client, database, disk).handle(batch))
    await asyncio.to_thread(
        wait_until, lambda: sum(path.parent.name != INCOMING for path in files(disk)) == 8, 60
    )
    handling.cancel()
    held.set()
    await asyncio.wait({handling})
    assert await clips(database) == []
    monkeypatch.setattr(StagedFiles, "publish", real)
    assert {type(one) for one in await intake_of(redis_client, database, disk).handle(batch)} == {Done}
    assert (len(files(disk)), None in await clips(database)) == (8, False)


async def test_a_file_that_cannot_be_named_undoes_its_batch_and_no_more(
    redis_client: Redis, database: Database, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = [await delivery(redis_client, Said(event=event)) for event in range(3)]
    real, tried = StagedFiles.publish, []

    def publish(staged: StagedFiles) -> None:
        tried.append(staged)
        if len(tried) == 2:
            raise MediaRefused("no", is_lasting=False)
        real(staged)

    monkeypatch.setattr(StagedFiles, "publish", publish)
    assert {type(one) for one in await intake_of(redis_client, database, disk).handle(batch)} == {Done}
    assert (len(files(disk)), None in await clips(database)) == (6, False)


async def test_a_stop_ends_what_is_recorded_one_by_one(
    redis_client: Redis, sqlite: Database, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = intake_of(redis_client, sqlite, disk)
    batch = [await delivery(redis_client, Said(event=event)) for event in range(3)]
    sizes: list[int] = []

    async def refused(_: Intake, batch: Sequence[object]) -> None:
        sizes.append(len(batch))
        intake.stop.set()
        raise RowConflict("refused")

    monkeypatch.setattr(Intake, "_transaction", refused)
    outcomes = await intake.handle(batch)
    assert sizes == [3]
    assert [getattr(one, "is_charged", None) for one in outcomes] == [False] * 3
    assert files(disk) == []


@pytest.mark.parametrize("is_committed", [True, False])
async def test_an_event_that_another_recorder_makes_meanwhile_is_found_at_the_next_run(
    redis_client: Redis,
    mariadb_record: str,
    disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
    is_committed: bool,
) -> None:
    """On MariaDB alone: SQLite has one writer."""
    database = await open_database(mariadb_record, asyncio.Event(), 30, 30, 10)
    real, others, seen = transactions_module._locked_events, [], []
    other = (snippet_rows(labels_message(Said(event=1, snippet=7))), StoredMedia())

    async def make(made: asyncio.Event) -> None:
        async with database.writing() as connection:
            await record_snippets(connection, [other], now_utc())
            made.set()
            await asyncio.sleep(0 if is_committed else 0.5)

    async def locked(connection: AsyncConnection, ids: Collection[str]) -> dict[str, Row]:
        found = await real(connection, ids)
        if len(ids) == 3:
            seen.append(len(found))
            if len(seen) == 1:
                made = asyncio.Event()
                others.append(asyncio.create_task(make(made)))
                await (others[0] if is_committed else made.wait())
        return found

    monkeypatch.setattr(transactions_module, "_locked_events", locked)
    intake = intake_of(redis_client, database, disk)
    outcomes = await intake.handle([await delivery(redis_client, Said(event=event)) for event in range(3)])
    await asyncio.gather(*others)
    assert seen == [0, 1]
    assert {type(one) for one in outcomes} == {Done}
    assert intake.metrics.events._value.get() == 2
    async with database.reading() as connection:
        query = select(events.c.n_snippets).order_by(events.c.id)
        assert (await connection.execute(query)).scalars().all() == [1, 2, 1]
    assert len(files(disk)) == 6
    await database.close()


async def test_a_disk_that_hangs_holds_up_no_other_thread(
    redis_client: Redis, sqlite: Database, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, held = intake_of(redis_client, sqlite, disk), threading.Event()
    batch = [await delivery(redis_client, Said(event=event)) for event in range(16)]
    real, writing = MediaFolder._written, []

    def written(folder: MediaFolder, name: str, content: bytes) -> tuple[int, Path]:
        writing.append(name)
        held.wait(60)
        return real(folder, name, content)

    monkeypatch.setattr(MediaFolder, "_written", written)
    handling = asyncio.create_task(intake.handle(batch))
    await asyncio.to_thread(wait_until, lambda: len(writing) == THREADS, 60)
    assert await asyncio.wait_for(asyncio.to_thread(lambda: True), 60)  # as name lookups are made
    assert not handling.done()
    held.set()
    assert {type(one) for one in await handling} == {Done}


@pytest.mark.parametrize("most", [1, 2 * len(CLIP)])
async def test_clips_in_memory_are_bounded(
    redis_client: Redis,
    database: Database,
    disk: Disk,
    transactions: list[str],
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    monkeypatch.setattr(intake_module, "TOGETHER_BYTES", most)
    intake = intake_of(redis_client, database, disk)
    batch = [await delivery(redis_client, Said(event=event)) for event in range(4)]
    assert {type(one) for one in await intake.handle(batch)} == {Done}
    assert len(transactions) == (4 if most == 1 else 2)


# -- other snippets' clips


async def test_an_answer_that_names_another_clip_leaves_it_alone(
    redis_client: Redis, sqlite: Database, disk: Disk
) -> None:
    intake = intake_of(redis_client, sqlite, disk)
    owner = await delivery(redis_client, Said(event=1))
    media_id = LabelsMessage.decode(owner.fields).header.media_id
    thief = labels_message(Said(event=0), media_id).encode()
    assert await intake.handle([Delivery(LABELS, "2-1", thief, 1)]) == [Done()]
    assert await redis_client.xlen(MEDIA) == 1
    (outcome,) = await intake.handle([owner])
    assert isinstance(outcome, Done)
    assert outcome.deletions == ((MEDIA, media_id),)
    assert [name is not None for name in await clips(sqlite)] == [False, True]


@pytest.mark.parametrize("clip", [CLIP, CLIP * 2], ids=["same size", "another size"])
async def test_a_clip_under_the_name_of_another_snippets_file_leaves_it_alone(
    redis_client: Redis, sqlite: Database, disk: Disk, clip: bytes
) -> None:
    intake = intake_of(redis_client, sqlite, disk)
    await intake.handle([await delivery(redis_client, Said(event=1))])
    (name,) = await clips(sqlite)
    stolen = media_message(Said(event=0), clip)
    stolen = replace(stolen, header=stolen.header.model_copy(update={"media_key": Said(event=1).media_key}))
    media_id = await append(redis_client, MEDIA, stolen.encode())
    thief = labels_message(Said(event=0), media_id).encode()
    (outcome,) = await intake.handle([Delivery(LABELS, "2-1", thief, 1)])
    assert isinstance(outcome, Done)
    assert await clips(sqlite) == [None, name]
    assert (disk.root / str(name)).read_bytes() == CLIP
    assert intake.metrics.media_lost.labels("refused")._value.get() == 1


async def test_a_second_clip_of_a_recorded_snippet_leaves_no_file_behind(
    redis_client: Redis, sqlite: Database, disk: Disk
) -> None:
    intake = intake_of(redis_client, sqlite, disk)
    await intake.handle([await delivery(redis_client, Said())])
    again = media_message(Said())  # motion was killed, and published it once more
    again = replace(again, header=again.header.model_copy(update={"media_key": "f" * 32}))
    media_id = await append(redis_client, MEDIA, again.encode())
    await intake.handle([Delivery(LABELS, "2-1", labels_message(Said(), media_id).encode(), 1)])
    assert sorted(path.stem for path in files(disk)) == [Said().media_key] * 2


# -- a disk that does not take clips


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
async def test_a_clip_waits_for_the_disk_and_its_event_does_not(
    redis_client: Redis, database: Database, disk: Disk, number: int
) -> None:
    intake = intake_of(redis_client, database, disk)
    disk.refuses.append(number)
    one = await delivery(redis_client, Said(accepted=[("a dog", 0.9)]))
    for attempt in range(4):
        (outcome,) = await intake.handle([replace(one, attempts=1 + attempt)])
        assert isinstance(outcome, Retry)
        assert (outcome.is_charged, outcome.is_alone) == (False, True)
    assert await clips(database) == [None]
    assert intake.waiting.count() == 1
    assert await redis_client.xlen(MEDIA) == 1
    disk.refuses.clear()
    (outcome,) = await intake.handle([one])
    assert isinstance(outcome, Done)
    assert len(outcome.deletions) == 1
    (name,) = await clips(database)
    assert (disk.root / str(name)).read_bytes() == CLIP
    assert intake.waiting.count() == 0
    assert [intake.metrics.media_lost.labels(why)._value.get() for why in ("full", "gone")] == [0, 0]
    assert intake.metrics.snippets.labels("new")._value.get() == 1


async def test_a_queue_without_room_lets_the_newest_clips_go_and_keeps_the_oldest(
    own_redis: RedisServer, sqlite: Database, disk: Disk
) -> None:
    redis: Redis = Redis.from_url(own_redis.url)
    intake = intake_of(redis, sqlite, disk)
    disk.refuses.append(errno.ENOSPC)
    used = int((await redis.info("memory"))["used_memory"])
    batch: list[Delivery] = []
    for event in range(12):
        said = Said(event=event)
        media_id = await append(redis, MEDIA, media_message(said, os.urandom(1_000_000)).encode())
        batch.append(Delivery(LABELS, f"{event + 1}-1", labels_message(said, media_id).encode(), 1))
    await redis.config_set("maxmemory", used + 14_000_000)
    outcomes: list[Outcome] = []
    for one in batch:
        outcomes += await intake.handle([one])
    kinds = [type(one) for one in outcomes]
    n_waiting = kinds.count(Retry)
    assert 4 <= n_waiting <= 11
    assert kinds == [Retry] * n_waiting + [Done] * (12 - n_waiting)  # the oldest wait
    assert intake.metrics.media_lost.labels("full")._value.get() == 12 - n_waiting
    assert await redis.xlen(MEDIA) == n_waiting
    disk.refuses.clear()
    again = await intake.handle(batch[:n_waiting])
    assert {type(one) for one in again} == {Done}
    assert [name is not None for name in await clips(sqlite)] == [True] * n_waiting + [False] * (
        12 - n_waiting
    )
    assert intake.metrics.media_lost.labels("full")._value.get() == 12 - n_waiting
    await redis.aclose()


async def test_what_lies_in_the_clip_itself_is_not_waited_for(
    redis_client: Redis, sqlite: Database, disk: Disk
) -> None:
    intake = intake_of(redis_client, sqlite, disk)
    disk.refuses.append(errno.EFBIG)
    (outcome,) = await intake.handle([await delivery(redis_client, Said())])
    assert isinstance(outcome, Done)
    assert intake.metrics.media_lost.labels("refused")._value.get() == 1
