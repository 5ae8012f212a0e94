"""When a session ends: after a time without requests, and at the latest some time after the login. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

SEEN_EVERY = timedelta(minutes=1)  # the last request is written this often at most


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """`idle`: without a request; `longest`: from the login on."""

    idle: timedelta = timedelta(days=7)
    longest: timedelta = timedelta(days=30)

    def ends_at(self, created_at: datetime) -> datetime:
        """Return when a session that is made now ends at the latest."""
        return created_at + self.longest

    def is_over(self, created_at: datetime, seen_at: datetime, ends_at: datetime, now: datetime) -> bool:
        """Whether a session opens nothing any more; limits that were made shorter count for old sessions too."""
        return now >= min(ends_at, self.ends_at(created_at)) or now - seen_at >= self.idle
