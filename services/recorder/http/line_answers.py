"""Answers of JSON lines: progress first, the result or a fault last. One at a time, behind a gate."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Any

from fastapi.responses import StreamingResponse

from shared.errors import Permanent, Transient
from shared.http_api import ApiFault, FaultText, documented
from shared.logs import get_logger

log = get_logger(__name__)
Line = dict[str, Any]  # Any: JSON values
LINE_ANSWERS: dict[int | str, dict[str, Any]] = {  # Any: OpenAPI
    200: {
        "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        "description": "lines of JSON: {done, of} while it runs, last {result} or {error}",
    },
    **documented(409),
}


async def streamed(
    gate: asyncio.Lock, lines: AsyncGenerator[Line, None], *, waits: bool = False
) -> StreamingResponse:
    """Return the answer that has these lines, once there is the first: what is raised before it, this raises.

    Raises a 409 where another answer has the gate, unless this one waits for it.
    """
    if gate.locked() and not waits:
        raise ApiFault(409, "another look back is running", "one at a time", "wait until it has ended")
    texts = _texts(gate, lines)
    first = await anext(texts)
    return StreamingResponse(
        _from(first, texts),
        media_type="application/x-ndjson",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


async def _from(first: str, texts: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    """Yield all lines; whoever goes away in the middle ends them, and lets the next one in."""
    async with contextlib.aclosing(texts):
        yield first
        async for text in texts:
            yield text


async def _texts(gate: asyncio.Lock, lines: AsyncGenerator[Line, None]) -> AsyncGenerator[str, None]:
    """Yield the lines as text. Holds the gate from the first line until it is closed: an answer that nobody reads,
    too, is closed when it is let go of, which a gate taken outside would not see.
    """
    has_begun = False
    async with gate, contextlib.aclosing(lines):
        try:
            async for line in lines:
                has_begun = True
                yield _text(line)
        except (Transient, Permanent) as exc:
            if not has_begun:
                raise
            log.warning("a look back ended early", error=str(exc))
            is_passing = isinstance(exc, Transient)
            do = "ask the same again" if is_passing else "look at the changes of the past, then ask again"
            fault = FaultText(found=str(exc), wanted="all events", do=do)
            yield _text({"error": fault.model_dump()})


def _text(value: Line) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_moment) + "\n"


def _moment(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
