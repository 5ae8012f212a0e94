"""The dead letters of a stream, `<stream>:dead`: entries that could not be handled, kept to be looked at."""

from __future__ import annotations

import json
from datetime import datetime

from shared.clock import now_utc
from shared.errors import redact
from shared.streams.outcomes import Delivery, Output


def dead_letter(delivery: Delivery, reason: str, died_at: datetime | None = None) -> Output:
    """Return the entry of `<stream>:dead`: the original fields, and `dead`: reason and history as JSON."""
    note = {
        "reason": redact(reason)[:2000],
        "stream": delivery.stream,
        "id": delivery.id,
        "attempts": delivery.attempts,
        "died_at": (died_at or now_utc()).isoformat(),
    }
    return Output(f"{delivery.stream}:dead", {**delivery.fields, b"dead": json.dumps(note).encode()})
