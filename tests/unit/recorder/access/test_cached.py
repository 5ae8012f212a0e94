"""Look-ups that are kept for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from services.recorder.access.cached import KEPT_MAX, KEPT_S, CachedLookups


class SlowTable:
    """Answers with what it holds when it is allowed to."""

    def __init__(self) -> None:
        self.value, self.n_asked = "old", 0
        self.go = asyncio.Event()

    async def load(self, _key: str) -> str:
        self.n_asked += 1
        found = self.value
        await self.go.wait()
        return found


async def settled(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_who_asks_together_is_answered_together() -> None:
    table = SlowTable()
    lookups = CachedLookups(table.load)
    asked = [asyncio.create_task(lookups.get("a")) for _ in range(30)]
    await settled(lambda: table.n_asked > 0)
    asked[0].cancel()
    table.go.set()
    assert set(await asyncio.gather(*asked[1:])) == {"old"}
    assert table.n_asked == 1


async def test_an_answer_is_kept_for_a_moment() -> None:
    table, clock = SlowTable(), [0.0]
    table.go.set()
    lookups = CachedLookups(table.load, seconds=lambda: clock[0])
    assert await lookups.get("a") == "old"
    table.value, clock[0] = "new", KEPT_S - 0.01
    assert await lookups.get("a") == "old"
    clock[0] = KEPT_S
    assert await lookups.get("a") == "new"


async def test_a_lookup_under_way_does_not_outlive_a_change() -> None:
    table = SlowTable()
    lookups = CachedLookups(table.load)
    before = asyncio.create_task(lookups.get("a"))
    await settled(lambda: table.n_asked == 1)
    table.value = "new"
    lookups.forget()
    after = asyncio.create_task(lookups.get("a"))
    await settled(lambda: table.n_asked == 2)
    table.go.set()
    assert (await before, await after) == ("old", "new")
    assert await lookups.get("a") == "new"


async def test_an_error_is_raised_and_not_kept() -> None:
    answers: list[Callable[[], Awaitable[str]]] = []

    async def load(_key: str) -> str:
        return await answers.pop()()

    async def failing() -> str:
        raise ValueError("away")

    async def working() -> str:
        return "new"

    answers += [working, failing]
    lookups = CachedLookups(load)
    with pytest.raises(ValueError, match="away"):
        await lookups.get("a")
    assert await lookups.get("a") == "new"


async def test_what_is_kept_has_a_bound() -> None:
    table = SlowTable()
    table.go.set()
    lookups = CachedLookups(table.load)
    for number in range(KEPT_MAX + 100):
        await lookups.get(str(number))
    assert len(lookups._kept) == KEPT_MAX
    assert lookups._loading == {}
