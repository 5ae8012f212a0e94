"""Times in which no motion process read a camera become gaps, once, whoever writes them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.recorder.gaps import rows
from services.recorder.gaps.rows import GapFilter
from services.recorder.gaps.values import Gap, UnreadTime
from services.recorder.record.database import Database
from shared.clock import epoch_ms, now_utc
from tests.integration.test_gaps import GATE, Rig, change, holds, running, seen
from tests.integration.test_notifications import database, either_database

__all__ = ["database", "either_database", "running"]  # fixtures

pytestmark = [pytest.mark.redis]


def unread(begins_s: float, ends_s: float, base: datetime) -> UnreadTime:
    return UnreadTime("gate", base + timedelta(seconds=begins_s), base + timedelta(seconds=ends_s))


async def write(database: Database, *times: UnreadTime) -> list[bool]:
    written = []
    for one in times:
        async with database.writing() as connection:
            written.append(await rows.write_unread(connection, one))
    return written


async def found(database: Database) -> list[Gap]:
    async with database.reading() as connection:
        return await rows.find(connection, GapFilter(camera="gate"), 50)


async def test_an_unread_time_is_a_gap_of_the_camera_that_is_written_once(either_database: Database) -> None:
    base = now_utc() - timedelta(seconds=100)
    assert await write(either_database, unread(0, 12, base), unread(0, 12, base)) == [True, False]
    (gap,) = await found(either_database)
    assert (gap.key, gap.reason, gap.duration_s) == (GATE, rows.UNREAD, 12)
    async with either_database.reading() as connection:
        assert await rows.find_due(connection, "home", now_utc(), 9) == []


async def test_one_unread_time_after_the_other_is_two_gaps(either_database: Database) -> None:
    base = now_utc() - timedelta(seconds=100)
    assert await write(either_database, unread(0, 12, base), unread(12, 20, base)) == [True, True]
    assert [gap.duration_s for gap in await found(either_database)] == [8, 12]


async def test_what_overlaps_a_known_gap_makes_it_longer(either_database: Database) -> None:
    away = change(ended_s=20)
    async with either_database.writing() as connection:
        await rows.write(connection, change(), ("home",), now_utc())
        await rows.write(connection, away, ("home",), now_utc())
    assert await write(either_database, unread(-10, 5, away.started_at)) == [True]
    assert await write(either_database, unread(15, 25, away.started_at)) == [True]
    assert await write(either_database, unread(-5, 15, away.started_at)) == [False]
    (gap,) = await found(either_database)
    assert gap.duration_s == pytest.approx(35, abs=1)
    assert gap.reason == away.reason


async def test_an_open_gap_begins_when_nobody_read_the_camera_any_more(either_database: Database) -> None:
    away = change()
    async with either_database.writing() as connection:
        await rows.write(connection, away, (), now_utc())
    assert await write(either_database, unread(-10, 5, away.started_at)) == [True]
    (gap,) = await found(either_database)
    assert (gap.ended_at, epoch_ms(gap.started_at)) == (None, epoch_ms(away.started_at) - 10_000)


async def test_two_recorders_write_one_gap_of_what_a_process_tells(
    redis_client: Redis, database: Database, tmp_path: Path, running: Callable[[Rig], None]
) -> None:
    begins = now_utc() - timedelta(seconds=30)
    times = (epoch_ms(begins), epoch_ms(begins) + 12_000)
    rigs = [Rig(redis_client, database, tmp_path, ()) for _ in range(2)]
    for rig in rigs:
        rig.cameras(seen(unread_ms=times))
        running(rig)
    await holds(lambda: all(rig.watch._unread for rig in rigs))
    await asyncio.gather(*(rig.watch.look() for rig in rigs))
    (gap,) = await found(database)
    assert (epoch_ms(gap.started_at), gap.duration_s) == (times[0], 12)
