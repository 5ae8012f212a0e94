"""Answers of JSON lines: progress first, the outcome last."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import datetime
from typing import Any

from fastapi.responses import StreamingResponse


def json_lines(first: str, lines: AsyncGenerator[str, None]) -> StreamingResponse:
    """Return an answer of `first` and all further lines; whoever goes away in the middle ends them."""

    async def all_lines() -> AsyncIterator[str]:
        async with contextlib.aclosing(lines):
            yield first
            async for line in lines:
                yield line

    return StreamingResponse(
        all_lines(),
        media_type="application/x-ndjson",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


def json_line(value: dict[str, Any]) -> str:  # Any: JSON values
    """Return one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_moment) + "\n"


def _moment(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
