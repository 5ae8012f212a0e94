"""Frames of a past answer come back to the last bit, and take less room than their rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.recorder.record.packed_frames import pack_frames, unpack_frames
from services.recorder.record.rows import snippet_rows
from tests.unit.recorder.messages import Said, labels_message

EVENT = "019d3727-f93a-7abc-8def-0123456789ab"
START = datetime(2026, 1, 2, tzinfo=UTC)
SHARES = st.floats(0, 1)
ROWS = st.dictionaries(
    st.tuples(st.integers(0, 70), st.sampled_from(["target", "background", "other"]), st.text(min_size=1)),
    st.tuples(SHARES, st.none() | SHARES, st.none() | SHARES),
    max_size=12,
)


@given(ROWS)
def test_what_is_packed_comes_back(
    found: dict[tuple[int, str, str], tuple[float, float | None, float | None]],
) -> None:
    rows: list[dict[str, Any]] = [  # Any: columns of every type
        {
            "event_id": EVENT,
            "snippet": 3,
            "moment": moment,
            "kind": kind,
            "label": label,
            "captured_at": START + timedelta(milliseconds=moment),
            "probability": probability,
            "score": score,
            "background": background,
        }
        for (moment, kind, label), (probability, score, background) in found.items()
    ]
    back = unpack_frames(pack_frames(rows), EVENT, 3)
    assert sorted(back, key=str) == sorted(rows, key=str)


def test_rows_of_a_message_come_back_as_they_were_recorded() -> None:
    rows = snippet_rows(labels_message(Said(accepted=[("a dog", 0.75)]))).probabilities
    back = unpack_frames(pack_frames(rows), rows[0]["event_id"], rows[0]["snippet"])
    assert sorted(back, key=str) == sorted(rows, key=str)


def test_it_takes_less_than_a_tenth_of_the_embeddings() -> None:
    """Of 12 moments with a crop and a whole frame each, and 5 labels, with numbers that nothing can guess."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(5, 0.3), 12).astype(np.float16)
    scores, behind = rng.random((2, 12, 5), np.float32)
    rows = [
        {
            "moment": moment,
            "kind": "target",
            "label": f"thing {number}",
            "captured_at": START + timedelta(seconds=moment),
            "probability": float(shares[moment, number]),
            "score": float(scores[moment, number]),
            "background": float(behind[moment, number]),
        }
        for moment in range(12)
        for number in range(5)
    ]
    assert len(pack_frames(rows)) < 24 * 512 * 2 / 10
