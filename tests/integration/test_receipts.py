"""What motion keeps until it is recorded: a Redis that is emptied, replaced or rolled back at any moment loses nothing.

Outbox, publisher, receipts, consumer loop and the recorder's intake are the real ones; the classifier is a handler
that answers at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.motion.metrics import MotionMetrics
from services.motion.spool.outbox import Outbox
from services.motion.spool.publisher import Publisher, mark_of
from services.motion.spool.receipts import RESENDS, ReceiptReader
from services.recorder import report
from services.recorder.intake.intake import Intake
from services.recorder.media.files import MediaFolder
from services.recorder.media.folder_store import FolderStore
from services.recorder.metrics import RecorderMetrics
from services.recorder.record.bootstrap import open_database
from services.recorder.record.database import Database
from shared.contract import (
    CLASSIFIERS,
    LABELS,
    MEDIA,
    RECEIPTS,
    RECEIPTS_KEPT,
    RECORDERS,
    SNIPPETS,
    Receipt,
    SnippetMessage,
)
from shared.streams.consumer import Consumer
from shared.streams.outcomes import Dead, Delivery, Done, Outcome, Output
from shared.streams.receipts import receipt_of_dead
from shared.streams.settings import ConsumerSettings
from tests.servers import RedisServer
from tests.unit.recorder.messages import Said, labels_message, media_message

pytestmark = [pytest.mark.redis]
OWNER = "0123456789ab"
N_EVENTS = 2
ALL = [
    Said(event=event, snippet=snippet, is_last=snippet == 1)
    for event in range(N_EVENTS)
    for snippet in (0, 1)
]


@dataclass
class Chain:
    """Motion, a classifier and a recorder, moved by hand."""

    redis: Redis
    outbox: Outbox
    publisher: Publisher
    receipts: ReceiptReader
    metrics: MotionMetrics
    database: Database
    intake: Intake
    url: str
    dead: tuple[str, ...] = ()  # events that the classifier refuses

    def put(self, said: Said) -> None:
        message = labels_message(said).header.snippet
        pictures = tuple(b"\xff\xd8%d" % i for i in range(len(message.pictures)))
        self.outbox.put(media_message(said), SnippetMessage(message, pictures))

    async def publish(self) -> None:
        while await self.publisher.send_one() == "sent":
            continue

    async def classify(self, most: int = 1000) -> None:
        await self._consume(SNIPPETS, CLASSIFIERS, self._label, most)

    async def record(self, most: int = 1000) -> None:
        await self._consume(LABELS, RECORDERS, self.intake.handle, most)

    async def settle(self) -> None:
        """Let everything run until nothing is kept."""
        for _ in range(2 + RESENDS):
            await self.receipts.read()
            await self.receipts.check()
            await self.publish()
            await self.classify()
            await self.record()
        await self.receipts.read()

    async def _label(self, deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
        outcomes: list[Outcome] = []
        for delivery in deliveries:
            message = SnippetMessage.decode(delivery.fields)
            header = message.header
            if header.event_id in self.dead:
                outcomes.append(Dead("no picture can be read"))
                continue
            (said,) = (one for one in ALL if (one.event_id, one.snippet) == (header.event_id, header.snippet))
            outcomes.append(Done((Output(LABELS, labels_message(said, message.media_id).encode()),)))
        return outcomes

    async def _consume(
        self, stream: str, group: str, handler: Callable[[Sequence[Delivery]], Any], most: int
    ) -> None:  # Any: an awaitable of outcomes
        stop, n_handled = asyncio.Event(), 0

        async def counted(deliveries: Sequence[Delivery]) -> Sequence[Outcome]:
            nonlocal n_handled
            n_handled += len(deliveries)
            if n_handled >= most:
                stop.set()
            outcomes: Sequence[Outcome] = await handler(deliveries)
            return outcomes

        settings = ConsumerSettings(stream, group, "one", batch_max=1 if most < 1000 else 8, block_ms=20)
        consumer = Consumer(self.redis, settings, counted, on_dead=receipt_of_dead)
        running = asyncio.create_task(consumer.run(stop))
        async with asyncio.timeout(60):
            while not stop.is_set() and (n_handled == 0 or await self.redis.xlen(stream)):
                if not await self.redis.xlen(stream):
                    break
                await asyncio.sleep(0.01)
        stop.set()
        await running

    async def recorded(self) -> list[tuple[str, int, bool]]:
        """Return event, number of snippets and whether a clip is missing, of each event."""
        engine = report.open_record(self.url)
        records = await report.event_records(engine)
        await engine.dispose()
        return sorted(
            (one.id, len(one.snippets), any(s.clip_name is None for s in one.snippets)) for one in records
        )


@contextlib.asynccontextmanager
async def made(tmp_path: Path, redis: Redis) -> AsyncIterator[Chain]:
    metrics = MotionMetrics(CollectorRegistry())
    outbox = Outbox(tmp_path / "outbox", 1 << 26, metrics)
    url = f"sqlite:///{tmp_path}/clipwatch.db"
    database = await open_database(url, asyncio.Event(), connect_s=30, transaction_s=60)
    media = MediaFolder(tmp_path / "media")
    media.prepare()
    said = RecorderMetrics(CollectorRegistry())
    intake = Intake(redis, database, FolderStore(media), said, asyncio.Event(), lambda: None, lambda _: None)
    publisher = Publisher(outbox, redis, 1000, OWNER, metrics)
    receipts = ReceiptReader(outbox, redis, OWNER, metrics)
    yield Chain(redis, outbox, publisher, receipts, metrics, database, intake, url)
    await database.close()


@pytest.fixture
async def chain(tmp_path: Path, redis_client: Redis) -> AsyncIterator[Chain]:
    async with made(tmp_path, redis_client) as one:
        yield one


WHOLE = sorted({(said.event_id, 2, False) for said in ALL})


async def test_an_entry_goes_when_its_row_is_committed_and_not_before(chain: Chain) -> None:
    chain.put(ALL[0])
    await chain.publish()
    await chain.receipts.read()
    await chain.classify()
    await chain.receipts.read()
    await chain.receipts.check()
    assert (chain.outbox.n_entries, chain.outbox.n_kept) == (0, 1)
    await chain.record()
    await chain.receipts.read()
    assert chain.outbox.n_kept == 0
    assert list((chain.outbox._folder).iterdir()) == []
    assert chain.metrics.receipts.labels("recorded")._value.get() == 1


@pytest.mark.parametrize("moment", ["sent", "half labelled", "labelled", "half recorded", "recorded"])
async def test_a_redis_that_is_emptied_loses_and_doubles_nothing(chain: Chain, moment: str) -> None:
    for said in ALL:
        chain.put(said)
    await chain.publish()
    if moment != "sent":
        await chain.classify(most=3 if moment == "half labelled" else 1000)
    if "recorded" in moment:
        await chain.record(most=3 if moment == "half recorded" else 1000)
    await chain.redis.flushall()
    await chain.settle()
    assert await chain.recorded() == WHOLE
    assert (chain.outbox.n_entries, chain.outbox.n_kept) == (0, 0)
    assert await chain.redis.xlen(MEDIA) == 0


async def test_an_answer_whose_clip_was_lost_with_redis_gets_it_when_the_snippet_is_sent_again(
    chain: Chain,
) -> None:
    """The classifier had the snippet in hand when Redis was emptied, and answers all the same."""
    chain.put(ALL[0])
    chain.put(ALL[1])
    await chain.publish()
    await chain.redis.flushall()
    for said in ALL[:2]:
        await chain.redis.xadd(LABELS, labels_message(said, "1-1").encode())  # type: ignore[arg-type]  # bytes are
    await chain.record()
    assert await chain.recorded() == [(ALL[0].event_id, 2, True)]
    await chain.settle()
    assert await chain.recorded() == [(ALL[0].event_id, 2, False)]
    assert chain.outbox.n_kept == 0


async def test_a_redis_that_is_replaced_by_an_empty_one_loses_nothing(tmp_path: Path) -> None:
    server = RedisServer()
    server.start()
    redis: Redis = Redis.from_url(server.url)
    try:
        async with made(tmp_path, redis) as chain:
            for said in ALL:
                chain.put(said)
            await chain.publish()
            await chain.classify(most=2)
            await chain.record()
            server.restart()  # nothing is persisted
            await redis.connection_pool.disconnect()
            await chain.settle()
            assert await chain.recorded() == WHOLE
            assert chain.outbox.n_kept == 0
    finally:
        await redis.aclose()
        server.close()


async def test_a_restart_of_motion_knows_what_is_not_recorded(chain: Chain, tmp_path: Path) -> None:
    for said in ALL:
        chain.put(said)
    await chain.publish()
    await chain.classify()
    await chain.record(most=3)
    await chain.redis.flushall()
    chain.outbox = Outbox(tmp_path / "outbox", 1 << 26, chain.metrics)
    assert chain.outbox.n_kept == len(ALL)
    chain.publisher = Publisher(chain.outbox, chain.redis, 1000, OWNER)
    chain.receipts = ReceiptReader(chain.outbox, chain.redis, OWNER, chain.metrics)
    await chain.settle()
    assert await chain.recorded() == WHOLE
    assert chain.outbox.n_kept == 0


async def test_receipts_that_came_while_motion_was_away_are_read_at_its_start(chain: Chain) -> None:
    chain.put(ALL[0])
    await chain.publish()
    await chain.classify()
    await chain.record()
    receipts = ReceiptReader(chain.outbox, chain.redis, OWNER, chain.metrics)
    await receipts.read()
    assert chain.outbox.n_kept == 0


async def test_a_recording_that_is_read_again_is_not_sent_again(chain: Chain) -> None:
    chain.put(ALL[0])
    await chain.settle()
    assert chain.outbox.n_kept == 0
    chain.put(ALL[0])
    await chain.publish()
    assert (chain.outbox.n_entries, chain.outbox.n_kept) == (0, 0)
    assert await chain.redis.xlen(SNIPPETS) == 0


async def test_a_dead_letter_frees_its_entry(chain: Chain) -> None:
    chain.dead = (ALL[0].event_id,)
    chain.put(ALL[0])
    await chain.publish()
    await chain.classify()
    assert await chain.redis.xlen(f"{SNIPPETS}:dead") == 1
    await chain.receipts.read()
    assert chain.outbox.n_kept == 0
    assert chain.metrics.receipts.labels("dead")._value.get() == 1


async def test_a_long_backlog_is_not_taken_for_a_loss(chain: Chain) -> None:
    for said in ALL:
        chain.put(said)
    await chain.publish()
    await chain.receipts.check()
    await chain.classify(most=3)
    for _ in range(5):
        await chain.receipts.read()
        await chain.receipts.check()
    assert (chain.outbox.n_entries, chain.outbox.n_kept) == (0, len(ALL))
    assert await chain.redis.ttl(mark_of(OWNER, chain.outbox.kept_keys()[0])) > 86_400


async def test_a_stream_that_somebody_removed_is_sent_again_and_not_for_ever(chain: Chain) -> None:
    chain.put(ALL[0])
    chain.put(ALL[2])
    await chain.publish()
    await chain.classify(most=1)
    await chain.record()
    for left in reversed(range(RESENDS + 1)):
        await chain.redis.delete(SNIPPETS)
        await chain.receipts.check()
        assert chain.outbox.n_entries == (1 if left else 0)
        await chain.publish()
    assert chain.outbox.n_kept == 0
    assert chain.metrics.receipts.labels("unanswered")._value.get() == 1


async def test_without_a_recorder_that_writes_receipts_entries_go_as_soon_as_they_are_settled(
    chain: Chain,
) -> None:
    """One of an older release; or nobody but a reader of labels.v1."""
    chain.put(ALL[0])
    await chain.publish()
    await chain.receipts.check()
    assert chain.outbox.n_kept == 1
    await chain.classify()
    await chain.redis.delete(LABELS)  # settled, without a receipt
    await chain.receipts.check()
    assert (chain.outbox.n_entries, chain.outbox.n_kept) == (0, 0)


async def test_receipts_of_others_and_broken_ones_are_passed_over_and_the_stream_is_bounded(
    chain: Chain,
) -> None:
    chain.put(ALL[0])
    await chain.publish()
    await chain.redis.xadd(RECEIPTS, {b"h": b"rubbish"})
    other = Receipt(event_id=ALL[2].event_id, snippet=0).encode()
    async with chain.redis.pipeline(transaction=False) as pipeline:
        for _ in range(RECEIPTS_KEPT + 50):
            pipeline.xadd(RECEIPTS, other)  # type: ignore[arg-type]  # bytes are as good as text
        await pipeline.execute()
    await chain.classify()
    await chain.record()
    assert await chain.redis.xlen(RECEIPTS) == RECEIPTS_KEPT
    await chain.receipts.read()
    assert chain.outbox.n_kept == 0


async def test_redis_without_its_last_second_is_given_again_what_it_lost(chain: Chain) -> None:
    """What a kill with appendfsync everysec does: the newest additions are gone, mark and entries together."""
    for said in ALL:
        chain.put(said)
    await chain.publish()
    entries: Any = await chain.redis.xrange(SNIPPETS)  # Any: redis-py's unions of both clients
    media: Any = await chain.redis.xrange(MEDIA)
    for stream, ids in ((SNIPPETS, entries), (MEDIA, media)):
        await chain.redis.xdel(stream, *(entry_id for entry_id, _ in ids[-2:]))
    for key in chain.outbox.kept_keys()[-2:]:
        await chain.redis.delete(mark_of(OWNER, key))
    await chain.settle()
    assert chain.metrics.sent_again._value.get() == 2
    assert await chain.recorded() == WHOLE


async def test_receipts_follow_by_themselves(chain: Chain) -> None:
    stop = asyncio.Event()
    following = asyncio.create_task(chain.receipts.run(stop))
    chain.put(ALL[0])
    await chain.publish()
    await chain.classify()
    await chain.record()
    async with asyncio.timeout(60):
        while chain.outbox.n_kept:
            await asyncio.sleep(0.02)
    stop.set()
    await following
