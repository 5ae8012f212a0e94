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
from services.recorder.gaps.tracker import GapChange
from services.recorder.gaps.values import Gap, GapKey, UnreadTime
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


async def test_all_known_gaps_that_it_overlaps_cover_it(either_database: Database) -> None:
    base = now_utc() - timedelta(seconds=100)
    first, second = unread(0, 5, base), unread(10, 15, base)
    assert await write(either_database, first, second, unread(20, 22, base)) == [True] * 3
    assert await write(either_database, unread(-3, 21, base)) == [True]
    assert await spans(either_database, base) == [(-3, 10), (10, 20), (20, 22)]
    assert await write(either_database, unread(-3, 22, base), unread(12, 25, base)) == [False, True]
    assert await spans(either_database, base) == [(-3, 10), (10, 20), (20, 25)]


async def test_a_gap_that_lasts_covers_what_comes_later(either_database: Database) -> None:
    away = change()
    base = away.started_at
    async with either_database.writing() as connection:
        await rows.write(connection, away, (), now_utc())
    assert await write(either_database, unread(-20, -10, base), unread(-12, 5, base)) == [True, True]
    assert await spans(either_database, base) == [(-20, 0), (0, None)]


async def spans(database: Database, base: datetime) -> list[tuple[int, int | None]]:
    """Return the camera's own gaps in seconds after `base`, the earliest first."""

    def seconds(at: datetime | None) -> int | None:
        return None if at is None else round((at - base).total_seconds())

    gaps = [gap for gap in await found(database) if gap.key == GATE]
    return sorted((seconds(gap.started_at) or 0, seconds(gap.ended_at)) for gap in gaps)


@pytest.mark.parametrize(
    ("begins_s", "ends_s", "left"),
    [
        (0, 20, []),  # as long as motion was gone
        (-0.9, 20.9, []),  # told by another clock, another time
        (-5, 10, [(-5, 0)]),
        (5, 23, [(20, 23)]),
        (-5, 23, [(-5, 0), (20, 23)]),
        (30, 40, [(30, 40)]),
    ],
)
async def test_while_all_of_motion_was_gone_no_camera_has_a_gap_of_its_own(
    either_database: Database, begins_s: float, ends_s: float, left: list[tuple[int, int]]
) -> None:
    base = now_utc() - timedelta(seconds=100)
    await write_motion_gone(either_database, base, base + timedelta(seconds=20))
    assert await write(either_database, unread(begins_s, ends_s, base)) == [bool(left)]
    assert await spans(either_database, base) == left
    assert await write(either_database, unread(begins_s, ends_s, base)) == [False]
    assert await spans(either_database, base) == left


async def test_motion_that_is_gone_now_hides_what_came_since(either_database: Database) -> None:
    base = now_utc() - timedelta(seconds=100)
    await write_motion_gone(either_database, base, None)
    assert await write(either_database, unread(-5, 30, base)) == [True]
    assert await spans(either_database, base) == [(-5, 0)]


async def write_motion_gone(database: Database, begins: datetime, ends: datetime | None) -> None:
    key = GapKey("motion.gone", "motion")
    for ended_at in (None,) if ends is None else (None, ends):
        async with database.writing() as connection:
            await rows.write(connection, GapChange(key, "gone", begins, ended_at), (), now_utc())


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


async def test_what_motion_says_waits_for_the_end_of_the_gap_of_all_of_motion(
    redis_client: Redis, database: Database, tmp_path: Path, running: Callable[[Rig], None]
) -> None:
    begins = now_utc() - timedelta(seconds=30)
    await write_motion_gone(database, begins, None)
    rig = Rig(redis_client, database, tmp_path, ())
    rig.cameras(seen(unread_ms=(epoch_ms(begins), epoch_ms(begins) + 90_000)))
    running(rig)
    await holds(lambda: bool(rig.watch._unread))
    async with database.reading() as connection:
        (gone,) = await rows.find(connection, GapFilter(kind="motion.gone"), 9)
    (gap,) = [gap for gap in await found(database) if gap.key == GATE]
    assert (gap.started_at, epoch_ms(gap.ended_at or begins)) == (gone.ended_at, epoch_ms(begins) + 90_000)


async def test_what_is_told_later_but_began_earlier_or_ended_later_is_written(
    redis_client: Redis, database: Database, tmp_path: Path, running: Callable[[Rig], None]
) -> None:
    base = now_utc() - timedelta(seconds=300)
    ms = epoch_ms(base)
    rig = Rig(redis_client, database, tmp_path, ())
    running(rig)
    for times, lengths in (((60, 70), [10]), ((0, 12), [10, 12]), ((0, 20), [10, 20])):
        rig.cameras(seen(unread_ms=(ms + times[0] * 1000, ms + times[1] * 1000)))

        async def is_written(lengths: list[int] = lengths) -> bool:
            return [round(gap.duration_s or 0) for gap in await found(database)] == lengths

        async with asyncio.timeout(60):
            while not await is_written():
                await asyncio.sleep(0.05)
    rig.cameras(seen(unread_ms=(ms + 30_000, ms + 30_000)))  # nothing was missed
    for _ in range(3):
        await rig.watch.look()
    assert [round(gap.duration_s or 0) for gap in await found(database)] == [10, 20]
