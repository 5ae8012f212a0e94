"""Keeps what was looked up for some seconds: a page of thirty pictures asks once. Bounded; knows no database."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

KEPT_S = 2.0  # what another process changes counts after this long
KEPT_MAX = 2048
_Value = TypeVar("_Value")


@dataclass(slots=True)
class CachedLookups(Generic[_Value]):
    """Answers of `load`, by key. `forget` makes changes count at once: look-ups under way are not used any more."""

    load: Callable[[str], Awaitable[_Value]]
    seconds: Callable[[], float] = time.monotonic
    _kept: OrderedDict[str, tuple[float, _Value]] = field(default_factory=OrderedDict)
    _loading: dict[str, asyncio.Task[_Value]] = field(default_factory=dict)

    async def get(self, key: str) -> _Value:
        """Return the answer for `key`; raises what `load` raises, which is not kept."""
        kept = self._kept.get(key)
        if kept is not None and self.seconds() - kept[0] < KEPT_S:
            return kept[1]
        task = self._loading.get(key)
        if task is None:
            task = asyncio.ensure_future(self._loaded(key))
            self._loading[key] = task
            task.add_done_callback(lambda done: self._is_done(key, done))
        return await asyncio.shield(task)  # who waits may go; others wait for the same

    def forget(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._loading.clear()

    async def _loaded(self, key: str) -> _Value:
        return await self.load(key)

    def _is_done(self, key: str, task: asyncio.Task[_Value]) -> None:
        if self._loading.get(key) is not task:  # forgotten meanwhile
            _ = task.cancelled() or task.exception()
            return
        del self._loading[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._kept[key] = (self.seconds(), task.result())
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
