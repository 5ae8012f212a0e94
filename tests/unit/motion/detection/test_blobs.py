"""Fragments of one object become one box, objects apart stay apart."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.detection.blobs import merge_fragments
from services.motion.detection.values import Blob


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.integers(0, 160), st.integers(1, 80), st.integers(1, 80)),
        max_size=12,
    )
)
def test_merging_keeps_every_blob_inside_one_box(rectangles: list[tuple[int, int, int, int]]) -> None:
    blobs = [Blob(x, y, w, h, float(w * h)) for x, y, w, h in rectangles]
    merged = merge_fragments(blobs)
    assert sum(blob.weight for blob in merged) == pytest.approx(sum(blob.weight for blob in blobs))
    for blob in blobs:
        assert any(
            box.x <= blob.x
            and box.y <= blob.y
            and box.x + box.w >= blob.x + blob.w
            and box.y + box.h >= blob.y + blob.h
            for box in merged
        )


def test_head_and_legs_are_one_object_and_distant_people_are_not() -> None:
    assert len(merge_fragments([Blob(10, 10, 12, 20, 200), Blob(11, 32, 10, 20, 180)])) == 1
    assert len(merge_fragments([Blob(10, 10, 12, 40, 400), Blob(60, 12, 12, 40, 400)])) == 2
    assert len(merge_fragments([Blob(10, 10, 12, 40, 400), Blob(12, 90, 12, 40, 400)])) == 2
