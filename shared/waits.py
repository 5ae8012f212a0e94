"""Waits that a stop ends: no pause and no slow answer may outlast a service's drain. Knows no service."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from shared.errors import Stopped

_Answer = TypeVar("_Answer")
_CANCEL_S = 1.0  # for cancelled work to clean up


async def pause(seconds: float | None, *events: asyncio.Event) -> None:
    """Return after `seconds` (None: never), or as soon as one of `events` is set."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def unless_stopped(
    awaitable: Awaitable[_Answer], stop: asyncio.Event, timeout_s: float | None = None, grace_s: float = 0
) -> _Answer:
    """Return the answer. Cancels the work and raises Stopped `grace_s` after `stop`, TimeoutError after `timeout_s`.

    A thread cannot be cancelled: what runs in one goes on, and nobody waits for it.
    """
    work = asyncio.ensure_future(awaitable)
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, waiting}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and stop.is_set() and grace_s:
            await asyncio.wait({work}, timeout=grace_s)
        if work.done():
            return work.result()
        if stop.is_set():
            raise Stopped("told to stop before it was ready")
        raise TimeoutError("still waiting for the answer")
    finally:
        waiting.cancel()
        if not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=_CANCEL_S)
