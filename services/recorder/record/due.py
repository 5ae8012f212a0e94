"""When a row is due that says so by the wall clock, which may be set. Knows no table."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, or_

LONGEST_WAIT_S = 600.0  # more than anything is postponed


def is_due(
    due_at: Column[Any], attempts: Column[Any], now: datetime
) -> ColumnElement[bool]:  # Any: as in schema.py
    """Return the condition for rows that are due.

    What was not tried yet is due whatever the clock says; so is what waits for longer than anything is postponed: the
    clock was set back since.
    """
    return or_(
        due_at <= now,
        and_(due_at.is_not(None), attempts == 0),
        due_at > now + timedelta(seconds=LONGEST_WAIT_S),
    )
