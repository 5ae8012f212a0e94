"""Answers that stay open: so many a caller, and none whose caller may not have it any more. Knows no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.errors import Transient

RECHECK_S = 1.0  # a session or token that ended holds an open stream for this long at most
STREAMS_OF_CALLER = 8  # of each kind: a browser has six connections to a site, by HTTP/1.1


class StreamKind(StrEnum):
    """What stays open, as callers are told."""

    EVENTS = "streams of events"
    PICTURES = "live pictures"  # of all cameras, with what the detector finds in them
    VIDEOS = "live videos"  # by WebRTC
    REPORTS = "reports of hindsight"


class TooManyStreams(Transient):
    """A caller has as many streams of a kind as one may have."""


@dataclass(slots=True)
class OpenStreams:
    """How many streams of each kind each caller has open; for one event loop."""

    n_max: int = STREAMS_OF_CALLER
    _n: Counter[tuple[StreamKind, str]] = field(default_factory=Counter)

    @contextlib.contextmanager
    def opened(self, kind: StreamKind, caller: str) -> Iterator[None]:
        """Count a stream until the block ends; raises TooManyStreams."""
        key = kind, caller
        if self._n[key] >= self.n_max:
            raise TooManyStreams(f"{self.n_max} {kind} of one user, token or address")
        self._n[key] += 1
        try:
            yield
        finally:
            self._n[key] -= 1
            if not self._n[key]:
                del self._n[key]


async def serve_while_allowed(
    serving: Coroutine[Any, Any, None],  # Any: a coroutine neither yields nor is sent anything
    is_allowed: Callable[[], Awaitable[bool]],
    every_s: float = RECHECK_S,
) -> bool:
    """Run `serving` to its end; return False when it was cut short, since it was not allowed any more."""
    task = asyncio.create_task(serving, name="open stream")
    try:
        while True:
            done, _ = await asyncio.wait({task}, timeout=every_s)
            if done:
                task.result()
                return True
            if not await is_allowed():
                return False
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
