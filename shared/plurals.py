"""Numbers with their nouns, as a person says them. Pure."""

from __future__ import annotations


def plural(n: int, one: str, many: str = "") -> str:
    """Return `1 event`, `2 events`, `1,200 events`; `many` where an s is not enough."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
