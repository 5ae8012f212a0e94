"""Answers that stay open end when their caller may not have them any more. Knows no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

RECHECK_S = 5.0  # a session or token that ended holds an open stream for this long at most


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
