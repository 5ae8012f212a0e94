"""Waits end at a stop, whatever they wait for."""

from __future__ import annotations

import asyncio

import pytest

from shared.errors import Stopped
from shared.waits import pause, unless_stopped


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_pause_ends_with_any_of_its_events() -> None:
    stop, kick = asyncio.Event(), asyncio.Event()
    kick.set()
    async with asyncio.timeout(60):
        await pause(None, stop, kick)


async def test_an_answer_that_is_there_is_returned_even_after_a_stop() -> None:
    stop = asyncio.Event()
    stop.set()

    async def soon() -> int:
        await asyncio.sleep(0)
        return 7

    assert await unless_stopped(soon(), stop, grace_s=5) == 7


async def test_a_stop_cancels_the_work_and_waits_until_it_has_cleaned_up() -> None:
    stop, cleaned = asyncio.Event(), []

    async def work() -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    waiting = asyncio.create_task(unless_stopped(work(), stop))
    await asyncio.sleep(0)
    stop.set()
    with pytest.raises(Stopped):
        await waiting
    assert cleaned == [True]


async def test_a_deadline_is_told_as_one() -> None:
    with pytest.raises(TimeoutError):
        await unless_stopped(never(), asyncio.Event(), timeout_s=0)
