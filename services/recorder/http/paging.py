"""Pages of a list, newest first. A cursor names the last item of a page: its start in milliseconds, and its id."""

from __future__ import annotations

import re
from datetime import datetime

from shared.clock import epoch_ms, from_epoch_ms
from shared.http_api import ApiFault

PAGE_MAX = 200
LATEST_MS = 7_258_118_400_000  # the year 2200
_CURSOR = re.compile(r"(\d{1,15})_([0-9a-f-]{36})")


def cursor(started_at: datetime, item_id: str) -> str:
    """Return the cursor of the page that follows an item."""
    return f"{epoch_ms(started_at)}_{item_id}"


def parse_cursor(before: str | None) -> tuple[datetime, str] | None:
    """Return the start and id that a cursor names; raise ApiFault for anything else."""
    if before is None:
        return None
    found = _CURSOR.fullmatch(before)
    if found is None:
        raise ApiFault(
            400, f"before={before!r}", "the `next` of a page of events", "leave it out for the newest events"
        )
    return from_epoch_ms(min(int(found[1]), LATEST_MS)), found[2]
