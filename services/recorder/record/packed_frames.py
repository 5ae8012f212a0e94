"""Rows of frame_probabilities as one value that is kept beside a past answer, and back, to the last bit. Pure.

zlib over JSON: {"moments": {number: time}, "columns": [[kind, label, [[moment, probability, score, background]]]]}.
Why they are kept and not computed again, and how large they are: docs/design/hindsight.md.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from services.recorder.record.rows import Row


def pack_frames(rows: Iterable[Mapping[str, Any]]) -> bytes:  # Any: columns of every type
    """Return the rows of one snippet as a value."""
    moments: dict[int, str] = {}
    columns: dict[tuple[str, str], list[tuple[int, float, float | None, float | None]]] = {}
    for row in rows:
        moments[row["moment"]] = row["captured_at"].isoformat()
        of_moment = (row["moment"], row["probability"], row["score"], row["background"])
        columns.setdefault((row["kind"], row["label"]), []).append(of_moment)
    packed = {"moments": moments, "columns": [[*name, values] for name, values in columns.items()]}
    return zlib.compress(json.dumps(packed, ensure_ascii=False, separators=(",", ":")).encode())


def unpack_frames(packed: bytes, event_id: str, snippet: int) -> list[Row]:
    """Return the rows that were packed, of this snippet."""
    said = json.loads(zlib.decompress(packed))
    times = {int(moment): datetime.fromisoformat(at) for moment, at in said["moments"].items()}
    return [
        {
            "event_id": event_id,
            "snippet": snippet,
            "moment": moment,
            "kind": kind,
            "label": label,
            "captured_at": times[moment],
            "probability": probability,
            "score": score,
            "background": background,
        }
        for kind, label, values in said["columns"]
        for moment, probability, score, background in values
    ]
